//! Repair gives back everything that can be read, and says what is lost: whatever differs from what had been written lies in a
//! range that the report names. The source never changes.
#![allow(clippy::unwrap_used)] // a failure fails the test

mod compactions;
mod damage;
mod failures;
mod hash_order;
mod objects;
mod packs;
mod sample;
#[path = "../support/mod.rs"]
mod support;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::env::Env;
use packstone::env::sim::SimEnv;
use packstone::repair::{Fate, RepairBasis, RepairOptions, RepairReport, UndecidedChoice, repair};
use packstone::sst::{
    Access, BlockCache, EntryValue, SortKeyBuffer, SortOrder, Sst, SstIdentity, SstOptions, SstReadOptions,
    write_sorted,
};
use packstone::{Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, Order};

use sample::{KEYS, Writer, key, packed, sample, samples, streamed};
use support::rng::mix;

const SOURCE: &str = "/db";
const TARGET: &str = "/new";

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// By keyspace.
type State = BTreeMap<String, Map>;
/// By name.
type Files = BTreeMap<String, Vec<u8>>;

struct Sample {
    files: Files,
    state: State,
    /// Ids by name.
    ids: BTreeMap<String, u32>,
    /// By id, as the SSTs say it.
    orders: BTreeMap<u32, SortOrder>,
}

fn options(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(64 << 10)
        .max_file_size(4 << 10)
        // Small, so that SSTs hold what no log holds any more.
        .max_log_size(16 << 10)
        .env(sim.env())
}

fn files_of(sim: &SimEnv, dir: &str) -> Files {
    let in_dir = |path: &PathBuf| path.parent() == Some(Path::new(dir));
    let paths = sim.list().into_iter().filter(in_dir);
    paths
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, sim.read_file(&path).unwrap())
        })
        .collect()
}

/// A machine with these files in the source.
fn machine(files: &Files) -> SimEnv {
    let sim = SimEnv::new(5);
    sim.env().fs.create_dir_all(Path::new(SOURCE)).unwrap();
    for (name, bytes) in files {
        sim.write_file(Path::new(SOURCE).join(name), bytes).unwrap();
    }
    sim
}

fn run(env: &Env, options: RepairOptions) -> packstone::Result<RepairReport> {
    repair(env, Path::new(SOURCE), Path::new(TARGET), options, &mut |_| {})
}

fn content(sim: &SimEnv) -> State {
    let db = options(sim).open(TARGET).unwrap();
    db.verify().unwrap();
    let state = db
        .keyspaces()
        .into_iter()
        .map(|name| {
            let map = content_of(&db.open_keyspace(&name).unwrap());
            (name, map)
        })
        .collect();
    db.close().unwrap();
    state
}

fn content_of(keyspace: &Keyspace) -> Map {
    let get = |key: &[u8]| Some((key.to_vec(), keyspace.get(key).unwrap()?.to_vec()));
    if keyspace.options().get_order() == Order::Hash {
        return (0..KEYS).filter_map(|n| get(&key(n))).collect();
    }
    keyspace
        .iter()
        .map(|entry| {
            let (key, value) = entry.unwrap();
            let found = get(&key).unwrap();
            assert_eq!(found.1, &value[..], "point reads find the same");
            found
        })
        .collect()
}

/// Repairs these files; the content found and the report. The source must be what it was.
fn repaired(files: &Files, options: RepairOptions) -> (State, RepairReport) {
    let sim = machine(files);
    let dry = run(
        &sim.env(),
        RepairOptions {
            dry_run: true,
            ..options
        },
    )
    .unwrap();
    assert!(files_of(&sim, TARGET).is_empty(), "a dry run writes nothing");
    let report = run(&sim.env(), options).unwrap();
    assert_eq!(&files_of(&sim, SOURCE), files, "the source has changed");
    assert_eq!(
        (&dry.lost, &dry.undecided, dry.files.len()),
        (&report.lost, &report.undecided, report.files.len())
    );
    if !report.written {
        return (State::new(), report);
    }
    let state = content(&sim);
    (state, report)
}

