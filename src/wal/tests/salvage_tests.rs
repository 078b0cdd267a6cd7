//! What `Salvage` steps over, what it says of it, and what it writes anew; and torn tails beside damage in later files.

use super::chain_tests::{chain, in_mode};
use super::*;

/// The holes: path, bytes, and the numbers before and behind.
type Found = (PathBuf, (u64, u64), (SeqNo, Option<SeqNo>));

fn salvage_with(env: &Env, ends: Vec<LogEnd>) -> (Vec<SeqNo>, Vec<Found>, Replayed) {
    let options = ReplayOptions {
        ends,
        ..in_mode(RecoveryMode::Salvage)
    };
    let (seqs, replayed) = recover_with(env, &options).unwrap();
    let holes = replayed.holes.iter();
    let holes = holes.map(|hole| {
        (
            hole.path.clone(),
            (hole.from, hole.to),
            (hole.before_seq, hole.after_seq),
        )
    });
    (seqs, holes.collect(), replayed)
}

fn salvage(env: &Env) -> (Vec<SeqNo>, Vec<Found>, usize) {
    let (seqs, holes, replayed) = salvage_with(env, Vec::new());
    (seqs, holes, replayed.dropped.len())
}

#[test]
fn a_sound_log_has_no_holes_and_what_is_proven_of_it_is_not_written_anew() {
    let (_sim, env) = chain(3, true);
    let (seqs, holes, replayed) = salvage_with(&env, Vec::new());
    assert_eq!((seqs, holes, replayed.dropped.len()), (vec![1, 2, 3], vec![], 0));
    let resumed = resume(&env, db(), replayed.next_number, &replayed, OPTIONS).unwrap();
    assert_eq!((resumed.kept.len(), resumed.replaced.len()), (3, 0));
}

#[test]
fn a_missing_file_is_one_hole_and_is_reported_once() {
    let (sim, env) = chain(4, false);
    sim.remove_file(log_path(2)).unwrap();
    let hole = (log_path(3), (0, 0), (1, Some(3)));
    assert_eq!(salvage(&env), (vec![1, 3, 4], vec![hole], 1));
}

#[test]
fn another_databases_file_leaves_a_hole_behind_it() {
    let (sim, env) = chain(4, false);
    let other = SimEnv::new(99);
    other.env().fs.create_dir_all(db()).unwrap();
    let wal = new_wal(&other.env(), TINY);
    for seq in 1..=3 {
        append(&wal, seq).unwrap();
    }
    sim.write_file(log_path(2), &other.read_file(log_path(2)).unwrap())
        .unwrap();
    let (_, holes, _) = salvage(&env);
    assert!(holes.iter().any(|hole| hole.0 == log_path(3)), "{holes:?}");
}

#[test]
fn a_short_file_is_a_hole_as_long_as_what_is_left_of_its_last_frame() {
    let (sim, env) = chain(3, false);
    let bytes = sim.read_file(log_path(2)).unwrap();
    sim.write_file(log_path(2), &bytes[..HEADER_LEN as usize + 7])
        .unwrap();
    let hole = (log_path(2), (HEADER_LEN, HEADER_LEN + 7), (1, Some(3)));
    assert_eq!(salvage(&env), (vec![1, 3], vec![hole], 1));
}

#[test]
fn a_frame_skipped_at_a_files_end_is_reported_once() {
    let (sim, env) = machine();
    let wal = new_wal(&env, WalOptions::plain(250));
    let first = append(&wal, 1).unwrap();
    let second = append(&wal, 2).unwrap();
    wal.sync(wal.end()).unwrap();
    append_group(&wal, &[3, 4, 5]).unwrap();
    assert_eq!(wal.current_number(), 2);
    sim.flip_bit(log_path(1), second.offset - 1, 0).unwrap();
    let hole = (log_path(1), (first.offset, second.offset), (1, Some(3)));
    assert_eq!(salvage(&env), (vec![1, 3, 4, 5], vec![hole], 1));
}

#[test]
fn a_lost_header_is_put_together_from_the_recorded_end_of_that_file() {
    let (sim, env) = chain(3, true);
    let ends: Vec<LogEnd> = recover(&env)
        .unwrap()
        .1
        .logs
        .into_iter()
        .map(|log| log.end)
        .collect();
    // The last one: no other file's header says anything of it.
    sim.flip_bit(log_path(3), 40, 0).unwrap();
    let (seqs, _, replayed) = salvage_with(&env, ends);
    assert_eq!((seqs, replayed.dropped.len()), (vec![1, 2, 3], 1));
}

