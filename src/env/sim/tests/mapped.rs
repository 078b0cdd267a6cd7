//! Mapped files: room, stores, and what a crash makes of them.

use super::*;

fn mapped(env: &Env, name: &str, len: u64) -> (Arc<dyn File>, Arc<dyn WritableMapping>) {
    let file = env.fs.create(&path(name)).unwrap();
    let room = file.map_writable(1 << 20).unwrap();
    room.reserve(len).unwrap();
    (file, room)
}

#[test]
fn stores_are_read_at_once_and_durable_after_a_sync() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let (f, room) = mapped(&env, "f", 6);
    room.store(1, &[b"ab", b"c"]).unwrap();
    assert_eq!(sim.read_file("/f").unwrap(), b"\0abc\0\0");
    f.sync().unwrap();
    sync_root(&env);
    room.store(1, &[b"xyz"]).unwrap();
    sim.crash(CrashStyle::KeepNothing);
    assert_eq!(sim.read_file("/f").unwrap(), b"\0abc\0\0");
}

#[test]
fn a_sector_that_was_stored_to_takes_any_state_since_the_last_sync() {
    let found = outcomes(|_, env| {
        let (f, room) = mapped(env, "f", 1);
        f.sync().unwrap();
        sync_root(env);
        room.store(0, &[b"1"]).unwrap();
        room.store(0, &[b"2"]).unwrap();
    });
    let wanted = [b"\0", b"1", b"2"].map(|bytes| vec![file("/f", bytes)]);
    assert_eq!(found, BTreeSet::from(wanted));
}

#[test]
fn room_is_taken_by_the_reservation_and_never_by_a_store() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    sim.set_capacity(Some(100));
    let (_f, room) = mapped(&env, "f", 60);
    let full = room.reserve(101).unwrap_err();
    assert_eq!((full.kind(), room.reserved()), (io::ErrorKind::StorageFull, 60));
    put(&env, "g", &[7; 40]);
    room.store(0, &[&[1; 60]]).unwrap();
    assert_eq!(sim.used(), 100);
}

#[test]
fn only_the_power_keeps_a_store_from_succeeding() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    let (_f, room) = mapped(&env, "f", 4);
    let all = Chance {
        op: None,
        one_in: 1,
        errno: crate::env::sim::EIO,
        effect: None,
    };
    sim.set_chances(vec![all]);
    sim.fail_matching(None, "f", 9, EIO, Effect::Nothing);
    sim.set_fault(Fault::FailCall {
        index: sim.io_count(),
        kind: EIO,
        effect: Effect::Nothing,
    });
    room.store(0, &[b"abcd"]).unwrap();
    assert_eq!(sim.failures(), 0);
    sim.set_fault(Fault::PowerOffAt {
        index: sim.io_count(),
    });
    room.store(0, &[b"efgh"]).unwrap_err();
    let torn = sim.read_file("/f").unwrap();
    assert!(
        torn != b"efgh"
            && torn
                .iter()
                .zip(b"efgh")
                .zip(b"abcd")
                .all(|((t, n), o)| t == n || t == o)
    );
    room.store(0, &[b"efgh"]).unwrap_err();
    assert_eq!(sim.read_file("/f").unwrap(), torn);
    assert_eq!(sim.stats().count(Op::Store), 3);
}

#[test]
#[should_panic = "SIGBUS"]
fn a_store_beyond_the_room_kills_the_process() {
    let sim = SimEnv::new(1);
    let (_f, room) = mapped(&sim.env(), "f", 4);
    let _ = room.store(2, &[b"abc"]);
}

#[test]
fn where_room_is_not_kept_nothing_is_mapped() {
    let sim = SimEnv::new(1);
    let env = sim.env();
    sim.set_keeps_room(false);
    let f = env.fs.create(&path("f")).unwrap();
    assert!(
        f.map_writable(1)
            .is_err_and(|e| e.kind() == io::ErrorKind::Unsupported)
    );
}
