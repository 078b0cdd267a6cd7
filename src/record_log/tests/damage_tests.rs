//! What is damage and what is a torn tail, at the borders; what a failing medium does; headers that can't be.

use super::*;

/// Reads of this file that touch one of the bytes from `from` to `to` fail for good.
fn make_unreadable(sim: &SimEnv, from: u64, to: u64) {
    let touches = move |call: &crate::env::sim::Call| {
        call.op == Op::Read && call.mentions(PATH) && call.offset < to && call.offset + call.len > from
    };
    sim.fail_where(touches, u64::MAX, ErrorKind::Other, Effect::Nothing);
}

#[test]
fn a_file_whose_creation_fails_is_removed_again() {
    for op in [Op::Write, Op::Sync, Op::SyncDir] {
        let (sim, env) = machine();
        sim.fail_matching(Some(op), "/db", 1, ErrorKind::Other, Effect::Nothing);
        assert!(LogWriter::create(&*env.fs, Path::new(PATH), header(IDENTITY)).is_err());
        sim.read_file(PATH).unwrap_err();
    }
}

#[test]
fn a_predecessor_that_can_not_be_is_damage() {
    let possible = header(IDENTITY).predecessor.unwrap();
    let with = |number, offset, last_seq| LogEnd {
        number,
        offset,
        last_seq,
        ..possible.clone()
    };
    let outcome = |predecessor| {
        let (_sim, env) = machine();
        let header = Header {
            predecessor: Some(predecessor),
            ..header(IDENTITY)
        };
        LogWriter::create(&*env.fs, Path::new(PATH), header)
            .unwrap()
            .append(b"data")
            .unwrap();
        read_header(&*env.fs, Path::new(PATH), LogKind::Wal).unwrap()
    };
    for right in [with(6, HEADER_LEN, crate::types::MAX_SEQ), with(1, 1000, 0)] {
        assert!(matches!(outcome(right), HeaderOutcome::Whole(_)));
    }
    for wrong in [
        with(7, 1000, 77),
        with(8, 1000, 77),
        with(6, HEADER_LEN - 1, 77),
        with(6, 1000, crate::types::MAX_SEQ + 1),
    ] {
        assert!(matches!(outcome(wrong), HeaderOutcome::Damaged(_)));
    }
}

#[test]
fn a_file_that_can_not_be_read_is_an_error_and_no_torn_tail() {
    for mode in [
        RecoveryMode::TornTail,
        RecoveryMode::PointInTime,
        RecoveryMode::Absolute,
    ] {
        let (sim, env) = machine();
        let mut log = writer(&env);
        log.append(b"data").unwrap();
        make_unreadable(&sim, HEADER_LEN, u64::MAX);
        let options = ReadOptions {
            mode,
            ..ReadOptions::default()
        };
        assert!(matches!(read_with(&env, &options), Err(Error::Io { .. })));
    }
}

#[test]
fn salvage_loses_the_frames_around_an_unreadable_place_and_no_others() {
    // What can't be read is given up in parts of 4 KiB, counted from the first frame. Near the end of such a part the frames
    // behind it can't be told from damage, until the next known sum of the bytes before.
    for (byte, most) in [(10, 6), (4090, 10)] {
        let (sim, env) = machine();
        let mut log = writer(&env);
        let ends: Vec<u64> = (0..100u8).map(|i| log.append(&[i; 1000]).unwrap()).collect();
        let starts: Vec<u64> = [HEADER_LEN].iter().chain(&ends).copied().collect();
        let place = HEADER_LEN + 10 * 4096 + byte;
        make_unreadable(&sim, place, place + 1);
        let options = ReadOptions {
            mode: RecoveryMode::Salvage,
            ..ReadOptions::default()
        };
        let (frames, _) = read_with(&env, &options).unwrap();
        let found: Vec<u8> = frames.iter().map(|(_, payload)| payload[0]).collect();
        let lost: Vec<u8> = (0..100).filter(|i| !found.contains(i)).collect();
        let hit = ends.iter().position(|end| *end > place).unwrap() as u8;
        assert!(lost.contains(&hit) && lost.len() <= most, "{lost:?}");
        assert!(lost.windows(2).all(|two| two[1] == two[0] + 1), "{lost:?}");
        assert!(
            frames
                .iter()
                .all(|(at, payload)| starts[usize::from(payload[0])] == *at)
        );
    }
}

#[test]
fn a_tear_right_behind_what_was_synced_is_a_torn_tail() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let synced = log.append(b"synced").unwrap();
    log.append(b"not synced").unwrap();
    sim.flip_bit(PATH, synced + FRAME_HEADER_LEN, 0).unwrap();
    let options = |synced_to| ReadOptions {
        synced_to,
        ..ReadOptions::default()
    };
    let (frames, outcome) = read_with(&env, &options(synced)).unwrap();
    assert_eq!((frames.len(), outcome.end), (1, synced));
    assert_eq!(
        damage_at(&read_with(&env, &options(synced + 1)).unwrap_err()),
        synced
    );
}

