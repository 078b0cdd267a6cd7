//! Promises of opening that need a log or a manifest which the engine itself would not write.

use std::io::ErrorKind;
use std::path::Path;

use super::opening::Tables;
use crate::env::Env;
use crate::env::sim::{Effect, Op, SimEnv};
use crate::manifest::{self, Catalog, Edit, Manifest, Record};
use crate::options::KeyspaceOptions;
use crate::types::{MAX_SEQ, SeqNo};
use crate::wal::{self, Frame, PayloadBuilder, ReplayOptions, WalOptions};
use crate::{Db, Error, Options, RecoveryMode, Result};

const DIR: &str = "/db";

fn machine() -> (SimEnv, Env) {
    let sim = SimEnv::new(3);
    let env = sim.env();
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    (sim, env)
}

fn open(env: &Env) -> Result<Db> {
    Options::new().env(env.clone()).open(DIR)
}

/// A manifest that knows the keyspaces "1" to "3", the third dropped, and the last number.
fn make_manifest(env: &Env, last_seq: SeqNo) {
    let mut edit = Edit::default();
    for id in 1..=3 {
        edit.push(Record::CreateKeyspace {
            id,
            name: id.to_string(),
            options: KeyspaceOptions::default(),
        });
    }
    edit.push(Record::DropKeyspace { id: 3 });
    edit.push(Record::LastSeq(last_seq));
    edit.push(Record::LogKnown(1));
    let mut catalog = Catalog::new([1; 16]);
    catalog.apply(&edit).unwrap();
    Manifest::create(env, Path::new(DIR), 1, 1 << 20, &catalog).unwrap();
}

/// A log with one put into each of these keyspaces.
fn make_log(env: &Env, keyspaces: &[u32]) {
    let dir = Path::new(DIR);
    let empty = wal::replay(&*env.fs, dir, &ReplayOptions::default(), &mut |_, _| Ok(())).unwrap();
    let options = WalOptions::plain(1 << 20);
    let log = wal::resume(env, dir, 1, &empty, options).unwrap().wal;
    for (seq, keyspace) in (1..).zip(keyspaces) {
        let mut builder = PayloadBuilder::new();
        builder.put(*keyspace, b"key", b"value");
        builder.set_first_seq(seq);
        let frame = Frame {
            first_seq: seq,
            last_seq: seq,
            payload: builder.as_bytes(),
        };
        log.append(&[frame]).unwrap();
    }
    log.sync(log.end()).unwrap();
}

