//! What happens exactly at a limit, and what the log says of itself.

use super::*;

fn frame_bytes(seq: SeqNo) -> u64 {
    FRAME_HEADER_LEN + payload(seq).as_bytes().len() as u64
}

#[test]
fn a_file_is_filled_to_its_limit_and_not_a_byte_further() {
    for (spare, file) in [(0, 1), (1, 2)] {
        let (_sim, env) = machine();
        let max_file_size = HEADER_LEN + 2 * frame_bytes(1) - spare;
        let wal = new_wal(&env, WalOptions::plain(max_file_size));
        append(&wal, 1).unwrap();
        assert_eq!(append(&wal, 2).unwrap().number, file);
    }
}

#[test]
fn only_a_log_that_was_closed_in_order_says_where_it_ends() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    assert_eq!(wal.closed_end(), None, "open, and nothing to sync");
    append(&wal, 1).unwrap();
    wal.close().unwrap();
    let end = wal.closed_end().unwrap();
    assert_eq!((end.number, end.last_seq), (1, 1));
    assert_eq!(end.offset, sim.file_len(log_path(1)).unwrap(), "with the seal");

    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    wal.sync(wal.end()).unwrap();
    sim.fail_matching(Some(Io::Write), ".log", 1, ErrorKind::Other, Effect::Nothing);
    wal.close().unwrap_err();
    assert_eq!(wal.closed_end(), None, "no seal");

    let (_sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    wal.close().unwrap();
    wal.poison(Error::ReadOnly);
    assert_eq!(wal.closed_end(), None, "poisoned");
}

#[test]
fn a_log_that_failed_to_begin_its_next_file_closes_in_that_one() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    sim.fail_matching(
        Some(Io::Write),
        "00000",
        2,
        ErrorKind::StorageFull,
        Effect::Nothing,
    );
    append(&wal, 2).unwrap_err();
    wal.close().unwrap_err();
    assert_eq!(wal.closed_end(), None, "only a successor can say where it ends");
}

#[test]
fn no_marker_goes_into_a_file_whose_successor_may_exist() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    let before = sim.read_file(log_path(1)).unwrap();
    fail_half_way_into_the_second_file(&sim);
    append(&wal, 2).unwrap_err();
    wal.sync(wal.end()).unwrap();
    assert_eq!(sim.read_file(log_path(1)).unwrap(), before);
}

#[test]
fn syncs_are_counted_and_idle_ones_are_none() {
    let (_sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    assert_eq!(wal.syncs(), 0);
    for seq in 1..=2 {
        append(&wal, seq).unwrap();
        wal.sync(wal.end()).unwrap();
        wal.sync(wal.end()).unwrap();
        assert_eq!(wal.syncs(), seq);
    }
}

#[test]
fn a_file_that_is_gone_already_counts_as_removed() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=3 {
        append(&wal, seq).unwrap();
    }
    sim.remove_file(log_path(1)).unwrap();
    wal.remove_below(3).unwrap();
    assert_eq!((wal.oldest().0, sim.list()), (3, vec![log_path(3)]));
}

#[test]
fn what_an_opening_wrote_anew_the_next_one_believes() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append_group(&wal, &[1, 2, 3]).unwrap();
    let (seqs, _wal) = reopen(&env, OPTIONS);
    assert_eq!(seqs, [1, 2, 3]);
    // The frames were copied, because nothing vouched for them; the marker behind the copies does.
    let (seqs, replayed) = recover_with(
        &env,
        &ReplayOptions {
            floor: 2,
            must_exist: vec![2],
            ..ReplayOptions::default()
        },
    )
    .unwrap();
    assert_eq!(seqs, [1, 2, 3]);
    let before = sim.list().len();
    let resumed = resume(&env, db(), replayed.next_number, &replayed, OPTIONS).unwrap();
    assert_eq!((resumed.kept.len(), resumed.replaced.len()), (1, 0));
    assert_eq!(sim.file_len(log_path(replayed.next_number)).unwrap(), HEADER_LEN);
    assert_eq!(sim.list().len(), before + 1);
}

#[test]
fn a_log_without_frames_goes_on_behind_the_number_that_its_header_names() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=5 {
        append(&wal, seq).unwrap();
    }
    let bytes = sim.read_file(log_path(5)).unwrap();
    sim.write_file(log_path(5), &bytes[..HEADER_LEN as usize])
        .unwrap();
    let options = |floor| ReplayOptions {
        floor,
        must_exist: vec![floor],
        ..ReplayOptions::default()
    };
    let (seqs, replayed) = recover_with(&env, &options(5)).unwrap();
    assert_eq!((seqs, replayed.last_seq), (vec![], 4));
    assert_eq!(replayed.before.unwrap().number, 4);
}

#[test]
fn a_number_that_the_header_puts_before_the_file_is_damage_in_it() {
    for (before, good) in [(2, true), (3, false)] {
        let (_sim, env) = machine();
        let header = Header {
            kind: LogKind::Wal,
            number: 2,
            identity: [7; 16],
            predecessor: Some(LogEnd {
                number: 1,
                identity: [6; 16],
                offset: 1000,
                last_seq: before,
            }),
            reserved: false,
        };
        let mut log = LogWriter::create(&*env.fs, &log_path(2), header).unwrap();
        log.append(payload(3).as_bytes()).unwrap();
        let options = ReplayOptions {
            floor: 2,
            must_exist: vec![2],
            ..ReplayOptions::default()
        };
        assert_eq!(recover_with(&env, &options).is_ok(), good);
    }
}

