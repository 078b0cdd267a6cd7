//! Promises of the write-ahead log, on the simulated disk. Histories under power loss are in `crash_tests`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::env::Env;
use crate::env::sim::{CrashStyle, Effect, Op as Io, SimEnv};
use crate::record_log::{FRAME_HEADER_LEN, HEADER_LEN, Header, LogEnd, LogKind, LogWriter, RecoveryMode};
use crate::{Error, Result, SeqNo};

mod beside_tests;
mod border_tests;
mod chain_tests;
mod crash_tests;
mod payload_tests;
mod salvage_tests;
mod spare_tests;
mod sync_tests;

const OPTIONS: WalOptions = WalOptions::plain(1 << 20);
/// So small that every group begins a new file.
const TINY: WalOptions = WalOptions::plain(100);

fn db() -> &'static Path {
    Path::new("/db")
}

fn log_path(number: u64) -> PathBuf {
    file_path(db(), number)
}

fn machine() -> (SimEnv, Env) {
    let sim = SimEnv::new(11);
    let env = sim.env();
    env.fs.create_dir_all(db()).unwrap();
    (sim, env)
}

fn new_wal(env: &Env, options: WalOptions) -> Wal {
    Wal::create(env, db(), 1, None, Vec::new(), options).unwrap()
}

fn payload(seq: SeqNo) -> PayloadBuilder {
    let mut builder = PayloadBuilder::new();
    builder.put(
        3,
        format!("key{seq}").as_bytes(),
        format!("value{seq}").as_bytes(),
    );
    builder.set_first_seq(seq);
    builder
}

fn append(wal: &Wal, seq: SeqNo) -> Result<LogPosition> {
    wal.append(&[Frame {
        first_seq: seq,
        last_seq: seq,
        payload: payload(seq).as_bytes(),
    }])
}

fn append_group(wal: &Wal, seqs: &[SeqNo]) -> Result<LogPosition> {
    let payloads: Vec<_> = seqs.iter().map(|seq| payload(*seq)).collect();
    let frames: Vec<_> = seqs
        .iter()
        .zip(&payloads)
        .map(|(seq, payload)| Frame {
            first_seq: *seq,
            last_seq: *seq,
            payload: payload.as_bytes(),
        })
        .collect();
    wal.append(&frames)
}

/// Replays and checks the contents; returns the sequence numbers.
fn recover_with(env: &Env, options: &ReplayOptions) -> Result<(Vec<SeqNo>, Replayed)> {
    let mut seqs = Vec::new();
    let replayed = replay(&*env.fs, db(), options, &mut |first, found| {
        let built = payload(first);
        let expected: Vec<_> = built.ops().map(|op| op.unwrap()).collect();
        let got: Vec<_> = found.ops().map(|op| op.unwrap()).collect();
        assert_eq!(got, expected);
        seqs.push(first);
        Ok(())
    })?;
    Ok((seqs, replayed))
}

fn recover(env: &Env) -> Result<(Vec<SeqNo>, Replayed)> {
    recover_with(
        env,
        &ReplayOptions {
            floor: 1,
            must_exist: vec![1],
            ..ReplayOptions::default()
        },
    )
}

/// Opens the log again as the engine does; returns what was found and the log that goes on.
fn reopen(env: &Env, options: WalOptions) -> (Vec<SeqNo>, Wal) {
    let (seqs, replayed) = recover(env).unwrap();
    let resumed = resume(env, db(), replayed.next_number, &replayed, options).unwrap();
    // These tests keep the floor where it is, so the file that the new one continues stays.
    let continued = resumed.kept.is_empty().then(|| log_path(1));
    for path in resumed
        .replaced
        .iter()
        .filter(|path| Some(*path) != continued.as_ref())
    {
        env.fs.remove(path).unwrap();
    }
    (seqs, resumed.wal)
}

fn damaged_file(error: &Error) -> PathBuf {
    match error {
        Error::Corruption { path, .. } => path.clone(),
        other => panic!("expected damage, got {other}"),
    }
}

#[test]
fn batches_replay_in_order_across_files_and_reopenings() {
    let (_sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=5 {
        append(&wal, seq).unwrap();
    }
    assert_eq!(wal.current_number(), 5);
    drop(wal);
    let (seqs, wal) = reopen(&env, TINY);
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    append_group(&wal, &[7, 8, 20]).unwrap();
    append(&wal, 21).unwrap();
    let (seqs, replayed) = recover(&env).unwrap();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 7, 8, 20, 21]);
    assert_eq!(
        (replayed.last_seq, replayed.torn_bytes, replayed.sealed),
        (21, 0, false)
    );
    assert_eq!(replayed.leftovers, Vec::<PathBuf>::new());
    assert_eq!(replayed.next_number, wal.current_number() + 1);
}

