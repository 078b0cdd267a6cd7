//! Calls that fail, and how they are counted.

use super::*;

#[test]
fn the_call_of_a_number_fails_once() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let f = put(&env, "f", b"");
    sim.set_fault(Fault::FailCall {
        index: sim.io_count() + 1,
        kind: io::ErrorKind::StorageFull,
        effect: Effect::Nothing,
    });
    f.write_at(0, b"one").unwrap();
    assert_eq!(
        f.write_at(0, b"two").unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(sim.read_file("/f").unwrap(), b"one");
    f.write_at(0, b"two").unwrap();
}

#[test]
fn a_partial_failure_leaves_a_true_prefix() {
    let lengths: BTreeSet<_> = (0..200)
        .map(|seed| {
            let sim = SimEnv::new(seed);
            let f = put(&sim.env(), "f", b"");
            sim.fail_matching(Some(Op::Write), "f", 1, EIO, Effect::Partial);
            assert!(f.write_at(0, b"abcd").is_err());
            let left = sim.read_file("/f").unwrap();
            assert!(b"abcd".starts_with(&left));
            left.len()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_partial_failure_of_a_rename_has_renamed() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    put(&env, "a", b"");
    sim.fail_matching(Some(Op::Rename), "b", 1, EIO, Effect::Partial);
    assert!(env.fs.rename(&path("a"), &path("b")).is_err());
    assert_eq!(sim.list(), [path("b")]);
}

#[test]
fn a_retried_sync_after_a_failed_one_lies() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let f = put_synced(&env, "f", b"old");
    f.write_all_at(0, b"new").unwrap();
    sim.fail_matching(Some(Op::Sync), "f", 1, EIO, Effect::Nothing);
    assert!(f.sync().is_err());
    f.sync().unwrap();
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.read_file("/f").unwrap(), b"old");
}

#[test]
fn a_retried_directory_sync_after_a_failed_one_lies() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    put(&env, "f", b"");
    sim.fail_matching(Some(Op::SyncDir), "", 1, EIO, Effect::Nothing);
    assert!(env.fs.sync_dir(&path("")).is_err());
    put(&env, "later", b"");
    sync_root(&env);
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.list(), [path("later")]);
}

#[test]
fn a_name_lost_in_a_failed_sync_does_not_come_back_after_its_removal() {
    for seed in 0..50 {
        let sim = SimEnv::new(seed);
        let env = sim.env();
        put(&env, "f", b"");
        sim.fail_matching(Some(Op::SyncDir), "", 1, EIO, Effect::Partial);
        assert!(env.fs.sync_dir(&path("")).is_err());
        env.fs.remove(&path("f")).unwrap();
        sync_root(&env);
        sim.crash(CrashStyle::Random);
        assert!(sim.list().is_empty());
    }
}

#[test]
fn after_power_off_everything_fails_until_the_crash() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let f = put_synced(&env, "f", b"old");
    sim.set_fault(Fault::PowerOffAt {
        index: sim.io_count(),
    });
    assert!(f.write_at(0, &[1; 4000]).is_err());
    let torn = sim.read_file("/f").unwrap();
    assert!(torn.len() < 4000);
    for _ in 0..2 {
        assert!(f.write_at(0, b"x").is_err());
        assert!(f.sync().is_err());
        assert!(f.len().is_err());
        assert!(env.fs.create(&path("g")).is_err());
        assert!(env.fs.list(&path("")).is_err());
    }
    assert_eq!(sim.read_file("/f").unwrap(), torn);
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.read_file("/f").unwrap(), b"old");
    assert!(sim.env().fs.create(&path("g")).is_ok());
}

#[test]
fn a_full_disk_takes_what_fits_and_has_room_again_after_a_removal() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    put(&env, "big", &[1; 60]);
    sim.set_capacity(Some(100));
    let f = env.fs.create(&path("f")).unwrap();
    assert_eq!(
        f.write_all_at(0, &[2; 50]).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(f.len().unwrap(), 40);
    f.write_all_at(0, &[3; 40]).unwrap(); // in place: needs no room
    assert_eq!(f.set_len(41).unwrap_err().kind(), io::ErrorKind::StorageFull);
    env.fs.remove(&path("big")).unwrap();
    f.write_all_at(0, &[2; 100]).unwrap();
    assert_eq!(sim.used(), 100);
}

#[test]
fn a_flaky_disk_needs_repeated_calls_and_no_more() {
    let sim = SimEnv::new(1);
    sim.set_flaky(Some(2));
    let env = sim.env();
    let bytes: Vec<u8> = (0..255).collect();
    let f = put(&env, "f", b"");
    for _ in 0..20 {
        f.write_all_at(0, &bytes).unwrap();
        let mut back = vec![0; bytes.len()];
        f.read_exact_at(0, &mut back).unwrap();
        assert_eq!(back, bytes);
    }
    let stats = sim.stats();
    assert!(
        stats.count(Op::Write) > 20 && stats.count(Op::Read) > 20,
        "{stats:?}"
    );
}

#[test]
fn wild_offsets_are_errors() {
    let env = SimEnv::new(1).env();
    let f = put(&env, "f", b"x");
    assert!(f.write_at(u64::MAX, b"x").is_err());
    assert!(f.set_len(u64::MAX).is_err());
    assert_eq!(f.read_at(u64::MAX, &mut [0]).unwrap(), 0);
}

// --- the account, and the disk from outside ---

#[test]
fn calls_are_traced_and_counted() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    sim.set_trace(true);
    let f = put(&env, "1.sst", b"abc");
    f.sync().unwrap();
    env.fs.rename(&path("1.sst"), &path("2.sst")).unwrap();
    let mut buf = [0; 8];
    f.read_at(1, &mut buf).unwrap();
    let trace = sim.take_trace();
    let ops: Vec<_> = trace
        .iter()
        .map(|call| (call.index, call.op, call.offset, call.len))
        .collect();
    let expected = [
        (0, Op::Create, 0, 0),
        (1, Op::Write, 0, 3),
        (2, Op::Sync, 0, 0),
        (3, Op::Rename, 0, 0),
        (4, Op::Read, 1, 8),
    ];
    assert_eq!(ops, expected);
    assert_eq!(trace[3].to.as_deref(), Some(&*path("2.sst")));
    let stats = sim.stats();
    assert_eq!(stats.count(Op::Sync), 1);
    assert_eq!((stats.written["sst"], stats.read["sst"]), (3, 2));
    assert_eq!(sim.io_count(), 5);
}
