//! Which files replay takes for the log, and what it says about the rest.

use super::*;

/// Files 1 to `files`, one write each, not closed. With `synced`, markers say that all are synced but the last.
pub(super) fn chain(files: u64, synced: bool) -> (SimEnv, Env) {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=files {
        append(&wal, seq).unwrap();
        if synced && seq + 1 == files {
            wal.sync(wal.end()).unwrap();
        }
    }
    if synced {
        wal.sync(wal.end()).unwrap();
    }
    (sim, env)
}

pub(super) fn in_mode(mode: RecoveryMode) -> ReplayOptions {
    ReplayOptions {
        floor: 1,
        mode,
        ..ReplayOptions::default()
    }
}

#[test]
fn strangers_in_the_directory_change_nothing() {
    let (sim, env) = chain(3, true);
    for name in [
        "x.log",
        "1.log.bak",
        "0000007.log",
        "7.log",
        "+00007.log",
        "99999999999999999999.log",
        "notes",
    ] {
        sim.write_file(db().join(name), b"not ours, whatever it looks like")
            .unwrap();
    }
    sim.write_file(log_path(50), b"a stranger with a name of ours, far behind")
        .unwrap();
    env.fs.create_dir_all(&log_path(60)).unwrap();
    let before = sim.list();
    let (seqs, replayed) = recover(&env).unwrap();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!((replayed.next_number, replayed.leftovers.len()), (61, 0));
    assert_eq!(sim.list(), before);
    let (_, wal) = reopen(&env, TINY);
    append(&wal, 4).unwrap();
    assert_eq!(
        recover(&env).unwrap().0,
        [1, 2, 3, 4],
        "the chain steps over the stranger"
    );
}

#[test]
fn a_stranger_where_the_next_file_would_be_is_an_error() {
    let (sim, env) = chain(3, true);
    sim.write_file(log_path(4), b"this may have been the log's fourth file")
        .unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(4));
}

#[test]
fn a_name_taken_by_a_stranger_is_stepped_over_while_writing() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    env.fs.create_dir_all(&log_path(2)).unwrap();
    append(&wal, 2).unwrap();
    assert_eq!(wal.current_number(), 3);
    assert_eq!(recover(&env).unwrap().0, [1, 2]);
    drop(sim);
}

#[test]
fn an_append_gives_up_behind_sixteen_names_in_a_row_that_are_taken() {
    let (_sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    for number in 2..=17 {
        env.fs.create_dir_all(&log_path(number)).unwrap();
    }
    append(&wal, 2).unwrap_err();
    append(&wal, 2).unwrap();
    assert_eq!(wal.current_number(), 18);
}

#[test]
fn a_half_created_last_file_is_a_leftover() {
    let (sim, env) = chain(2, false);
    let header = sim.read_file(log_path(2)).unwrap();
    for contents in [&b""[..], &[0; 200], &header[..50]] {
        sim.write_file(log_path(3), contents).unwrap();
        let (seqs, replayed) = recover(&env).unwrap();
        assert_eq!(seqs, [1, 2]);
        assert_eq!((replayed.leftovers, replayed.next_number), (vec![log_path(3)], 4));
        let options = ReplayOptions {
            floor: 1,
            must_exist: vec![3],
            ..ReplayOptions::default()
        };
        assert_eq!(
            damaged_file(&recover_with(&env, &options).unwrap_err()),
            log_path(3)
        );
    }
}

#[test]
fn a_missing_file_in_the_middle_is_an_error_that_names_it() {
    let (sim, env) = chain(4, false);
    sim.remove_file(log_path(3)).unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(3));
    let (seqs, replayed) = recover_with(&env, &in_mode(RecoveryMode::PointInTime)).unwrap();
    assert_eq!((seqs, replayed.dropped.len()), (vec![1, 2], 1));
    assert!(
        replayed.leftovers.is_empty(),
        "what the user goes on without is not deleted at once"
    );
}

