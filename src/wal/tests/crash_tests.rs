//! Power loss at every call of a scripted history: what was synced is there, and what survives is a prefix.

use super::*;
use crate::env::sim::Fault;

/// What the program was told before the power went.
#[derive(Default)]
struct Told {
    begun: bool,
    attempted: SeqNo,
    acknowledged: SeqNo,
    synced: SeqNo,
}

/// Appends and syncs over several files; stops at the first error.
fn history(env: &Env, told: &mut Told) -> Result<()> {
    env.fs
        .create_dir_all(db())
        .map_err(|error| Error::io("create", db(), error))?;
    let wal = Wal::create(env, db(), 1, None, Vec::new(), WalOptions { max_file_size: 250 })?;
    told.begun = true;
    let mut seq = 0;
    for group in [1, 1, 3, 1, 2, 1, 1, 4, 1, 1, 1, 2] {
        let seqs: Vec<_> = (seq + 1..=seq + group).collect();
        seq += group;
        told.attempted = seq;
        append_group(&wal, &seqs)?;
        told.acknowledged = seq;
        if seq % 3 == 0 {
            wal.sync(wal.end())?;
            told.synced = seq;
        }
    }
    wal.close()?;
    told.synced = seq;
    Ok(())
}

/// Opens after the crash, checks, goes on, crashes once more, and checks again.
fn check_after(sim: &SimEnv, style: CrashStyle, told: &Told, context: &str) {
    let env = sim.env();
    env.fs.create_dir_all(db()).unwrap();
    let must_exist = if told.begun { vec![1] } else { Vec::new() };
    let options = ReplayOptions {
        floor: 1,
        must_exist,
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(&env, &options).unwrap_or_else(|error| panic!("{context}: {error}"));
    let kept = seqs.len() as u64;
    assert_eq!(
        seqs,
        (1..=kept).collect::<Vec<_>>(),
        "{context}: survivors are a prefix"
    );
    let least = if style == CrashStyle::KeepAll {
        told.acknowledged
    } else {
        told.synced
    };
    assert!(
        (least..=told.attempted).contains(&kept),
        "{context}: {kept} of {least} to {}",
        told.attempted
    );

    let resumed = resume(&env, db(), replayed.next_number, &replayed, OPTIONS).unwrap();
    let ends: Vec<_> = resumed.kept.iter().map(|log| log.end.clone()).collect();
    let wal = resumed.wal;
    append(&wal, kept + 100).unwrap();
    wal.sync(wal.end()).unwrap();
    append(&wal, kept + 101).unwrap();
    sim.crash(style);
    let options = ReplayOptions {
        floor: 1,
        ends,
        ..ReplayOptions::default()
    };
    let (again, _) =
        recover_with(&sim.env(), &options).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    let mut expected = seqs;
    expected.push(kept + 100);
    assert_eq!(
        again[..expected.len()],
        expected,
        "{context}: the second recovery"
    );
    assert!(again.len() <= expected.len() + 1);
}

fn at_every_call(style: CrashStyle, seed: u64) {
    for index in 0.. {
        let sim = SimEnv::new(seed * 1000 + index);
        sim.set_fault(Fault::PowerOffAt { index });
        let mut told = Told::default();
        let finished = history(&sim.env(), &mut told).is_ok();
        sim.crash(style);
        check_after(
            &sim,
            style,
            &told,
            &format!("{style:?}, seed {seed}, call {index}"),
        );
        if finished {
            assert!(index > 50, "the history is long enough to mean something");
            return;
        }
    }
}

#[test]
fn a_power_cut_that_keeps_nothing_unsynced_loses_nothing_synced() {
    at_every_call(CrashStyle::KeepNothing, 1);
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    at_every_call(CrashStyle::KeepAll, 2);
}

#[test]
fn a_power_cut_that_keeps_what_it_likes_loses_nothing_synced() {
    for seed in 3..23 {
        at_every_call(CrashStyle::Random, seed);
    }
}

/// Recovers as the engine does and writes on; what is in `known` afterwards had been recorded in a manifest.
fn go_on(env: &Env, known: &mut ReplayOptions, kept: &mut Option<u64>) -> Result<()> {
    let options = ReplayOptions {
        floor: known.floor,
        ends: known.ends.clone(),
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(env, &options)?;
    let resumed = resume(env, db(), replayed.next_number, &replayed, OPTIONS)?;
    *kept = Some(seqs.len() as u64);
    known.ends.extend(resumed.kept.iter().map(|log| log.end.clone()));
    if resumed.kept.is_empty() {
        // Before the older files go, as the engine has it.
        known.floor = replayed.next_number;
    }
    let wal = resumed.wal;
    for leftover in replayed.leftovers.iter().chain(&resumed.replaced) {
        env.fs
            .remove(leftover)
            .map_err(|error| Error::io("remove", leftover, error))?;
    }
    append(&wal, 1000)?;
    wal.sync(wal.end())
}

#[test]
fn a_power_cut_in_the_middle_of_a_recovery_loses_nothing_either() {
    for style in [CrashStyle::KeepNothing, CrashStyle::KeepAll, CrashStyle::Random] {
        for first_cut in [17, 25, 33, 41, 48] {
            for index in 0.. {
                let sim = SimEnv::new(first_cut * 100 + index);
                sim.set_fault(Fault::PowerOffAt { index: first_cut });
                let mut told = Told::default();
                history(&sim.env(), &mut told).unwrap_err();
                sim.crash(CrashStyle::Random);
                sim.set_fault(Fault::PowerOffAt {
                    index: sim.io_count() + index,
                });
                let mut options = ReplayOptions {
                    floor: 1,
                    ..ReplayOptions::default()
                };
                let mut kept = None;
                let finished = go_on(&sim.env(), &mut options, &mut kept).is_ok();
                sim.crash(style);
                let context = format!("{style:?}, first cut {first_cut}, call {index}");
                let (mut seqs, _) =
                    recover_with(&sim.env(), &options).unwrap_or_else(|error| panic!("{context}: {error}"));
                let new = seqs.pop_if(|seq| *seq == 1000).is_some();
                assert!(new || !finished, "{context}: the new write was synced");
                let found = seqs.len() as u64;
                assert_eq!(seqs, (1..=found).collect::<Vec<_>>(), "{context}");
                assert!(found >= told.synced, "{context}: {found} of {}", told.synced);
                assert!(
                    kept.is_none_or(|kept| kept == found),
                    "{context}: {kept:?} recovered, {found} now"
                );
                if finished {
                    assert!(index > 5, "{context}");
                    break;
                }
            }
        }
    }
}
