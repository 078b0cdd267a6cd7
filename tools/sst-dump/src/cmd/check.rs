//! `check`: reads everything once. Files are compared with what they say of themselves, and in a database with what the
//! manifest says of them; the logs are judged as an open would judge them.

use std::ops::ControlFlow;

use packstone::inspect::{self, FileKind, Tail};
use serde_json::json;

use super::{objects, pack, properties};
use crate::Ctx;
use crate::args::ScanArgs;
use crate::entries::{self, KeyRange};
use crate::out::{self, Fail};
use crate::target::{Database, Item, Role, Targets};

pub(crate) fn run(ctx: &mut Ctx, args: &ScanArgs) -> Result<(), Fail> {
    let range = KeyRange::from_args(args)?;
    let targets = Targets::find(ctx, &args.files)?;
    ctx.fs.expect(targets.items.iter().map(|item| item.size).sum());
    for item in &targets.items {
        if !item.role.counts() {
            left_out(ctx, item)?;
            continue;
        }
        if matches!(item.role, Role::Pack(_)) {
            continue; // below, with what refers to it
        }
        let before = ctx.out.problems();
        let what = match item.kind {
            FileKind::Sst => check_sst(ctx, &targets, item, args, &range)?,
            FileKind::Log => log(ctx, &targets, item),
            FileKind::Manifest => manifest(ctx, &targets, item),
            FileKind::Pack => pack::check(ctx, &targets, item, args)?,
            FileKind::Current => Some("names the manifest in force".to_owned()),
            _ => Some("holds nothing".to_owned()),
        };
        let ok = ctx.out.problems() == before && what.is_some();
        verdict(ctx, item, ok, &what.unwrap_or_default())?;
    }
    objects::check(ctx, &targets, 1)?;
    for database in &targets.databases {
        logs(ctx, database)?;
    }
    Ok(())
}

/// A file that the database does not name: it may be half written, and whether it is whole matters to nobody. Given by
/// its own name it is checked.
pub(crate) fn left_out(ctx: &mut Ctx, item: &Item) -> Result<(), Fail> {
    let what = format!("{}: not checked; {}", item.path.display(), item.role.describe());
    ctx.out.line(format_args!("{what}"))?;
    Ok(ctx.out.record("note", json!({ "what": what }))?)
}

/// One line for one file.
pub(crate) fn verdict(ctx: &mut Ctx, item: &Item, ok: bool, what: &str) -> Result<(), Fail> {
    let path = item.path.display();
    let word = if ok { "ok" } else { "NOT OK" };
    let sign = if what.is_empty() { "" } else { ", " };
    ctx.out.line(format_args!("{path}: {word}{sign}{what}"))?;
    let object = json!({
        "file": path.to_string(), "kind": format!("{:?}", item.kind).to_lowercase(), "ok": ok, "what": what,
        "role": item.role.describe(),
    });
    Ok(ctx.out.record("check", object)?)
}

fn check_sst(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    args: &ScanArgs,
    range: &KeyRange,
) -> Result<Option<String>, Fail> {
    let Some(sst) = entries::open(ctx, targets, item) else {
        return Ok(None);
    };
    compare(ctx, item, sst.summary());
    let mut bytes = 0;
    let before = ctx.out.problems();
    let entries = entries::each(ctx, &sst, range, true, &mut |_, entry| {
        bytes += entry.key.len() as u64 + entry.value.map_or(0, |value| value.len() as u64);
        Ok(())
    })?;
    let stated = sst.properties().entry_count;
    if range.is_all() && entries != stated && ctx.out.problems() == before {
        let what = format!("expected {stated} entries, found {entries}");
        ctx.out.damaged(&item.path, 0, what);
    }
    if args.verify_checksum
        && let Err(error) = sst.verify()
    {
        targets.failed(ctx, item, &error);
    }
    if args.show_properties {
        properties::print(ctx, &sst)?;
    }
    Ok(Some(format!(
        "{entries} entries, {bytes} bytes of keys and values"
    )))
}

