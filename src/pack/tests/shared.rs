//! The packs of a database: many writers, streams, seals, readers beside them.

use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use super::*;
use crate::env::Env;
use crate::pack::object::RecordPlace;
use crate::pack::shared::{PackFile, RecordBuffers, Reopened, SharedPack, survey};
use crate::sst::Compression;

pub(super) const IDENTITY: [u8; 16] = [7; 16];
pub(super) const NUMBER: u64 = 12;

/// Where an object lies.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: ObjectId,
    pub(super) content: Vec<u8>,
    pub(super) place: RecordPlace,
}

pub(super) fn small_chunks() -> RecordOptions {
    RecordOptions::new(4096, Compression::Lz4).unwrap()
}

pub(super) fn create(env: &Env) -> crate::Result<SharedPack> {
    SharedPack::create(&*env.fs, &path("000012.pack"), IDENTITY, NUMBER)
}

pub(super) fn append_with(
    pack: &SharedPack,
    content: &[u8],
    options: &RecordOptions,
) -> crate::Result<Known> {
    let id = ObjectId::salted(content, &options.salt);
    let mut buffers = RecordBuffers::default();
    let place = pack.append(&buffers.prepare(content, id, options))?;
    Ok(Known {
        id,
        content: content.to_vec(),
        place,
    })
}

pub(super) fn append(pack: &SharedPack, content: &[u8]) -> crate::Result<Known> {
    append_with(pack, content, &small_chunks())
}

pub(super) fn reopen(env: &Env, known: u64) -> crate::Result<Reopened> {
    SharedPack::reopen(&*env.fs, &path("000012.pack"), &IDENTITY, NUMBER, known)
}

pub(super) fn reader(env: &Env) -> crate::Result<PackFile> {
    PackFile::open(&*env.fs, &path("000012.pack"), &IDENTITY, NUMBER)
}

pub(super) fn look(env: &Env, known: u64) -> crate::Result<u64> {
    survey(&*env.fs, &path("000012.pack"), &IDENTITY, NUMBER, known)
}

/// Reads an object whole and as a stream.
pub(super) fn read(file: &PackFile, object: &Known) -> crate::Result<()> {
    let (len, mut whole) = (object.content.len() as u64, vec![1; 3]);
    file.read_into(
        object.place,
        &object.id,
        len,
        &mut whole,
        &mut RecordBuffers::default(),
    )?;
    assert!(whole == object.content, "{object:?}");
    let mut streamed = Vec::new();
    let mut stream = file.open_object(object.place, &object.id, len)?;
    stream
        .read_to_end(&mut streamed)
        .map_err(|e| crate::Error::io("read", file.path(), e))?;
    assert!(streamed == object.content, "{object:?}");
    Ok(())
}

/// Lengths around the borders of chunks and groups.
pub(super) fn contents() -> Vec<Vec<u8>> {
    let group = 1024 * 4096;
    let lens = [
        0,
        1,
        100,
        4095,
        4096,
        4097,
        40_000,
        200_001,
        group,
        group + 1,
        2 * group + 5,
    ];
    let both = lens
        .into_iter()
        .flat_map(|len| [(0, len), (1, len)])
        .map(|(kind, len)| content(2 * len as u64 + kind, len));
    both.collect()
}

/// Raw and compressed chunks in one object, in turns and in runs.
pub(super) fn mixed(len: usize) -> Vec<u8> {
    let mut mixed = content(2, len);
    for chunk in mixed
        .chunks_mut(4096)
        .enumerate()
        .filter(|(at, _)| at % 5 > 2 || at % 7 == 0)
    {
        chunk.1.fill(b'x');
    }
    mixed
}

/// The number in the header apart.
fn without_header(bytes: &[u8]) -> &[u8] {
    &bytes[80..]
}

