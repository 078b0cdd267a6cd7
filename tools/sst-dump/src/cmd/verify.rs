//! `verify`: every byte of every file, by all cores: small files one a thread, large ones one after the other by all threads. A thread
//! holds one block, and a file that is being checked a few bytes for each of its blocks, so memory is bounded by the threads.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use packstone::Error;
use packstone::inspect::{self, FileKind};
use packstone::pack::Archive;
use packstone::sst::{SstSummary, VerifyReport};
use serde_json::json;

use super::{check, objects, pack};
use crate::Ctx;
use crate::args::VerifyArgs;
use crate::fs::Watched;
use crate::out::Fail;
use crate::target::{Item, Role, Targets};

/// Files from this size on are checked by all threads together: 16 MiB, four parts.
const LARGE: u64 = 16 << 20;

type Checked = packstone::Result<(SstSummary, VerifyReport)>;

pub(crate) fn run(ctx: &mut Ctx, args: &VerifyArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, &args.files)?;
    let (counted, left): (Vec<&Item>, Vec<&Item>) = targets.items.iter().partition(|item| item.role.counts());
    for item in left {
        check::left_out(ctx, item)?;
    }
    let (ssts, others): (Vec<&Item>, Vec<&Item>) =
        counted.into_iter().partition(|item| item.kind == FileKind::Sst);
    let size = |items: &[&Item]| items.iter().map(|item| item.size).sum::<u64>();
    // An SST is read once for its blocks and once for its key blocks, of which there is much less.
    ctx.fs.expect(size(&ssts) + size(&others));
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = args.threads.map_or(cores, usize::from);
    let (large, small): (Vec<&Item>, Vec<&Item>) = ssts.into_iter().partition(|item| item.size >= LARGE);
    for item in large {
        let found = one_large(&ctx.fs.clone(), item, threads);
        report(ctx, &targets, item, found)?;
    }
    all(
        &ctx.fs.clone(),
        &small,
        threads.min(small.len().max(1)),
        &mut |item, found| report(ctx, &targets, item, found),
    )?;
    for item in others {
        if matches!(item.role, Role::Pack(_)) {
            continue; // below, with what refers to it
        }
        if item.kind == FileKind::Pack {
            one_pack(ctx, &targets, item, threads)?;
            continue;
        }
        let before = ctx.out.problems();
        let what = match item.kind {
            FileKind::Log => check::log(ctx, &targets, item),
            FileKind::Manifest => check::manifest(ctx, &targets, item),
            _ => Some(String::new()),
        };
        let ok = ctx.out.problems() == before && what.is_some();
        outcome(ctx, item, ok, &what.unwrap_or_default())?;
    }
    objects::check(ctx, &targets, threads)?;
    for database in &targets.databases {
        check::logs(ctx, database)?;
    }
    Ok(())
}

/// Verifies the files by so many threads, and reports each as soon as those before it have been reported.
fn all(
    fs: &Watched,
    items: &[&Item],
    threads: usize,
    report: &mut dyn FnMut(&Item, Checked) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let next = AtomicUsize::new(0);
    let work = |done: mpsc::Sender<_>| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            // Nobody listens any more once the output has failed.
            if done.send((index, one(fs, item))).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        // A thread may be ahead of the report by a few files, whose results are small.
        let (done, results) = mpsc::channel();
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (work, done) = (&work, done.clone());
                scope.spawn(move || work(done))
            })
            .collect();
        drop(done);
        let (mut early, mut wanted) = (BTreeMap::new(), 0);
        for (index, found) in results {
            early.insert(index, found);
            while let Some(found) = early.remove(&wanted) {
                if let Some(item) = items.get(wanted) {
                    report(item, found)?;
                }
                wanted += 1;
            }
        }
        // The scope waits for their work only; after this the threads are gone, with all that they had.
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// A large file, by all threads.
fn one_large(fs: &Watched, item: &Item, threads: usize) -> Checked {
    let sst = inspect::open_sst(fs, &item.path)?;
    let verification = sst.verification()?;
    let blocks = parts(threads, verification.block_parts(), &|part| {
        verification.check_blocks(part)
    })?;
    let keys = parts(threads, verification.key_parts(), &|part| {
        verification.check_keys(part)
    })?;
    let report = verification.finish(blocks, keys)?;
    Ok((sst.summary().clone(), report))
}