#[test]
fn a_missing_first_file_is_an_error_that_names_it() {
    let (sim, env) = chain(3, false);
    sim.remove_file(log_path(1)).unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(1));
    let (seqs, replayed) = recover_with(&env, &in_mode(RecoveryMode::PointInTime)).unwrap();
    assert_eq!(seqs, Vec::<SeqNo>::new(), "what follows a hole is not replayed");
    assert!(!replayed.dropped.is_empty());
}

#[test]
fn a_missing_file_that_the_manifest_names_is_an_error() {
    let (sim, env) = chain(3, false);
    sim.remove_file(log_path(3)).unwrap();
    assert_eq!(recover(&env).unwrap().0, [1, 2], "nobody knows of it");
    let options = ReplayOptions {
        floor: 1,
        must_exist: vec![1, 3],
        ..ReplayOptions::default()
    };
    assert_eq!(
        damaged_file(&recover_with(&env, &options).unwrap_err()),
        log_path(3)
    );
}

#[test]
fn files_below_the_floor_are_leftovers_whatever_is_in_them() {
    let (sim, env) = chain(4, true);
    sim.flip_bit(log_path(1), 40, 0).unwrap();
    sim.flip_bit(log_path(2), HEADER_LEN + 12, 0).unwrap();
    let options = ReplayOptions {
        floor: 3,
        must_exist: vec![1, 2, 3],
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(&env, &options).unwrap();
    assert_eq!(seqs, [3, 4]);
    assert_eq!(replayed.leftovers, [log_path(1), log_path(2)]);
    sim.write_file(log_path(2), b"a stranger is never listed for removal")
        .unwrap();
    assert_eq!(recover_with(&env, &options).unwrap().1.leftovers, [log_path(1)]);
}

#[test]
fn every_flip_in_any_file_below_the_last_marker_is_damage() {
    let (sim, env) = chain(3, true);
    let marked = sim.read_file(log_path(3)).unwrap().len() as u64 - 25;
    for number in 1..=3 {
        let len = sim.read_file(log_path(number)).unwrap().len() as u64;
        for at in 0..len.min(if number == 3 { marked } else { len }) {
            sim.flip_bit(log_path(number), at, 2).unwrap();
            let error = recover(&env).unwrap_err();
            assert_eq!(
                damaged_file(&error),
                log_path(number),
                "flip at {at} of {number}: {error}"
            );
            sim.flip_bit(log_path(number), at, 2).unwrap();
        }
    }
    recover(&env).unwrap();
}

#[test]
fn a_short_file_below_an_unsynced_one_is_a_torn_tail() {
    let (sim, env) = chain(3, false);
    let bytes = sim.read_file(log_path(2)).unwrap();
    let whole = bytes.len() as u64 - HEADER_LEN;
    sim.write_file(log_path(2), &bytes[..bytes.len() - 5]).unwrap();
    let (seqs, replayed) = recover(&env).unwrap();
    assert_eq!(seqs, [1]);
    assert_eq!(replayed.torn_bytes, whole - 5 + whole);
    assert_eq!(replayed.leftovers, [log_path(3)]);
    assert_eq!(
        (replayed.logs.len(), replayed.logs[1].end.offset),
        (2, HEADER_LEN)
    );
    let absolute = recover_with(&env, &in_mode(RecoveryMode::Absolute));
    assert_eq!(damaged_file(&absolute.unwrap_err()), log_path(2));
}

#[test]
fn a_short_file_below_a_synced_one_is_damage() {
    let (sim, env) = chain(3, true);
    let bytes = sim.read_file(log_path(1)).unwrap();
    sim.write_file(log_path(1), &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(1));
    let (seqs, replayed) = recover_with(&env, &in_mode(RecoveryMode::PointInTime)).unwrap();
    assert_eq!(
        (seqs, replayed.dropped.len(), replayed.logs.len()),
        (vec![], 1, 1)
    );
}

#[test]
fn a_recorded_end_holds_though_good_bytes_lie_behind_it() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    let torn_at = wal.end().offset;
    append(&wal, 2).unwrap();
    append(&wal, 3).unwrap();
    drop(wal);
    sim.flip_bit(log_path(1), torn_at + 10, 0).unwrap();
    let (seqs, first) = recover(&env).unwrap();
    assert_eq!(seqs, [1]);
    sim.flip_bit(log_path(1), torn_at + 10, 0).unwrap(); // a read error that went away
    let ends = vec![first.logs[0].end.clone()];
    let options = ReplayOptions {
        floor: 1,
        ends,
        ..ReplayOptions::default()
    };
    let (seqs, second) = recover_with(&env, &options).unwrap();
    assert_eq!((seqs, second.torn_bytes, &second.logs), (vec![1], 0, &first.logs));
    let bytes = sim.read_file(log_path(1)).unwrap();
    sim.write_file(log_path(1), &bytes[..torn_at as usize - 1])
        .unwrap();
    assert_eq!(
        damaged_file(&recover_with(&env, &options).unwrap_err()),
        log_path(1)
    );
}

