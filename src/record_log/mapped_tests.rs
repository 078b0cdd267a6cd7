//! Promises of logs in reserved room.

use super::*;
use crate::env::sim::Fault;

fn layout(env: &Env, first: u64, most: u64) -> Layout {
    Layout {
        scheduler: env.scheduler.clone(),
        first,
        most,
    }
}

fn mapped(env: &Env) -> LogWriter {
    let layout = layout(env, 4096, 16 << 10);
    LogWriter::create_with(&*env.fs, Path::new(PATH), header(IDENTITY), Some(&layout)).unwrap()
}

/// Frames, end, torn bytes, whether sealed.
fn seen(env: &Env) -> (usize, u64, u64, bool) {
    let (frames, outcome) = read_all(env).unwrap();
    assert!(outcome.header.reserved);
    (frames.len(), outcome.end, outcome.torn_bytes, outcome.sealed)
}

#[test]
fn a_frame_is_one_store_and_the_log_ends_behind_the_last() {
    let (sim, env) = machine();
    let mut log = mapped(&env);
    let (writes, stores) = (sim.stats().count(Op::Write), sim.stats().count(Op::Store));
    for i in 1..=20 {
        log.append(&[7; 50]).unwrap();
        assert_eq!(seen(&env), (i, log.end(), 0, false));
    }
    assert_eq!(sim.stats().count(Op::Store), stores + 20);
    assert_eq!((writes, sim.stats().count(Op::Write)), (0, 0));
    assert_eq!(sim.file_len(PATH).unwrap(), 4096);
    let absolute = ReadOptions {
        mode: RecoveryMode::Absolute,
        ..ReadOptions::default()
    };
    read_with(&env, &absolute).unwrap();
}

#[test]
fn what_ends_the_log_is_what_the_drawing_says() {
    let (sim, env) = machine();
    let mut log = mapped(&env);
    let end = log.append(b"xyz").unwrap() as usize;
    let bytes = sim.read_file(PATH).unwrap();
    assert_eq!(bytes[8..16], [2, 0, 0, 0, 1, 0, 0, 0], "version and feature bits");
    assert_eq!(bytes[end..end + 9], [0; 9]);
}

#[test]
fn a_torn_frame_in_reserved_room_is_cut_and_counted() {
    let (sim, env) = machine();
    let mut log = mapped(&env);
    let good = log.append(b"good").unwrap();
    let end = log.append(&[7; 600]).unwrap();
    for at in [good, good + 5, good + 8, end - 1] {
        sim.flip_bit(PATH, at, 0).unwrap();
        assert_eq!(seen(&env), (1, good, end - good, false), "flip at {at}");
        let absolute = ReadOptions {
            mode: RecoveryMode::Absolute,
            ..ReadOptions::default()
        };
        assert_eq!(damage_at(&read_with(&env, &absolute).unwrap_err()), good);
        sim.flip_bit(PATH, at, 0).unwrap();
    }
}

#[test]
fn a_store_that_the_power_tears_leaves_a_prefix() {
    for seed in 0..200 {
        let sim = SimEnv::new(seed);
        let env = sim.env();
        env.fs.create_dir_all(Path::new("/db")).unwrap();
        let mut log = mapped(&env);
        let good = log.append(&[7; 700]).unwrap();
        log.sync().unwrap();
        sim.set_fault(Fault::PowerOffAt {
            index: sim.io_count() + 1,
        });
        let whole = log.append(&[8; 700]).unwrap();
        log.append(&[9; 700]).unwrap_err();
        sim.crash(if seed % 2 == 0 {
            CrashStyle::Random
        } else {
            CrashStyle::KeepAll
        });
        let (_, end, ..) = seen(&sim.env());
        assert!(end == whole || (end == good && seed % 2 == 0), "{end}");
    }
}

#[test]
fn zeros_or_remains_in_synced_frames_are_damage() {
    for fill in [0, 3] {
        let (sim, env) = machine();
        let mut log = mapped(&env);
        let good = log.append(b"first").unwrap();
        let synced = log.append(&[7; 300]).unwrap();
        log.sync().unwrap();
        log.mark(7, synced).unwrap();
        let mut bytes = sim.read_file(PATH).unwrap();
        bytes[good as usize..synced as usize].fill(fill);
        sim.write_file(PATH, &bytes).unwrap();
        assert_eq!(damage_at(&read_all(&env).unwrap_err()), good);
    }
}