#[test]
fn what_two_files_repeat_is_written_anew_once() {
    let (sim, env) = machine();
    append_group(&new_wal(&env, OPTIONS), &[1, 2, 3]).unwrap();
    let first = sim.read_file(log_path(1)).unwrap();
    let (_, replayed) = recover(&env).unwrap();
    let resumed = resume(&env, db(), 2, &replayed, OPTIONS).unwrap();
    assert_eq!(
        (resumed.kept.len(), &resumed.replaced),
        (0, &vec![log_path(1)]),
        "nothing of it is needed"
    );
    drop(resumed);
    assert_eq!(sim.read_file(log_path(1)).unwrap(), first);
    // A crash before the old file was removed; and the new one has lost its header, which says where the old one ends.
    let end = recover(&env).unwrap().1.logs.remove(1).end;
    sim.flip_bit(log_path(2), 40, 0).unwrap();
    let (seqs, _, replayed) = salvage_with(&env, vec![end]);
    assert_eq!(seqs, [1, 2, 3]);
    resume(&env, db(), 3, &replayed, OPTIONS).unwrap();
    let options = ReplayOptions {
        floor: 3,
        must_exist: vec![3],
        ..ReplayOptions::default()
    };
    assert_eq!(recover_with(&env, &options).unwrap().0, [1, 2, 3]);
}

#[test]
fn a_long_tail_is_written_anew_by_few_large_writes() {
    let (sim, env) = machine();
    let wal = new_wal(&env, WalOptions::plain(1 << 30));
    for seq in 1..=40u64 {
        let mut builder = PayloadBuilder::new();
        builder.put(3, b"key", &[7; 100_000]);
        builder.set_first_seq(seq);
        let payload = builder.as_bytes();
        wal.append(&[Frame {
            first_seq: seq,
            last_seq: seq,
            payload,
        }])
        .unwrap();
    }
    let options = ReplayOptions {
        must_exist: vec![1],
        ..in_mode(RecoveryMode::TornTail)
    };
    let replayed = replay(&*env.fs, db(), &options, &mut |_, _| Ok(())).unwrap();
    sim.set_trace(true);
    resume(&env, db(), 2, &replayed, OPTIONS).unwrap();
    let large: Vec<u64> = sim
        .take_trace()
        .iter()
        .filter(|call| call.op == Io::Write && call.len > 200)
        .map(|call| call.len)
        .collect();
    assert_eq!(large.len(), 4, "{large:?}");
    assert!(large.iter().all(|len| *len < 1_200_000), "{large:?}");
}

#[test]
fn a_tear_ends_the_log_though_a_later_file_is_damaged_too() {
    let (sim, env) = chain(4, true);
    let bytes = sim.read_file(log_path(1)).unwrap();
    sim.write_file(log_path(1), &bytes[..bytes.len() - 5]).unwrap();
    sim.flip_bit(log_path(3), HEADER_LEN + 12, 0).unwrap();
    let (seqs, replayed) = recover_with(&env, &in_mode(RecoveryMode::PointInTime)).unwrap();
    assert_eq!((seqs, replayed.dropped.len()), (vec![], 1));
}

#[test]
fn a_torn_tail_leaves_leftovers_in_point_in_time_too() {
    let (sim, env) = chain(3, false);
    let bytes = sim.read_file(log_path(2)).unwrap();
    sim.write_file(log_path(2), &bytes[..bytes.len() - 5]).unwrap();
    let (seqs, replayed) = recover_with(&env, &in_mode(RecoveryMode::PointInTime)).unwrap();
    assert_eq!((seqs, replayed.leftovers), (vec![1], vec![log_path(3)]));
}

#[test]
fn a_later_files_marker_proves_nothing_of_what_lies_behind_its_place() {
    for covers_all in [false, true] {
        let (sim, env) = machine();
        let header = |number, predecessor| Header {
            kind: LogKind::Wal,
            number,
            identity: [number as u8; 16],
            predecessor,
            reserved: false,
        };
        let mut one = LogWriter::create(&*env.fs, &log_path(1), header(1, None)).unwrap();
        let first = one.append(payload(1).as_bytes()).unwrap();
        let second = one.append(payload(2).as_bytes()).unwrap();
        let end = one.header().ended(second, 2);
        let mut two = LogWriter::create(&*env.fs, &log_path(2), header(2, Some(end))).unwrap();
        two.append(payload(3).as_bytes()).unwrap();
        two.mark(1, if covers_all { second } else { first }).unwrap();
        sim.flip_bit(log_path(1), second - 1, 0).unwrap();
        match recover(&env) {
            Ok((seqs, _)) => assert_eq!((seqs, covers_all), (vec![1], false)),
            Err(error) => assert!(covers_all && damaged_file(&error) == log_path(1), "{error}"),
        }
    }
}

