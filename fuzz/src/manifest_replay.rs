//! The manifest: edits are written as the input says, the files changed as it says, and the state read back.
//!
//! A state's snapshot makes that state. What was committed is what is read. Changed files give a state that was, or an error
//! that names a file; with checksums made right again anything that is whole. `inspect` and the engine read the same. Bytes
//! that are an edit encode to an edit that is the same, in one form.

use std::path::Path;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::fuzzing::{self, State, Writer};
use packstone::inspect;

use crate::support::{Input, mix, put_prefixed, put_varint, repair};

const DIR: &str = "/db";
/// Edits of a run.
const EDITS: u8 = 20;

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    if flags & 3 == 0 {
        return edit(input.rest());
    }
    let sim = SimEnv::new(1);
    let states = write(&mut input, &sim, flags);
    judge(&sim, &states, &[], false);
    let before = files(&sim);
    let repaired = flags & 4 != 0;
    while !input.is_empty() {
        harm(&mut input, &sim, repaired);
    }
    if files(&sim) != before {
        judge(&sim, &states, &before, repaired);
    }
    sim.crash(CrashStyle::KeepAll);
}

/// Bytes as an edit.
fn edit(bytes: &[u8]) {
    let Some(again) = fuzzing::edit(bytes) else { return };
    assert_eq!(fuzzing::edit(&again).as_ref(), Some(&again));
    // Options that are left out are written with their defaults; all else has one form.
    assert!(again.len() >= bytes.len());
    assert!(again.len() > bytes.len() || again == bytes);
    for cut in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
        assert_eq!(
            fuzzing::edit(&bytes[..cut]),
            None,
            "cut to {cut} of {}",
            bytes.len()
        );
    }
    if let Some(state) = State::new([1; 16]).apply(bytes) {
        snapshot_makes(&state);
    }
}

fn snapshot_makes(state: &State) {
    let snapshot = state.snapshot();
    assert_eq!(fuzzing::edit(&snapshot).as_ref(), Some(&snapshot));
    let again = State::of_snapshot(&snapshot).expect("a snapshot that does not fit the empty state");
    assert!(again == *state, "the snapshot of a state makes another one");
}

// ---- writing ----

/// Commits edits; returns all states, the first and the last included.
fn write(input: &mut Input<'_>, sim: &SimEnv, flags: u8) -> Vec<State> {
    let env = sim.env();
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    // Small: the manifest is rolled now and then.
    let roll_size = if flags & 8 != 0 { 600 } else { 1 << 20 };
    let mut states = vec![State::new([flags; 16])];
    let number = u64::from(flags >> 4) + 1;
    let mut writer = Writer::create(&env, Path::new(DIR), number, roll_size, &states[0]).unwrap();
    for _ in 0..input.u8() % EDITS {
        let edit = make_edit(input);
        self::edit(&edit);
        let Some(next) = states[states.len() - 1].apply(&edit) else {
            continue;
        };
        snapshot_makes(&next);
        assert!(writer.commit(&edit, &next));
        states.push(next);
    }
    if input.u8() & 1 != 0 {
        writer.close().unwrap();
    }
    states
}

/// An edit of records whose numbers are small, so that most of them fit what was before.
fn make_edit(input: &mut Input<'_>) -> Vec<u8> {
    let count = input.u8() % 6;
    let mut out = vec![fuzzing::EDIT_VERSION];
    put_varint(&mut out, u64::from(count));
    for _ in 0..count {
        let (tag, how) = (input.u8(), input.u8());
        let tag = match tag & 31 {
            tag @ 1..=12 => tag,
            13..=20 => 4,
            21..=24 => 5,
            25..=28 => 2,
            29 => 13,
            30 => 14,
            // None of ours.
            tag => tag.wrapping_sub(15),
        };
        let mut body = Vec::new();
        record(input, tag, how, &mut body);
        put_varint(&mut out, u64::from(tag));
        put_prefixed(&mut out, &body);
    }
    out
}

