//! Power loss at every call, every call failing, a full disk, while a database's packs are appended to, synced, sealed, reopened.

use super::shared::*;
use super::*;
use crate::env::sim::{CrashStyle, Effect, Fault, Op};
use crate::pack::shared::{Reopened, SealedPack, SharedPack};

const STYLES: [CrashStyle; 4] = [
    CrashStyle::KeepNothing,
    CrashStyle::KeepAll,
    CrashStyle::Random,
    CrashStyle::Blocks,
];

pub(super) const KINDS: [(io::ErrorKind, Effect); 4] = [
    (io::ErrorKind::Other, Effect::Nothing),
    (io::ErrorKind::Other, Effect::Partial),
    (io::ErrorKind::StorageFull, Effect::Nothing),
    (io::ErrorKind::StorageFull, Effect::Partial),
];

/// What a database would know of its pack.
#[derive(Default)]
struct Diary {
    /// The name and the header are durable: the manifest names it.
    named: bool,
    /// What a sync returned last.
    synced: u64,
    /// The oldest such length, which the manifest may have.
    known: u64,
    /// Told to be appended.
    objects: Vec<Known>,
    sealed: Option<SealedPack>,
}

impl Diary {
    fn sync(&mut self, pack: &SharedPack) -> crate::Result<()> {
        self.synced = pack.sync()?;
        Ok(())
    }

    fn append(&mut self, pack: &SharedPack, content: &[u8]) -> crate::Result<()> {
        self.objects.push(append(pack, content)?);
        Ok(())
    }

    fn seal(&mut self, pack: &SharedPack) -> crate::Result<()> {
        let sealed = pack.seal()?;
        self.synced = sealed.records_end;
        self.sealed = Some(sealed);
        Ok(())
    }

    /// Those that have to be there.
    fn durable(&self) -> impl Iterator<Item = &Known> {
        self.objects.iter().filter(|object| end_of(object) <= self.synced)
    }