#[test]
fn a_group_is_one_write() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    let before = sim.stats().count(Io::Write);
    append_group(&wal, &[1, 2, 3, 4]).unwrap();
    assert_eq!(sim.stats().count(Io::Write) - before, 1);
    assert_eq!(recover(&env).unwrap().0, [1, 2, 3, 4]);
}

#[test]
fn an_acknowledged_write_survives_the_process_without_a_sync() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    append(&wal, 2).unwrap();
    sim.crash(CrashStyle::KeepAll);
    assert_eq!(recover(&sim.env()).unwrap().0, [1, 2]);
}

#[test]
fn a_recovered_file_is_never_written_again() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    drop(wal);
    let before = sim.read_file(log_path(1)).unwrap();
    let (_, wal) = reopen(&env, OPTIONS);
    append(&wal, 2).unwrap();
    wal.sync(wal.end()).unwrap();
    wal.close().unwrap();
    assert_eq!(sim.read_file(log_path(1)).unwrap(), before);
}

#[test]
fn numbers_that_do_not_grow_are_refused_before_anything_is_written() {
    let (_sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 5).unwrap();
    let end = wal.end();
    append(&wal, 5).unwrap_err();
    append_group(&wal, &[7, 6]).unwrap_err();
    assert_eq!(wal.end(), end);
    append(&wal, 6).unwrap();
    assert_eq!(recover(&env).unwrap().0, [5, 6]);
}

#[test]
fn beginning_a_file_does_not_sync_the_old_one() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    sim.set_trace(true);
    append(&wal, 2).unwrap();
    let synced: Vec<_> = sim
        .take_trace()
        .into_iter()
        .filter(|call| call.op == Io::Sync)
        .map(|call| call.path)
        .collect();
    assert_eq!(synced, [log_path(2)]);
}

#[test]
fn a_sync_covers_older_files_first() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=3 {
        append(&wal, seq).unwrap();
    }
    sim.set_trace(true);
    wal.sync(wal.end()).unwrap();
    let synced = |calls: Vec<crate::env::sim::Call>| -> Vec<_> {
        calls
            .into_iter()
            .filter(|call| call.op == Io::Sync)
            .map(|call| call.path)
            .collect()
    };
    assert_eq!(synced(sim.take_trace()), [log_path(1), log_path(2), log_path(3)]);
    append(&wal, 4).unwrap();
    sim.take_trace();
    wal.sync(wal.end()).unwrap();
    assert_eq!(
        synced(sim.take_trace()),
        [log_path(3), log_path(4)],
        "the marker in 3 was not synced yet"
    );
}

#[test]
fn an_idle_log_does_not_grow_by_being_synced() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    wal.sync(wal.end()).unwrap();
    let (end, calls) = (wal.end(), sim.io_count());
    for _ in 0..10 {
        wal.sync(wal.end()).unwrap();
    }
    assert_eq!((wal.end(), sim.io_count()), (end, calls));
}

#[test]
fn a_failed_write_fails_its_group_and_the_log_goes_on_in_a_new_file() {
    for effect in [Effect::Nothing, Effect::Partial] {
        let (sim, env) = machine();
        let wal = new_wal(&env, OPTIONS);
        append(&wal, 1).unwrap();
        let end = wal.end();
        sim.fail_matching(Some(Io::Write), "000001", 1, ErrorKind::Other, effect);
        append_group(&wal, &[2, 3]).unwrap_err();
        assert_eq!(wal.end(), end);
        assert_eq!(recover(&env).unwrap().0, [1], "before the successor exists");
        wal.sync(wal.end()).unwrap();
        assert_eq!(
            sim.read_file(log_path(1)).unwrap().len() as u64,
            end.offset,
            "not even a marker is added"
        );
        append_group(&wal, &[2, 4]).unwrap();
        append(&wal, 5).unwrap();
        let (seqs, replayed) = recover(&env).unwrap();
        assert_eq!((seqs, replayed.torn_bytes), (vec![1, 2, 4, 5], 0));
    }
}

#[test]
fn a_failed_write_heals_at_the_very_next_append() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    sim.fail_matching(Some(Io::Write), "000001", 1, ErrorKind::Other, Effect::Partial);
    append(&wal, 2).unwrap_err();
    append(&wal, 2).unwrap();
    assert_eq!(wal.current_number(), 2);
    assert_eq!(recover(&env).unwrap().0, [1, 2]);
}

