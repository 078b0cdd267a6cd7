//! Files of a database removed, cut, exchanged, or replaced by pipes, directories, links and devices, on the real file
//! system, while the database is closed and while it is open.
//!
//! An open ends (it never waits at a pipe), and gives all of the data or an error that names the file. Reads of an open
//! database are right or errors. `tests/corruption.rs` does the same with contents, on the simulated disk, where there are no
//! pipes, links or devices.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "files changed behind the engine's back")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use packstone::{Access, Db, Error, Keyspace, LogMedium, Options};
use support::in_time;

/// Parts of names: each stands for the first file that has it.
const KINDS: [&str; 5] = ["CURRENT", "MANIFEST-", ".log", ".sst", "LOCK"];
const KEYS: u32 = 60;

fn options() -> Options {
    // By calls: a file that is cut off under a mapping kills the process, and DESIGN.md says so.
    Options::new()
        .access(Access::Pread)
        .log_medium(LogMedium::Plain)
        .cache_size(0)
}

fn value(n: u32) -> Vec<u8> {
    vec![n as u8; 50 + n as usize]
}

/// Two SSTs and a log, all of them needed.
fn fill(db: &Db) {
    let keyspace = db.keyspace("k").unwrap();
    for n in 0..KEYS {
        keyspace.put(n.to_be_bytes(), value(n)).unwrap();
        if n == 20 || n == 40 {
            db.flush().unwrap();
        }
    }
    assert_eq!(keyspace.files().len(), 2);
}

fn sample() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let db = options().open(temp.path()).unwrap();
    fill(&db);
    db.close().unwrap();
    temp
}

fn file(dir: &Path, kind: &str) -> PathBuf {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let found = names
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().contains(kind));
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// One line that names the file.
#[track_caller]
fn check_error(error: &Error, path: &Path, what: &str) {
    let text = error.to_string();
    assert!(
        text.contains(path.to_str().unwrap()),
        "{what}: does not name {}: {text}",
        path.display()
    );
    assert!(!text.contains('\n') && text.len() < 500, "{what}: {text}");
    // What to do.
    let advises = ["restore", "put it back", "check ", "make room"]
        .iter()
        .any(|word| text.contains(word));
    assert!(advises, "{what}: {text}");
}

/// Everything is there, and right.
#[track_caller]
fn check_whole(keyspace: &Keyspace, what: &str) {
    for n in 0..KEYS {
        assert_eq!(
            keyspace.get(n.to_be_bytes()).unwrap().as_deref(),
            Some(&value(n)[..]),
            "{what}: {n}"
        );
    }
    assert!(
        keyspace.iter().map(Result::unwrap).count() as u32 >= KEYS,
        "{what}"
    );
}

// ---- closed ----

/// Puts something else in a file's place, which is free.
type Replacement = fn(&Path);

const REPLACEMENTS: [(&str, Replacement); 9] = [
    ("nothing", |_| {}),
    ("a pipe", |path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }),
    ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("a directory that is not empty", |path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("theirs"), "theirs").unwrap();
    }),
    ("a link to nowhere", |path| {
        symlink(path.with_extension("nowhere"), path).unwrap()
    }),
    ("a link to itself", |path| symlink(path, path).unwrap()),
    ("a link to a directory", |path| symlink("/", path).unwrap()),
    ("a link to a device", |path| symlink("/dev/zero", path).unwrap()),
];

fn open(dir: &Path, read_only: bool, what: &str) -> packstone::Result<()> {
    let dir = dir.to_owned();
    in_time(what, {
        let what = what.to_owned();
        move || {
            let db = match read_only {
                true => options().open_read_only(&dir)?,
                false => options().open(&dir)?,
            };
            check_whole(&db.keyspace("k")?, &what);
            db.close()
        }
    })
}

#[test]
fn whatever_stands_in_a_files_place_is_an_error_that_names_it_and_nothing_waits() {
    let mut messages = BTreeMap::new();
    for (name, replace) in REPLACEMENTS {
        for kind in KINDS {
            let temp = sample();
            let path = file(temp.path(), kind);
            let kept = temp.path().join("kept");
            fs::rename(&path, &kept).unwrap();
            replace(&path);
            for read_only in [true, false] {
                let what = format!("{name} for {kind}, read-only {read_only}");
                // Without CURRENT the directory is named, and CURRENT.
                match open(temp.path(), read_only, &what) {
                    Err(error) => {
                        let is_gone = matches!(error, Error::NotADatabase { .. });
                        let named = if is_gone { temp.path() } else { &path };
                        check_error(&error, named, &what);
                        assert!(
                            !is_gone || (kind == "CURRENT" && error.to_string().contains(kind)),
                            "{error}"
                        );
                        messages.insert(what, error.to_string().replace(temp.path().to_str().unwrap(), ""));
                    }
                    // The lock holds no data, and whoever only reads takes none.
                    Ok(()) => assert_eq!(kind, "LOCK", "{what}"),
                }
            }
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path).unwrap(),
                Ok(_) => fs::remove_file(&path).unwrap(),
                Err(_) => {}
            }
            fs::rename(&kept, &path).unwrap();
            open(temp.path(), false, "put back").unwrap();
        }
    }
    messages
        .iter()
        .for_each(|(what, message)| println!("{what}: {message}"));
}

