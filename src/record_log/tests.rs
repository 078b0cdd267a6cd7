//! Promises of record logs, on the simulated disk.

mod damage_tests;

use std::io::ErrorKind;
use std::path::Path;

use super::*;
use crate::env::Env;
use crate::env::sim::{CrashStyle, Effect, Op, SimEnv};

#[path = "mapped_tests.rs"]
mod mapped_tests;

const PATH: &str = "/db/000007.log";
const IDENTITY: [u8; 16] = *b"0123456789abcdef";

fn header(identity: [u8; 16]) -> Header {
    let predecessor = LogEnd {
        number: 5,
        identity: [9; 16],
        offset: 1000,
        last_seq: 77,
    };
    Header {
        kind: LogKind::Wal,
        number: 7,
        identity,
        predecessor: Some(predecessor),
        reserved: false,
    }
}

fn machine() -> (SimEnv, Env) {
    let sim = SimEnv::new(7);
    let env = sim.env();
    env.fs.create_dir_all(Path::new("/db")).unwrap();
    (sim, env)
}

fn writer(env: &Env) -> LogWriter {
    LogWriter::create(&*env.fs, Path::new(PATH), header(IDENTITY)).unwrap()
}

type Frames = Vec<(u64, Vec<u8>)>;

fn read_with(env: &Env, options: &ReadOptions) -> Result<(Frames, ReadOutcome)> {
    let mut frames = Vec::new();
    let outcome = read(
        &*env.fs,
        Path::new(PATH),
        LogKind::Wal,
        options,
        &mut |offset, payload| {
            frames.push((offset, payload.to_vec()));
            Ok(())
        },
    )?;
    Ok((frames, outcome))
}

fn read_all(env: &Env) -> Result<(Frames, ReadOutcome)> {
    read_with(env, &ReadOptions::default())
}

fn damage_at(error: &Error) -> u64 {
    match error {
        Error::Corruption { path, offset, .. } => {
            assert_eq!(path, Path::new(PATH));
            *offset
        }
        other => panic!("expected damage, got {other}"),
    }
}

#[test]
fn a_log_reads_back_as_it_was_written() {
    let (_sim, env) = machine();
    let mut log = writer(&env);
    let payloads = [b"one".to_vec(), Vec::new(), vec![7; 700_000], b"four".to_vec()];
    let mut expected = Vec::new();
    for payload in &payloads {
        expected.push((log.end(), payload.clone()));
        assert_eq!(log.append(payload).unwrap(), log.end());
    }
    let (frames, outcome) = read_all(&env).unwrap();
    assert_eq!(frames, expected);
    assert_eq!(outcome.header, header(IDENTITY));
    assert_eq!(
        (outcome.end, outcome.torn_bytes, outcome.sealed),
        (log.end(), 0, false)
    );
}

#[test]
fn the_format_is_what_the_drawing_says() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    log.append(b"xyz").unwrap();
    log.mark(7, 108).unwrap();
    let bytes = sim.read_file(PATH).unwrap();
    let mut expected =
        b"PKSTWAL\0\x02\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x000123456789abcdef\x05\0\0\0\0\0\0\0".to_vec();
    expected.extend_from_slice(&[9; 16]);
    expected.extend_from_slice(&1000u64.to_le_bytes());
    expected.extend_from_slice(&77u64.to_le_bytes());
    expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&crc32fast::hash(&expected).to_le_bytes());
    let mut summed = IDENTITY.to_vec();
    summed.extend_from_slice(&96u64.to_le_bytes());
    summed.extend_from_slice(b"\x03\0\0\0\x01xyz");
    expected.extend_from_slice(b"\x03\0\0\0");
    expected.extend_from_slice(&crc32fast::hash(&summed).to_le_bytes());
    expected.extend_from_slice(b"\x01xyz");
    assert_eq!(bytes[..108], expected[..]);
    assert_eq!(bytes[108..112], 16u32.to_le_bytes());
    assert_eq!(bytes[116..], *b"\x02\x07\0\0\0\0\0\0\0\x6c\0\0\0\0\0\0\0");
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_counted() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let good = log.append(b"whole").unwrap();
    let end = log.append(&[1; 40]).unwrap();
    let bytes = sim.read_file(PATH).unwrap();
    for cut in good..end {
        sim.write_file(PATH, &bytes[..cut as usize]).unwrap();
        let (frames, outcome) = read_all(&env).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!((outcome.end, outcome.torn_bytes), (good, cut - good));
        if cut > good {
            let options = ReadOptions {
                mode: RecoveryMode::Absolute,
                ..ReadOptions::default()
            };
            assert_eq!(damage_at(&read_with(&env, &options).unwrap_err()), good);
        }
    }
}

#[test]
fn every_flip_below_a_markers_offset_is_damage() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    log.append(b"first").unwrap();
    let synced = log.append(b"second").unwrap();
    log.sync().unwrap();
    log.mark(7, synced).unwrap();
    log.append(b"third").unwrap();
    for at in 0..synced {
        for bit in 0..8 {
            sim.flip_bit(PATH, at, bit).unwrap();
            let offset = damage_at(&read_all(&env).unwrap_err());
            assert!(offset <= at, "flip at {at}, reported at {offset}");
            sim.flip_bit(PATH, at, bit).unwrap();
        }
    }
    read_all(&env).unwrap();
}

