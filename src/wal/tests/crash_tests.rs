//! Power loss at every call of a scripted history: what was synced is there, and what survives is a prefix.

use super::*;
use crate::env::sim::Fault;

/// Both media: files of 250 bytes, and of many.
const MEDIA: [[WalOptions; 2]; 2] = [
    [WalOptions::plain(250), OPTIONS],
    [WalOptions::mapped(250), WalOptions::mapped(1 << 20)],
];

/// What the program was told before the power went.
#[derive(Default)]
struct Told {
    /// Lower files may be gone: the manifest says so.
    floor: u64,
    begun: bool,
    attempted: SeqNo,
    acknowledged: SeqNo,
    synced: SeqNo,
}

/// Appends and syncs over several files, and lets go of old ones; stops at the first error.
fn history(env: &Env, told: &mut Told, options: WalOptions) -> Result<()> {
    env.fs
        .create_dir_all(db())
        .map_err(|error| Error::io("create", db(), error))?;
    let wal = Wal::create(env, db(), 1, None, Vec::new(), options)?;
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
            if seq % 2 == 0 {
                told.floor = wal.current_number() - 1;
                wal.remove_below(told.floor)?;
            }
        }
    }
    wal.close()?;
    told.synced = seq;
    Ok(())
}

/// Opens after the crash, checks, goes on, crashes once more, and checks again.
fn check_after(sim: &SimEnv, style: CrashStyle, told: &Told, larger: WalOptions, context: &str) {
    let env = sim.env();
    env.fs.create_dir_all(db()).unwrap();
    let floor = told.floor.max(1);
    let must_exist = if told.begun { vec![floor] } else { Vec::new() };
    let options = ReplayOptions {
        floor,
        must_exist,
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(&env, &options).unwrap_or_else(|error| panic!("{context}: {error}"));
    let before = replayed.before.as_ref().map_or(0, |end| end.last_seq);
    let kept = before + seqs.len() as u64;
    assert_eq!(
        seqs,
        (before + 1..=kept).collect::<Vec<_>>(),
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

    let resumed = resume(&env, db(), replayed.next_number, &replayed, larger).unwrap();
    let ends: Vec<_> = resumed.kept.iter().map(|log| log.end.clone()).collect();
    let wal = resumed.wal;
    append(&wal, kept + 100).unwrap();
    wal.sync(wal.end()).unwrap();
    append(&wal, kept + 101).unwrap();
    sim.crash(style);
    let options = ReplayOptions {
        floor,
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
    for media in MEDIA {
        at_every_call_of(style, seed, media);
    }
}

fn at_every_call_of(style: CrashStyle, seed: u64, [small, larger]: [WalOptions; 2]) {
    for index in 0.. {
        let sim = SimEnv::new(seed * 1000 + index);
        sim.set_fault(Fault::PowerOffAt { index });
        let mut told = Told::default();
        let finished = history(&sim.env(), &mut told, small).is_ok();
        sim.crash(style);
        check_after(
            &sim,
            style,
            &told,
            larger,
            &format!("{style:?}, {small:?}, seed {seed}, call {index}"),
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

/// The last number that was found, of an unbroken run.
fn last_of(seqs: &[SeqNo], replayed: &Replayed) -> SeqNo {
    let before = replayed.before.as_ref().map_or(0, |end| end.last_seq);
    let last = before + seqs.len() as u64;
    assert_eq!(seqs, (before + 1..=last).collect::<Vec<_>>());
    last
}

/// Recovers as the engine does and writes on; what is in `known` afterwards had been recorded in a manifest.
fn go_on(env: &Env, known: &mut ReplayOptions, kept: &mut Option<u64>, larger: WalOptions) -> Result<()> {
    let options = ReplayOptions {
        floor: known.floor,
        ends: known.ends.clone(),
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(env, &options)?;
    let resumed = resume(env, db(), replayed.next_number, &replayed, larger)?;
    *kept = Some(last_of(&seqs, &replayed));
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
        for media in MEDIA {
            for first_cut in [17, 25, 33, 41, 48] {
                cut_in_recovery(style, media, first_cut);
            }
        }
    }
}

fn cut_in_recovery(style: CrashStyle, [small, larger]: [WalOptions; 2], first_cut: u64) {
    for index in 0.. {
        let sim = SimEnv::new(first_cut * 100 + index);
        sim.set_fault(Fault::PowerOffAt { index: first_cut });
        let mut told = Told::default();
        history(&sim.env(), &mut told, small).unwrap_err();
        sim.crash(CrashStyle::Random);
        sim.set_fault(Fault::PowerOffAt {
            index: sim.io_count() + index,
        });
        let mut options = ReplayOptions {
            floor: told.floor.max(1),
            ..ReplayOptions::default()
        };
        let mut kept = None;
        let finished = go_on(&sim.env(), &mut options, &mut kept, larger).is_ok();
        sim.crash(style);
        let context = format!("{style:?}, {small:?}, first cut {first_cut}, call {index}");
        let (mut seqs, replayed) =
            recover_with(&sim.env(), &options).unwrap_or_else(|error| panic!("{context}: {error}"));
        let new = seqs.pop_if(|seq| *seq == 1000).is_some();
        assert!(new || !finished, "{context}: the new write was synced");
        let found = last_of(&seqs, &replayed);
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