fn without_manifest(files: &Files) -> Files {
    let mut files = files.clone();
    files.retain(|name, _| name != "CURRENT" && !name.starts_with("MANIFEST"));
    files
}

/// Whether the report says that the key with this sort key may be missing or show an older value.
fn is_reported(report: &RepairReport, id: u32, key: &[u8]) -> bool {
    report.lost.iter().any(|loss| {
        loss.keyspace.is_none_or(|keyspace| keyspace == id)
            && loss.from_key.as_ref().is_none_or(|from| &from[..] <= key)
            && loss.to_key.as_ref().is_none_or(|to| key <= &to[..])
    })
}

fn sort_key(order: SortOrder, key: &[u8]) -> Vec<u8> {
    let mut room = SortKeyBuffer::default();
    order.sort_key(key, order.hash(key), &mut room).to_vec()
}

/// What differs, in a few words.
fn differences(expected: &State, found: &State) -> String {
    let empty = Map::new();
    let mut out = String::new();
    for name in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let (a, b) = (
            expected.get(name).unwrap_or(&empty),
            found.get(name).unwrap_or(&empty),
        );
        for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
            let what = match (a.get(key), b.get(key)) {
                (a, b) if a == b => continue,
                (_, None) => "missing",
                (None, _) => "came back",
                _ => "another value",
            };
            out += &format!("{name} {}: {what}\n", key.escape_ascii());
        }
    }
    out
}

fn assert_same(expected: &State, found: &State, context: &str, report: &RepairReport) {
    let differences = differences(expected, found);
    let files: Vec<String> = report
        .files
        .iter()
        .map(|file| format!("{} {:?} {}", file.path.display(), file.fate, file.what))
        .collect();
    let (lost, undecided) = (&report.lost, &report.undecided);
    assert!(
        differences.is_empty(),
        "{context}:\n{differences}\n{}\n{lost:#?}\n{undecided:#?}",
        files.join("\n")
    );
}

/// Every difference is reported; returns how many there are.
fn explain(sample: &Sample, found: &State, report: &RepairReport, context: &str) -> usize {
    let mut differences = 0;
    let empty = Map::new();
    for (name, expected) in &sample.state {
        let id = sample.ids[name];
        let there = found.get(name).unwrap_or(&empty);
        let keys: BTreeSet<&Vec<u8>> = expected.keys().chain(there.keys()).collect();
        for key in keys {
            if expected.get(key) != there.get(key) {
                differences += 1;
                let text = key.escape_ascii();
                if !is_reported(report, id, &sort_key(sample.orders[&id], key)) {
                    assert_same(
                        &sample.state,
                        found,
                        &format!("{context}: {name} {text} is not reported"),
                        report,
                    );
                }
            }
        }
    }
    differences
}

const KEEP: RepairOptions = RepairOptions {
    basis: RepairBasis::Auto,
    undecided: UndecidedChoice::Keep,
    dry_run: false,
};

fn ssts(files: &Files) -> Vec<String> {
    files
        .keys()
        .filter(|name| name.ends_with(".sst"))
        .cloned()
        .collect()
}

/// Nobody is asked: what is open stays out.
const LEAVE_OUT: RepairOptions = RepairOptions {
    undecided: UndecidedChoice::LeaveOut,
    ..KEEP
};

/// Repairs these files, and finds all of the sample.
fn costs_nothing(sample: &Sample, files: &Files, context: &str) -> RepairReport {
    let (found, report) = repaired(files, LEAVE_OUT);
    assert_same(&sample.state, &found, context, &report);
    assert_eq!(report.lost, [], "{context}");
    report
}

/// The files with one bit, or several, of a byte flipped.
fn flipped(files: &Files, name: &str, at: usize, bits: u8) -> Files {
    let mut files = files.clone();
    files.get_mut(name).unwrap()[at] ^= bits;
    files
}

fn fate_of(report: &RepairReport, name: &str) -> Fate {
    let mut of_that_name = report.files.iter().filter(|file| file.path.ends_with(name));
    of_that_name.next().unwrap().fate
}

/// The last file whose name has this in it.
fn newest(files: &Files, part: &str) -> String {
    files.keys().rfind(|name| name.contains(part)).unwrap().clone()
}
