//! Repair gives back everything that can be read, and says what is lost: whatever differs from what had been written lies in a
//! range that the report names. The source never changes.
#![allow(clippy::unwrap_used)] // a failure fails the test

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use packstone::env::Env;
use packstone::env::sim::SimEnv;
use packstone::repair::{Fate, RepairBasis, RepairOptions, RepairReport, UndecidedChoice, repair};
use packstone::sst::{EntryValue, SstIdentity, SstOptions, write_sorted};
use packstone::{Compression, Db, Durability, Error, KeyspaceOptions, Options};

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
}

fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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

fn value(seed: u64, i: u64) -> Vec<u8> {
    let r = mix(seed ^ i);
    let len = match r % 12 {
        0 => 3,
        1 => 4200,
        _ => 20 + r % 90,
    };
    (0..len)
        .map(|at| {
            if at % 3 == 0 {
                b'.'
            } else {
                (r >> (at % 7 * 8)) as u8
            }
        })
        .collect()
}

/// Writes at random, flushes and compacts now and then.
struct Writer {
    sim: SimEnv,
    db: Db,
    state: State,
    seed: u64,
    count: u64,
}

impl Writer {
    fn new(seed: u64) -> Writer {
        let sim = SimEnv::new(seed);
        let opened = options(&sim);
        Writer::with(seed, sim, opened)
    }

    fn with(seed: u64, sim: SimEnv, options: Options) -> Writer {
        let db = options.open(SOURCE).unwrap();
        let layout = KeyspaceOptions::new().key_block_size(500).value_block_size(500);
        db.keyspace_with("plain", layout.clone().compression(Compression::None))
            .unwrap();
        db.keyspace_with("packed", layout).unwrap();
        let state = ["plain", "packed"]
            .map(|name| (name.to_owned(), Map::new()))
            .into();
        Writer {
            sim,
            db,
            state,
            seed,
            count: 0,
        }
    }