#[test]
fn a_file_cut_off_by_an_earlier_recovery_never_comes_back() {
    let (sim, env) = chain(3, false);
    let whole = sim.read_file(log_path(2)).unwrap();
    sim.write_file(log_path(2), &whole[..whole.len() - 5]).unwrap();
    let (_, first) = recover(&env).unwrap();
    sim.write_file(log_path(2), &whole).unwrap();
    // Crash before the next file is created: the manifest has the end.
    let end = first.logs.last().unwrap().end.clone();
    let options = ReplayOptions {
        floor: 1,
        ends: vec![end.clone()],
        ..ReplayOptions::default()
    };
    let (seqs, second) = recover_with(&env, &options).unwrap();
    assert_eq!((seqs, second.next_number), (vec![1], 4));
    assert_eq!(second.leftovers, [log_path(3)]);
    let knowing = ReplayOptions {
        must_exist: vec![3],
        ..options.clone()
    };
    assert_eq!(
        recover_with(&env, &knowing).unwrap().0,
        [1],
        "a file that is cut off does exist"
    );
    // And after it: the new file's header has it, too.
    let wal = Wal::create(&env, db(), 4, Some(end), second.logs, TINY).unwrap();
    append(&wal, 2).unwrap();
    assert_eq!(recover_with(&env, &options).unwrap().0, [1, 2]);
    assert_eq!(recover(&env).unwrap().0, [1, 2]);
}

#[test]
fn another_databases_file_in_place_of_one_is_an_error() {
    let (sim, env) = chain(3, false);
    let other = SimEnv::new(99);
    let other_env = other.env();
    other_env.fs.create_dir_all(db()).unwrap();
    let wal = new_wal(&other_env, TINY);
    append(&wal, 1).unwrap();
    append(&wal, 2).unwrap();
    sim.write_file(log_path(2), &other.read_file(log_path(2)).unwrap())
        .unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(2));
}

#[test]
fn a_copy_under_another_number_is_not_the_log() {
    let (sim, env) = chain(2, false);
    let bytes = sim.read_file(log_path(2)).unwrap();
    sim.write_file(log_path(9), &bytes).unwrap();
    let (seqs, replayed) = recover(&env).unwrap();
    assert_eq!(
        (seqs, replayed.next_number, replayed.leftovers.len()),
        (vec![1, 2], 10, 0)
    );
}

#[test]
fn replay_changes_nothing_on_disk() {
    let (sim, env) = chain(3, false);
    sim.write_file(log_path(4), b"").unwrap();
    let state = |sim: &SimEnv| -> Vec<_> {
        sim.list()
            .into_iter()
            .map(|path| (sim.read_file(&path).unwrap(), path))
            .collect()
    };
    let before = state(&sim);
    sim.set_trace(true);
    recover(&env).unwrap();
    assert_eq!(state(&sim), before);
    assert!(
        sim.take_trace()
            .iter()
            .all(|c| matches!(c.op, Io::Open | Io::Read | Io::Len | Io::List))
    );
}