#[test]
fn a_failed_marker_does_not_fail_the_sync_and_ends_the_file() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    sim.fail_matching(Some(Io::Write), "000001", 1, ErrorKind::Other, Effect::Partial);
    wal.sync(wal.end()).unwrap();
    append(&wal, 2).unwrap();
    assert_eq!(wal.current_number(), 2);
    assert_eq!(recover(&env).unwrap().0, [1, 2]);
}

/// The disk is full in the middle of the next write to it.
fn fail_half_way_into_the_second_file(sim: &SimEnv) {
    let full = ErrorKind::StorageFull;
    sim.fail_matching(Some(Io::Write), "000002", 1, full, Effect::Partial);
}

#[test]
fn a_file_whose_successor_may_exist_is_not_written_again() {
    let (sim, env) = machine();
    let wal = new_wal(&env, WalOptions::plain(250));
    append(&wal, 1).unwrap();
    let before = sim.read_file(log_path(1)).unwrap();
    fail_half_way_into_the_second_file(&sim);
    append_group(&wal, &[2, 3, 4, 5]).unwrap_err();
    append(&wal, 2).unwrap(); // would have fitted into the first file
    wal.sync(wal.end()).unwrap();
    assert_eq!(sim.read_file(log_path(1)).unwrap(), before);
    assert_eq!((wal.current_number(), recover(&env).unwrap().0), (3, vec![1, 2]));
}

#[test]
fn whole_frames_of_a_failed_group_do_not_replay() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    let good = sim.read_file(log_path(1)).unwrap();
    append(&wal, 2).unwrap();
    let both = sim.read_file(log_path(1)).unwrap();
    sim.remove_file(log_path(1)).unwrap();
    // The same history, but the write of 2 reached the file whole, failed all the same, and could not be cut off.
    sim.write_file(log_path(1), &good).unwrap();
    let (_, wal) = reopen(&env, OPTIONS);
    sim.write_file(log_path(1), &both).unwrap();
    append(&wal, 3).unwrap();
    assert_eq!(recover(&env).unwrap().0, [1, 3]);
}

#[test]
fn every_way_of_failing_to_begin_a_file_leaves_a_log_that_goes_on_or_is_poisoned() {
    for op in [Io::Create, Io::Write, Io::Sync, Io::SyncDir] {
        for effect in [Effect::Nothing, Effect::Partial] {
            let (sim, env) = machine();
            let wal = new_wal(&env, TINY);
            append(&wal, 1).unwrap();
            sim.fail_where(
                move |call| call.op == op && (op == Io::SyncDir || call.mentions("000002")),
                1,
                ErrorKind::Other,
                effect,
            );
            append(&wal, 2).unwrap_err();
            let sync_failed = matches!(op, Io::Sync | Io::SyncDir);
            assert_eq!(append(&wal, 3).is_err(), sync_failed, "{op:?} {effect:?}");
            assert_eq!(
                matches!(wal.poisoned(), Some(Error::Poisoned { .. })),
                sync_failed
            );
            let expected = if sync_failed { vec![1] } else { vec![1, 3] };
            drop(wal);
            let (seqs, wal) = reopen(&env, TINY);
            assert_eq!(seqs, expected, "{op:?} {effect:?}");
            append(&wal, 9).unwrap();
            assert_eq!(recover(&env).unwrap().0.last(), Some(&9));
        }
    }
}

#[test]
fn a_full_disk_heals_once_there_is_room() {
    for room in [0, 20, 60, 130, 150] {
        let (sim, env) = machine();
        let wal = new_wal(&env, TINY);
        append(&wal, 1).unwrap();
        sim.set_capacity(Some(sim.used() + room));
        for _ in 0..3 {
            let error = append_group(&wal, &[2, 3, 4]).unwrap_err();
            assert!(error.is_out_of_space(), "{error}");
        }
        wal.sync(wal.end()).unwrap();
        sim.set_capacity(None);
        append_group(&wal, &[2, 3]).unwrap();
        wal.close().unwrap();
        let (seqs, replayed) = recover(&env).unwrap();
        assert_eq!((seqs, replayed.sealed), (vec![1, 2, 3], true));
    }
}

#[test]
fn a_failed_sync_is_final() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    sim.fail_matching(Some(Io::Sync), ".log", 1, ErrorKind::StorageFull, Effect::Nothing);
    let error = wal.sync(wal.end()).unwrap_err();
    assert!(matches!(error, Error::Poisoned { .. }) && error.is_out_of_space());
    let writes = sim.stats().count(Io::Write);
    assert!(matches!(append(&wal, 2), Err(Error::Poisoned { .. })));
    assert!(matches!(wal.sync(wal.end()), Err(Error::Poisoned { .. })));
    assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
    assert_eq!(sim.stats().count(Io::Write), writes);
}

