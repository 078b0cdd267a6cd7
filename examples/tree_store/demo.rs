//! The commands that show what the others do: on a scratch database, with figures.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use packstone::Options;

use super::platform::allocated;
use super::tree::Walk;
use super::{Outcome, Store, failed, print_line, restore, shown, stream, verify};

pub(super) fn demo(dir: &Path, exclude: BTreeSet<OsString>, is_thorough: bool) -> Outcome<bool> {
    let scratch = tempfile::tempdir().map_err(|e| failed("create", &std::env::temp_dir(), &e))?;
    let (db_path, target) = (scratch.path().join("db"), scratch.path().join("restored"));
    let db = Options::new().create_if_missing(true).open(&db_path)?;
    let store = Store {
        files: db.keyspace("files")?,
        meta: db.keyspace("meta")?,
        db,
    };
    let stored = store.fill(dir, scratch.path(), &exclude)?;
    store.db.flush()?;
    store.db.wait_for_background()?;
    store.db.close()?;
    let verified = verify(dir, &db_path, Some(scratch.path()), &exclude)?;
    let restored = restore(&db_path, &target)?;
    let compared = verify(&target, &db_path, None, &BTreeSet::new())?;
    let disk = disk_usage(&db_path).map_err(|e| failed("measure", &db_path, &e))?;

    let reports = [
        ("store", &stored),
        ("verify", &verified),
        ("restore", &restored),
        ("compare", &compared),
    ];
    print_line(&format!("directory      {}", dir.display()))?;
    print_line(&format!(
        "files          {} ({} skipped)",
        stored.files, stored.skipped
    ))?;
    print_line(&format!("bytes          {}", stored.bytes))?;
    let share = 100.0 * disk as f64 / stored.bytes.max(1) as f64;
    print_line(&format!(
        "database       {disk} bytes on disk ({share:.1} % of the files)"
    ))?;
    for (name, report) in &reports {
        let seconds = report.time.as_secs_f64();
        print_line(&format!(
            "{name:<14} {:.1} MB/s ({seconds:.2} s, {} problems)",
            report.rate(),
            report.problems
        ))?;
    }
    let counts_agree = reports
        .iter()
        .all(|(_, report)| (report.files, report.bytes) == (stored.files, stored.bytes));
    let good = counts_agree && reports.iter().all(|(_, report)| report.problems == 0);
    let verdict = if good {
        "every byte stored, verified and restored"
    } else {
        "NOT all is well: see above"
    };
    print_line(&format!("result         {verdict}"))?;
    match is_thorough {
        true => Ok(thorough(dir, &db_path, scratch.path(), &exclude)? && good),
        false => Ok(good),
    }
}

/// The tree once more under other names, which takes no room for what is large; then without every other file; all of what is left verified.
fn thorough(dir: &Path, db_path: &Path, own: &Path, exclude: &BTreeSet<OsString>) -> Outcome<bool> {
    let usage = || disk_usage(db_path).map_err(|e| failed("measure", db_path, &e));
    let db = Options::new().open(db_path)?;
    let again = Store {
        files: db.keyspace("files again")?,
        meta: db.keyspace("meta again")?,
        db: db.clone(),
    };
    let before = usage()?;
    let stored = again.fill(dir, own, exclude)?;
    db.flush()?;
    db.wait_for_background()?;
    let objects = db.metrics().objects;
    print_line(&format!(
        "again          {} files; {} bytes on disk, {} more; {} large values known, {} stored",
        stored.files,
        usage()?,
        usage()?.saturating_sub(before),
        objects.duplicates,
        objects.stored
    ))?;
    let (files, meta) = (db.keyspace("files")?, db.keyspace("meta")?);
    let mut deleted = 0;
    for keyspace in [&files, &again.files] {
        for (key, delete) in keyspace.iter().keys().zip([true, false].into_iter().cycle()) {
            if delete {
                deleted += 1;
                keyspace.delete(key?)?;
            }
        }
    }
    for keyspace in [&files, &again.files, &meta, &again.meta] {
        keyspace.compact_range::<&[u8], _>(..)?;
    }
    let collected = db.collect_garbage()?;
    db.wait_for_background()?;
    print_line(&format!(
        "half           {deleted} files deleted, {} large values removed; {} bytes on disk",
        collected.objects_removed,
        usage()?
    ))?;
    let (mut left, mut problems) = (0u64, stored.problems);
    for entry in &Walk::of(dir, own, exclude)?.files {
        for keyspace in [&files, &again.files] {
            let Some(mut value) = keyspace.open(&entry.key)? else {
                continue;
            };
            match stream::compare(&entry.path, &mut value) {
                Ok(None) => left += 1,
                Ok(Some(difference)) => {
                    eprintln!("problem: {} differs {difference}", shown(&entry.key));
                    problems += 1;
                }
                Err(why) => {
                    eprintln!("problem: {why}");
                    problems += 1;
                }
            }
        }
    }
    let checked = db.verify_objects()?;
    problems += checked.damage.len() as u64;
    problems += u64::from(left + deleted != 2 * stored.files);
    print_line(&format!(
        "left           {left} files, every byte verified; {} large values of {} bytes whole; {problems} problems",
        checked.objects, checked.content_bytes
    ))?;
    drop((files, meta, again));
    db.close()?;
    Ok(problems == 0)
}

/// What the file system has allocated for a directory's files, in bytes.
fn disk_usage(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let meta = entry?.metadata()?;
        sum += allocated(&meta);
    }
    Ok(sum)
}