#[test]
fn growing_numbers_are_checked_across_files() {
    let (sim, env) = machine();
    let header = |number, predecessor| crate::record_log::Header {
        kind: LogKind::Wal,
        number,
        identity: [number as u8; 16],
        predecessor,
        reserved: false,
    };
    let mut one = LogWriter::create(&*env.fs, &log_path(1), header(1, None)).unwrap();
    one.append(payload(5).as_bytes()).unwrap();
    let end = one.header().ended(one.end(), 5);
    let mut two = LogWriter::create(&*env.fs, &log_path(2), header(2, Some(end.clone()))).unwrap();
    two.append(payload(5).as_bytes()).unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(2));
    sim.remove_file(log_path(2)).unwrap();
    let lying = crate::record_log::LogEnd { last_seq: 4, ..end };
    LogWriter::create(&*env.fs, &log_path(2), header(2, Some(lying))).unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(1));
}

#[test]
fn hostile_bytes_give_an_error_or_a_prefix_in_every_mode() {
    let (sim, env) = chain(4, true);
    let clean: Vec<_> = (1..=4)
        .map(|number| sim.read_file(log_path(number)).unwrap())
        .collect();
    let mut random = 1u64;
    let mut draw = |below: usize| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) as usize % below
    };
    let mut outcomes = [0, 0];
    for _ in 0..3000 {
        let number = draw(4);
        let mut bytes = clean[number].clone();
        match draw(4) {
            0 => bytes.truncate(draw(bytes.len())),
            1 => bytes.extend((0..draw(60)).map(|i| i as u8)),
            _ => {
                for _ in 0..=draw(4) {
                    let at = draw(bytes.len());
                    bytes[at] = [0, 1, 2, 3, 16, 0x7f, 0x80, 0xff][draw(8)];
                }
            }
        }
        sim.write_file(log_path(number as u64 + 1), &bytes).unwrap();
        let mode = [
            RecoveryMode::TornTail,
            RecoveryMode::Absolute,
            RecoveryMode::PointInTime,
        ][draw(3)];
        match recover_with(&env, &in_mode(mode)) {
            Ok((seqs, _)) => {
                assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
                outcomes[0] += 1;
            }
            Err(error) => {
                assert_ne!(mode, RecoveryMode::PointInTime, "{error}");
                assert_eq!(damaged_file(&error), log_path(number as u64 + 1));
                outcomes[1] += 1;
            }
        }
        sim.write_file(log_path(number as u64 + 1), &clean[number])
            .unwrap();
    }
    assert!(outcomes.iter().all(|count| *count > 300), "{outcomes:?}");
}

#[test]
fn what_the_user_went_on_without_is_not_asked_for_again() {
    let (sim, env) = chain(4, true);
    sim.flip_bit(log_path(2), HEADER_LEN + 12, 0).unwrap();
    assert_eq!(damaged_file(&recover(&env).unwrap_err()), log_path(2));
    let (seqs, first) = recover_with(&env, &in_mode(RecoveryMode::PointInTime)).unwrap();
    assert_eq!((seqs, first.dropped.len()), (vec![1], 1));
    assert!(first.leftovers.is_empty() && first.torn_bytes > 0);
    let end = first.logs.last().unwrap().end.clone();
    // The next open is an ordinary one, before or after the next file has been created.
    let options = ReplayOptions {
        floor: 1,
        ends: vec![end.clone()],
        ..ReplayOptions::default()
    };
    let (seqs, second) = recover_with(&env, &options).unwrap();
    assert_eq!(
        (seqs, &second.leftovers),
        (vec![1], &vec![log_path(3), log_path(4)])
    );
    let wal = Wal::create(&env, db(), second.next_number, Some(end), second.logs, TINY).unwrap();
    append(&wal, 2).unwrap();
    wal.sync(wal.end()).unwrap();
    assert_eq!(recover_with(&env, &options).unwrap().0, [1, 2]);
}

#[test]
fn a_header_that_can_not_be_read_is_an_error_of_the_medium_and_no_damage() {
    for number in 1..=3 {
        let (sim, env) = chain(3, true);
        let name = format!("{number:06}.log");
        sim.fail_matching(Some(Io::Read), &name, 1, ErrorKind::Other, Effect::Nothing);
        let error = recover(&env).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}