#[test]
fn a_flip_behind_the_last_marker_looks_like_a_torn_tail() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let synced = log.append(b"first").unwrap();
    log.mark(7, synced).unwrap();
    let marked = log.end();
    let end = log.append(b"second").unwrap();
    for at in marked..end {
        sim.flip_bit(PATH, at, 0).unwrap();
        let (frames, outcome) = read_all(&env).unwrap();
        assert_eq!(
            (frames.len(), outcome.end, outcome.torn_bytes),
            (1, marked, end - marked)
        );
        sim.flip_bit(PATH, at, 0).unwrap();
    }
}

#[test]
fn point_in_time_steps_over_damage_and_reports_it() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let good = log.append(b"first").unwrap();
    let synced = log.append(b"second").unwrap();
    log.mark(7, synced).unwrap();
    sim.flip_bit(PATH, good + 10, 3).unwrap();
    let options = ReadOptions {
        mode: RecoveryMode::PointInTime,
        ..ReadOptions::default()
    };
    let (frames, outcome) = read_with(&env, &options).unwrap();
    assert_eq!((frames.len(), outcome.end), (1, good));
    assert_eq!(damage_at(&outcome.damage.unwrap()), good);
    assert_eq!(
        outcome.markers,
        Some((7, synced)),
        "markers behind the damage are found"
    );
}

#[test]
fn a_sealed_log_has_no_torn_tail() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let data_end = log.append(b"data").unwrap();
    log.seal().unwrap();
    assert!(matches!(log.append(b"more"), Err(Error::Closed)));
    let (_, outcome) = read_all(&env).unwrap();
    assert!(outcome.sealed);
    assert_eq!(outcome.markers, Some((7, data_end)));
    for at in HEADER_LEN..data_end {
        sim.flip_bit(PATH, at, 1).unwrap();
        assert_eq!(damage_at(&read_all(&env).unwrap_err()), HEADER_LEN);
        sim.flip_bit(PATH, at, 1).unwrap();
    }
    let mut bytes = sim.read_file(PATH).unwrap();
    bytes.push(0);
    sim.write_file(PATH, &bytes).unwrap();
    assert_eq!(damage_at(&read_all(&env).unwrap_err()), log.end());
}

#[test]
fn remains_of_another_file_never_replay() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    log.append(b"of the old file").unwrap();
    log.mark(7, log.end()).unwrap();
    let old = sim.read_file(PATH).unwrap();
    sim.remove_file(PATH).unwrap();
    LogWriter::create(&*env.fs, Path::new(PATH), header([1; 16])).unwrap();
    let mut bytes = sim.read_file(PATH).unwrap();
    bytes.extend_from_slice(&old[HEADER_LEN as usize..]);
    sim.write_file(PATH, &bytes).unwrap();
    let (frames, outcome) = read_all(&env).unwrap();
    assert!(frames.is_empty());
    assert_eq!((outcome.end, outcome.markers), (HEADER_LEN, None));
}

#[test]
fn a_frame_at_another_offset_never_replays() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let first = log.append(b"aaaa").unwrap();
    log.append(b"bbbb").unwrap();
    let mut bytes = sim.read_file(PATH).unwrap();
    bytes.drain(HEADER_LEN as usize..first as usize);
    sim.write_file(PATH, &bytes).unwrap();
    assert!(read_all(&env).unwrap().0.is_empty());
}

#[test]
fn zeros_never_validate() {
    let (sim, env) = machine();
    writer(&env);
    let mut bytes = sim.read_file(PATH).unwrap();
    bytes.resize(4096, 0);
    sim.write_file(PATH, &bytes).unwrap();
    let (frames, outcome) = read_all(&env).unwrap();
    assert!(frames.is_empty());
    assert_eq!((outcome.end, outcome.torn_bytes), (HEADER_LEN, 4000));
}

#[test]
fn a_hostile_length_reads_no_more_than_the_file() {
    let (sim, env) = machine();
    writer(&env);
    let clean = sim.read_file(PATH).unwrap();
    for len in [8u32, 1 << 20, u32::MAX - 8, u32::MAX] {
        let mut bytes = clean.clone();
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&[1; 12]);
        sim.write_file(PATH, &bytes).unwrap();
        let before = sim.stats().read.get("log").copied().unwrap_or(0);
        let (frames, outcome) = read_all(&env).unwrap();
        let read = sim.stats().read.get("log").copied().unwrap_or(0) - before;
        assert!(frames.is_empty());
        assert_eq!(outcome.torn_bytes, 16);
        assert!(read <= 3 * bytes.len() as u64, "{read} bytes read");
    }
}

