//! Packs: appends beside syncs and a seal; equal contents stored, streamed and collected at once.

use shuttle::rand::{Rng, thread_rng};

use super::*;
use crate::Error;
use crate::env::sim::{Call, CrashStyle, Effect, Fault, Op};
use crate::pack::shared::{PackFile, RecordBuffers, Reopened, SealedPack, SharedPack};
use crate::pack::{ObjectId, RecordOptions, RecordPlace};

const PACK: &str = "/000012.pack";
const IDENTITY: [u8; 16] = [7; 16];
const NUMBER: u64 = 12;

// ---- one pack ----

/// An object that was appended.
struct Appended {
    place: RecordPlace,
    content: Vec<u8>,
}

impl Appended {
    fn end(&self) -> u64 {
        self.place.offset + self.place.record_len
    }

    fn read(&self, file: &PackFile) -> crate::Result<()> {
        let (mut out, len) = (Vec::new(), self.content.len() as u64);
        file.read_into(
            self.place,
            &ObjectId::of(&self.content),
            len,
            &mut out,
            &mut RecordBuffers::default(),
        )?;
        assert!(out == self.content);
        Ok(())
    }
}

fn append(pack: &SharedPack, n: u64) -> crate::Result<Appended> {
    let options = RecordOptions::new(4096, Compression::None).unwrap();
    let (content, mut buffers) = (value(n, 8 + 700 * n as usize), RecordBuffers::default());
    let record = buffers.prepare(&content, ObjectId::of(&content), &options);
    let place = pack.append(&record)?;
    Ok(Appended { place, content })
}

/// Draws what goes wrong: nothing, the power at any call, one sync, one write.
fn trouble(sim: &SimEnv) {
    let (kind, part) = (std::io::ErrorKind::Other, "pack");
    let effect = match thread_rng().gen_range(0..2) {
        0 => Effect::Nothing,
        _ => Effect::Partial,
    };
    match thread_rng().gen_range(0..4) {
        0 => {}
        1 => sim.fail_matching(Some(Op::Sync), part, 1, kind, effect),
        2 => sim.fail_matching(Some(Op::Write), part, 1, kind, effect),
        _ => sim.set_fault(Fault::PowerOffAt {
            index: sim.io_count() + thread_rng().gen_range(0..24),
        }),
    }
}

/// Two that append, one that syncs, one that seals.
fn append_beside_syncs_and_a_seal() {
    let sim = SimEnv::new(thread_rng().gen_range(0..1 << 32));
    let fs = sim.env().fs;
    let pack = Arc::new(SharedPack::create(&*fs, Path::new(PACK), IDENTITY, NUMBER).unwrap());
    pack.sync().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    trouble(&sim);
    let appending = (0..2u64).map(|writer| {
        let pack = pack.clone();
        spawn(move || {
            let appended = (1..=2).filter_map(|n| append(&pack, writer * 2 + n).ok());
            appended.inspect(|object| readable(&pack, object)).collect()
        })
    });
    let appending: Vec<JoinHandle<Vec<Appended>>> = appending.collect();
    let syncing = {
        let pack = pack.clone();
        spawn(move || (0..2).filter_map(|_| pack.sync().ok()).max().unwrap_or_default())
    };
    let sealing = {
        let pack = pack.clone();
        spawn(move || seal(&pack))
    };
    let mut objects: Vec<Appended> = join(appending).into_iter().flatten().collect();
    let synced = join([syncing]).remove(0);
    let mut sealed = join([sealing]).remove(0);
    objects.sort_by_key(|object| object.place.offset);
    let mut end = 80;
    for object in &objects {
        assert_eq!(object.place.offset, end, "a record over another, or a gap");
        end = object.end();
    }
    assert_eq!(pack.len(), end);
    assert!(synced <= pack.synced_len().max(end));
    if !sim.is_off() {
        sim.clear_faults();
        sealed = sealed.or_else(|| seal(&pack));
        assert!(sealed.is_some_and(|sealed| sealed.records_end == end));
    }
    drop(pack);
    sim.power_off();
    sim.crash(CrashStyle::KeepNothing);
    judge(&sim, &objects, synced, sealed);
}

