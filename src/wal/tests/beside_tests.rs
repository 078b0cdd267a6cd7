//! Promises to those who are beside the writer: copies of the log, and readers of it.

use super::*;

#[test]
fn a_pinned_log_stays_until_the_last_pin_goes() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    (1..=5).for_each(|seq| _ = append(&wal, seq).unwrap());
    let (first, second) = (wal.pin(2), wal.pin(0));
    let numbers = |pin: &PinnedLog<'_>| pin.files.iter().map(|file| file.end.number).collect::<Vec<_>>();
    assert_eq!(
        (numbers(&first), numbers(&second)),
        (vec![2, 3, 4, 5], vec![1, 2, 3, 4, 5])
    );
    let last = first.files.last().unwrap();
    assert_eq!((last.end.last_seq, last.end.offset), (5, wal.end().offset));
    // What is appended later is none of it.
    append(&wal, 6).unwrap();
    assert_eq!(first.files.len(), 4);
    wal.remove_below(4).unwrap();
    assert_eq!(sim.list().len(), 6);
    drop(second);
    assert_eq!(sim.list().len(), 6);
    drop(first);
    assert_eq!(sim.list().len(), 3, "{:?}", sim.list());
    wal.remove_below(5).unwrap();
    assert_eq!(sim.list().len(), 2);
}

/// Both media, with files of a few groups.
const MEDIA: [WalOptions; 2] = [WalOptions::plain(600), WalOptions::mapped(600)];

#[test]
fn what_was_read_counts_until_its_last_frame_is_gone_or_a_successor_says_otherwise() {
    for options in MEDIA {
        let (sim, env) = machine();
        let wal = new_wal(&env, options);
        append(&wal, 1).unwrap();
        append(&wal, 2).unwrap();
        let read = || recover_with(&env, &ReplayOptions::default()).unwrap().1;
        let counts = |read: &Replayed| still_counts(&*env.fs, db(), read).unwrap();
        let good = read();
        assert!(counts(&good));
        // The last frame of a failed group is cut off; of a mapped file the length stays as it is.
        let path = log_path(1);
        let (whole, frame) = (
            sim.read_file(&path).unwrap(),
            good.last_frame.unwrap().offset as usize,
        );
        let mut without = whole.clone();
        match options.medium {
            LogMedium::Plain => without.truncate(frame),
            LogMedium::Auto => without[frame..frame + 9].fill(0),
        }
        sim.write_file(&path, &without).unwrap();
        assert!(!counts(&good), "cut off");
        sim.write_file(&path, &whole).unwrap();
        append(&wal, 3).unwrap();
        assert!(counts(&good), "it has grown");
        let mut beyond = read();
        beyond.logs[0].end.offset += 10;
        assert!(counts(&beyond), "nobody can tell yet");
        let last = read();
        for seq in 4.. {
            append(&wal, seq).unwrap();
            if wal.current_number() > 1 {
                break;
            }
            beyond = read();
            beyond.logs[0].end.offset += 10;
        }
        assert!(counts(&last) && !counts(&beyond), "the successor tells");
        let mut other = last.clone();
        other.logs[0].end.identity[0] ^= 1;
        assert!(!counts(&other));
        wal.remove_below(2).unwrap();
        assert!(!counts(&last), "it is gone, and nobody can tell any more");
    }
}

#[test]
fn a_log_revives_without_a_write_and_only_where_it_has_failed() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    let calls = sim.io_count();
    wal.revive().unwrap();
    assert_eq!(sim.io_count(), calls);
    sim.fail_matching(
        Some(Io::Write),
        ".log",
        2,
        ErrorKind::StorageFull,
        Effect::Nothing,
    );
    assert!(append(&wal, 2).is_err());
    assert!(wal.revive().unwrap_err().is_out_of_space());
    wal.revive().unwrap();
    let position = append(&wal, 3).unwrap();
    assert_eq!(
        position.number, 3,
        "the number of the file that could not be begun stays unused"
    );
    sim.fail_matching(Some(Io::Sync), ".log", 1, ErrorKind::Other, Effect::Nothing);
    assert!(wal.sync(wal.end()).is_err());
    assert!(matches!(wal.revive(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_log_that_nobody_pins_lets_its_files_go_at_once_and_a_pin_that_kept_none_takes_none_along() {
    let (sim, env) = machine();
    let wal = new_wal(&env, TINY);
    (1..=5).for_each(|seq| _ = append(&wal, seq).unwrap());
    wal.remove_below(3).unwrap();
    assert_eq!(sim.list().len(), 3, "{:?}", sim.list());
    drop(wal.pin(0));
    assert_eq!(sim.list().len(), 3);
    let pin = wal.pin(0);
    wal.remove_below(4).unwrap();
    wal.remove_below(3).unwrap();
    assert_eq!(sim.list().len(), 3);
    drop(pin);
    assert_eq!(sim.list().len(), 2);
}

/// A successor that goes on where reading ended takes nothing back.
#[test]
fn a_log_that_has_been_continued_since_counts() {
    let (_sim, env) = machine();
    let wal = new_wal(&env, TINY);
    append(&wal, 1).unwrap();
    let read = recover_with(&env, &ReplayOptions::default()).unwrap().1;
    append(&wal, 2).unwrap();
    assert_eq!(wal.current_number(), 2);
    assert!(still_counts(&*env.fs, db(), &read).unwrap());
}

#[test]
fn a_log_that_can_not_be_opened_is_an_error_and_a_directory_is_no_successor() {
    let (sim, env) = machine();
    let wal = new_wal(&env, OPTIONS);
    append(&wal, 1).unwrap();
    let read = recover_with(&env, &ReplayOptions::default()).unwrap().1;
    env.fs.create_dir_all(&log_path(9)).unwrap();
    assert!(still_counts(&*env.fs, db(), &read).unwrap());
    let kind = ErrorKind::PermissionDenied;
    sim.fail_matching(Some(Io::Open), "000001.log", 1, kind, Effect::Nothing);
    assert!(matches!(
        still_counts(&*env.fs, db(), &read),
        Err(Error::Io { .. })
    ));
}