fn record(input: &mut Input<'_>, tag: u8, how: u8, body: &mut Vec<u8>) {
    let keyspace = u64::from(how & 3) + 1;
    let number = |input: &mut Input<'_>| match how >> 6 {
        3 => 1_000_000_000_000_000 - u64::from(input.u8() % 3),
        _ => u64::from(input.u8() % 16),
    };
    match tag {
        1 => body.extend_from_slice(&[how; 16]),
        2 => {
            put_varint(body, keyspace);
            put_prefixed(body, &[b'a' + (how >> 2 & 3)].repeat(usize::from(how >> 4)));
            body.extend_from_slice(&[
                4,
                1,
                how >> 4 & 1,
                2,
                64 + (how >> 5),
                3,
                0x80,
                0x20,
                4,
                how >> 6 & 1,
            ]);
        }
        3 => put_varint(body, keyspace),
        4 => {
            put_varint(body, keyspace);
            put_varint(body, u64::from(how >> 2 & 7));
            put_varint(body, number(input));
            put_varint(body, u64::from(input.u16()));
            body.extend_from_slice(&[how; 16]);
            put_varint(body, 7);
            put_varint(body, u64::from(how & 3));
            let (low, high) = (input.u8(), input.u8());
            put_prefixed(body, &[low.min(high)]);
            put_prefixed(body, &[low.max(high), how]);
            put_varint(body, u64::from(low));
            put_varint(body, u64::from(low) + u64::from(high));
            put_varint(body, mix(u64::from(low)) >> (how & 63));
        }
        5 => {
            put_varint(body, keyspace);
            put_varint(body, u64::from(how >> 2 & 7));
            put_varint(body, number(input));
        }
        6 => {
            put_varint(body, keyspace);
            put_varint(body, u64::from(input.u16()));
        }
        11 => {
            put_varint(body, number(input));
            body.extend_from_slice(&[how; 16]);
            put_varint(body, mix(u64::from(how)) >> (how & 63));
            put_varint(body, u64::from(input.u16()));
        }
        13 => {
            // A few numbers: packs grow, are sealed, and are said to be another one.
            put_varint(body, u64::from(how & 7));
            body.extend_from_slice(&[how >> 6; 16]);
            body.push(how >> 3 & 1);
            put_varint(body, u64::from(input.u16()) << (how >> 4 & 3));
            put_varint(body, mix(u64::from(how)) >> (how & 63));
        }
        _ => put_varint(body, number(input)),
    }
}

// ---- judging ----

type Files = Vec<(std::path::PathBuf, Vec<u8>)>;

fn files(sim: &SimEnv) -> Files {
    sim.list()
        .into_iter()
        .map(|path| {
            let bytes = sim.read_file(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

fn harm(input: &mut Input<'_>, sim: &SimEnv, repaired: bool) {
    let how = input.u8();
    let mut files = files(sim);
    let count = files.len();
    let Some((path, bytes)) = files.get_mut(usize::from(how & 7) % count.max(1)) else {
        input.rest();
        return;
    };
    input.patch(bytes);
    if repaired {
        repair(path.to_str().unwrap(), bytes);
    }
    sim.write_file(&*path, bytes).unwrap();
}

fn judge(sim: &SimEnv, states: &[State], before: &[(std::path::PathBuf, Vec<u8>)], repaired: bool) {
    let env = sim.env();
    let changed = !before.is_empty();
    let found = State::load(&*env.fs, Path::new(DIR));
    let state = match found {
        Ok(found) => found.expect("CURRENT is there"),
        Err(error) => {
            assert!(changed, "{error}");
            assert!(error.to_string().contains(DIR), "names no file: {error}");
            return;
        }
    };
    snapshot_makes(&state);
    if !changed {
        assert!(states.last() == Some(&state), "not the last state");
    } else if !repaired {
        assert!(states.contains(&state), "a state that never was");
    }
    let path = inspect::read_current(&*env.fs, Path::new(DIR)).unwrap().unwrap();
    let report = inspect::load_state(&*env.fs, &path).unwrap();
    assert!(
        report.state == Some(state.describe()),
        "inspect reads another state"
    );
    assert!(
        !matches!(report.log.tail, inspect::Tail::Damaged(_)),
        "{:?}",
        report.log.tail
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the format grows this says when a target has stopped making edits.
    #[test]
    fn a_made_edit_of_every_tag_is_one() {
        for (tag, drawn) in (1..=12).map(|tag| (tag, tag)).chain([(13, 29), (14, 30)]) {
            let edit = make_edit(&mut Input(&[1, drawn, 0x11]));
            assert!(fuzzing::edit(&edit).is_some(), "{tag}: {edit:?}");
        }
    }
}
