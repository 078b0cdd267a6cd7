//! What a program or its surroundings get wrong is told as what it is: a typed error whose one line names the path, option or
//! limit, and says what to do.
#![allow(
    clippy::disallowed_methods,
    reason = "directories, files and a second process, made outside of the engine"
)]

use std::io::ErrorKind;
use std::ops::Bound;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use packstone::env::sim::{CrashStyle, Effect, Op, SimEnv};
use packstone::{Db, Durability, Error, KeyspaceOptions, LogMedium, MAX_KEY_LEN, MAX_VALUE_LEN, Options};

const DIR: &str = "/db";
/// Where the child process of a test finds its database; unset in the parent.
const DIR_VARIABLE: &str = "PACKSTONE_BAD_INPUT_DIR";

/// The message, which must contain all `parts`, be one line and not the enum's own spelling.
#[track_caller]
fn check_text(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
    assert!(!text.contains('\n') && text.len() < 400, "one line: {text}");
    let variant = format!("{error:?}");
    let variant = variant.split([' ', '{', '(']).next().unwrap();
    assert!(
        !text.contains(" { ") && !text.contains("Some("),
        "looks like Debug output: {text}"
    );
    assert!(
        !text.starts_with(variant) || variant.len() < 4,
        "starts with its variant: {text}"
    );
}

#[track_caller]
fn error_of<T>(result: packstone::Result<T>) -> Error {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error,
    }
}

/// A small closed database on a simulated machine, with SSTs.
fn sample() -> SimEnv {
    let sim = SimEnv::new(3);
    let db = Options::new().env(sim.env()).open(DIR).unwrap();
    let keyspace = db.keyspace("a").unwrap();
    keyspace.put("1", "one").unwrap();
    db.flush().unwrap();
    keyspace.put_with("2", "two", Durability::Sync).unwrap();
    drop(keyspace);
    db.close().unwrap();
    sim
}

fn open(sim: &SimEnv) -> packstone::Result<Db> {
    Options::new().env(sim.env()).open(DIR)
}

// ---- the path ----

#[test]
fn a_missing_directory_is_not_a_database_when_none_may_be_created() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("no/such");
    let error = error_of(Options::new().create_if_missing(false).open(&dir));
    assert!(matches!(&error, Error::NotADatabase { path, .. } if *path == dir));
    check_text(
        &error,
        &[dir.to_str().unwrap(), "no such directory", "create_if_missing"],
    );
    let error = error_of(Options::new().open_read_only(&dir));
    assert!(matches!(&error, Error::NotADatabase { .. }));
    check_text(&error, &[dir.to_str().unwrap(), "no such directory"]);
    assert!(!temp.path().join("no").exists());
}