#[test]
fn a_sealed_shared_pack_is_what_a_builder_writes() {
    let sizes = [4096, 64 << 10]; // sums of longer chunks are made another way
    let both = [Compression::None, Compression::Lz4];
    for (size, compression) in sizes
        .into_iter()
        .flat_map(|size| both.map(|compression| (size, compression)))
    {
        let world = World::new(1).with(|options| {
            let options = options.chunk_size(size).compression(compression);
            options.dedup_window(0)
        });
        let mut objects = contents();
        objects.push(mixed(900_000));
        objects.push(objects[3].clone()); // a copy
        world.build("built.pack", &objects);
        let env = world.sim.env();
        let options = RecordOptions::new(size, compression).unwrap();
        let pack = create(&env).unwrap();
        let known: Vec<_> = objects
            .iter()
            .map(|object| append_with(&pack, object, &options).unwrap())
            .collect();
        let reader = pack.reader();
        known.iter().for_each(|object| read(&reader, object).unwrap());
        let end = pack.len();
        let sealed = pack.seal().unwrap();
        assert_eq!((sealed.records_end, sealed.objects), (end, objects.len() as u64));
        assert_eq!(pack.seal().unwrap(), sealed);
        let (built, shared) = (world.bytes("built.pack"), world.bytes("000012.pack"));
        assert!(without_header(&built) == without_header(&shared));
        assert_eq!(sealed.file_bytes, shared.len() as u64);
        assert_eq!(built[64..80], shared[64..80], "the sealed length");

        let verified = world.open("000012.pack").unwrap().verify();
        assert_eq!((verified.damages, verified.objects), (0, objects.len() as u64));
        known.iter().for_each(|object| read(&reader, object).unwrap());
        let index = self::reader(&env).unwrap().index(1 << 20).unwrap();
        let entries: Vec<_> = index.entries(&ObjectId::default()).map(Result::unwrap).collect();
        assert!(entries.is_sorted_by(|a, b| a.id < b.id));
        for object in &known {
            let entry = entries.iter().find(|entry| entry.id == object.id).unwrap();
            assert_eq!(entry.len, object.content.len() as u64);
            assert_eq!(entry.stored, object.place.record_len);
        }
    }
}

/// Records go from pack to pack as they are stored: with another identity, at another place, without being compressed again.
#[test]
fn records_move_between_packs_as_they_are_stored() {
    let world = World::new(1);
    let env = world.sim.env();
    let (from, options) = (create(&env).unwrap(), small_chunks().salted([3; 16]));
    let long_chunks = RecordOptions::new(64 << 10, Compression::Lz4).unwrap();
    let mut objects = contents();
    objects.push(mixed(900_000));
    let known: Vec<_> = objects
        .iter()
        .flat_map(|object| {
            [options, long_chunks].map(|options| append_with(&from, object, &options).unwrap())
        })
        .collect();
    let other = path("000013.pack");
    let to = SharedPack::create(&*env.fs, &other, [8; 16], 13).unwrap();
    append_with(&to, b"something before it", &options).unwrap();
    let (mut buffers, source, target) = (RecordBuffers::default(), from.reader(), to.reader());
    for object in known.iter().rev() {
        let len = object.content.len() as u64;
        let record = source
            .load_record(object.place, &object.id, len, &mut buffers)
            .unwrap();
        let place = to.append(&record).unwrap();
        assert_eq!(place.record_len, object.place.record_len);
        read(
            &target,
            &Known {
                place,
                ..object.clone()
            },
        )
        .unwrap();
    }
    to.seal().unwrap();
    let sealed = PackFile::open(&*env.fs, &other, &[8; 16], 13).unwrap();
    assert_eq!(sealed.index(0).unwrap().verify().damages, 0);
}

#[test]
fn a_salt_goes_into_ids_and_records() {
    let world = World::new(1);
    let env = world.sim.env();
    let pack = create(&env).unwrap();
    let plain = append(&pack, b"content").unwrap();
    let salted = append_with(&pack, b"content", &small_chunks().salted([3; 16])).unwrap();
    assert_ne!(plain.id, salted.id);
    assert_eq!(plain.id, ObjectId::of(b"content"));
    let reader = pack.reader();
    read(&reader, &plain).unwrap();
    read(&reader, &salted).unwrap();
    // What somebody takes for another object is not given out.
    let wrong = Known {
        id: plain.id,
        ..salted.clone()
    };
    assert!(
        read(&reader, &wrong)
            .unwrap_err()
            .to_string()
            .contains("expected object")
    );
    pack.seal().unwrap();
    assert_eq!(world.open("000012.pack").unwrap().verify().damages, 0);
}