#[test]
fn a_sealed_log_gives_its_room_back_and_what_follows_a_seal_means_nothing() {
    let (sim, env) = machine();
    let mut log = mapped(&env);
    log.append(b"data").unwrap();
    log.seal().unwrap();
    assert_eq!(sim.file_len(PATH).unwrap(), log.end());
    assert_eq!(log.bytes_on_disk(), log.end());
    assert_eq!(seen(&env), (1, log.end(), 0, true));
    // As a crash between the seal's sync and the cut leaves it.
    for rest in [0, 9] {
        let mut bytes = sim.read_file(PATH).unwrap();
        bytes.resize(4096, rest);
        sim.write_file(PATH, &bytes).unwrap();
        assert_eq!(seen(&env), (1, log.end(), 0, true));
    }
}

#[test]
fn room_comes_in_steps_from_jobs_and_else_from_the_writer() {
    for jobs in [false, true] {
        let (sim, env) = machine();
        let mut log = mapped(&env);
        let mut lens = Vec::new();
        let mut reserved_by_writer = 0;
        loop {
            let before = sim.stats().count(Op::Reserve);
            if !log.has_room(200) {
                break;
            }
            log.append(&[1; 191]).unwrap();
            reserved_by_writer += sim.stats().count(Op::Reserve) - before;
            if jobs {
                sim.run_until_idle();
            }
            lens.push(sim.file_len(PATH).unwrap());
        }
        assert_eq!((lens[0] <= 8192, lens[lens.len() - 1]), (true, 16 << 10));
        assert_eq!(jobs, reserved_by_writer == 0, "{reserved_by_writer} reservations");
        assert!(log.end() > (16 << 10) - 300);
        assert!(log.append(&[1; 400]).unwrap_err().is_out_of_space());
        assert_eq!(seen(&env).0, lens.len());
    }
}

#[test]
fn without_room_to_reserve_the_file_is_plain_and_as_long_as_its_log() {
    let (sim, env) = machine();
    sim.set_capacity(Some(sim.used() + 3000));
    let mut log = mapped(&env);
    assert!(!log.header().reserved);
    let end = log.append(b"plain").unwrap();
    assert_eq!(sim.file_len(PATH).unwrap(), end);
    assert_eq!(read_all(&env).unwrap().0.len(), 1);
}

#[test]
fn where_the_file_system_keeps_no_room_the_file_is_plain() {
    let (sim, env) = machine();
    sim.set_keeps_room(false);
    assert!(!mapped(&env).header().reserved);
}

#[test]
fn in_a_file_that_is_used_again_the_old_log_never_replays() {
    let (sim, env) = machine();
    let old_path = Path::new("/db/000003.log");
    let small = layout(&env, 4096, 4096);
    let mut old = LogWriter::create_with(&*env.fs, old_path, header([1; 16]), Some(&small)).unwrap();
    for _ in 0..20 {
        old.append(b"of the old log").unwrap();
        old.mark(3, old.end()).unwrap();
    }
    let spare = old.medium().spare(4096).unwrap();
    let (fs, path) = (&*env.fs, Path::new(PATH));
    let mut log = LogWriter::reuse(fs, spare, old_path, path, header(IDENTITY), &small).unwrap();
    assert_eq!(seen(&env), (0, HEADER_LEN, 0, false));
    for i in 1..=10 {
        log.append(b"of the new log").unwrap();
        assert_eq!(seen(&env), (i, log.end(), 0, false));
    }
    assert_eq!(read_all(&env).unwrap().1.markers, None);
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(seen(&sim.env()).1, HEADER_LEN, "header and name were durable");
}

#[test]
fn looking_for_markers_behind_the_end_reads_the_room_once() {
    let (sim, env) = machine();
    let big = layout(&env, 4 << 20, 4 << 20);
    let mut log = LogWriter::create_with(&*env.fs, Path::new(PATH), header(IDENTITY), Some(&big)).unwrap();
    log.append(b"little").unwrap();
    let before = sim.stats().read.get("log").copied().unwrap_or(0);
    seen(&env);
    let read = sim.stats().read["log"] - before;
    assert!(read <= (4 << 20) + (512 << 10), "{read} bytes read");
}