#[test]
fn an_empty_directory_is_not_a_database_when_none_may_be_created() {
    let temp = tempfile::tempdir().unwrap();
    for error in [
        error_of(Options::new().create_if_missing(false).open(temp.path())),
        error_of(Options::new().open_read_only(temp.path())),
    ] {
        assert!(matches!(&error, Error::NotADatabase { .. }), "{error}");
        check_text(&error, &[temp.path().to_str().unwrap(), "CURRENT"]);
    }
    let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_path_that_is_a_file_is_not_a_database() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for dir in [file.clone(), file.join("below")] {
        for error in [
            error_of(Options::new().open(&dir)),
            error_of(Options::new().create_if_missing(false).open(&dir)),
            error_of(Options::new().open_read_only(&dir)),
        ] {
            assert!(matches!(&error, Error::NotADatabase { .. }), "{error:?}");
            check_text(&error, &[dir.to_str().unwrap(), "not a directory"]);
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_directory_with_data_but_without_current_is_refused_and_left_alone() {
    let sim = sample();
    sim.remove_file("/db/CURRENT").unwrap();
    let before = sim.list();
    let error = error_of(open(&sim));
    assert!(matches!(error, Error::NotADatabase { .. }));
    check_text(&error, &["/db", "CURRENT", "restore"]);
    assert_eq!(sim.list(), before);
}

#[test]
fn a_directory_that_may_not_be_written_is_an_error_of_the_system_with_the_path() {
    for op in [Op::Create, Op::CreateDir, Op::Lock, Op::Rename] {
        let sim = SimEnv::new(1);
        sim.fail_matching(
            Some(op),
            DIR,
            u64::MAX,
            ErrorKind::PermissionDenied,
            Effect::Nothing,
        );
        let error = error_of(open(&sim));
        assert!(
            matches!(&error, Error::Io { path, source, .. }
                if path.starts_with(DIR) && source.kind() == ErrorKind::PermissionDenied),
            "{op:?}: {error:?}"
        );
        check_text(&error, &["cannot ", DIR, "permission denied"]);
    }
    // Reading needs none of that.
    let sim = sample();
    for op in [
        Op::Create,
        Op::CreateDir,
        Op::Lock,
        Op::Rename,
        Op::Write,
        Op::Remove,
        Op::Sync,
        Op::SyncDir,
    ] {
        sim.fail_matching(
            Some(op),
            DIR,
            u64::MAX,
            ErrorKind::PermissionDenied,
            Effect::Nothing,
        );
    }
    let db = Options::new().env(sim.env()).open_read_only(DIR).unwrap();
    assert_eq!(db.keyspace("a").unwrap().get("2").unwrap().unwrap(), b"two");
}

#[test]
fn strangers_in_the_directory_are_left_alone_and_change_nothing() {
    let sim = sample();
    // Names that resemble ours; one has the greatest number there is.
    let strangers = [
        "18446744073709551615.sst",
        "18446744073709551615.log",
        "MANIFEST-18446744073709551615",
        "000900.sst",
        "12.sst",
        "notes.txt",
        "CURRENT.bak",
    ];
    for name in strangers {
        sim.write_file(Path::new(DIR).join(name), b"theirs").unwrap();
    }
    for round in 0..3u8 {
        let db = open(&sim).unwrap();
        let keyspace = db.keyspace("a").unwrap();
        assert_eq!(keyspace.iter().count(), 2 + usize::from(round));
        keyspace.put([b'x', round], [round; 100]).unwrap();
        db.flush().unwrap();
        keyspace.compact_range::<&[u8], _>(..).unwrap();
        drop(keyspace);
        db.close().unwrap();
    }
    for name in strangers {
        assert_eq!(
            sim.read_file(Path::new(DIR).join(name)).unwrap(),
            b"theirs",
            "{name}"
        );
    }
}

#[test]
fn directories_with_names_of_ours_are_left_alone_and_their_numbers_not_used() {
    let temp = tempfile::tempdir().unwrap();
    let names = ["MANIFEST-000002", "000003.log", "000003.sst", "MANIFEST-000005"];
    for name in names {
        std::fs::create_dir(temp.path().join(name)).unwrap();
    }
    for round in 0..4u8 {
        let db = Db::open(temp.path()).unwrap();
        let keyspace = db.keyspace("a").unwrap();
        assert_eq!(keyspace.iter().count(), usize::from(round));
        keyspace.put([round], [round; 100]).unwrap();
        db.flush().unwrap();
        drop(keyspace);
        db.close().unwrap();
    }
    assert!(names.iter().all(|name| temp.path().join(name).is_dir()));
}

// ---- the disk ----

#[test]
fn a_full_disk_at_opening_is_an_error_that_room_heals() {
    // At every amount of room: the error says so, and with more room all is there.
    let (mut refused, before) = (0, sample().used());
    for room in (0..2000).step_by(40) {
        let sim = sample();
        sim.set_capacity(Some(before + room));
        match open(&sim) {
            Ok(db) => drop(db),
            Err(error) => {
                assert!(error.is_out_of_space(), "{error:?}");
                check_text(&error, &[DIR]);
                refused += 1;
            }
        }
        sim.set_capacity(None);
        let db = open(&sim).unwrap();
        let keyspace = db.keyspace("a").unwrap();
        assert_eq!(keyspace.get("1").unwrap().unwrap(), b"one");
        assert_eq!(keyspace.get("2").unwrap().unwrap(), b"two");
    }
    assert!(refused > 1);
}

#[test]
fn a_full_disk_in_a_write_is_an_error_that_room_heals() {
    let sim = sample();
    // A mapped log has room for some more, and flushes fail first.
    let options = Options::new().log_medium(LogMedium::Plain).env(sim.env());
    let db = options.open(DIR).unwrap();
    let keyspace = db.keyspace("a").unwrap();
    sim.set_capacity(Some(sim.used() + 5000));
    let mut written = Vec::new();
    let error = loop {
        let key = format!("key {}", written.len());
        match keyspace.put(&key, [7; 300]) {
            Ok(()) => written.push(key),
            Err(error) => break error,
        }
        assert!(written.len() < 100);
    };
    assert!(error.is_out_of_space(), "{error:?}");
    check_text(&error, &[DIR]);
    assert!(written.len() > 5);
    // Reads go on; with room, writes do.
    for key in &written {
        assert_eq!(keyspace.get(key).unwrap().unwrap(), [7; 300]);
    }
    assert_eq!(keyspace.get(format!("key {}", written.len())).unwrap(), None);
    sim.set_capacity(None);
    keyspace.put_with("after", "room", Durability::Sync).unwrap();
    drop((keyspace, db));
    sim.crash(CrashStyle::KeepNothing);
    let keyspace = open(&sim).unwrap().keyspace("a").unwrap();
    assert_eq!(keyspace.iter().count(), written.len() + 3);
    assert_eq!(keyspace.get("after").unwrap().unwrap(), b"room");
}

#[test]
fn a_failed_sync_stops_writing_and_says_why() {
    let sim = sample();
    let db = open(&sim).unwrap();
    let keyspace = db.keyspace("a").unwrap();
    sim.fail_matching(Some(Op::Sync), ".log", 1, ErrorKind::Other, Effect::Nothing);
    let error = error_of(keyspace.put_with("3", "three", Durability::Sync));
    assert!(matches!(error, Error::Poisoned { .. }), "{error:?}");
    check_text(&error, &[".log", "opened again"]);
    let error = error_of(keyspace.put("4", "four"));
    check_text(&error, &[".log", "opened again"]);
    assert_eq!(keyspace.get("1").unwrap().unwrap(), b"one");
}

// ---- formats of newer releases ----

fn crc(parts: &[&[u8]]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().to_le_bytes()
}

/// Sets a byte and the CRC-32 of `from..to`, which stands at `to`.
fn set(bytes: &mut [u8], at: usize, value: u8, from: usize, to: usize) {
    bytes[at] = value;
    let sum = crc(&[&bytes[from..to]]);
    bytes[to..to + 4].copy_from_slice(&sum);
}

/// Rewrites the file whose name ends so, opens in both ways, and expects to be told of a newer release.
#[track_caller]
fn expect_newer(end: &str, change: impl Fn(&mut Vec<u8>)) {
    let sim = sample();
    let path = sim
        .list()
        .into_iter()
        .rfind(|path| path.to_str().unwrap().contains(end))
        .unwrap();
    let mut bytes = sim.read_file(&path).unwrap();
    change(&mut bytes);
    sim.write_file(&path, &bytes).unwrap();
    for error in [
        error_of(open(&sim)),
        error_of(Options::new().env(sim.env()).open_read_only(DIR)),
    ] {
        assert!(
            matches!(&error, Error::NewerFormat { path: named, .. } if *named == path),
            "{error:?}"
        );
        check_text(&error, &[path.to_str().unwrap(), "newer release", "this release"]);
    }
    assert_eq!(sim.read_file(&path).unwrap(), bytes);
}

#[test]
fn newer_versions_and_features_of_every_file_are_named_as_such() {
    // Headers of logs and manifests: version at 8, features at 12, CRC at 92.
    for end in [".log", "MANIFEST"] {
        expect_newer(end, |bytes| set(bytes, 8, 3, 0, 92));
        expect_newer(end, |bytes| set(bytes, 12, 2, 0, 92));
    }
    // SST: header of 52 bytes, footer of 128.
    for at in [8, 12] {
        expect_newer(".sst", |bytes| set(bytes, at, 6, 0, 48));
        expect_newer(".sst", |bytes| {
            let footer = bytes.len() - 128;
            set(&mut bytes[footer..], at, 6, 0, 124);
        });
    }
    expect_newer("CURRENT", |bytes| {
        let line = String::from_utf8(bytes.clone())
            .unwrap()
            .replace("packstone 1", "packstone 2");
        let text = &line[..line.len() - 9];
        let sum = u32::from_le_bytes(crc(&[text.as_bytes()]));
        *bytes = format!("{text}{sum:08x}\n").into_bytes();
    });
}

#[test]
fn a_newer_kind_of_frame_edit_record_or_operation_is_named_as_such() {
    // The first frame: length u32, CRC u32, kind u8, payload; its CRC is over identity, offset, length, kind, payload.
    let frame = |bytes: &mut Vec<u8>, at: usize, value: u8| {
        let len = u32::from_le_bytes(bytes[96..100].try_into().unwrap()) as usize;
        bytes[at] = value;
        let sum = crc(&[
            &bytes[24..40],
            &96u64.to_le_bytes(),
            &bytes[96..100],
            &bytes[104..105 + len],
        ]);
        bytes[100..104].copy_from_slice(&sum);
    };
    for end in [".log", "MANIFEST"] {
        expect_newer(end, |bytes| frame(bytes, 104, 9));
    }
    // A batch: first number u64, count u32, and the first operation's kind.
    expect_newer(".log", |bytes| frame(bytes, 117, 9));
    // An edit: version u8, count, and the first record's tag.
    expect_newer("MANIFEST", |bytes| frame(bytes, 105, 3));
    expect_newer("MANIFEST", |bytes| frame(bytes, 107, 99));
}

// ---- other processes ----

/// Does nothing unless the tests below start it.
#[test]
fn child_that_opens_a_database() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else {
        return;
    };
    let error = error_of(Db::open(&dir));
    println!("locked: {}", matches!(error, Error::Locked { .. }));
    check_text(&error, &[Path::new(&dir).to_str().unwrap(), "close the other"]);
    let db = Options::new().open_read_only(&dir).unwrap();
    let value = db.keyspace("a").unwrap().get("1").unwrap();
    println!("reads: {}", String::from_utf8(value.unwrap().to_vec()).unwrap());
}

#[test]
fn a_second_writing_process_is_refused_and_a_reading_one_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let db = Db::open(temp.path()).unwrap();
    db.keyspace("a").unwrap().put("1", "one").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_opens_a_database", "--nocapture"])
        .env(DIR_VARIABLE, temp.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(
        said.contains("locked: true") && said.contains("reads: one"),
        "{said}{complained}"
    );
    // A second handle in this process gets the same answer.
    let error = error_of(Db::open(temp.path()));
    assert!(matches!(error, Error::Locked { .. }));
    db.keyspace("a").unwrap().put("2", "two").unwrap();
    db.close().unwrap();
    Db::open(temp.path()).unwrap().close().unwrap();
}

// ---- options ----

#[test]
fn every_option_out_of_its_range_is_named_with_what_is_allowed() {
    let cases: Vec<(&str, Options)> = vec![
        ("write_buffer_size", Options::new().write_buffer_size(4095)),
        (
            "write_buffer_size",
            Options::new().write_buffer_size((4 << 30) + 1),
        ),
        ("max_log_size", Options::new().max_log_size(4095)),
        ("max_file_size", Options::new().max_file_size(4095)),
        ("pack_size", Options::new().pack_size(4095)),
        ("max_file_size", Options::new().max_file_size((1 << 30) + 1)),
        ("background_threads", Options::new().background_threads(0)),
        ("background_threads", Options::new().background_threads(65)),
        ("manifest_roll_size", Options::new().manifest_roll_size(1023)),
        (
            "compaction_rate_limit",
            Options::new().compaction_rate_limit(Some(4095)),
        ),
        (
            "sync_interval",
            Options::new().sync_interval(Some(Duration::ZERO)),
        ),
    ];
    for (name, options) in cases {
        let sim = SimEnv::new(1);
        let options = options.env(sim.env());
        for error in [
            error_of(options.clone().open(DIR)),
            error_of(options.open_read_only(DIR)),
        ] {
            assert!(matches!(&error, Error::InvalidOption { name: named, .. } if *named == name));
            check_text(&error, &[name, "given"]);
        }
        assert!(sim.list().is_empty());
    }
    let sim = sample();
    let db = open(&sim).unwrap();
    for (name, options) in [
        ("value_block_size", KeyspaceOptions::new().value_block_size(63)),
        (
            "value_block_size",
            KeyspaceOptions::new().value_block_size((1 << 20) + 1),
        ),
        ("key_block_size", KeyspaceOptions::new().key_block_size(0)),
        ("key_block_size", KeyspaceOptions::new().key_block_size(u32::MAX)),
        ("partition_size", KeyspaceOptions::new().partition_size(63)),
        (
            "partition_size",
            KeyspaceOptions::new().partition_size((1 << 20) + 1),
        ),
    ] {
        let error = error_of(db.keyspace_with("new", options));
        assert!(matches!(&error, Error::InvalidOption { name: named, .. } if *named == name));
        check_text(&error, &[name, "given", "allowed"]);
    }
    assert_eq!(db.keyspaces(), ["a"]);
}

// ---- names, keys, values, ranges, handles ----

#[test]
fn names_that_no_keyspace_can_have_are_refused() {
    let db = open(&sample()).unwrap();
    for name in [String::new(), "x".repeat(256)] {
        let error = error_of(db.keyspace(&name));
        assert!(matches!(error, Error::InvalidKeyspaceName { .. }));
        check_text(&error, &[&format!("{} bytes", name.len()), "1 to 255"]);
    }
    let error = error_of(db.keyspace("\0objects"));
    assert!(matches!(error, Error::InvalidKeyspaceName { .. }));
    check_text(&error, &["begins with a NUL"]);
    // Any other text of the right length is a name.
    for name in ["x".repeat(255), "../../etc".into(), "\n\0".into(), "ключ".into()] {
        db.keyspace(&name).unwrap().put("k", &name).unwrap();
        assert_eq!(
            db.keyspace(&name).unwrap().get("k").unwrap().unwrap(),
            name.as_bytes()
        );
    }
}

#[test]
fn a_keyspace_that_is_not_there_is_named() {
    let sim = sample();
    let db = open(&sim).unwrap();
    let error = error_of(db.drop_keyspace("nobody"));
    assert!(matches!(error, Error::KeyspaceNotFound { .. }));
    check_text(&error, &["nobody"]);
    let dropped = db.keyspace("dropped").unwrap();
    db.drop_keyspace("dropped").unwrap();
    for error in [error_of(dropped.put("k", "v")), error_of(dropped.get("k"))] {
        assert!(matches!(error, Error::KeyspaceDropped { .. }));
        check_text(&error, &["dropped"]);
    }
    drop(dropped);
    db.close().unwrap();
    let db = Options::new().env(sim.env()).open_read_only(DIR).unwrap();
    let error = error_of(db.keyspace("nobody"));
    assert!(matches!(error, Error::KeyspaceNotFound { .. }));
    check_text(&error, &["nobody"]);
}

#[test]
fn a_read_only_database_refuses_every_change_and_changes_nothing() {
    let sim = sample();
    let contents = || -> Vec<_> {
        sim.list()
            .into_iter()
            .map(|path| (sim.read_file(&path).unwrap(), path))
            .collect()
    };
    let before = contents();
    let db = Options::new().env(sim.env()).open_read_only(DIR).unwrap();
    let keyspace = db.keyspace("a").unwrap();
    let mut batch = db.batch();
    batch.put(&keyspace, "k", "v");
    for error in [
        error_of(keyspace.put("k", "v")),
        error_of(keyspace.delete("1")),
        error_of(batch.commit(Durability::Sync)),
        error_of(db.flush()),
        error_of(db.sync()),
        error_of(db.drop_keyspace("a")),
        error_of(keyspace.compact_range::<&[u8], _>(..)),
    ] {
        assert!(matches!(error, Error::ReadOnly), "{error:?}");
        check_text(&error, &["read-only"]);
    }
    assert_eq!(keyspace.iter().count(), 2);
    drop(keyspace);
    db.close().unwrap();
    assert_eq!(contents(), before);
}

#[test]
fn keys_and_values_past_their_limits_are_refused_with_size_and_limit() {
    let db = open(&sample()).unwrap();
    let keyspace = db.keyspace("a").unwrap();
    let (key, value) = (vec![b'k'; MAX_KEY_LEN + 1], vec![0; MAX_VALUE_LEN + 1]);
    for error in [error_of(keyspace.put(&key, "v")), error_of(keyspace.delete(&key))] {
        assert!(matches!(error, Error::LimitExceeded { what: "key", .. }));
        check_text(&error, &["key", "65536", "65535"]);
    }
    let inline = KeyspaceOptions::new().object_threshold(None);
    let inline = db.keyspace_with("inline", inline).unwrap();
    let error = error_of(inline.put("k", &value));
    assert!(matches!(error, Error::LimitExceeded { what: "value", .. }));
    check_text(
        &error,
        &[
            "value",
            &(MAX_VALUE_LEN + 1).to_string(),
            &MAX_VALUE_LEN.to_string(),
        ],
    );
    let mut batch = db.batch();
    batch.put(&keyspace, "fits", "v");
    batch.put(&keyspace, &key, "v");
    batch.put(&keyspace, "fits too", "v");
    check_text(&error_of(batch.commit(Durability::Buffered)), &["key", "65535"]);
    // Nothing of it has happened, and looking for what can't be there is no error.
    assert_eq!(keyspace.iter().count(), 2);
    assert_eq!(keyspace.get(&key).unwrap(), None);
    assert_eq!(keyspace.prefix(&key).count(), 0);
}

#[test]
fn ranges_upside_down_or_empty_hold_nothing() {
    let db = open(&sample()).unwrap();
    let keyspace = db.keyspace("a").unwrap();
    assert_eq!(keyspace.range("2".."1").count(), 0);
    assert_eq!(keyspace.range("2".."1").rev().count(), 0);
    assert_eq!(keyspace.range("1".."1").count(), 0);
    assert_eq!(keyspace.range("1"..="1").count(), 1);
    assert_eq!(keyspace.range("2"..="1").count(), 0);
    assert_eq!(
        keyspace
            .range::<&str, _>((Bound::Excluded("1"), Bound::Excluded("1")))
            .count(),
        0
    );
    assert_eq!(
        keyspace
            .range::<&str, _>((Bound::Excluded("1"), Bound::Included("2")))
            .count(),
        1
    );
    assert_eq!(db.snapshot().range(&keyspace, "2".."1").count(), 0);
    keyspace.compact_range("2".."1").unwrap();
    assert_eq!(keyspace.iter().count(), 2);
}

#[test]
fn handles_of_another_database_and_of_a_closed_one_are_refused() {
    let (one, two) = (open(&sample()).unwrap(), open(&sample()).unwrap());
    let theirs = two.keyspace("a").unwrap();
    let mut batch = one.batch();
    batch.put(&theirs, "k", "v");
    for error in [
        error_of(batch.commit(Durability::Buffered)),
        error_of(one.snapshot().get(&theirs, "1")),
        error_of(one.snapshot().iter(&theirs).next().unwrap()),
    ] {
        assert!(matches!(error, Error::WrongDatabase), "{error:?}");
        check_text(&error, &["another database"]);
    }
    two.clone().close().unwrap();
    for error in [
        error_of(theirs.put("k", "v")),
        error_of(theirs.get("1")),
        error_of(theirs.iter().next().unwrap()),
        error_of(two.keyspace("a")),
        error_of(two.flush()),
        error_of(two.sync()),
        error_of(two.wait_for_background()),
    ] {
        assert!(matches!(error, Error::Closed), "{error:?}");
        check_text(&error, &["closed"]);
    }
    two.close().unwrap();
}