#[test]
fn a_log_may_write_to_what_was_dropped_and_never_to_what_was_not_created() {
    for (keyspaces, replayed) in [(&[1, 2, 3][..], Some(2)), (&[1, 4], None), (&[5], None)] {
        let (_sim, env) = machine();
        make_manifest(&env, 0);
        make_log(&env, keyspaces);
        match open(&env) {
            Ok(db) => assert_eq!(Some(db.metrics().replayed_entries), replayed),
            Err(Error::Corruption { path, .. }) => {
                assert_eq!((path.to_str(), replayed), (Some("/db/MANIFEST-000001"), None));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_last_sequence_number_is_given_and_none_behind_it() {
    let (_sim, env) = machine();
    make_manifest(&env, MAX_SEQ - 3);
    make_log(&env, &[]);
    let db = open(&env).unwrap();
    let keyspace = db.keyspace("1").unwrap();
    keyspace.put("a", "1").unwrap();
    keyspace.put("b", "2").unwrap();
    for _ in 0..2 {
        assert!(matches!(
            keyspace.put("c", "3"),
            Err(Error::LimitExceeded { size, limit: MAX_SEQ, .. }) if size == MAX_SEQ + 1
        ));
    }
    assert_eq!(keyspace.get("b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(keyspace.get("c").unwrap(), None);
}

#[test]
fn a_database_whose_current_can_not_be_opened_is_not_called_missing() {
    let (sim, env) = machine();
    drop(open(&env).unwrap());
    sim.fail_matching(
        Some(Op::Open),
        "CURRENT",
        u64::MAX,
        ErrorKind::PermissionDenied,
        Effect::Nothing,
    );
    let options = Options::new().env(env).create_if_missing(false);
    assert!(matches!(options.open(DIR), Err(Error::Io { .. })));
}

#[test]
fn data_without_a_current_is_never_the_beginning_of_a_new_database() {
    for (name, refused) in [
        ("000007.sst", true),
        ("000007.log", true),
        ("MANIFEST-000007", false),
    ] {
        let (sim, env) = machine();
        sim.write_file(Path::new(DIR).join(name), b"").unwrap();
        assert_eq!(open(&env).is_err(), refused, "{name}");
    }
}

#[test]
fn somebody_elses_file_with_a_manifests_name_stays_and_a_leftover_goes() {
    let (sim, env) = machine();
    drop(open(&env).unwrap());
    let theirs: [&[u8]; 3] = [b"notes", b"PKSTWAL\0", b"PKS\0\0\0\0x"];
    let ours: [&[u8]; 5] = [b"PKSTMAN\0 and more", b"PKST", b"", &[0; 100], b"PKS\0\0\0\0\0\0"];
    let name = |number: usize| format!("/db/MANIFEST-{number:06}");
    for (number, bytes) in (70..).zip(theirs).chain((80..).zip(ours)) {
        sim.write_file(name(number), bytes).unwrap();
    }
    drop(open(&env).unwrap());
    let names = sim.list();
    for number in 70..85 {
        let stays = (70..73).contains(&number);
        assert_eq!(names.contains(&name(number).into()), stays, "{number}: {names:?}");
    }
}

#[test]
fn under_the_smallest_limit_a_log_file_still_takes_four_kibibytes() {
    let (sim, env) = machine();
    let db = Options::new().env(env).max_log_size(4096).open(DIR).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    for n in 0..10u8 {
        keyspace.put([n], [n; 200]).unwrap();
    }
    let logs = sim
        .list()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "log"));
    assert_eq!(logs.count(), 1);
}

#[test]
fn a_directory_that_vanishes_before_its_lock_is_taken_is_no_database() {
    for kind in [ErrorKind::NotFound, ErrorKind::NotADirectory] {
        let (sim, env) = machine();
        sim.fail_matching(Some(Op::Lock), "LOCK", 1, kind, Effect::Nothing);
        assert!(matches!(open(&env), Err(Error::NotADatabase { .. })), "{kind}");
    }
}

#[test]
fn a_reader_that_looks_again_opens_only_the_files_that_it_does_not_know() {
    let (_sim, env) = machine();
    let db = open(&env).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    keyspace.put("a", "1").unwrap();
    db.flush().unwrap();
    let catalog = manifest::load(&*env.fs, Path::new(DIR)).unwrap().unwrap().catalog;
    let entry = catalog.keyspaces.values().next().unwrap();
    let (order, meta) = (
        entry.options.sst().order,
        entry.levels[0].values().next().unwrap(),
    );
    let mut tables = Tables::new(&env, &Options::new());
    let mut get = |meta: &_| tables.get(&env, Path::new(DIR), meta, order);
    let known = get(meta).unwrap();
    assert!(std::sync::Arc::ptr_eq(&known, &get(meta).unwrap()));
    let mut other = meta.clone();
    other.identity[0] ^= 1;
    assert!(!get(&other).is_ok_and(|table| std::sync::Arc::ptr_eq(&known, &table)));
}

#[test]
fn what_a_reader_has_read_of_the_log_does_not_stand_when_the_file_has_gone() {
    let (sim, env) = machine();
    make_log(&env, &[1]);
    let dir = Path::new(DIR);
    let replayed = wal::replay(&*env.fs, dir, &ReplayOptions::default(), &mut |_, _| Ok(())).unwrap();
    assert!(wal::still_counts(&*env.fs, dir, &replayed).unwrap());
    sim.remove_file("/db/000001.log").unwrap();
    assert!(!wal::still_counts(&*env.fs, dir, &replayed).unwrap());
}

#[test]
fn the_number_of_a_log_that_was_lost_is_not_given_again() {
    let (sim, env) = machine();
    drop(open(&env).unwrap());
    let newest = |sim: &SimEnv| {
        let paths = sim.list();
        let logs = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "log"));
        logs.max().unwrap().clone()
    };
    let lost = newest(&sim);
    sim.remove_file(&lost).unwrap();
    let salvage = Options::new().env(env).recovery_mode(RecoveryMode::Salvage);
    let _db = salvage.open(DIR).unwrap();
    assert!(newest(&sim) > lost, "{:?}", sim.list());
}