/// However an object is stored, and in one call if that is possible: header, content and tables go where they are wanted.
#[test]
fn whole_objects_are_read_by_one_call() {
    use crate::env::sim::Op;
    let world = World::new(1);
    let pack = create(&world.sim.env()).unwrap();
    // The last one has chunks of both kinds, and a record that is as long as a raw one's may be.
    let objects = [
        content(2, 16_383),
        content(2, 16_384),
        content(2, 1_000_000),
        content(3, 200_000),
        mixed(100_000),
    ];
    let (reader, mut out) = (pack.reader(), Vec::new());
    let mut buffers = RecordBuffers::default();
    for object in objects {
        let known = append(&pack, &object).unwrap();
        let before = world.sim.stats().count(Op::Read);
        reader
            .read_into(
                known.place,
                &known.id,
                object.len() as u64,
                &mut out,
                &mut buffers,
            )
            .unwrap();
        assert_eq!(
            world.sim.stats().count(Op::Read) - before,
            1,
            "{} bytes",
            object.len()
        );
        assert!(out == object);
    }
    // Its record is as long as if all of it were raw, nearly.
    let object = [content(2, 20_480), vec![b'x'; 40]].concat();
    let known = append(&pack, &object).unwrap();
    assert!(known.place.record_len > 20_480 + 40 + 96);
    read(&reader, &known).unwrap();
}

/// A place that an index names may be anything.
#[test]
fn wrong_places_are_errors() {
    let world = World::new(1);
    let pack = create(&world.sim.env()).unwrap();
    let object = append(&pack, &content(2, 10_000)).unwrap();
    let (reader, len) = (pack.reader(), object.content.len() as u64);
    let places = [
        (0, 0),
        (80, 0),
        (80, 83),
        (0, object.place.record_len),
        (81, object.place.record_len),
        (80, object.place.record_len - 1),
        (80, object.place.record_len + 1),
        (80, 2 << 20),
        (80, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, 84),
        (1 << 62, 1 << 61),
    ];
    for (offset, record_len) in places {
        let place = RecordPlace { offset, record_len };
        let whole = reader.read_into(
            place,
            &object.id,
            len,
            &mut Vec::new(),
            &mut RecordBuffers::default(),
        );
        let streamed = reader.open_object(place, &object.id, len);
        for error in [whole.unwrap_err(), streamed.unwrap_err()] {
            assert!(
                matches!(error, crate::Error::Corruption { .. }),
                "{place:?}: {error}"
            );
        }
    }
    let wrong = reader.read_into(
        object.place,
        &object.id,
        len + 1,
        &mut Vec::new(),
        &mut RecordBuffers::default(),
    );
    assert!(wrong.unwrap_err().to_string().contains("expected object"));
}

#[test]
fn another_file_of_that_name_is_refused() {
    let world = World::new(1);
    let env = world.sim.env();
    let name = path("000012.pack");
    let other = |identity, number| {
        env.fs.remove(&name).unwrap();
        SharedPack::create(&*env.fs, &name, identity, number).unwrap();
    };
    let refused = |part: &str| {
        let before = world.bytes("000012.pack");
        let errors = [
            reopen(&env, 80).unwrap_err(),
            look(&env, 80).unwrap_err(),
            reader(&env).unwrap_err(),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("000012.pack"), "{text}");
        }
        assert_eq!(world.bytes("000012.pack"), before);
    };
    create(&env).unwrap();
    other([8; 16], NUMBER);
    refused("another file");
    other(IDENTITY, 13);
    refused("found pack 13");
    world.sim.write_file(&name, b"").unwrap();
    refused("fewer than a pack's header");
    world.sim.write_file(&name, &[b'x'; 500]).unwrap();
    refused("the magic of a pack");
    // A pack that somebody has sealed under this name.
    let others = world.options().identity([8; 16]);
    let mut builder = crate::pack::PackBuilder::create(path("000012.pack.other"), &others).unwrap();
    builder.add(&content(1, 100)).unwrap();
    builder.finish().unwrap();
    world
        .sim
        .write_file(&name, &world.bytes("000012.pack.other"))
        .unwrap();
    refused("found pack 0");
}