/// Does all parts; what each gave, in order, or the error of the first one that failed.
fn parts<T: Send>(
    threads: usize,
    count: usize,
    check: &(dyn Fn(usize) -> packstone::Result<T> + Sync),
) -> packstone::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = BTreeMap::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= count {
                return done;
            }
            let checked = check(part);
            if checked.is_err() {
                // The parts before it have been begun, and what comes behind does not matter any more.
                next.store(count, Ordering::Relaxed);
            }
            done.insert(part, checked);
        }
    };
    let all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.into_values().collect()
}

fn one(fs: &Watched, item: &Item) -> Checked {
    let sst = inspect::open_sst(fs, &item.path)?;
    let report = sst.verify()?;
    Ok((sst.summary().clone(), report))
}

fn report(ctx: &mut Ctx, targets: &Targets, item: &Item, found: Checked) -> Result<(), Fail> {
    let before = ctx.out.problems();
    match found {
        Ok((summary, report)) => {
            check::compare(ctx, item, &summary);
            let ok = ctx.out.problems() == before;
            let objects = match report.references {
                0 => String::new(),
                count => format!(", references to {count} objects"),
            };
            let what = format!(
                "{} blocks, {} entries, {} bytes{objects}",
                report.blocks, report.entries, report.file_bytes
            );
            outcome(ctx, item, ok, &what)
        }
        Err(error) => {
            targets.failed(ctx, item, &error);
            outcome(ctx, item, false, &error.to_string())
        }
    }
}

/// A pack, by all threads.
fn one_pack(ctx: &mut Ctx, targets: &Targets, item: &Item, threads: usize) -> Result<(), Fail> {
    let archive = match inspect::open_pack(&ctx.fs, &item.path) {
        Ok(pack) => Archive::from(pack),
        Err(error) => {
            targets.failed(ctx, item, &error);
            return outcome(ctx, item, false, &error.to_string());
        }
    };
    let verification = archive.pack().verification();
    std::thread::scope(|scope| {
        let work = || verification.work(&|_| {});
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        work();
        let joined = others
            .into_iter()
            .try_for_each(std::thread::ScopedJoinHandle::join);
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let mut report = verification.finish();
    // In the order of the file, whichever thread was first.
    report.damage.sort_by_cached_key(|error| match error {
        Error::Corruption { offset, .. } => (*offset, error.to_string()),
        other => (u64::MAX, other.to_string()),
    });
    for error in &report.damage {
        ctx.out.problem(error);
    }
    let untold = report.damages - report.damage.len() as u64;
    if untold > 0 {
        ctx.out
            .warn(&format!("{}: {untold} more problems", item.path.display()));
    }
    let whole = format!(
        "{} objects, {} bytes, {} rows of indexes{}",
        report.objects,
        report.content_bytes,
        report.rows,
        pack::torn(&archive)
    );
    match report.damages {
        0 => outcome(ctx, item, true, &whole),
        _ => outcome(ctx, item, false, &format!("{whole} are whole")),
    }
}

/// sst_dump's words, and a record.
fn outcome(ctx: &mut Ctx, item: &Item, ok: bool, what: &str) -> Result<(), Fail> {
    let path = item.path.display();
    match (ok, what) {
        (true, "") => ctx.out.line(format_args!("{path}: The file is ok"))?,
        (true, what) => ctx.out.line(format_args!("{path}: The file is ok: {what}"))?,
        (false, what) => ctx.out.line(format_args!("{path} is corrupted: {what}"))?,
    }
    let object = json!({
        "file": path.to_string(), "kind": format!("{:?}", item.kind).to_lowercase(), "ok": ok, "what": what,
        "role": item.role.describe(),
    });
    Ok(ctx.out.record("check", object)?)
}