#[test]
fn a_recorded_end_is_never_passed_and_must_be_reached() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let first = log.append(b"first").unwrap();
    let second = log.append(b"second").unwrap();
    let options = ReadOptions {
        stop_at: Some(first),
        ..ReadOptions::default()
    };
    let (frames, outcome) = read_with(&env, &options).unwrap();
    assert_eq!((frames.len(), outcome.end, outcome.torn_bytes), (1, first, 0));
    let bytes = sim.read_file(PATH).unwrap();
    sim.write_file(PATH, &bytes[..first as usize]).unwrap();
    let recorded = ReadOptions {
        stop_at: Some(second),
        ..ReadOptions::default()
    };
    assert_eq!(damage_at(&read_with(&env, &recorded).unwrap_err()), first);
    let named = ReadOptions {
        successor_end: Some(second),
        ..ReadOptions::default()
    };
    assert_eq!(
        read_with(&env, &named).unwrap().1.end,
        first,
        "a successor's word is not a sync"
    );
    let known = ReadOptions {
        synced_to: second,
        ..named
    };
    assert_eq!(damage_at(&read_with(&env, &known).unwrap_err()), first);
}

#[test]
fn a_half_created_file_is_unborn() {
    let (sim, env) = machine();
    writer(&env);
    let bytes = sim.read_file(PATH).unwrap();
    let outcome = || read_header(&*env.fs, Path::new(PATH), LogKind::Wal).unwrap();
    for cut in 0..bytes.len() {
        sim.write_file(PATH, &bytes[..cut]).unwrap();
        assert!(matches!(outcome(), HeaderOutcome::Unborn), "cut at {cut}");
        let mut zeros = bytes[..cut].to_vec();
        zeros.resize(1000, 0);
        sim.write_file(PATH, &zeros).unwrap();
        // The last bytes of the checksum may be zeros anyhow.
        assert!(
            matches!(outcome(), HeaderOutcome::Unborn | HeaderOutcome::Whole(_)),
            "zeros from {cut}"
        );
    }
}

#[test]
fn another_programs_file_is_foreign_and_another_kind_too() {
    let (sim, env) = machine();
    sim.write_file(PATH, b"2026-11-21 00:00:00 INFO started\n")
        .unwrap();
    let read = |kind| read_header(&*env.fs, Path::new(PATH), kind).unwrap();
    assert!(matches!(read(LogKind::Wal), HeaderOutcome::Foreign(_)));
    sim.remove_file(PATH).unwrap();
    writer(&env);
    assert!(matches!(read(LogKind::Manifest), HeaderOutcome::Foreign(_)));
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let (sim, env) = machine();
    writer(&env);
    let clean = sim.read_file(PATH).unwrap();
    for at in [8, 12] {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x42;
        let crc = crc32fast::hash(&bytes[..92]).to_le_bytes();
        bytes[92..].copy_from_slice(&crc);
        sim.write_file(PATH, &bytes).unwrap();
        assert!(matches!(read_all(&env), Err(Error::NewerFormat { .. })));
    }
}

#[test]
fn a_created_log_survives_the_worst_power_cut() {
    let (sim, env) = machine();
    writer(&env);
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(read_all(&sim.env()).unwrap().1.header, header(IDENTITY));
}

#[test]
fn after_a_failed_write_the_good_end_stands_and_nothing_more_is_written() {
    for effect in [Effect::Nothing, Effect::Partial] {
        let (sim, env) = machine();
        let mut log = writer(&env);
        let good = log.append(b"good").unwrap();
        sim.fail_matching(Some(Op::Write), ".log", 1, ErrorKind::Other, effect);
        log.append(b"bad").unwrap_err();
        assert!(!log.is_open());
        let writes = sim.stats().count(Op::Write);
        log.append(b"refused").unwrap_err();
        log.mark(7, good).unwrap_err();
        log.seal().unwrap_err();
        assert_eq!((log.end(), sim.stats().count(Op::Write)), (good, writes));
        assert_eq!(read_all(&env).unwrap().0.len(), 1);
    }
}

#[test]
fn short_and_interrupted_calls_change_nothing() {
    let (sim, env) = machine();
    sim.set_flaky(Some(2));
    let mut log = writer(&env);
    for i in 0..100u8 {
        log.append(&[i; 100]).unwrap();
    }
    let (frames, outcome) = read_all(&env).unwrap();
    assert_eq!((frames.len(), outcome.end), (100, log.end()));
}

#[test]
fn parallel_copies_in_any_order_publish_in_order() {
    let (sim, env) = machine();
    let file = env.fs.create(Path::new(PATH)).unwrap();
    let medium = medium::PlainMedium::new(file, Path::new(PATH), 0);
    let (a, b) = (medium.reserve(3).unwrap(), medium.reserve(4).unwrap());
    medium.copy(b, b"BB", b"bb");
    medium.copy(a, b"aaa", b"");
    medium.publish(a + 3).unwrap();
    assert_eq!(sim.read_file(PATH).unwrap(), b"aaa");
    medium.publish(b + 4).unwrap();
    assert_eq!(sim.read_file(PATH).unwrap(), b"aaaBBbb");
}
