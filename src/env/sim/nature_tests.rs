//! What the simulated disk is like by nature: failures by chance, slowness, decay, write-back in blocks.

use std::collections::BTreeSet;

use super::*;

fn path() -> &'static Path {
    Path::new("/f")
}

fn machine(bytes: &[u8]) -> (SimEnv, Env) {
    let sim = SimEnv::new(7);
    sim.write_file(path(), bytes).unwrap();
    let env = sim.env();
    (sim, env)
}

#[test]
fn calls_fail_by_chance_as_often_as_asked_and_with_the_systems_number() {
    let (sim, env) = machine(b"abc");
    let chance = Chance {
        op: Some(Op::Open),
        one_in: 4,
        errno: EMFILE,
        effect: None,
    };
    sim.set_chances(vec![chance]);
    sim.set_trace(true);
    let opened: Vec<_> = (0..1000).map(|_| env.fs.open(path())).collect();
    let failed: Vec<_> = opened.iter().filter_map(|file| file.as_ref().err()).collect();
    assert!((150..350).contains(&failed.len()), "{}", failed.len());
    assert!(failed.iter().all(|error| error.raw_os_error() == Some(EMFILE)));
    assert_eq!(sim.failures(), failed.len() as u64);
    assert_eq!(sim.stats().failed[&Op::Open], sim.failures());
    let traced = sim.take_trace().into_iter().filter(|call| call.failed).count();
    assert_eq!(traced, failed.len());

    // Other kinds of calls don't fail, and a crash does not end it.
    assert!((0..1000).all(|_| env.fs.list(Path::new("/")).is_ok()));
    sim.crash(CrashStyle::KeepAll);
    let env = sim.env();
    assert!((0..1000).any(|_| env.fs.open(path()).is_err()));
    sim.set_chances(Vec::new());
    assert!((0..1000).all(|_| env.fs.open(path()).is_ok()));
}

#[test]
fn a_call_fails_with_the_number_that_was_asked_for() {
    let (sim, env) = machine(b"abc");
    for (errno, effect) in [(EIO, Effect::Nothing), (ENOSPC, Effect::Partial)] {
        let index = sim.io_count();
        sim.set_fault(Fault::FailCallWith { index, errno, effect });
        assert_eq!(
            env.fs.list(Path::new("/")).unwrap_err().raw_os_error(),
            Some(errno)
        );
        assert!(env.fs.list(Path::new("/")).is_ok());
    }
}

#[test]
fn a_slow_disk_takes_time_and_a_fast_one_none() {
    let (sim, env) = machine(b"abc");
    let file = env.fs.open(path()).unwrap();
    assert_eq!(env.clock.now(), Duration::ZERO);
    sim.set_slow(Duration::from_millis(10));
    for _ in 0..1000 {
        file.len().unwrap();
    }
    let taken = env.clock.now();
    // Most take up to 10 microseconds, one in 64 up to 10 milliseconds.
    assert!(
        taken > Duration::from_millis(20) && taken < Duration::from_millis(400),
        "{taken:?}"
    );
    sim.set_slow(Duration::ZERO);
    file.len().unwrap();
    assert_eq!(env.clock.now(), taken);
}

#[test]
fn one_bit_flips_in_a_file_of_that_name_and_nowhere_else() {
    let (sim, _) = machine(&[0; 1000]);
    sim.write_file("/g", &[0; 1000]).unwrap();
    let mut places = BTreeSet::new();
    for _ in 0..50 {
        let (flipped, at, bit) = sim.flip_some_bit("g").unwrap();
        assert_eq!(flipped, Path::new("/g"));
        places.insert((at, bit));
        let bytes = sim.read_file("/g").unwrap();
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        sim.flip_bit("/g", at, bit).unwrap();
    }
    assert!(places.len() > 40);
    assert_eq!(sim.read_file(path()).unwrap(), [0; 1000]);
    assert_eq!(sim.flip_some_bit("h"), None);
}

#[test]
fn write_back_in_blocks_leaves_no_torn_block() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let sim = SimEnv::new(seed);
        sim.write_file(path(), &[1; 8192]).unwrap();
        let file = sim.env().fs.create(Path::new("/new")).unwrap();
        file.write_all_at(0, &[2; 8192]).unwrap();
        file.sync().unwrap();
        sim.env().fs.sync_dir(Path::new("/")).unwrap();
        file.write_all_at(1000, &[3; 6000]).unwrap();
        sim.crash(CrashStyle::Blocks);
        let bytes = sim.read_file("/new").unwrap();
        assert!(bytes[1000..4096].iter().all(|byte| *byte == bytes[1000]));
        assert!(bytes[4096..7000].iter().all(|byte| *byte == bytes[4096]));
        found.insert((bytes[1000], bytes[4096]));
        assert_eq!(sim.read_file(path()).unwrap(), [1; 8192]);
    }
    assert_eq!(found, BTreeSet::from([(2, 2), (2, 3), (3, 2), (3, 3)]));
}
