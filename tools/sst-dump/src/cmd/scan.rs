//! `scan`: entries of SSTs, and operations of logs, in the shape of sst_dump's; ids or names of packs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use packstone::SeqNo;
use packstone::env::FileSystem;
use packstone::inspect::{self, FileKind, FrameContent, ObjectDirectory, Tail};
use serde_json::json;

use super::{pack, properties};
use crate::Ctx;
use crate::args::ScanArgs;
use crate::entries::{self, Content, KeyRange};
use crate::out::Fail;
use crate::target::{Item, Role, Targets, kind_name};

pub(crate) fn run(ctx: &mut Ctx, args: &ScanArgs) -> Result<(), Fail> {
    let range = KeyRange::from_args(args)?;
    let targets = Targets::find(ctx, &args.files)?;
    let (from, to) = (
        ctx.out.bytes(&range.from),
        ctx.out.bytes(range.to.as_deref().unwrap_or_default()),
    );
    let (mut told, mut known) = (false, BTreeMap::new());
    ctx.fs.expect(targets.items.iter().map(|item| item.size).sum());
    for item in &targets.items {
        if matches!(item.role, Role::Pack(_)) {
            continue; // keys lead there; given by its name its ids are listed
        }
        let has_entries = matches!(item.kind, FileKind::Sst | FileKind::Log | FileKind::Pack);
        if !item.role.counts() || !has_entries {
            if has_entries && item.database.is_none() {
                let (path, role) = (item.path.display(), item.role.describe());
                ctx.out.warn(&format!("{path} is left out: {role}"));
            } else if item.database.is_none() {
                let what = format!("{}, which has no entries to scan", kind_name(item.kind));
                ctx.out.misuse(&item.path, &what);
            }
            continue;
        }
        let objects = item.database.filter(|_| args.values).and_then(|index| {
            let known = known
                .entry(index)
                .or_insert_with(|| resolver(ctx, &targets, index));
            known.clone()
        });
        ctx.out.line(format_args!("Process {}", item.path.display()))?;
        if !told {
            ctx.out.line(format_args!("from [{from}] to [{to}]"))?;
            told = true;
        }
        match item.kind {
            FileKind::Sst => scan_sst(ctx, &targets, item, args, &range, &objects)?,
            FileKind::Pack => pack::scan(ctx, &targets, item, args)?,
            _ => scan_log(ctx, &targets, item, &range, &objects)?,
        }
    }
    Ok(())
}

fn scan_sst(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    args: &ScanArgs,
    range: &KeyRange,
    objects: &Objects,
) -> Result<(), Fail> {
    let Some(sst) = entries::open(ctx, targets, item) else {
        return Ok(());
    };
    let keyspace = sst.properties().keyspace;
    let file = item.path.display().to_string();
    entries::each(ctx, &sst, range, true, &mut |ctx, entry| {
        let resolved = resolve(ctx, objects, entry.content());
        let content = resolved.as_deref().map_or(entry.content(), Content::Value);
        show(ctx, &file, keyspace, entry.key, entry.seq, content)
    })?;
    if args.verify_checksum
        && let Err(error) = sst.verify()
    {
        targets.failed(ctx, item, &error);
    }
    if args.show_properties {
        properties::print(ctx, &sst)?;
    }
    Ok(())
}

fn scan_log(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    range: &KeyRange,
    objects: &Objects,
) -> Result<(), Fail> {
    let file = item.path.display().to_string();
    let (mut shown, mut failed) = (0, None);
    let fs = ctx.fs.clone();
    let limits = targets.log_limits(ctx, item);
    let report = inspect::walk_log(&fs, &item.path, &limits, &mut |frame| {
        let FrameContent::Batch(batch) = frame.content else {
            return ControlFlow::Continue(());
        };
        for op in batch.operations() {
            let result = match op {
                Err(error) => {
                    ctx.out.problem(&error);
                    break;
                }
                Ok(_) if range.limit.is_some_and(|limit| shown >= limit) => return ControlFlow::Break(()),
                Ok(op) if range.contains(op.key) => {
                    shown += 1;
                    let content = match op.object {
                        Some(object) => Content::Object(object),
                        None => op.value.into(),
                    };
                    let resolved = resolve(ctx, objects, content);
                    let content = resolved.as_deref().map_or(content, Content::Value);
                    show(ctx, &file, op.keyspace, op.key, op.seq, content)
                }
                Ok(_) => Ok(()),
            };
            if let Err(error) = result {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    match report {
        Ok(report) => {
            if let Tail::Damaged(error) = &report.tail {
                ctx.out.problem(error);
            }
        }
        Err(error) => targets.failed(ctx, item, &error),
    }
    failed.map_or(Ok(()), Err)
}

/// Where the objects of a database are, if they are wanted.
type Objects = Option<Arc<ObjectDirectory>>;

/// Longer values stay references: 64 MiB.
const LONGEST: u64 = 64 << 20;

fn resolver(ctx: &mut Ctx, targets: &Targets, database: usize) -> Objects {
    let database = targets.databases.get(database)?;
    let fs: Arc<dyn FileSystem> = Arc::new(ctx.fs.clone());
    let directory = ObjectDirectory::read(&fs, &database.dir, &database.state);
    for error in &directory.unread {
        ctx.out.problem(error);
    }
    Some(Arc::new(directory))
}

/// The value that a reference leads to, if it is wanted and there.
fn resolve(ctx: &mut Ctx, objects: &Objects, content: Content<'_>) -> Option<Vec<u8>> {
    let (Some(objects), Content::Object(object)) = (objects, content) else {
        return None;
    };
    if object.len > LONGEST {
        return None;
    }
    let mut value = Vec::new();
    let read = match objects.open(&object) {
        Ok(Some(mut reader)) => reader.read_all(&mut value),
        // `verify` says of which it is damage; an old version's object may have been collected.
        Ok(None) => return None,
        Err(error) => Err(error),
    };
    match read {
        Ok(()) => Some(value),
        Err(error) => {
            ctx.out.problem(&error);
            None
        }
    }
}

/// One entry. Type 1 is a value, 17 an object and 0 a delete, as in RocksDB.
pub(crate) fn show(
    ctx: &mut Ctx,
    file: &str,
    keyspace: packstone::KeyspaceId,
    key: &[u8],
    seq: SeqNo,
    content: Content<'_>,
) -> Result<(), Fail> {
    let key = ctx.out.bytes(key);
    let shown = match content {
        Content::Value(value) => Some(ctx.out.bytes(value)),
        Content::Object(object) => Some(entries::object_text(&object)),
        Content::Nothing => None,
    };
    let text = shown.as_deref().unwrap_or_default();
    let kind = content.type_number();
    ctx.out
        .line(format_args!("'{key}' seq:{seq}, type:{kind} => {text}"))?;
    if ctx.out.is_json() {
        let object = json!({
            "file": file, "keyspace": keyspace, "key": key, "seq": seq, "type": content.type_name(), "value": shown,
        });
        ctx.out.record("entry", object)?;
    }
    Ok(())
}