    fn write(&mut self, rounds: u64, keys: u64) {
        for _ in 0..rounds {
            self.count += 1;
            let r = mix(self.seed.wrapping_mul(31) ^ self.count);
            let name = ["plain", "packed"][(r % 2) as usize];
            let ks = self.db.keyspace(name).unwrap();
            let key = format!("key {:04}", (r >> 8) % keys).into_bytes();
            let map = self.state.get_mut(name).unwrap();
            if (r >> 40).is_multiple_of(4) {
                ks.delete(&key).unwrap();
                map.remove(&key);
            } else {
                let value = value(self.seed, self.count);
                ks.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
    }

    fn settle(&self) {
        self.db.flush().unwrap();
        self.db.wait_for_background().unwrap();
        // Files that nobody needs any more go in the background, too.
        self.sim.run_until_idle();
    }

    fn ids(&self) -> BTreeMap<String, u32> {
        // In the order of their creation, from 1.
        ["plain", "packed"]
            .into_iter()
            .zip(1..)
            .map(|(name, id)| (name.to_owned(), id))
            .collect()
    }

    fn close(self) -> Sample {
        let ids = self.ids();
        self.db.close().unwrap();
        Sample {
            files: files_of(&self.sim, SOURCE),
            state: self.state,
            ids,
        }
    }
}

/// Several levels, versions that a snapshot held, tombstones, a dropped keyspace, and writes that are in the log only.
fn sample(seed: u64) -> Sample {
    let mut writer = Writer::new(seed);
    writer.write(150, 120);
    let gone = writer.db.keyspace("gone").unwrap();
    gone.put("a", "b").unwrap();
    writer.settle();
    for name in ["plain", "packed"] {
        writer
            .db
            .keyspace(name)
            .unwrap()
            .compact_range::<&[u8], _>(..)
            .unwrap();
    }
    gone.put("in the log", "only").unwrap();
    let snapshot = writer.db.snapshot();
    writer.write(100, 120);
    writer.settle();
    writer.db.drop_keyspace("gone").unwrap();
    drop(gone);
    writer.write(60, 120);
    writer.settle();
    drop(snapshot);
    writer
        .db
        .keyspace("plain")
        .unwrap()
        .compact_range::<&[u8], _>(&b"key 0020"[..]..=&b"key 0060"[..])
        .unwrap();
    writer.write(50, 120);
    writer.settle();
    writer.write(40, 120);
    writer.close()
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
            let ks = db.open_keyspace(&name).unwrap();
            let map: Map = ks
                .range::<&[u8], _>(..)
                .map(|entry| {
                    let (key, value) = entry.unwrap();
                    // Point reads find the same.
                    assert_eq!(ks.get(&key).unwrap().unwrap(), value);
                    (key.to_vec(), value.to_vec())
                })
                .collect();
            (name, map)
        })
        .collect();
    db.close().unwrap();
    state
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

/// Whether the report says that this key may be missing or show an older value.
fn is_reported(report: &RepairReport, id: u32, key: &[u8]) -> bool {
    report.lost.iter().any(|loss| {
        loss.keyspace.is_none_or(|keyspace| keyspace == id)
            && loss.from_key.as_ref().is_none_or(|from| &from[..] <= key)
            && loss.to_key.as_ref().is_none_or(|to| key <= &to[..])
    })
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
                if !is_reported(report, id, key) {
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

#[test]
fn a_whole_database_is_copied_as_it_is() {
    let sample = sample(1);
    let (found, report) = repaired(&sample.files, RepairOptions::default());
    assert_same(&sample.state, &found, "", &report);
    assert!(report.is_clean() && report.manifest.is_some(), "{report:#?}");
    let copied = report
        .files
        .iter()
        .filter(|file| file.fate == Fate::Copied)
        .count();
    assert_eq!(copied, ssts(&sample.files).len());
}

#[test]
fn without_current_the_newest_manifest_counts() {
    let mut sample = sample(2);
    sample.files.remove("CURRENT");
    let (found, report) = repaired(&sample.files, RepairOptions::default());
    assert_same(&sample.state, &found, "", &report);
    assert!(report.is_clean() && report.manifest.is_some(), "{report:#?}");
}

#[test]
fn without_a_manifest_the_files_give_the_same_content_and_names() {
    for seed in 0..12 {
        let sample = sample(seed);
        let files = without_manifest(&sample.files);
        let (found, report) = repaired(&files, RepairOptions::default());
        // The dropped keyspace may have left writes in the log: then it is undecided, and nothing else is.
        let (found, report) = match report.undecided.len() {
            0 => (found, report),
            _ => repaired(
                &files,
                RepairOptions {
                    undecided: UndecidedChoice::LeaveOut,
                    ..RepairOptions::default()
                },
            ),
        };
        assert_same(&sample.state, &found, &format!("seed {seed}"), &report);
        assert_eq!(report.lost, [], "seed {seed}");
        assert!(
            report
                .undecided
                .iter()
                .all(|undecided| undecided.keyspace == Some(3)),
            "{report:#?}"
        );
        assert!(report.keyspaces.iter().all(|keyspace| keyspace.name_known));
        assert_eq!(report.manifest, None);
    }
}

#[test]
fn a_keyspace_that_only_the_log_knows_is_undecided_and_nothing_is_written() {
    let mut writer = Writer::new(3);
    writer.write(30, 20);
    let fresh = writer.db.keyspace("fresh").unwrap();
    fresh.put("k", "v").unwrap();
    writer.settle();
    // Flushed and compacted away: the log has its writes, and no SST does.
    writer.db.drop_keyspace("fresh").unwrap();
    writer.write(10, 20);
    let late = writer.db.keyspace("late").unwrap();
    late.put("k", "v").unwrap();
    let sample = writer.close();
    let files = without_manifest(&sample.files);
    let (_, report) = repaired(&files, RepairOptions::default());
    assert!(!report.written);
    assert!(
        report
            .undecided
            .iter()
            .any(|undecided| undecided.keyspace == Some(4)),
        "{report:#?}"
    );
    let (found, report) = repaired(&files, KEEP);
    assert_eq!(found["keyspace-4"], Map::from([(b"k".to_vec(), b"v".to_vec())]));
    assert!(
        report
            .keyspaces
            .iter()
            .any(|keyspace| keyspace.id == 4 && !keyspace.name_known)
    );
    assert_eq!(found["plain"], sample.state["plain"]);
}

#[test]
fn a_manifest_damaged_anywhere_costs_nothing() {
    let sample = sample(4);
    let name = sample
        .files
        .keys()
        .find(|name| name.starts_with("MANIFEST"))
        .unwrap()
        .clone();
    let len = sample.files[&name].len();
    for at in (0..len).step_by(len / 23) {
        let mut files = sample.files.clone();
        files.get_mut(&name).unwrap()[at] ^= 4;
        let (found, report) = repaired(
            &files,
            RepairOptions {
                undecided: UndecidedChoice::LeaveOut,
                ..RepairOptions::default()
            },
        );
        assert_same(&sample.state, &found, &format!("flip at {at}"), &report);
        assert_eq!(report.lost, [], "flip at {at}");
    }
}

#[test]
fn a_flip_anywhere_in_an_sst_loses_nothing_that_the_report_does_not_name() {
    let sample = sample(6);
    let bare = without_manifest(&sample.files);
    let (mut lossless, mut lossy) = (0, 0);
    for name in ssts(&sample.files) {
        let len = sample.files[&name].len();
        for at in (0..len).step_by(len / 9) {
            for files in [&sample.files, &bare] {
                let mut files = files.clone();
                files.get_mut(&name).unwrap()[at] ^= 0x20;
                let (found, report) = repaired(&files, KEEP);
                let context = format!(
                    "flip at {at} of {name}, {} bytes, manifest {:?}",
                    len, report.manifest
                );
                match explain(&sample, &found, &report, &context) {
                    0 => lossless += 1,
                    _ => lossy += 1,
                }
                let fate = report
                    .files
                    .iter()
                    .find(|file| file.path.ends_with(&name))
                    .unwrap()
                    .fate;
                assert_eq!(fate, Fate::Salvaged, "{context}");
            }
        }
    }
    assert!(lossless > 10 && lossy > 10, "{lossless} {lossy}");
}

#[test]
fn ssts_cut_short_or_lost_or_overwritten_lose_nothing_that_the_report_does_not_name() {
    let sample = sample(7);
    let bare = without_manifest(&sample.files);
    for name in ssts(&sample.files) {
        let whole = sample.files[&name].clone();
        let half = whole.len() / 2;
        let mut zeros = whole.clone();
        zeros[half - 300..half + 300].fill(0);
        let mut front = whole.clone();
        front[..200].fill(0xff);
        let mut back = whole.clone();
        let len = back.len();
        back[len - 700..].fill(0x11);
        for (what, bytes) in [
            ("cut", Some(whole[..half].to_vec())),
            ("cut to nothing", Some(Vec::new())),
            ("zeros in the middle", Some(zeros)),
            ("front overwritten", Some(front)),
            ("back overwritten", Some(back)),
            ("noise", Some(vec![0xa5; 2000])),
            ("lost", None),
        ] {
            for files in [&sample.files, &bare] {
                let is_bare = !files.contains_key("CURRENT");
                if what == "lost" && is_bare {
                    continue; // nobody can know of it, unless a file of its run names it
                }
                let mut files = files.clone();
                match &bytes {
                    Some(bytes) => drop(files.insert(name.clone(), bytes.clone())),
                    None => drop(files.remove(&name)),
                }
                let (found, report) = repaired(&files, KEEP);
                let context = format!("{name}: {what}, without a manifest: {is_bare}");
                explain(&sample, &found, &report, &context);
                assert!(!report.lost.is_empty(), "{context}");
            }
        }
    }
}

#[test]
fn a_damaged_log_loses_only_the_frames_that_are_hit() {
    let sim = SimEnv::new(8);
    let one_log = options(&sim).max_log_size(1 << 20);
    let mut writer = Writer::with(8, sim, one_log);
    writer.write(100, 60);
    writer.settle();
    writer.db.sync().unwrap();
    writer.write(60, 60);
    writer.db.sync().unwrap();
    let sample = writer.close();
    let name = sample
        .files
        .keys()
        .rfind(|name| name.ends_with(".log"))
        .unwrap()
        .clone();
    let len = sample.files[&name].len();
    for at in (96..len - 60).step_by(len / 17) {
        for files in [&sample.files, &without_manifest(&sample.files)] {
            let mut files = files.clone();
            files.get_mut(&name).unwrap()[at] ^= 1;
            let (found, report) = repaired(&files, RepairOptions::default());
            let differences = explain(&sample, &found, &report, &format!("flip at {at}"));
            assert!(differences <= 1, "flip at {at}: {differences}");
            let loss = report
                .lost
                .iter()
                .find(|loss| loss.path.ends_with(&name))
                .unwrap();
            let hit = loss.offset..loss.offset + loss.len;
            assert!(hit.contains(&(at as u64)) && loss.numbers.is_some(), "{loss:?}");
        }
    }
}

/// The files before a whole compaction, and those after it, of the same writes.
fn around_a_compaction(seed: u64) -> (Sample, Files, Files) {
    let mut writer = Writer::new(seed);
    writer.write(200, 100);
    writer.settle();
    writer
        .db
        .keyspace("plain")
        .unwrap()
        .compact_range::<&[u8], _>(..)
        .unwrap();
    writer.write(120, 100);
    writer.settle();
    let before = files_of(&writer.sim, SOURCE);
    writer
        .db
        .keyspace("plain")
        .unwrap()
        .compact_range::<&[u8], _>(..)
        .unwrap();
    writer.settle();
    let after = files_of(&writer.sim, SOURCE);
    (writer.close(), before, after)
}

#[test]
fn a_compaction_interrupted_before_its_edit_leaves_the_inputs_in_force() {
    for seed in 0..6 {
        let (sample, before, after) = around_a_compaction(seed);
        let outputs: Vec<&String> = after
            .keys()
            .filter(|name| name.ends_with(".sst") && !before.contains_key(*name))
            .collect();
        assert!(outputs.len() > 1, "{outputs:?}");
        for upto in 1..=outputs.len() {
            let mut files = without_manifest(&before);
            for name in &outputs[..upto] {
                files.insert((*name).clone(), after[*name].clone());
            }
            let (found, report) = repaired(&files, RepairOptions::default());
            assert_eq!(
                found,
                sample.state,
                "seed {seed}, {upto} of {} outputs: {report:#?}",
                outputs.len()
            );
            assert!(report.is_clean(), "{report:#?}");
        }
        // The last one is torn.
        let mut files = without_manifest(&before);
        let torn = &after[outputs[0]];
        files.insert(outputs[0].clone(), torn[..torn.len() / 2].to_vec());
        let (found, report) = repaired(&files, KEEP);
        explain(&sample, &found, &report, "a torn output");
        assert_same(
            &sample.state,
            &found,
            "its entries are in the inputs as well",
            &report,
        );
    }
}

#[test]
fn inputs_that_outlive_their_compaction_do_not_bring_anything_back() {
    for seed in 0..6 {
        let (sample, before, after) = around_a_compaction(seed);
        let inputs: Vec<&String> = before
            .keys()
            .filter(|name| name.ends_with(".sst") && !after.contains_key(*name))
            .collect();
        assert!(!inputs.is_empty());
        for name in &inputs {
            let mut files = without_manifest(&after);
            files.insert((*name).clone(), before[*name].clone());
            let (found, report) = repaired(&files, RepairOptions::default());
            assert_same(&sample.state, &found, &format!("seed {seed}, {name}"), &report);
            assert!(report.is_clean());
            let fate = report
                .files
                .iter()
                .find(|file| file.path.ends_with(name))
                .unwrap()
                .fate;
            assert_eq!(fate, Fate::Replaced);
        }
    }
}

#[test]
fn files_that_a_reader_keeps_alive_through_several_compactions_are_known_as_dead() {
    let mut writer = Writer::new(9);
    writer.write(200, 60);
    writer.settle();
    let plain = writer.db.keyspace("plain").unwrap();
    // Holds the files of this moment.
    let mut range = plain.range::<&[u8], _>(..);
    range.next().unwrap().unwrap();
    for _ in 0..3 {
        writer.write(60, 60);
        writer.settle();
        plain.compact_range::<&[u8], _>(..).unwrap();
        writer.settle();
    }
    let files = files_of(&writer.sim, SOURCE);
    drop(range);
    drop(plain);
    let sample = writer.close();
    assert!(
        ssts(&files).len() > ssts(&sample.files).len(),
        "the range has kept files alive"
    );
    let (found, report) = repaired(&without_manifest(&files), RepairOptions::default());
    assert_same(&sample.state, &found, "dead files", &report);
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn two_values_without_a_number_are_undecided() {
    let sim = machine(&Files::new());
    for (number, value) in [(4u64, "four"), (9, "nine")] {
        let path = PathBuf::from(format!("{SOURCE}/{number:06}.sst"));
        let file = sim.env().fs.create(&path).unwrap();
        let identity = SstIdentity {
            keyspace: 1,
            file_number: number,
            identity: [number as u8; 16],
            replaces: Vec::new(),
        };
        let entries = [
            (&b"k"[..], 0, EntryValue::Put(value.as_bytes())),
            (b"same", 0, EntryValue::Put(b"x")),
        ];
        write_sorted(file, &path, &SstOptions::default(), identity, entries).unwrap();
    }
    let files = files_of(&sim, SOURCE);
    let (_, report) = repaired(&files, RepairOptions::default());
    assert!(!report.written);
    assert_eq!(report.undecided.len(), 1, "{report:#?}");
    assert_eq!(report.undecided[0].key.as_ref().unwrap(), b"k");
    let (found, _) = repaired(&files, KEEP);
    assert_eq!(found["keyspace-1"][&b"k"[..]], b"nine");
    let leave_out = RepairOptions {
        undecided: UndecidedChoice::LeaveOut,
        ..RepairOptions::default()
    };
    let (found, report) = repaired(&files, leave_out);
    assert_eq!(found["keyspace-1"].len(), 1);
    assert!(is_reported(&report, 1, b"k") && !is_reported(&report, 1, b"same"));
}

#[test]
fn a_target_that_is_not_empty_or_inside_the_source_is_refused() {
    let sample = sample(10);
    let sim = machine(&sample.files);
    let (source, inside) = (Path::new(SOURCE), Path::new("/db/new"));
    for target in [source, inside] {
        let result = repair(&sim.env(), source, target, RepairOptions::default(), &mut |_| {});
        assert!(
            matches!(result, Err(Error::InvalidOption { name: "target", .. })),
            "{result:?}"
        );
    }
    run(&sim.env(), RepairOptions::default()).unwrap();
    let again = run(&sim.env(), RepairOptions::default());
    assert!(
        matches!(again, Err(Error::InvalidOption { name: "target", .. })),
        "{again:?}"
    );
    assert_eq!(files_of(&sim, SOURCE), sample.files);
}

#[test]
fn a_source_in_use_is_refused() {
    let writer = Writer::new(11);
    let result = run(&writer.sim.env(), RepairOptions::default());
    assert!(matches!(result, Err(Error::Locked { .. })), "{result:?}");
    writer
        .db
        .keyspace("plain")
        .unwrap()
        .put_with("k", "v", Durability::Sync)
        .unwrap();
}

#[test]
fn foreign_files_are_named_and_nothing_of_ours_is_an_error() {
    let mut sample = sample(12);
    sample.files.insert("notes.txt".into(), b"mine".to_vec());
    let (found, report) = repaired(&sample.files, RepairOptions::default());
    assert_same(&sample.state, &found, "", &report);
    let named = report
        .files
        .iter()
        .find(|file| file.path.ends_with("notes.txt"))
        .unwrap();
    assert_eq!(named.fate, Fate::Foreign);
    let sim = machine(&Files::from([("notes.txt".to_owned(), b"mine".to_vec())]));
    let result = run(&sim.env(), RepairOptions::default());
    assert!(matches!(result, Err(Error::NotADatabase { .. })), "{result:?}");
}