#[test]
fn files_without_permission_are_an_error_that_names_them() {
    for kind in KINDS {
        let temp = sample();
        let path = file(temp.path(), kind);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(&path).is_ok() {
            println!(
                "skipped: this user may read whatever the permissions say; tests/bad_input.rs has the simulator refuse"
            );
            return;
        }
        for read_only in [true, false] {
            match open(temp.path(), read_only, kind) {
                Err(error) => {
                    check_error(&error, &path, kind);
                    assert!(error.to_string().contains("permissions"), "{error}");
                }
                Ok(()) => assert!(kind == "LOCK" && read_only),
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        open(temp.path(), false, "put back").unwrap();
    }
}

#[test]
fn links_to_the_files_themselves_are_as_good_as_files_or_an_error_that_names_them() {
    for kind in KINDS {
        let temp = sample();
        let elsewhere = tempfile::tempdir().unwrap();
        let path = file(temp.path(), kind);
        let target = elsewhere.path().join("moved");
        fs::rename(&path, &target).unwrap();
        symlink(&target, &path).unwrap();
        for read_only in [true, false] {
            if let Err(error) = open(temp.path(), read_only, kind) {
                check_error(&error, &path, kind);
            }
        }
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            fs::remove_file(&path).unwrap();
            fs::rename(&target, &path).unwrap();
        }
        open(temp.path(), false, "put back").unwrap();
    }
}

// ---- open ----

fn sibling(path: &Path) -> Option<PathBuf> {
    let dir = path.parent()?;
    let end = path.extension()?;
    let entries = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .filter(|other| other != path && other.extension() == Some(end))
        .min()
}

const HARMS: [(&str, Replacement); 7] = [
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("cut to nothing", |path| {
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(0)
            .unwrap()
    }),
    ("cut in half", |path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("replaced by a directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("replaced by a pipe", |path| {
        fs::remove_file(path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }),
    ("replaced by another file", |path| {
        fs::remove_file(path).unwrap();
        fs::write(path, "somebody else's").unwrap();
    }),
    ("exchanged with its sibling", |path| {
        let Some(other) = sibling(path) else { return };
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        fs::rename(&other, path).unwrap();
        fs::rename(&aside, &other).unwrap();
    }),
];

/// Right or an error; never another value, and never "not there".
fn check_reads(keyspace: &Keyspace, what: &str) {
    for n in 0..KEYS {
        if let Ok(found) = keyspace.get(n.to_be_bytes()) {
            assert_eq!(found.as_deref(), Some(&value(n)[..]), "{what}: {n}");
        }
    }
    let mut wanted = 0;
    for entry in keyspace.iter() {
        let Ok((key, found)) = entry else { return };
        assert_eq!(
            (&key[..], &found[..]),
            (&u32::to_be_bytes(wanted)[..], &value(wanted)[..]),
            "{what}"
        );
        wanted += 1;
    }
    assert!(
        wanted >= KEYS,
        "{what}: a scan ends at {wanted}, without an error"
    );
}

/// Goes on working with a database one of whose files is not what it was.
fn work_on(dir: &Path, path: &Path, harm: Replacement, compact: bool, what: &str) {
    let db = options().open(dir).unwrap();
    fill(&db);
    harm(path);
    let keyspace = db.keyspace("k").unwrap();
    check_reads(&keyspace, what);
    // What fails now fails with an error; what is acknowledged must not get lost without one.
    let _ = keyspace.put(KEYS.to_be_bytes(), value(KEYS));
    if compact {
        let _ = db.flush();
        let _ = keyspace.compact_range::<&[u8], _>(..);
    }
    let _ = db.verify();
    check_reads(&keyspace, what);
    drop(keyspace);
    let _ = db.close();
}

#[test]
fn harm_to_an_open_database_is_an_error_or_harmless_and_the_next_open_sees_it() {
    let (mut harmless, mut refused) = (0, BTreeMap::new());
    for (name, harm) in HARMS {
        for kind in KINDS.into_iter().filter(|kind| *kind != "LOCK") {
            for compact in [false, true] {
                let what = format!("{kind} {name}, compacted {compact}");
                let temp = tempfile::tempdir().unwrap();
                let dir = temp.path().join("db");
                // The names are the same in every new database.
                let path = {
                    let db = options().open(&dir).unwrap();
                    fill(&db);
                    let path = file(&dir, kind);
                    drop(db);
                    fs::remove_dir_all(&dir).unwrap();
                    path
                };
                in_time(&what, {
                    let (dir, path, what) = (dir.clone(), path.clone(), what.clone());
                    move || work_on(&dir, &path, harm, compact, &what)
                });
                match open(&dir, false, &what) {
                    Ok(()) => harmless += 1,
                    Err(error) => {
                        // The file itself, or the one that its absence, or its change of places, shows in.
                        check_error(&error, &dir, &what);
                        refused.insert(what, error.to_string().replace(dir.to_str().unwrap(), ""));
                    }
                }
            }
        }
    }
    refused
        .iter()
        .for_each(|(what, message)| println!("{what}: {message}"));
    assert!(
        harmless > 5 && refused.len() > 15,
        "{harmless} harmless, {} refused",
        refused.len()
    );
}

#[test]
fn a_directory_that_is_moved_away_while_it_is_open_is_an_error_and_nothing_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, moved) = (temp.path().join("db"), temp.path().join("moved"));
    let db = options().open(&dir).unwrap();
    fill(&db);
    fs::rename(&dir, &moved).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    check_whole(&keyspace, "moved");
    let error = db.flush().unwrap_err();
    check_error(&error, &dir, "moved");
    check_whole(&keyspace, "moved");
    drop(keyspace);
    let _ = db.close();
    assert!(!dir.exists(), "nothing is made anew behind the user's back");
    open(&moved, false, "moved").unwrap();
}