/// Whether an SST of a database is the one that the manifest describes.
pub(crate) fn compare(ctx: &mut Ctx, item: &Item, found: &packstone::sst::SstSummary) {
    let Role::Live { info, .. } = &item.role else {
        return;
    };
    let same = [
        ("size", info.size == found.file_size),
        ("identity", info.identity == found.identity),
        ("number of entries", info.entries == found.entry_count),
        ("number of tombstones", info.tombstones == found.tombstone_count),
        (
            "referenced bytes",
            info.referenced_bytes == found.referenced_bytes,
        ),
        (
            "bounds of keys",
            info.min_key == found.min_key && info.max_key == found.max_key,
        ),
        (
            "bounds of sequence numbers",
            info.min_seq == found.min_seq && info.max_seq == found.max_seq,
        ),
    ];
    for (what, _) in same.into_iter().filter(|(_, same)| !same) {
        let what = format!(
            "the file has another {what} than the manifest says: it is not the file that was written"
        );
        ctx.out.damaged(&item.path, 0, what);
    }
}

/// A log by itself, as far as it counts.
pub(crate) fn log(ctx: &mut Ctx, targets: &Targets, item: &Item) -> Option<String> {
    let (mut batches, mut operations, mut bad) = (0u64, 0u64, None);
    let limits = targets.log_limits(ctx, item);
    let found = inspect::walk_log(&ctx.fs, &item.path, &limits, &mut |frame| {
        if let inspect::FrameContent::Batch(batch) = frame.content {
            batches += 1;
            for op in batch.operations() {
                match op {
                    Ok(_) => operations += 1,
                    Err(error) => bad = Some(error),
                }
            }
        }
        ControlFlow::Continue(())
    });
    if let Some(error) = bad {
        targets.failed(ctx, item, &error);
    }
    match found {
        Ok(report) => {
            let end = tail(ctx, &report.tail, report.sealed);
            Some(format!("{batches} batches, {operations} operations, {end}"))
        }
        Err(error) => {
            targets.failed(ctx, item, &error);
            None
        }
    }
}

fn tail(ctx: &mut Ctx, tail: &Tail, sealed: bool) -> String {
    match tail {
        Tail::Torn { bytes, what } => format!("then {bytes} bytes that are no whole frame ({what})"),
        Tail::Damaged(error) => {
            ctx.out.problem(error);
            "then damage".to_owned()
        }
        _ if sealed => "closed in order".to_owned(),
        _ => "open end".to_owned(),
    }
}

pub(crate) fn manifest(ctx: &mut Ctx, targets: &Targets, item: &Item) -> Option<String> {
    match inspect::load_state(&ctx.fs, &item.path) {
        Ok(report) => {
            let ssts = report.state.map_or(0, |state| {
                let levels = state.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
                levels.map(Vec::len).sum()
            });
            let end = tail(ctx, &report.log.tail, report.log.sealed);
            Some(format!("{} edits, {ssts} SSTs, {end}", report.edits))
        }
        Err(error) => {
            targets.failed(ctx, item, &error);
            None
        }
    }
}

/// The logs of a database as the next open would see them.
pub(crate) fn logs(ctx: &mut Ctx, database: &Database) -> Result<(), Fail> {
    let fs = ctx.fs.clone();
    let mut found = inspect::read_logs(&fs, &database.dir, &database.state);
    for _ in 0..8 {
        // A database in use has removed a log meanwhile: its manifest has a higher floor by now.
        match &found {
            Err(error) if out::is_gone(error) || out::is_damage(error) => {}
            _ => break,
        }
        let Some(state) = database.reload(&fs).filter(|state| *state != database.state) else {
            break;
        };
        found = inspect::read_logs(&fs, &database.dir, &state);
    }
    let dir = database.dir.display();
    match found {
        Err(error) => ctx.out.problem(&error),
        Ok(logs) => {
            let torn = match logs.torn_bytes {
                0 => String::new(),
                bytes => format!(", {bytes} bytes of an unfinished write at the end"),
            };
            ctx.out.line(format_args!(
                "{dir}: ok, {} log files with {} batches, {} operations, up to sequence number {}{torn}",
                logs.logs.len(),
                logs.batches,
                logs.operations,
                logs.last_seq
            ))?;
            let object = json!({
                "file": dir.to_string(), "logs": logs.logs.len(), "batches": logs.batches,
                "operations": logs.operations, "last_seq": logs.last_seq, "torn_bytes": logs.torn_bytes,
                "sealed": logs.sealed,
            });
            ctx.out.record("logs", object)?;
        }
    }
    Ok(())
}