#[test]
fn no_page_is_touched_before_the_first_frame_and_none_behind_the_last() {
    let (sim, env) = machine();
    let mut log = mapped(&env);
    assert_eq!(sim.pending(), 0, "the sync of the header would write them");
    log.append(b"first").unwrap();
    assert_eq!(sim.pending(), 1);
    log.append(b"second").unwrap();
    assert_eq!(sim.pending(), 1, "asked for already");
    sim.run_until_idle();
    let len = sim.file_len(PATH).unwrap();
    while log.end() < len - 300 {
        log.append(&[1; 191]).unwrap();
    }
    assert_eq!(sim.pending(), 1);
    log.medium().retire();
    sim.run_until_idle();
    assert_eq!(sim.file_len(PATH).unwrap(), len);
}

#[test]
fn where_no_step_fits_what_the_group_needs_may() {
    let (sim, env) = machine();
    let mut log = mapped(&env);
    while log.end() + 200 + 9 <= 4096 {
        log.append(&[1; 191]).unwrap();
    }
    sim.set_capacity(Some(sim.used() + 300));
    assert!(log.has_room(200));
    log.append(&[1; 191]).unwrap();
    assert!(sim.file_len(PATH).unwrap() <= 4096 + 300);
    assert!(!log.has_room(600));
}

#[test]
fn a_torn_tail_reaches_to_the_last_byte_that_is_not_zero() {
    for last in [4095, 4094, 4085, 4072, 4071, 4070, 2000] {
        let (sim, env) = machine();
        let mut log = mapped(&env);
        let good = log.append(b"good").unwrap();
        log.append(b"torn").unwrap();
        sim.flip_bit(PATH, good + 10, 0).unwrap();
        let mut bytes = sim.read_file(PATH).unwrap();
        bytes[last] = 1;
        sim.write_file(PATH, &bytes).unwrap();
        assert_eq!(seen(&env), (1, good, last as u64 + 1 - good, false));
    }
}

/// However the marker lies to the pieces in which the room is read.
#[test]
fn a_marker_behind_a_long_run_of_zeros_is_found() {
    for len in ((256 << 10) - 120..(256 << 10) + 80).step_by(8) {
        let (sim, env) = machine();
        let big = layout(&env, 1 << 20, 1 << 20);
        let mut log =
            LogWriter::create_with(&*env.fs, Path::new(PATH), header(IDENTITY), Some(&big)).unwrap();
        let good = log.append(b"first").unwrap();
        let synced = log.append(&vec![7; len]).unwrap();
        log.mark(7, synced).unwrap();
        let mut bytes = sim.read_file(PATH).unwrap();
        bytes[good as usize..synced as usize].fill(0);
        sim.write_file(PATH, &bytes).unwrap();
        assert_eq!(damage_at(&read_all(&env).unwrap_err()), good, "{len}");
    }
}

/// The writer is another process: what the buffer holds of the room is older than the marker.
#[test]
fn frames_that_were_written_while_the_log_was_read_are_no_damage() {
    let (_sim, env) = machine();
    let big = layout(&env, 1 << 20, 1 << 20);
    let path = Path::new(PATH);
    let mut log = LogWriter::create_with(&*env.fs, path, header(IDENTITY), Some(&big)).unwrap();
    log.append(b"first").unwrap();
    let mut frames = 0;
    let outcome = read(
        &*env.fs,
        path,
        LogKind::Wal,
        &ReadOptions::default(),
        &mut |_, _| {
            frames += 1;
            if frames == 1 {
                log.append(b"second").unwrap();
                let end = log.append(&vec![7; 300 << 10]).unwrap();
                log.mark(7, end).unwrap();
            }
            Ok(())
        },
    );
    assert_eq!((frames, outcome.unwrap().end), (3, log.end()));
}

#[test]
fn only_a_file_with_frames_has_frames() {
    for reserved in [false, true] {
        let (_sim, env) = machine();
        let mut log = if reserved { mapped(&env) } else { writer(&env) };
        let has_frames = |header: &Header| has_frames(&*env.fs, Path::new(PATH), header).unwrap();
        assert!(!has_frames(log.header()));
        log.append(b"first").unwrap();
        assert!(has_frames(log.header()));
    }
}