#[test]
fn another_files_copy_below_the_floor_is_not_ours_to_delete() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    for seq in 1..=4 {
        append(&wal, seq).unwrap();
    }
    sim.write_file(log_path(1), &sim.read_file(log_path(4)).unwrap())
        .unwrap();
    let options = ReplayOptions {
        floor: 3,
        must_exist: vec![3],
        ..ReplayOptions::default()
    };
    assert_eq!(recover_with(&env, &options).unwrap().1.leftovers, [log_path(2)]);
}

#[test]
fn a_file_without_a_predecessor_is_the_first_only_if_nothing_was_written_below_it() {
    for written in [false, true] {
        let (_sim, env) = machine();
        let older = new_wal(&env, OPTIONS);
        if written {
            append(&older, 1).unwrap();
        }
        drop(older);
        let wal = Wal::create(&env, db(), 2, None, Vec::new(), OPTIONS).unwrap();
        append(&wal, 2).unwrap();
        let found = recover_with(
            &env,
            &ReplayOptions {
                must_exist: vec![2],
                ..ReplayOptions::default()
            },
        );
        if written {
            assert_eq!(damaged_file(&found.unwrap_err()), log_path(2));
        } else {
            assert_eq!(found.unwrap().0, [2]);
        }
    }
}

#[test]
fn a_file_that_was_synced_as_a_whole_is_not_synced_again_behind_its_successor() {
    let unsynced = |wal: &Wal| wal.state.lock().older.iter().any(|older| older.is_unsynced());
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    let first = append(&wal, 1).unwrap();
    append(&wal, 2).unwrap();
    assert!(unsynced(&wal));
    // A place in a file that has a successor by now is as undurable as it was.
    wal.sync(first).unwrap();
    assert_eq!(wal.syncs(), 1);
    assert!(!unsynced(&wal));
    wal.sync(wal.end()).unwrap();
    let (syncs, end) = (wal.syncs(), wal.end());
    append(&wal, 3).unwrap();
    wal.sync(end).unwrap();
    assert_eq!(wal.syncs(), syncs, "all below was synced before");
    let lengths =
        |wal: &Wal| (1..=3).map(|n| sim.file_len(log_path(n)).unwrap()).sum::<u64>() - wal.total_bytes();
    assert_eq!(lengths(&wal), 0);
}

#[test]
fn a_mapped_file_begins_with_a_sixteenth_of_its_room_or_what_its_first_group_needs() {
    let (_sim, env) = machine();
    let layout = |most, group| {
        let layout = WalOptions::mapped(most).layout(&env, group).unwrap();
        (layout.first, layout.most)
    };
    const MIB: u64 = 1 << 20;
    assert_eq!(layout(MIB, 0), (MIB / 16, MIB + 4096));
    assert_eq!(layout(MIB, 200_000), (204_800, MIB + 4096));
    assert_eq!(layout(MIB, 2 * MIB), (2 * MIB + 4096, 2 * MIB + 4096));
    assert_eq!(layout(4096, 0), (4096, 8192), "no less than a page");
    assert_eq!(
        layout(64 * MIB, 0),
        (MIB, 64 * MIB + 4096),
        "no more than a mebibyte"
    );
    assert!(WalOptions::plain(MIB).layout(&env, 0).is_none());
}

#[test]
fn a_leftover_that_can_not_be_removed_is_an_error_of_the_opening() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    drop(wal);
    let (_, replayed) = recover(&env).unwrap();
    let kind = ErrorKind::PermissionDenied;
    sim.fail_matching(
        Some(Io::Remove),
        crate::names::UNFINISHED_LOG,
        1,
        kind,
        Effect::Nothing,
    );
    let refused = resume(&env, db(), replayed.next_number, &replayed, OPTIONS);
    assert!(matches!(refused.map(drop), Err(Error::Io { .. })));
}

#[test]
fn a_tail_of_several_mapped_files_finds_room_in_the_one_that_goes_on() {
    let (_sim, env) = machine();
    let options = WalOptions::mapped(4096);
    let wal = new_wal(&env, options);
    for seq in 1..=300 {
        append(&wal, seq).unwrap();
        // Near the end of the first file.
        if wal.current_number() == 1 && wal.end().offset < 4000 {
            wal.sync(wal.end()).unwrap();
        }
    }
    assert!(wal.current_number() > 3, "{}", wal.current_number());
    drop(wal);
    let (seqs, wal) = reopen(&env, options);
    assert_eq!(seqs, (1..=300).collect::<Vec<_>>());
    drop(wal);
    assert_eq!(recover(&env).unwrap().0, seqs);
}

#[test]
fn a_file_without_room_for_marker_and_seal_is_closed_in_the_next_one() {
    let mut in_the_next = 0;
    for len in 7_990..8_090 {
        let (_sim, env) = machine();
        let wal = new_wal(&env, WalOptions::mapped(4096));
        let mut builder = PayloadBuilder::new();
        builder.put(3, b"key", &vec![7; len]);
        builder.set_first_seq(1);
        let frame = Frame {
            first_seq: 1,
            last_seq: 1,
            payload: builder.as_bytes(),
        };
        let file = wal.append(&[frame]).unwrap().number;
        wal.close().unwrap();
        in_the_next += u64::from(file == 1 && wal.current_number() == 2);
        let replayed = replay(
            &*env.fs,
            db(),
            &chain_tests::in_mode(RecoveryMode::Absolute),
            &mut |_, _| Ok(()),
        );
        assert!(replayed.unwrap().sealed, "{len}");
    }
    assert!((30..60).contains(&in_the_next), "{in_the_next}");
}
