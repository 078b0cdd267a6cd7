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