    /// Nothing that is durable is missing, and nothing wrong is read of the rest.
    fn check(&self, world: &World, what: &str) {
        let file = reader(&world.sim.env()).unwrap_or_else(|e| panic!("{what}: {e}"));
        for object in &self.objects {
            match read(&file, object) {
                Err(e) if end_of(object) <= self.synced => panic!("{what}: {e}"),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Creates a pack, appends and syncs.
fn fill(world: &World, diary: &mut Diary, seal: bool) -> crate::Result<()> {
    let env = world.sim.env();
    let pack = create(&env)?;
    diary.sync(&pack)?;
    env.fs
        .sync_dir(dir())
        .map_err(|e| crate::Error::io("sync", dir(), e))?;
    diary.named = true;
    diary.known = diary.synced;
    for number in 0..5 {
        diary.append(&pack, &content(number, 2500 * number as usize))?;
    }
    diary.sync(&pack)?;
    for number in 5..8 {
        diary.append(&pack, &content(number, 7000))?;
    }
    diary.append(&pack, &content(10, 60_000))?;
    diary.sync(&pack)?;
    diary.append(&pack, &content(11, 5000))?;
    diary.append(&pack, &content(12, 600))?;
    if seal {
        diary.seal(&pack)?;
    }
    Ok(())
}

/// Goes on with what an earlier process has left.
fn go_on(world: &World, diary: &mut Diary) -> crate::Result<()> {
    match reopen(&world.sim.env(), diary.known)? {
        Reopened::Sealed(sealed) => {
            diary.synced = sealed.records_end;
            diary.sealed = Some(sealed);
        }
        Reopened::Unsealed(pack, _) => {
            diary.synced = pack.len();
            // What was told and is not durable is gone, or is there; new records take its place.
            diary.objects.retain(|object| end_of(object) <= pack.len());
            for number in 20..24 {
                diary.append(&pack, &content(number, 4000))?;
            }
            diary.sync(&pack)?;
            diary.append(&pack, &content(30, 4000))?;
            diary.seal(&pack)?;
        }
    }
    Ok(())
}

/// The end of a story: it is reopened twice with the same result, and sealed.
fn settle(world: &World, diary: &mut Diary, what: &str) {
    let env = world.sim.env();
    diary.check(world, what);
    for known in [diary.known, diary.synced] {
        assert!(look(&env, known).unwrap_or_else(|e| panic!("{what}: {e}")) >= diary.synced);
    }
    let first = reopen(&env, diary.known).unwrap_or_else(|e| panic!("{what}: {e}"));
    let bytes = world.bytes("000012.pack");
    diary.check(world, what);
    let second = reopen(&env, diary.synced.max(80)).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(bytes == world.bytes("000012.pack"), "{what}");
    match (first, second) {
        (Reopened::Sealed(a), Reopened::Sealed(b)) => assert_eq!(a, b, "{what}"),
        (Reopened::Unsealed(a, found), Reopened::Unsealed(b, again)) => {
            assert!(diary.sealed.is_none(), "{what}");
            assert_eq!((a.len(), a.objects()), (b.len(), b.objects()), "{what}");
            assert_eq!((a.synced_len(), bytes.len() as u64), (a.len(), a.len()), "{what}");
            assert_eq!((again.cut_bytes, again.objects), (0, found.objects), "{what}");
            assert_eq!(found.verified_bytes, a.len() - diary.known, "{what}");
        }
        (a, b) => panic!("{what}: {a:?}, then {b:?}"),
    }
    // What was found is durable, whatever happened before.
    if let Ok(Reopened::Unsealed(pack, _)) = reopen(&env, diary.known) {
        diary.synced = pack.len();
        diary.objects.retain(|object| end_of(object) <= pack.len());
    }
    world.sim.crash(CrashStyle::KeepNothing);
    diary.check(world, what);
    go_on(world, diary).unwrap_or_else(|e| panic!("{what}: {e}"));
    world.sim.crash(CrashStyle::KeepNothing);
    diary.check(world, what);
    let report = world.open("000012.pack").unwrap().verify();
    assert_eq!(report.damages, 0, "{what}: {report:?}");
    assert_eq!(report.objects, diary.sealed.unwrap().objects, "{what}");
}

#[test]
fn what_was_synced_is_there_wherever_the_power_goes() {
    let clean = World::new(0);
    fill(&clean, &mut Diary::default(), true).unwrap();
    let (mut sealed, mut unsealed) = (0, 0);
    for index in 1..clean.sim.io_count() {
        for style in STYLES {
            let (world, mut diary) = (World::new(index), Diary::default());
            world.sim.set_fault(Fault::PowerOffAt { index });
            fill(&world, &mut diary, true).unwrap_err();
            world.sim.crash(style);
            if !diary.named {
                continue; // nobody asks for it
            }
            let what = format!("call {index}, {style:?}");
            match diary.sealed.is_some() || matches!(reopen(&world.sim.env(), 80), Ok(Reopened::Sealed(_))) {
                true => sealed += 1,
                false => unsealed += 1,
            }
            settle(&world, &mut diary, &what);
        }
    }
    assert!(sealed > 0 && unsealed > 50, "{sealed} sealed, {unsealed} not");
}

/// The power goes while an earlier crash is being cleaned up, and while the pack goes on.
#[test]
fn what_was_synced_is_there_wherever_the_power_goes_again() {
    let prepared = |seed, style| {
        let (world, mut diary) = (World::new(seed), Diary::default());
        fill(&world, &mut diary, seed % 3 == 0).unwrap();
        if seed % 3 == 0 {
            // A seal of which the header does not know.
            let mut bytes = world.bytes("000012.pack");
            bytes[64..80].copy_from_slice(&format::encode_sealed_len(0, format::Seed::new(&IDENTITY)));
            world.sim.write_file(path("000012.pack"), &bytes).unwrap();
            diary.sealed = None;
        }
        world.sim.crash(style);
        (world, diary)
    };
    let mut cut_off = 0;
    for seed in 0..120 {
        for style in STYLES {
            let (world, mut diary) = prepared(seed, STYLES[seed as usize % 4]);
            let first = world.sim.io_count();
            // Somewhere in what follows, whose number of calls depends on what survived.
            world.sim.set_fault(Fault::PowerOffAt { index: first + seed });
            if go_on(&world, &mut diary).is_ok() {
                continue;
            }
            cut_off += 1;
            world.sim.crash(style);
            settle(&world, &mut diary, &format!("seed {seed}, {style:?}"));
        }
    }
    assert!(cut_off > 100, "{cut_off}");
}

/// After each failure the program goes on with the same pack: it is as if the call had not been made.
#[test]
fn every_failing_call_is_told_and_harms_nothing() {
    fn stubborn<T>(mut call: impl FnMut() -> crate::Result<T>, failed: &mut u32) -> T {
        for _ in 0..3 {
            match call() {
                Ok(done) => return done,
                Err(_) => *failed += 1,
            }
        }
        panic!("it goes on failing");
    }
    let run = |world: &World, diary: &mut Diary| {
        let (env, mut failed) = (world.sim.env(), 0);
        let pack = stubborn(
            || {
                // It may have been created and told not to be.
                create(&env).inspect_err(|_| drop(env.fs.remove(&path("000012.pack"))))
            },
            &mut failed,
        );
        stubborn(|| diary.sync(&pack), &mut failed);
        if env.fs.sync_dir(dir()).is_err() {
            return 1; // the engine gives this file up
        }
        (diary.named, diary.known) = (true, diary.synced);
        for number in 0..8 {
            let content = content(number, 9000 * number as usize);
            stubborn(|| diary.append(&pack, &content), &mut failed);
            if number % 3 == 0 {
                stubborn(|| diary.sync(&pack), &mut failed);
            }
        }
        diary.objects.iter().for_each(|object| {
            stubborn(|| read(&pack.reader(), object), &mut failed);
        });
        failed
    };
    let clean = World::new(0);
    assert_eq!(run(&clean, &mut Diary::default()), 0);
    for (kind, effect) in KINDS {
        for index in 1..clean.sim.io_count() {
            for style in STYLES {
                let (world, mut diary) = (World::new(index), Diary::default());
                world.sim.set_fault(Fault::FailCall { index, kind, effect });
                if run(&world, &mut diary) == 0 || !diary.named {
                    continue;
                }
                // What the sync before it has not brought to the medium, the next one does.
                world.sim.crash(style);
                settle(
                    &world,
                    &mut diary,
                    &format!("call {index}, {kind:?}, {effect:?}, {style:?}"),
                );
            }
        }
    }
}

/// A pack with eight objects, of which only the header is durable.
fn written(seed: u64) -> (World, Diary, SharedPack) {
    let (world, mut diary) = (World::new(seed), Diary::default());
    let env = world.sim.env();
    let pack = create(&env).unwrap();
    env.fs.sync_dir(dir()).unwrap();
    (diary.synced, diary.known) = (pack.sync().unwrap(), 80);
    for number in 0..8 {
        diary
            .append(&pack, &content(number, 900 * number as usize))
            .unwrap();
    }
    (world, diary, pack)
}

/// A seal that fails leaves a pack that can be sealed again, and one that can be reopened.
#[test]
fn a_seal_that_fails_can_be_repeated() {
    let clean = World::new(0);
    fill(&clean, &mut Diary::default(), false).unwrap();
    let first = clean.sim.io_count();
    let whole = World::new(0);
    fill(&whole, &mut Diary::default(), true).unwrap();
    let last = whole.sim.io_count();
    let whole = whole.bytes("000012.pack");
    for (kind, effect) in KINDS {
        for (index, again) in (first..last).flat_map(|index| [(index, 0), (index, 1), (index, 5)]) {
            for style in STYLES {
                let what = format!("call {index}, again {again}, {kind:?}, {effect:?}, {style:?}");
                let (world, mut diary, pack) = written(index);
                let from = world.sim.io_count();
                let index = from + index - first;
                world.sim.set_fault(Fault::FailCall { index, kind, effect });
                if again > 0 {
                    let index = index + again;
                    world.sim.set_fault(Fault::FailCall { index, kind, effect });
                }
                let mut failed = 0;
                while diary.seal(&pack).is_err() {
                    failed += 1;
                    assert!(failed < 4, "{what}");
                    append(&pack, b"too late").unwrap_err();
                    let reader = pack.reader();
                    for object in &diary.objects {
                        // The second failure may come here.
                        let found = read(&reader, object);
                        assert!(matches!(found, Ok(()) | Err(crate::Error::Io { .. })), "{what}");
                    }
                    if failed == 2 {
                        // Somebody syncs between.
                        diary.synced = pack.sync().unwrap_or(diary.synced);
                    }
                }
                let expected = pack.seal().unwrap();
                assert_eq!(diary.sealed, Some(expected), "{what}");
                world.sim.crash(style);
                diary.check(&world, &what);
                assert!(
                    matches!(reopen(&world.sim.env(), 80), Ok(Reopened::Sealed(found)) if found == expected),
                    "{what}"
                );
                assert_eq!(world.open("000012.pack").unwrap().verify().damages, 0, "{what}");
            }
        }
    }
    assert!(!whole.is_empty());
}

/// A seal fails at any call, and then the power goes, while it is repeated or before.
#[test]
fn a_crash_after_a_seal_that_failed_loses_nothing() {
    let (mut sealed, mut unsealed) = (0, 0);
    for seed in 0..600u64 {
        let (world, mut diary, pack) = written(seed);
        let from = world.sim.io_count();
        let (kind, effect) = KINDS[seed as usize % 4];
        world.sim.set_fault(Fault::FailCall {
            index: from + seed % 13,
            kind,
            effect,
        });
        world.sim.set_fault(Fault::PowerOffAt {
            index: from + seed % 13 + 1 + seed / 13 % 17,
        });
        for _ in 0..3 {
            let _ = diary.seal(&pack);
        }
        world.sim.crash(STYLES[(seed / 4 % 4) as usize]);
        match reopen(&world.sim.env(), 80) {
            Ok(Reopened::Sealed(_)) => sealed += 1,
            Ok(Reopened::Unsealed(..)) => unsealed += 1,
            Err(e) => panic!("seed {seed}: {e}"),
        }
        settle(&world, &mut diary, &format!("seed {seed}"));
    }
    assert!(sealed > 50 && unsealed > 50, "{sealed} sealed, {unsealed} not");
}

/// A process sees a sync fail and dies. The page cache still shows what it wrote, and a sync says nothing: only what is written again gets
/// to the medium.
#[test]
fn what_an_earlier_process_could_not_sync_is_written_again() {
    for effect in [Effect::Nothing, Effect::Partial] {
        for seed in 0..50 {
            let (world, mut diary) = (World::new(seed), Diary::default());
            fill(&world, &mut diary, false).unwrap();
            let Reopened::Unsealed(pack, _) = reopen(&world.sim.env(), diary.synced).unwrap() else {
                panic!("nobody has sealed it");
            };
            diary.append(&pack, &content(40, 9000)).unwrap();
            let kind = io::ErrorKind::Other;
            world.sim.fail_where(|call| call.op == Op::Sync, 1, kind, effect);
            pack.sync().unwrap_err();
            world.sim.crash(CrashStyle::KeepAll); // the process is killed
            let Reopened::Unsealed(pack, _) = reopen(&world.sim.env(), diary.known).unwrap() else {
                panic!("nobody has sealed it");
            };
            diary.synced = pack.len();
            assert_eq!(diary.durable().count(), diary.objects.len());
            world.sim.crash(CrashStyle::KeepNothing);
            diary.check(&world, &format!("seed {seed}"));
        }
    }
}

/// The first sync fails, of nothing but the header: the next one brings that to the medium.
#[test]
fn a_header_that_could_not_be_synced_is_written_again() {
    let world = World::new(1);
    let env = world.sim.env();
    let pack = create(&env).unwrap();
    let kind = io::ErrorKind::Other;
    world
        .sim
        .fail_where(|call| call.op == Op::Sync, 1, kind, Effect::Nothing);
    pack.sync().unwrap_err();
    pack.sync().unwrap();
    env.fs.sync_dir(dir()).unwrap();
    world.sim.crash(CrashStyle::KeepNothing);
    reader(&world.sim.env()).unwrap();
}

/// The disk is full in the middle of a record: nothing of it takes room, what there is can be read, and there is room again.
#[test]
fn a_full_disk_in_the_middle_and_room_again() {
    let world = World::new(3);
    let env = world.sim.env();
    let pack = create(&env).unwrap();
    let first = append(&pack, &content(2, 200_000)).unwrap();
    world.sim.set_capacity(Some(300_000));
    for _ in 0..3 {
        let error = append(&pack, &content(4, 200_000)).unwrap_err();
        assert!(error.is_out_of_space(), "{error}");
        assert!(error.to_string().contains("at offset"), "{error}");
        assert_eq!((world.sim.used(), pack.objects()), (pack.len(), 1));
    }
    let short = append(&pack, &content(6, 50_000)).unwrap();
    pack.sync().unwrap();
    world.sim.set_capacity(Some(pack.len() + 100));
    assert!(pack.seal().unwrap_err().is_out_of_space());
    assert_eq!(world.sim.used(), pack.len());
    world.sim.set_capacity(None);
    pack.seal().unwrap();
    let reader = pack.reader();
    [first, short]
        .iter()
        .for_each(|object| read(&reader, object).unwrap());
    let report = world.open("000012.pack").unwrap().verify();
    assert_eq!((report.damages, report.objects), (0, 2));
}

#[test]
fn interrupted_and_short_calls_change_nothing() {
    let (calm, flaky) = (World::new(4), World::new(4));
    flaky.sim.set_flaky(Some(2));
    for world in [&calm, &flaky] {
        let mut diary = Diary::default();
        fill(world, &mut diary, false).unwrap();
        world.sim.crash(CrashStyle::KeepAll);
        go_on(world, &mut diary).unwrap();
        diary.check(world, "");
    }
    assert!(calm.bytes("000012.pack") == flaky.bytes("000012.pack"));
}