#[test]
fn the_engine_can_poison_the_log() {
    let (_sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    assert!(wal.poisoned().is_none());
    wal.poison(Error::Poisoned {
        cause: Arc::new(Error::ReadOnly),
    });
    wal.poison(Error::WrongDatabase);
    let Err(Error::Poisoned { cause }) = append(&wal, 1) else {
        panic!("not poisoned")
    };
    assert!(
        matches!(*cause, Error::ReadOnly),
        "the first cause stays, and is not nested"
    );
}

#[test]
fn a_closed_log_is_sealed_synced_and_refuses_appends() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    append(&wal, 2).unwrap();
    wal.close().unwrap();
    wal.close().unwrap();
    assert!(matches!(append(&wal, 3), Err(Error::Closed)));
    sim.crash(CrashStyle::KeepNothing);
    let env = sim.env();
    let (seqs, replayed) = recover(&env).unwrap();
    assert_eq!((seqs, replayed.sealed), (vec![1, 2], true));
    let (_, wal) = reopen(&env, TINY);
    append(&wal, 3).unwrap();
    let (seqs, replayed) = recover(&env).unwrap();
    assert_eq!((seqs, replayed.sealed), (vec![1, 2, 3], false));
}

#[test]
fn a_frame_larger_than_a_file_gets_a_file_of_its_own() {
    let (sim, env) = machine();
    let wal = new_wal(&env, WalOptions::plain(200));
    append(&wal, 1).unwrap();
    let mut large = PayloadBuilder::new();
    large.put(3, b"k", &vec![b'v'; 5000]);
    large.set_first_seq(2);
    wal.append(&[Frame {
        first_seq: 2,
        last_seq: 2,
        payload: large.as_bytes(),
    }])
    .unwrap();
    append(&wal, 3).unwrap();
    let sizes: Vec<_> = (1..=3)
        .map(|n| sim.read_file(log_path(n)).unwrap().len())
        .collect();
    assert!(sizes[0] < 200 && sizes[1] > 5000 && sizes[2] < 200, "{sizes:?}");
    let mut firsts = Vec::new();
    let options = ReplayOptions {
        floor: 1,
        ..ReplayOptions::default()
    };
    replay(&*env.fs, db(), &options, &mut |first, _| {
        firsts.push(first);
        Ok(())
    })
    .unwrap();
    assert_eq!(firsts, [1, 2, 3]);
}

#[test]
fn files_that_nobody_needs_are_removed_and_the_rest_replays() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=4 {
        append(&wal, seq).unwrap();
    }
    let total = wal.total_bytes();
    assert_eq!(wal.oldest(), (1, 1));
    assert_eq!(wal.obsolete_below(1), 1);
    assert_eq!(wal.obsolete_below(3), 3);
    assert_eq!(wal.obsolete_below(100), 4, "the current file is always needed");
    let floor = wal.obsolete_below(3);
    wal.remove_below(floor).unwrap();
    assert!(wal.total_bytes() < total);
    assert_eq!(wal.oldest(), (3, 3));
    assert_eq!(sim.list(), [log_path(3), log_path(4)]);
    wal.sync(wal.end()).unwrap();
    let options = ReplayOptions {
        floor,
        must_exist: vec![1, 2, 3, 4],
        ..ReplayOptions::default()
    };
    assert_eq!(recover_with(&env, &options).unwrap().0, [3, 4]);
}

#[test]
fn a_file_that_cannot_be_removed_stays_listed() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=3 {
        append(&wal, seq).unwrap();
    }
    sim.fail_matching(
        Some(Io::Remove),
        "000001",
        1,
        ErrorKind::PermissionDenied,
        Effect::Nothing,
    );
    wal.remove_below(3).unwrap_err();
    assert_eq!(wal.oldest().0, 1);
    wal.remove_below(3).unwrap();
    assert_eq!(sim.list(), [log_path(3)]);
    (4..=6).for_each(|seq| _ = append(&wal, seq).unwrap());
    sim.fail_matching(
        Some(Io::Remove),
        ".log",
        3,
        ErrorKind::PermissionDenied,
        Effect::Nothing,
    );
    wal.remove_below(6).unwrap_err();
    let listed: Vec<_> = wal.pin(0).files.iter().map(|file| file.end.number).collect();
    assert_eq!(listed, [3, 4, 5, 6]);
}
