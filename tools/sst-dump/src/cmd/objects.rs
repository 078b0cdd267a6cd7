//! What `verify` and `check` do with the packs of a database: each pack by itself, and whether references, directory and packs agree.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use packstone::inspect::{self, ObjectsReport, PackCheck, State};
use serde_json::json;

use super::check::verdict;
use crate::Ctx;
use crate::fs::Watched;
use crate::out::Fail;
use crate::target::{Database, Item, Role, Targets};

/// A database in use can change between two looks.
const LOOKS: u32 = 8;

type Checked = BTreeMap<u64, packstone::Result<PackCheck>>;

/// All databases, by so many threads.
pub(crate) fn check(ctx: &mut Ctx, targets: &Targets, threads: usize) -> Result<(), Fail> {
    for (index, database) in targets.databases.iter().enumerate() {
        let refers = database.ssts().any(|(_, _, sst)| sst.referenced_bytes > 0);
        if refers || !database.state.packs.is_empty() {
            check_one(ctx, targets, index, database, threads)?;
        }
    }
    Ok(())
}

fn check_one(
    ctx: &mut Ctx,
    targets: &Targets,
    index: usize,
    database: &Database,
    threads: usize,
) -> Result<(), Fail> {
    let fs = ctx.fs.clone();
    let mut state = database.state.clone();
    let mut packs = check_packs(&fs, database, &state, threads);
    let mut report = follow(&fs, database, &state, &packs);
    for _ in 0..LOOKS {
        let read = report.unread.is_empty() && packs.values().all(Result::is_ok);
        let sound = read && report.damage.is_empty();
        // In use, and packs have been collected since the manifest was read? Then it says so now.
        let Some(now) = database.reload(&fs).filter(|now| !sound && *now != state) else {
            break;
        };
        state = now;
        packs = check_packs(&fs, database, &state, threads);
        report = follow(&fs, database, &state, &packs);
    }
    let items = targets.items.iter().filter(|item| item.database == Some(index));
    for item in items {
        if let Role::Pack(info) = &item.role
            && let Some(checked) = packs.get(&info.number)
        {
            tell_pack(ctx, targets, item, checked)?;
        }
    }
    tell(ctx, database, &report)
}

/// Checks all packs, each by one thread.
fn check_packs(fs: &Watched, database: &Database, state: &State, threads: usize) -> Checked {
    let (next, checked) = (AtomicUsize::new(0), Mutex::new(Checked::new()));
    let work = || {
        while let Some(info) = state.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = inspect::check_pack(fs, &database.dir, info);
            let mut checked = checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            checked.insert(info.number, found);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(state.packs.len()))
            .map(|_| scope.spawn(work))
            .collect();
        work();
        let joined = others
            .into_iter()
            .try_for_each(std::thread::ScopedJoinHandle::join);
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    checked
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn follow(fs: &Watched, database: &Database, state: &State, packs: &Checked) -> ObjectsReport {
    let readable: Vec<PackCheck> = packs
        .values()
        .filter_map(|pack| pack.as_ref().ok().cloned())
        .collect();
    inspect::check_objects(fs, &database.dir, state, &readable)
}

fn tell_pack(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    checked: &packstone::Result<PackCheck>,
) -> Result<(), Fail> {
    let check = match checked {
        Ok(check) => check,
        Err(error) => {
            targets.failed(ctx, item, error);
            return verdict(ctx, item, false, &error.to_string());
        }
    };
    for error in &check.damage {
        ctx.out.problem(error);
    }
    let torn = match check.torn_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} bytes behind them that are no whole object"),
    };
    let state = if check.sealed { "sealed" } else { "not sealed" };
    let what = format!(
        "{state}, {} objects, {} bytes{torn}",
        check.objects, check.content_bytes
    );
    verdict(ctx, item, check.damage.is_empty(), &what)
}

fn tell(ctx: &mut Ctx, database: &Database, report: &ObjectsReport) -> Result<(), Fail> {
    for damaged in &report.damage {
        let keys: Vec<String> = damaged
            .keys
            .iter()
            .map(|(keyspace, key)| format!("'{}' in keyspace '{keyspace}'", ctx.out.bytes(key)))
            .collect();
        let keys = match keys.len() {
            0 => "no key refers to it".to_owned(),
            _ => format!("it is the value of {}", keys.join(", ")),
        };
        let id = damaged.id;
        match &damaged.place {
            Some((pack, offset)) => {
                let what = format!("expected object {id}, whole, as the directory says; {keys}");
                ctx.out.damaged(pack, *offset, what);
            }
            None => {
                let what = format!("object {id} is in no pack that the directory knows; {keys}");
                ctx.out.damaged(&database.dir, 0, what);
            }
        }
    }
    let dir = database.dir.display().to_string();
    let beyond = match report.beyond {
        0 => String::new(),
        count => format!(", {count} that the log names and that are not whole yet"),
    };
    ctx.out.line(format_args!(
        "{dir}: {} objects, {} of them referred to, {} of {} bytes by nobody{beyond}, {} damaged",
        report.objects,
        report.referenced,
        report.unreferenced,
        report.unreferenced_bytes,
        report.damage.len()
    ))?;
    let object = json!({
        "file": dir, "objects": report.objects, "referenced": report.referenced, "unreferenced": report.unreferenced,
        "unreferenced_bytes": report.unreferenced_bytes, "beyond": report.beyond, "damaged": report.damage.len(),
    });
    Ok(ctx.out.record("objects", object)?)
}