/// What compresses not at all goes from the caller's memory to the kernel: header, content, tables and trailer are three calls; short records are one.
#[test]
fn an_append_takes_few_calls() {
    use crate::env::sim::Op;
    let world = World::new(1);
    let pack = create(&world.sim.env()).unwrap();
    let options = RecordOptions::new(64 << 10, Compression::Lz4).unwrap();
    for (len, calls) in [(10, 1), (5_000, 1), (100_000, 3), (1_000_000, 3)] {
        let before = world.sim.stats().count(Op::Write);
        append_with(&pack, &content(2, len), &options).unwrap();
        assert_eq!(world.sim.stats().count(Op::Write) - before, calls, "{len} bytes");
    }
}

#[test]
fn threads_append_and_read_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let (env, name) = (Env::real(1), dir.path().join("000012.pack"));
    let pack = Arc::new(SharedPack::create(&*env.fs, &name, IDENTITY, NUMBER).unwrap());
    let large = append(&pack, &content(2, 3_000_000)).unwrap();
    let object = |thread: u64, number: u64| content(1000 * thread + number, (number * 977 % 50_000) as usize);
    let (mut all, mut ends) = (vec![], vec![]);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let pack = &pack;
                scope.spawn(move || {
                    let reader = pack.reader();
                    let mut mine = Vec::new();
                    for number in 0..120 {
                        let known = append(pack, &object(thread, number)).unwrap();
                        read(&reader, &known).unwrap();
                        mine.push(known);
                        if number % 40 == thread {
                            let synced = pack.sync().unwrap();
                            assert!(
                                mine.last().is_some_and(|last| end_of(last) <= synced)
                                    && synced <= pack.len()
                            );
                        }
                    }
                    mine
                })
            })
            .collect();
        // A reader that goes through a large object meanwhile.
        let mut stream = pack
            .reader()
            .open_object(large.place, &large.id, large.content.len() as u64)
            .unwrap();
        for _ in 0..10 {
            let mut found = Vec::new();
            stream.seek(SeekFrom::Start(0)).unwrap();
            stream.read_to_end(&mut found).unwrap();
            assert!(found == large.content);
            // And somebody who only looks from outside.
            ends.push(survey(&*env.fs, &name, &IDENTITY, NUMBER, 80).unwrap());
        }
        for writer in writers {
            all.extend(writer.join().unwrap());
        }
    });
    assert_eq!((all.len(), pack.objects()), (480, 481));
    // What they saw were ends of records.
    let borders: Vec<_> = all.iter().chain([&large]).map(end_of).collect();
    assert!(ends.is_sorted() && ends.iter().all(|end| borders.contains(end)));
    pack.seal().unwrap();
    append(&pack, b"too late").unwrap_err();
    let reader = PackFile::open(&*env.fs, &name, &IDENTITY, NUMBER).unwrap();
    all.iter().for_each(|object| read(&reader, object).unwrap());
    assert_eq!(reader.index(0).unwrap().verify().damages, 0);
}

pub(super) fn end_of(object: &Known) -> u64 {
    object.place.offset + object.place.record_len
}

/// Readers keep what they have open, whatever happens to the pack: it is sealed, its file is removed.
#[test]
fn a_reader_goes_on_while_the_pack_is_sealed_and_removed() {
    let world = World::new(6);
    let env = world.sim.env();
    let pack = create(&env).unwrap();
    let large = append(&pack, &content(2, 600_000)).unwrap();
    let mut stream = reader(&env)
        .unwrap()
        .open_object(large.place, &large.id, 600_000)
        .unwrap();
    let mut found = vec![0; 600_000];
    for (number, part) in found.chunks_mut(100_000).enumerate() {
        stream.read_exact(part).unwrap();
        match number {
            1 => drop(append(&pack, &content(4, 50_000)).unwrap()),
            2 => drop(pack.seal().unwrap()),
            3 => env.fs.remove(&path("000012.pack")).unwrap(),
            _ => {}
        }
    }
    assert!(found == large.content);
}