/// As soon as a place is known, unless the power has gone.
fn readable(pack: &SharedPack, object: &Appended) {
    match object.read(&pack.reader()) {
        Ok(()) | Err(Error::Io { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn seal(pack: &SharedPack) -> Option<SealedPack> {
    let sealed = pack.seal().ok()?;
    assert!(append(pack, 1).is_err(), "a sealed pack takes a record");
    assert_eq!((pack.len(), pack.objects()), (sealed.records_end, sealed.objects));
    Some(sealed)
}

/// After the power has been away.
fn judge(sim: &SimEnv, objects: &[Appended], synced: u64, sealed: Option<SealedPack>) {
    let fs = sim.env().fs;
    let known = [80, synced][thread_rng().gen_range(0..2)];
    let reopened = SharedPack::reopen(&*fs, Path::new(PACK), &IDENTITY, NUMBER, known).unwrap();
    let end = match &reopened {
        Reopened::Sealed(found) => {
            assert!(sealed.is_none_or(|sealed| sealed == *found));
            found.records_end
        }
        Reopened::Unsealed(pack, _) => {
            assert_eq!(sealed, None, "a seal has returned");
            pack.len()
        }
    };
    assert!(end >= synced, "what a sync has returned is not there");
    let file = PackFile::open(&*fs, Path::new(PACK), &IDENTITY, NUMBER).unwrap();
    for object in objects.iter().filter(|object| object.end() <= end) {
        object.read(&file).unwrap();
    }
}

#[test]
fn appends_beside_syncs_and_a_seal_leave_whole_records_and_synced_ones_stay() {
    explore(append_beside_syncs_and_a_seal);
}

// ---- a database's ----

/// Longer than a pack, so that a stream gets one of its own.
const LONG: usize = 4_500;

fn objects_world() -> (World, Keyspace) {
    let world = World::with(|options| options.pack_size(4 << 10));
    let values = KeyspaceOptions::new()
        .compression(Compression::None)
        .filter(false)
        .object_threshold(Some(64));
    let values = world.db.keyspace_with("values", values).unwrap();
    // The keyspace of places is there before the threads are.
    values.put("first", value(99, 100)).unwrap();
    (world, values)
}

/// Bytes that do not compress to nothing.
fn content(n: u64, len: usize) -> Vec<u8> {
    let mut bytes = value(n, len);
    for (at, byte) in bytes.iter_mut().enumerate().skip(8) {
        *byte = (at as u64 * (2 * n + 1) * 2_654_435_761 >> 16) as u8;
    }
    bytes
}

fn check(values: &Keyspace, key: &str, expected: Option<&Vec<u8>>) {
    let found = values.get(key).unwrap();
    assert!(found.as_deref() == expected.map(|bytes| &bytes[..]), "{key}");
}

/// Two writers store the same, give it up, and store it again, one of them as a stream, while somebody collects.
fn equal_contents_beside_a_collection(len: usize) {
    let (world, values) = objects_world();
    let writers = (0..2).map(|writer| {
        let values = values.clone();
        spawn(move || {
            let (key, content) = (format!("w{writer}"), content(1, len));
            for round in 0..2 {
                match writer {
                    0 => values.put(&key, &content).unwrap(),
                    _ => assert!(values.put_reader(&key, &content[..]).is_ok()),
                }
                check(&values, &key, Some(&content));
                if round == 0 {
                    values.delete(&key).unwrap();
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let collector = {
        let db = world.db.clone();
        spawn(move || db.collect_garbage().map(drop).unwrap())
    };
    join(writers);
    join([collector]);
    let content = content(1, len);
    let check = |values: &Keyspace| {
        (0..2).for_each(|writer| check(values, &format!("w{writer}"), Some(&content)));
    };
    check(&values);
    drop(values);
    let (_, db) = world.reopen();
    check(&db.keyspace("values").unwrap());
    db.verify().unwrap();
}

#[test]
fn an_object_that_a_write_builds_on_is_not_collected() {
    explore(|| equal_contents_beside_a_collection(300));
}

#[test]
fn a_stream_that_another_write_builds_on_is_not_collected() {
    explore(|| equal_contents_beside_a_collection(LONG));
}

/// An edit fails while two store the same as streams: who is told that it has succeeded has its value, whoever has written it.
#[test]
fn no_write_builds_on_a_pack_that_the_manifest_does_not_name() {
    explore(|| {
        let (world, values) = objects_world();
        let of_manifest = |call: &Call| call.op == Op::Write && call.mentions("MANIFEST");
        world
            .sim
            .fail_where(of_manifest, 1, std::io::ErrorKind::Other, Effect::Nothing);
        let writers = (0..2).map(|writer| {
            let values = values.clone();
            spawn(move || {
                let (key, content) = (format!("w{writer}"), content(1, LONG));
                let stored = values.put_reader(&key, &content[..]).is_ok();
                check(&values, &key, stored.then_some(&content));
                stored
            })
        });
        let stored = join(writers.collect::<Vec<_>>());
        world.sim.clear_faults();
        let content = content(1, LONG);
        let check = |values: &Keyspace| {
            for (writer, stored) in stored.iter().enumerate() {
                check(values, &format!("w{writer}"), stored.then_some(&content));
            }
        };
        check(&values);
        drop(values);
        // What is not durable is as it was: the process is killed.
        world.sim.power_off();
        let World { sim, db } = world;
        drop(db);
        sim.crash(CrashStyle::KeepAll);
        let db = options(Env::modelled(&sim, 1)).open(DIR).unwrap();
        check(&db.keyspace("values").unwrap());
        db.verify().unwrap();
    });
}
