//! The write-ahead log: a series of files is written as the input says, changed as it says, replayed in every mode, and gone
//! on with. Files are plain, or mapped: then they have reserved room, and remains of older frames where one is used again.
//!
//! Unchanged files give what was written. Changed ones give a prefix of it, or an error that names a file. With checksums
//! made right again anything may come, in ascending numbers. A stricter mode never reads more than a more lenient one, and
//! agrees with it where it does not refuse. What was replayed is there after the log has gone on, whatever the files were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::fuzzing::{Batch, LogFacts, LogReplay, Write, replay_logs};
use packstone::sst::ObjectRef;
use packstone::{MAX_SEQ, RecoveryMode};

use crate::support::{Input, mix, repair_record_log};

const DIR: &str = "/db";
/// Bytes of a file: few groups each.
const FILE_SIZE: u64 = 400;
/// Steps of the writing part.
const STEPS: u8 = 24;
const MODES: [RecoveryMode; 3] = [
    RecoveryMode::Absolute,
    RecoveryMode::TornTail,
    RecoveryMode::PointInTime,
];

/// A log at rest, and what was written to it.
struct Made {
    sim: SimEnv,
    facts: LogFacts,
    batches: Vec<Batch>,
}

/// What was done to the files.
struct Harm {
    changed: bool,
    repaired: bool,
    /// The log that goes on is mapped.
    mapped: bool,
}

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mapped = flags & 2 != 0;
    let made = write(&mut input, mapped);
    let mut files = files(&made.sim);
    let before = files.clone();
    let repaired = flags & 1 != 0;
    while !input.is_empty() {
        harm(&mut input, &mut files, repaired);
    }
    let harm = Harm {
        changed: files != before,
        repaired,
        mapped,
    };
    let replays = MODES.map(|mode| {
        let sim = restore(&files);
        let replay = replay_logs(&*sim.env().fs, Path::new(DIR), &made.facts, mode);
        judge(&made, &harm, mode, &replay);
        assert!(self::files(&sim) == files, "a replay changed the directory");
        (sim, replay)
    });
    agree(&replays[0].1, &replays[1].1);
    agree(&replays[1].1, &replays[2].1);
    for (sim, replay) in replays.iter().skip(1) {
        if replay.error.is_none() {
            go_on(sim, replay, &harm);
        }
    }
}

// ---- writing ----

fn replay(sim: &SimEnv, facts: &LogFacts, mode: RecoveryMode) -> LogReplay {
    replay_logs(&*sim.env().fs, Path::new(DIR), facts, mode)
}

fn write(input: &mut Input<'_>, mapped: bool) -> Made {
    let sim = SimEnv::new(u64::from(input.u8()));
    let env = sim.env();
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    let begin = replay(&sim, &LogFacts::none(), RecoveryMode::Absolute);
    let (mut log, mut facts, _) = begin.resume(&env, Path::new(DIR), FILE_SIZE, mapped).unwrap();
    let mut batches: Vec<Batch> = Vec::new();
    let mut last = 0;
    for _ in 0..input.u8() % STEPS {
        let step = input.u8();
        match step & 15 {
            0..=10 => {
                let group: Vec<Batch> = (0..=step >> 6)
                    .map(|_| {
                        let batch = batch(input, last);
                        last = batch.last_seq();
                        batch
                    })
                    .collect();
                log.append(&group).unwrap();
                batches.extend(group);
            }
            11 | 12 => log.sync().unwrap(),
            13 => {
                log.let_go(&mut facts).unwrap();
                let found = replay(&sim, &facts, RecoveryMode::Absolute);
                assert!(found.error.is_none() && batches.ends_with(&found.batches));
                batches = found.batches;
            }
            _ => {
                // Another process goes on.
                if step & 16 != 0 {
                    log.close().unwrap();
                }
                drop(log);
                let found = replay(&sim, &facts, RecoveryMode::Absolute);
                assert!(found.error.is_none() && found.batches == batches);
                let (next, known, old) = found.resume(&env, Path::new(DIR), FILE_SIZE, mapped).unwrap();
                (log, facts) = (next, known);
                if step & 32 != 0 {
                    old.iter().for_each(|path| env.fs.remove(path).unwrap());
                }
            }
        }
    }
    if input.u8() & 1 != 0 {
        log.close().unwrap();
    }
    Made { sim, facts, batches }
}

