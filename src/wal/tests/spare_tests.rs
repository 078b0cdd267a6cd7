//! Log files that are used again.

use super::*;
use crate::env::sim::{Effect, Fault};
use crate::names::UNFINISHED_LOG;

/// Files of one page each.
const SMALL: WalOptions = WalOptions::mapped(600);

/// The log files that are there, the unfinished one among them.
fn files(sim: &SimEnv) -> Vec<PathBuf> {
    let mut files = sim.list();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files
}

/// Appends up to `upto`, and lets go of all but the current file now and then; the last floor goes to `floor`.
fn write(wal: &Wal, upto: SeqNo, floor: &mut u64) -> Result<()> {
    for seq in 1..=upto {
        append(wal, seq)?;
        if seq % 10 == 0 {
            wal.sync(wal.end())?;
            *floor = wal.current_number();
            wal.remove_below(*floor)?;
        }
    }
    Ok(())
}

#[test]
fn an_obsolete_file_becomes_the_next_one_and_only_new_frames_replay() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    let mut floor = 1;
    write(&wal, 95, &mut floor).unwrap();
    let stats = sim.stats();
    assert!(stats.count(Io::Rename) > 8, "{stats:?}");
    assert!(stats.count(Io::Create) <= 5, "{stats:?}");
    assert_eq!(
        wal.bytes_on_disk(),
        files(&sim)
            .iter()
            .map(|path| sim.file_len(path).unwrap())
            .sum::<u64>()
    );
    sim.crash(CrashStyle::KeepAll);
    let options = ReplayOptions {
        floor,
        must_exist: vec![floor],
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(&sim.env(), &options).unwrap();
    let before = replayed.before.unwrap().last_seq;
    assert_eq!(seqs, (before + 1..=95).collect::<Vec<_>>());
    assert_eq!((replayed.torn_bytes, replayed.leftovers.len()), (0, 0));
}

#[test]
fn the_spare_file_goes_when_the_log_is_closed_or_idle() {
    for close in [false, true] {
        let (sim, env) = machine();
        let wal = new_wal(&env, SMALL);
        write(&wal, 30, &mut 1).unwrap();
        let spare = db().join(UNFINISHED_LOG);
        assert!(files(&sim).contains(&spare));
        if close {
            wal.close().unwrap();
        } else {
            assert!(!wal.rest(30).unwrap());
            assert!(files(&sim).contains(&spare), "30 is still needed");
            assert!(
                !wal.rest(31).unwrap(),
                "the present file is as small as an empty one"
            );
        }
        assert_eq!(files(&sim).len(), 1);
    }
}

#[test]
fn an_idle_log_goes_on_in_an_empty_file_if_that_is_smaller() {
    for options in [WalOptions::mapped(64 << 10), WalOptions::plain(64 << 10)] {
        let (sim, env) = machine();
        let wal = new_wal(&env, options);
        let mut seq = 0;
        while wal.end().offset <= 4096 {
            seq += 1;
            append(&wal, seq).unwrap();
        }
        assert!(!wal.rest(seq).unwrap(), "the last one is still needed");
        assert_eq!(wal.current_number(), 1);
        wal.sync(wal.end()).unwrap();
        assert!(wal.rest(seq + 1).unwrap());
        assert_eq!(wal.obsolete_below(seq + 1), 2);
        wal.remove_below(2).unwrap();
        assert_eq!(files(&sim), [log_path(2)]);
        assert!(wal.bytes_on_disk() <= 4096);
        assert!(!wal.rest(seq + 1).unwrap(), "once is enough");
        append(&wal, seq + 1).unwrap();
        let floor = ReplayOptions {
            floor: 2,
            ..ReplayOptions::default()
        };
        assert_eq!(recover_with(&env, &floor).unwrap().0, [seq + 1]);
    }
}

#[test]
fn a_strangers_file_under_the_next_name_is_not_replaced() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    write(&wal, 30, &mut 1).unwrap();
    let theirs = log_path(wal.current_number() + 1);
    sim.write_file(&theirs, b"somebody's").unwrap();
    for seq in 31..60 {
        append(&wal, seq).unwrap();
    }
    assert_eq!(sim.read_file(&theirs).unwrap(), b"somebody's");
}

#[test]
fn a_full_disk_is_no_hindrance_to_a_file_that_is_used_again() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    write(&wal, 30, &mut 1).unwrap();
    let number = wal.current_number();
    sim.set_capacity(Some(sim.used()));
    let mut seq = 30;
    let error = loop {
        seq += 1;
        match append(&wal, seq) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_out_of_space());
    assert_eq!(wal.current_number(), number + 1, "the spare file took some more");
    sim.set_capacity(None);
    append(&wal, seq + 1).unwrap();
}

#[test]
fn room_that_was_given_back_is_kept_again_from_the_next_append_on() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    write(&wal, 30, &mut 1).unwrap();
    let spare = db().join(UNFINISHED_LOG);
    let is_there = || files(&sim).contains(&spare);
    assert!(is_there());
    wal.give_back_spare();
    assert!(!is_there());
    wal.remove_below(wal.current_number()).unwrap();
    assert!(!is_there(), "nothing is kept while nothing is written");
    for seq in 31..60 {
        append(&wal, seq).unwrap();
    }
    wal.remove_below(wal.current_number()).unwrap();
    assert!(is_there());
}

