//! Promises of opening that need a log or a manifest which the engine itself would not write.

use std::io::ErrorKind;
use std::path::Path;

use crate::env::Env;
use crate::env::sim::{Effect, Op, SimEnv};
use crate::manifest::{Catalog, Edit, Manifest, Record};
use crate::options::KeyspaceOptions;
use crate::types::{MAX_SEQ, SeqNo};
use crate::wal::{self, Frame, PayloadBuilder, ReplayOptions, WalOptions};
use crate::{Db, Error, Options, Result};

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
    sim.write_file("/db/MANIFEST-000077", b"notes").unwrap();
    sim.write_file("/db/MANIFEST-000078", b"PKSTMAN\0").unwrap();
    drop(open(&env).unwrap());
    let names = sim.list();
    assert!(names.contains(&"/db/MANIFEST-000077".into()), "{names:?}");
    assert!(!names.contains(&"/db/MANIFEST-000078".into()), "{names:?}");
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