fn batch(input: &mut Input<'_>, last: u64) -> Batch {
    let how = input.u8();
    let is_value = how >> 3 & 1 == 0;
    let is_object = is_value && how >> 4 == 14;
    let writes = (0..=u64::from(how & 3)).map(|n| Write {
        keyspace: u32::from(how >> 2 & 1) + 1,
        object: is_object.then(|| ObjectRef {
            id: [how; 16],
            len: mix(last + n) >> (last & 63),
        }),
        key: vec![how; 1 + n as usize],
        value: (is_value && !is_object).then(|| {
            let len = if how >> 4 == 15 {
                500
            } else {
                usize::from(how >> 4) * 5
            };
            vec![mix(last + n) as u8; len]
        }),
    });
    Batch {
        // Numbers may be left out.
        first_seq: last + 1 + u64::from(how >> 7),
        writes: writes.collect(),
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(sim: &SimEnv) -> Files {
    sim.list()
        .into_iter()
        .map(|path| (path.clone(), sim.read_file(&path).unwrap()))
        .collect()
}

fn restore(files: &Files) -> SimEnv {
    let sim = SimEnv::new(1);
    sim.env().fs.create_dir_all(Path::new(DIR)).unwrap();
    for (path, bytes) in files {
        sim.write_file(path, bytes).unwrap();
    }
    sim
}

/// Changes, removes, doubles or exchanges files.
fn harm(input: &mut Input<'_>, files: &mut Files, repaired: bool) {
    let how = input.u8();
    let paths: Vec<PathBuf> = files.keys().cloned().collect();
    let Some(path) = paths.get(usize::from(how & 31) % paths.len().max(1)) else {
        input.rest();
        return;
    };
    let other = Path::new(DIR).join(format!("{:06}.log", input.u8() % 32));
    match how >> 5 {
        0 => drop(files.remove(path)),
        1 => drop(files.insert(other, files[path].clone())),
        2 => {
            let (one, two) = (files[path].clone(), files.get(&other).cloned());
            files.insert(other, one);
            files.insert(path.clone(), two.unwrap_or_default());
        }
        _ => {
            let Some(bytes) = files.get_mut(path) else { return };
            input.patch(bytes);
            if repaired {
                repair_record_log(bytes);
            }
        }
    }
}

// ---- judging ----

fn judge(made: &Made, harm: &Harm, mode: RecoveryMode, replay: &LogReplay) {
    let mut last = 0;
    for batch in &replay.batches {
        assert!(
            batch.first_seq > last && batch.last_seq() <= MAX_SEQ,
            "{mode:?}: numbers go back"
        );
        last = batch.last_seq();
    }
    if !harm.repaired {
        assert!(
            made.batches.starts_with(&replay.batches),
            "{mode:?}: no prefix of what was written"
        );
    }
    match &replay.error {
        Some(error) => {
            assert!(harm.changed, "{mode:?}: {error}");
            assert!(error.to_string().contains(DIR), "names no file: {error}");
        }
        None => {
            assert!(
                harm.changed || replay.batches == made.batches,
                "{mode:?}: something is missing"
            );
            assert!(mode == RecoveryMode::PointInTime || replay.dropped == 0);
            assert!(mode != RecoveryMode::Absolute || replay.torn_bytes == 0);
        }
    }
}

/// Where the stricter mode accepts, the more lenient one does the same.
fn agree(strict: &LogReplay, lenient: &LogReplay) {
    if strict.error.is_none() {
        assert!(lenient.error.is_none() && lenient.batches == strict.batches && lenient.dropped == 0);
    } else {
        assert!(lenient.batches.len() <= strict.batches.len().max(lenient.batches.len()));
    }
}

/// The log goes on behind what was replayed.
fn go_on(sim: &SimEnv, found: &LogReplay, harm: &Harm) {
    let env = sim.env();
    let (log, facts, old) = match found.resume(&env, Path::new(DIR), FILE_SIZE, harm.mapped) {
        Ok(resumed) => resumed,
        Err(error) => {
            assert!(harm.changed, "{error}");
            return;
        }
    };
    let mut batches = found.batches.clone();
    let first_seq = batches.last().map_or(0, Batch::last_seq) + 1;
    let new = Batch {
        first_seq,
        writes: vec![Write {
            keyspace: 1,
            key: b"new".to_vec(),
            value: None,
            object: None,
        }],
    };
    // A header may say that numbers have been given away which are in no frame.
    if first_seq <= MAX_SEQ && log.append(std::slice::from_ref(&new)).is_ok() {
        batches.push(new);
    } else {
        assert!(harm.repaired);
    }
    log.sync().unwrap();
    drop(log);
    // The old files may or may not have been deleted when the process died.
    for round in 0..2 {
        let again = replay(sim, &facts, RecoveryMode::TornTail);
        if let Some(error) = &again.error {
            panic!("round {round}, a log that has just been gone on with: {error}");
        }
        assert!(
            again.batches == batches,
            "round {round}: {} and not {} batches",
            again.batches.len(),
            batches.len()
        );
        for path in &old {
            let _ = env.fs.remove(path);
        }
    }
    sim.crash(CrashStyle::KeepAll);
}