/// The sync of the next log's header, which writers wait for, would write them otherwise.
#[test]
fn old_contents_are_written_in_the_background_and_a_file_where_that_fails_is_not_used_again() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    let mut seq = 0;
    let mut fill = |upto: u64| {
        while wal.current_number() < upto {
            seq += 1;
            append(&wal, seq).unwrap();
        }
    };
    fill(2);
    sim.set_trace(true);
    wal.remove_below(2).unwrap();
    let calls: Vec<_> = sim.take_trace().iter().map(|call| call.op).collect();
    assert_eq!(calls, [Io::Rename, Io::SyncDir, Io::Reserve, Io::Sync]);
    fill(3);
    sim.fail_matching(
        Some(Io::Sync),
        "000002.log",
        1,
        std::io::ErrorKind::Other,
        Effect::Nothing,
    );
    wal.remove_below(3).unwrap();
    assert_eq!(files(&sim), [log_path(3)]);
    fill(4);
    assert!(wal.poisoned().is_none());
    assert_eq!(
        sim.stats().count(Io::Create),
        3,
        "the third was the first, the fourth is new"
    );
}

#[test]
fn a_log_that_rests_or_is_closed_makes_no_spare_file() {
    for close in [false, true] {
        let (sim, env) = machine();
        let wal = new_wal(&env, SMALL);
        (1..=30).for_each(|seq| _ = append(&wal, seq).unwrap());
        if close {
            wal.close().unwrap();
        } else {
            wal.give_back_spare();
        }
        wal.remove_below(wal.current_number()).unwrap();
        assert_eq!(files(&sim), [log_path(wal.current_number())]);
    }
}

#[test]
fn where_it_is_unknown_whether_a_name_is_taken_no_file_is_put_there() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    write(&wal, 30, &mut 1).unwrap();
    let next = log_path(wal.current_number() + 1);
    let kind = ErrorKind::PermissionDenied;
    sim.fail_matching(Some(Io::Open), next.to_str().unwrap(), 1, kind, Effect::Nothing);
    let error = (31..60).find_map(|seq| append(&wal, seq).err()).unwrap();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(!files(&sim).contains(&next));
}

/// What is cut off is counted up to its last frame, and not to the end of its room.
#[test]
fn torn_bytes_of_files_with_room_are_those_of_their_frames() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    (1..=60).for_each(|seq| _ = append(&wal, seq).unwrap());
    drop(wal);
    let (seqs, sound) = recover(&env).unwrap();
    assert_eq!((seqs.len(), sound.torn_bytes), (60, 0));
    let ends: Vec<u64> = sound.logs.iter().map(|log| log.end.offset).collect();
    assert!(ends.len() > 3, "{ends:?}");
    // The first frame of the second file.
    sim.flip_bit(log_path(2), HEADER_LEN + 10, 0).unwrap();
    let (_, torn) = recover(&env).unwrap();
    let wanted: u64 = ends[1..].iter().map(|end| end - HEADER_LEN).sum();
    assert_eq!((torn.torn_bytes, torn.leftovers.len()), (wanted, ends.len() - 2));
}

#[test]
fn damage_behind_the_place_where_the_log_ends_is_nobodys_business() {
    let (sim, env) = machine();
    let wal = new_wal(&env, SMALL);
    for seq in 1..=60 {
        append(&wal, seq).unwrap();
        wal.sync(wal.end()).unwrap();
    }
    for number in [2, 3] {
        sim.flip_bit(log_path(number), HEADER_LEN + 10, 0).unwrap();
    }
    recover(&env).unwrap_err();
    let options = ReplayOptions {
        floor: 1,
        mode: RecoveryMode::PointInTime,
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(&env, &options).unwrap();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!((replayed.logs.len(), replayed.dropped.len()), (2, 1));
}

/// The table in `spare`: whatever the power cuts off, each file is the log's, or a leftover that the next opening removes.
#[test]
fn a_crash_at_any_call_leaves_no_file_that_nobody_knows() {
    for style in [
        CrashStyle::KeepNothing,
        CrashStyle::KeepAll,
        CrashStyle::Random,
        CrashStyle::Random,
    ] {
        for index in 0.. {
            let sim = SimEnv::new(index);
            let env = sim.env();
            env.fs.create_dir_all(db()).unwrap();
            let wal = new_wal(&env, SMALL);
            let index = sim.io_count() + index;
            sim.set_fault(Fault::PowerOffAt { index });
            let mut floor = 1;
            let finished = write(&wal, 45, &mut floor).is_ok();
            drop(wal);
            sim.crash(style);
            let options = ReplayOptions {
                floor,
                must_exist: vec![1, floor],
                ..ReplayOptions::default()
            };
            let context = format!("{style:?}, call {index}, floor {floor}");
            let (_, replayed) =
                recover_with(&sim.env(), &options).unwrap_or_else(|error| panic!("{context}: {error}"));
            let unfinished = db().join(UNFINISHED_LOG);
            for file in files(&sim) {
                let is_log = replayed.logs.iter().any(|log| log.path == file);
                assert!(
                    is_log || file == unfinished || replayed.leftovers.contains(&file),
                    "{context}: {}",
                    file.display()
                );
            }
            if finished {
                break;
            }
        }
    }
}