#[test]
fn a_marker_behind_a_tear_proves_only_what_it_covers() {
    for covers_all in [false, true] {
        let (sim, env) = machine();
        let mut log = writer(&env);
        let first = log.append(b"synced").unwrap();
        let second = log.append(b"written while the sync ran").unwrap();
        log.mark(7, if covers_all { second } else { first }).unwrap();
        sim.flip_bit(PATH, first + FRAME_HEADER_LEN, 0).unwrap();
        match read_all(&env) {
            Ok((frames, outcome)) => {
                assert!(!covers_all);
                assert_eq!((frames.len(), outcome.end), (1, first));
            }
            Err(error) => assert!(covers_all && damage_at(&error) == first),
        }
    }
}

#[test]
fn a_marker_is_found_wherever_the_read_buffer_ends() {
    // The buffer holds 256 KiB from the first frame on.
    for len in (256 << 10) - 60..(256 << 10) + 3 {
        let (sim, env) = machine();
        let mut log = writer(&env);
        let end = log.append(&vec![1; len - FRAME_HEADER_LEN as usize]).unwrap();
        log.mark(7, end).unwrap();
        log.append(b"more").unwrap();
        sim.flip_bit(PATH, 1000, 0).unwrap();
        assert_eq!(damage_at(&read_all(&env).unwrap_err()), HEADER_LEN);
    }
}

#[test]
fn a_frame_without_payload_is_read_at_the_very_end_too() {
    let (_sim, env) = machine();
    let mut log = writer(&env);
    log.append(b"").unwrap();
    assert_eq!(read_all(&env).unwrap().0, [(HEADER_LEN, Vec::new())]);
}

#[test]
fn a_header_is_damaged_however_far_behind_it_something_stands() {
    for distance in [0, 5000, 300_000, 600_000] {
        let (sim, env) = machine();
        let mut bytes = vec![0; HEADER_LEN as usize + distance];
        let unborn = |bytes: &[u8]| {
            sim.write_file(PATH, bytes).unwrap();
            let outcome = read_header(&*env.fs, Path::new(PATH), LogKind::Wal).unwrap();
            matches!(outcome, HeaderOutcome::Unborn)
        };
        assert!(unborn(&bytes));
        bytes.push(1);
        assert!(!unborn(&bytes), "{distance}");
    }
}

/// What salvaging gives: the frames' first bytes, and the parts that were stepped over.
fn salvage(env: &Env) -> (Vec<u8>, Vec<(u64, u64)>) {
    let options = ReadOptions {
        mode: RecoveryMode::Salvage,
        ..ReadOptions::default()
    };
    let (mut frames, mut skipped) = (Vec::new(), Vec::new());
    walk(&*env.fs, Path::new(PATH), LogKind::Wal, &options, &mut |event| {
        match event {
            Event::Data { payload, .. } => frames.push(payload[0]),
            Event::Skipped(part) => skipped.push((part.from, part.to)),
            Event::Header(_) | Event::Marker { .. } => {}
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    (frames, skipped)
}

#[test]
fn salvage_steps_over_damage_that_is_longer_than_the_read_buffer() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let ends = [(1, 10), (2, 700_000), (3, 10), (4, 300_000), (5, 10)]
        .map(|(byte, len)| log.append(&vec![byte; len]).unwrap());
    sim.flip_bit(PATH, ends[0] + 100, 0).unwrap();
    sim.flip_bit(PATH, ends[2] + 100, 0).unwrap();
    assert_eq!(
        salvage(&env),
        (vec![1, 3, 5], vec![(ends[0], ends[1]), (ends[2], ends[3])])
    );
}

#[test]
fn salvage_goes_on_at_a_marker_too() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let end = log.append(&[1; 10]).unwrap();
    log.mark(7, end).unwrap();
    log.append(&[2; 10]).unwrap();
    sim.flip_bit(PATH, end - 1, 0).unwrap();
    assert_eq!(salvage(&env), (vec![2], vec![(HEADER_LEN, end)]));
}

#[test]
fn what_a_later_log_says_of_this_one_holds_below_that_place_only() {
    let (sim, env) = machine();
    let mut log = writer(&env);
    let good = log.append(b"good").unwrap();
    log.append(b"torn").unwrap();
    sim.flip_bit(PATH, good + 10, 0).unwrap();
    let synced_to = |synced_to| {
        let options = ReadOptions {
            synced_to,
            ..ReadOptions::default()
        };
        read_with(&env, &options)
    };
    assert_eq!(synced_to(good).unwrap().1.end, good);
    assert_eq!(damage_at(&synced_to(good + 1).unwrap_err()), good);
}
