//! The operations notice what is not as it should be. What is wrong is done behind the worker's back.

use crate::data::ValueMaker;
use crate::database::Database;
use crate::failure::Outcome;
use crate::flags::{Config, split};
use crate::measure::{Shared, Stats};

use super::{Group, Task, Worker, find};

/// A database of one hundred keys in a directory of its own.
struct Fixture {
    config: Config,
    database: Database,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = [
            format!("--db={}", dir.path().join("db").display()),
            "--num=100".into(),
            "--seed=1".into(),
        ];
        let config = Config::new(split(&args).unwrap()).unwrap();
        let database = Database::create(&config).unwrap();
        let fixture = Fixture {
            config,
            database,
            _dir: dir,
        };
        fixture.run("fillseq").unwrap();
        fixture
    }

    fn with<T>(&self, task: &Task, act: impl FnOnce(&mut Worker<'_>) -> T) -> T {
        let (group, shared) = (Group::new(&self.config, 1), Shared::default());
        let stats = Stats::new(0, &self.config, true);
        act(&mut Worker::new(
            &self.config,
            task,
            &self.database,
            &group,
            &shared,
            7,
            stats,
        ))
    }

    fn run(&self, name: &str) -> Outcome<()> {
        let benchmark = find(name).unwrap();
        let mut task = Task::new(&self.config);
        (benchmark.adjust)(&mut task);
        let super::Kind::Measured { run, .. } = benchmark.kind else {
            panic!("{name} is not measured")
        };
        self.with(&task, run)
    }

    fn key(&self, number: u64) -> Vec<u8> {
        crate::data::KeyMaker::new(&self.config).key(number).to_vec()
    }

    fn delete(&self, number: u64) {
        self.database.keyspaces[0].delete(self.key(number)).unwrap();
    }

    fn put(&self, key: &[u8]) {
        let mut values = ValueMaker::new(0.5, 100, 100);
        self.database.keyspaces[0]
            .put(key, values.value(key, 100))
            .unwrap();
    }

    #[track_caller]
    fn fails(&self, name: &str, message: &str) {
        let failure = self.run(name).expect_err(name).0;
        assert!(failure.contains(message), "{name}: {failure}");
    }
}

#[test]
fn nothing_is_wrong_with_what_was_filled() {
    let fixture = Fixture::new();
    for name in [
        "readrandom",
        "readhot",
        "multireadrandom",
        "seekrandom",
        "readseq",
        "readreverse",
        "ycsbc",
        "newiterator",
    ] {
        fixture.run(name).unwrap();
    }
}

#[test]
fn a_lost_key_is_noticed_by_every_kind_of_read() {
    let fixture = Fixture::new();
    (0..100).for_each(|number| {
        if number != 50 {
            fixture.delete(number)
        }
    });
    for name in [
        "readrandom",
        "readhot",
        "multireadrandom",
        "updaterandom",
        "ycsbc",
        "mixgraph",
        "seekrandom",
        "seekordered",
    ] {
        fixture.fails(name, "lost key");
    }
    fixture.fails("readseq", "wrong count: the iterators gave 1 entries, and 100 ");
    fixture.fails("readreverse", "wrong count");
}

#[test]
fn a_key_that_nobody_wrote_is_noticed() {
    let fixture = Fixture::new();
    fixture.run("deleteseq").unwrap();
    (0..100).for_each(|number| fixture.put(&fixture.key(number)));
    for name in ["readrandom", "multireadrandom", "seekrandom"] {
        fixture.fails(name, "stray key");
    }
    let mut keys = crate::data::KeyMaker::new(&fixture.config);
    (0..100).for_each(|number| fixture.put(keys.absent(number)));
    fixture.fails("readmissing", "stray key");
}

#[test]
fn half_a_batch_is_noticed() {
    // One of three keys is missing, or is of another batch.
    for suffixes in [&[b"0", b"2"][..], &[b"0", b"1", b"2"]] {
        let fixture = Fixture::new();
        let mut values = ValueMaker::new(0.5, 100, 100);
        for number in 0..100 {
            for suffix in suffixes {
                let key = [&fixture.key(number)[..], &suffix[..]].concat();
                fixture.database.keyspaces[0]
                    .put(&key, values.value(&key, 100))
                    .unwrap();
            }
        }
        fixture.fails("randomwithverify", "half a batch");
    }
}