#[test]
fn a_header_that_can_not_be_read_is_as_good_as_damaged_for_salvage_only() {
    let (sim, env) = chain(4, false);
    let fail = || sim.fail_matching(Some(Io::Read), "000002.log", 1, ErrorKind::Other, Effect::Nothing);
    fail();
    assert!(matches!(
        recover_with(&env, &in_mode(RecoveryMode::TornTail)),
        Err(Error::Io { .. })
    ));
    fail();
    // Its successor knows whose file it is.
    assert_eq!(salvage(&env).0, [1, 2, 3, 4]);
}

/// The same of the first frame of a file with reserved room, which is looked at to tell whether there is any.
#[test]
fn a_first_frame_that_can_not_be_read_once_is_an_error_and_not_for_salvage() {
    let (sim, env) = machine();
    let wal = new_wal(&env, WalOptions::mapped(250));
    (1..=12).for_each(|seq| _ = append(&wal, seq).unwrap());
    assert!(wal.current_number() > 2);
    drop(wal);
    let fail = || {
        let first_frame = |call: &crate::env::sim::Call| {
            call.op == Io::Read && call.mentions("000002.log") && call.offset > 0
        };
        sim.fail_where(first_frame, 1, ErrorKind::Other, Effect::Nothing);
    };
    fail();
    assert!(matches!(
        recover_with(&env, &in_mode(RecoveryMode::TornTail)),
        Err(Error::Io { .. })
    ));
    fail();
    assert_eq!(salvage(&env).0, Vec::from_iter(1..=12));
}

/// A file ends in the middle of a frame, and the next one has lost its header: markers behind are looked for in that one too.
#[test]
fn a_file_that_falls_short_before_one_without_a_header_is_a_hole() {
    let (sim, env) = machine();
    let wal = new_wal(&env, WalOptions::mapped(250));
    (1..=20).for_each(|seq| _ = append(&wal, seq).unwrap());
    assert!(wal.current_number() > 3, "a successor knows whose file 3 is");
    drop(wal);
    let log = sim.read_file(log_path(2)).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap();
    sim.write_file(log_path(2), &log[..used - 3]).unwrap();
    let (with_header, ..) = salvage(&env);
    assert_eq!(with_header.len(), 19);
    sim.flip_bit(log_path(3), 20, 0).unwrap();
    assert_eq!(salvage(&env).0, with_header);
}

#[test]
fn a_file_that_has_lost_its_header_is_read_by_what_its_own_successor_says() {
    let (sim, env) = chain(4, false);
    let mut bytes = sim.read_file(log_path(2)).unwrap();
    bytes[20] ^= 1;
    sim.write_file(log_path(2), &bytes).unwrap();
    assert_eq!(salvage(&env).0, [1, 2, 3, 4]);
}

#[test]
fn what_was_salvaged_from_behind_a_hole_is_written_anew() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    let first = append(&wal, 1).unwrap();
    append(&wal, 2).unwrap();
    append(&wal, 3).unwrap();
    drop(wal);
    let mut bytes = sim.read_file(log_path(1)).unwrap();
    bytes[(first.offset + FRAME_HEADER_LEN + 3) as usize] ^= 1;
    sim.write_file(log_path(1), &bytes).unwrap();
    let (seqs, _, replayed) = salvage_with(&env, Vec::new());
    assert_eq!(seqs, [1, 3]);
    let resumed = resume(&env, db(), replayed.next_number, &replayed, OPTIONS).unwrap();
    for path in &resumed.replaced {
        env.fs.remove(path).unwrap();
    }
    let floor = match resumed.kept.first() {
        Some(log) => log.end.number,
        None => resumed.wal.current_number(),
    };
    let options = ReplayOptions {
        floor,
        ..in_mode(RecoveryMode::TornTail)
    };
    let (seqs, replayed) = recover_with(&env, &options).unwrap();
    assert_eq!((seqs, replayed.dropped.len()), (vec![1, 3], 0));
}
