//! Objects of all sizes, written whole and as streams, read whole, in parts, and from anywhere.

use std::io::{Seek, SeekFrom};

use super::*;
use crate::env::sim::Op;
use crate::sst::Compression;

const CHUNK: usize = 4096;

fn small_chunks(seed: u64) -> World {
    World::new(seed).with(|options| options.chunk_size(CHUNK as u32))
}

/// Lengths around the borders of chunks and groups (1,024 chunks).
fn lengths() -> Vec<usize> {
    let group = 1024 * CHUNK;
    vec![
        0,
        1,
        100,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        5 * CHUNK,
        5 * CHUNK + 17,
        group - 1,
        group,
        group + 1,
        2 * group + CHUNK,
        2 * group + 1,
    ]
}

#[test]
fn objects_of_all_lengths_come_back() {
    for compression in [Compression::None, Compression::Lz4] {
        let world = small_chunks(1).with(|options| options.compression(compression));
        let mut builder = PackBuilder::create(path("a.pack"), &world.options()).unwrap();
        let mut objects = Vec::new();
        for (number, len) in lengths().into_iter().enumerate() {
            for streamed in [false, true] {
                let object = content((2 * number + usize::from(streamed)) as u64, len);
                let added = match streamed {
                    false => builder.add(&object).unwrap(),
                    true => builder.add_reader(&object[..]).unwrap(),
                };
                assert_eq!(added.id, ObjectId::of(&object));
                assert_eq!(added.len, len as u64);
                assert_eq!(added.duplicate, len == 0 && streamed);
                objects.push(object);
            }
        }
        builder.finish().unwrap();
        let pack = world.open("a.pack").unwrap();
        for object in &objects {
            let id = ObjectId::of(object);
            assert!(
                pack.get(&id).unwrap().unwrap() == *object,
                "{} bytes",
                object.len()
            );
            let mut streamed = Vec::new();
            pack.open_object(&id)
                .unwrap()
                .unwrap()
                .read_to_end(&mut streamed)
                .unwrap();
            assert!(streamed == *object, "{} bytes streamed", object.len());
        }
        let report = pack.verify();
        assert_eq!(report.damages, 0, "{:?}", report.damage);
        assert_eq!(report.objects, objects.len() as u64 - 1);
    }
}

/// A stream and a whole object are stored alike.
#[test]
fn how_an_object_comes_makes_no_difference_to_the_bytes() {
    let whole = small_chunks(1);
    let streamed = small_chunks(2);
    let objects: Vec<_> = (0..20)
        .map(|number| content(number, 700 * number as usize))
        .collect();
    whole.build("a.pack", &objects);
    let mut builder = PackBuilder::create(path("a.pack"), &streamed.options()).unwrap();
    for object in &objects {
        // In pieces of all sizes.
        let mut rest = &object[..];
        let pieces = io::Read::by_ref(&mut rest);
        builder
            .add_reader(pieces.take(13).chain(&object[13.min(object.len())..]))
            .unwrap();
    }
    builder.finish().unwrap();
    assert!(whole.bytes("a.pack") == streamed.bytes("a.pack"));
}

#[test]
fn reads_and_seeks_agree_with_a_slice() {
    let world = small_chunks(3);
    let object = content(5, 1024 * CHUNK + 3 * CHUNK + 5);
    world.build("a.pack", &[content(1, 99), object.clone(), content(2, 99)]);
    let pack = world.open("a.pack").unwrap();
    let mut reader = pack.open_object(&ObjectId::of(&object)).unwrap().unwrap();
    let mut model = io::Cursor::new(&object);
    assert_eq!(reader.len(), object.len() as u64);
    let mut draw = 1u64;
    for _ in 0..2000 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (kind, amount) = ((draw >> 60) as u8, (draw >> 30) % (object.len() as u64 + 50));
        let to = match kind % 4 {
            0 => Some(SeekFrom::Start(amount)),
            1 => Some(SeekFrom::Current(amount as i64 - object.len() as i64 / 2)),
            2 => Some(SeekFrom::End(-(amount as i64))),
            _ => None,
        };
        if let Some(to) = to {
            let (ours, models) = (reader.seek(to), model.seek(to));
            assert_eq!(ours.is_ok(), models.is_ok());
            if let (Ok(ours), Ok(models)) = (ours, models) {
                assert_eq!(ours, models);
            }
        }
        let len = (draw % 10_000) as usize;
        let (mut ours, mut models) = (vec![0; len], vec![0; len]);
        // One call of a `Read` may give less than there is.
        let (mut a, mut b) = (0, 0);
        while let n @ 1.. = reader.read(&mut ours[a..]).unwrap() {
            a += n;
        }
        while let n @ 1.. = model.read(&mut models[b..]).unwrap() {
            b += n;
        }
        assert!(ours[..a] == models[..b]);
    }
}

/// Reading a little of a large object reads its ends, a table and one chunk, wherever that lies.
#[test]
fn a_range_is_read_without_the_rest() {
    let world = small_chunks(4);
    let object = content(6, 3 * 1024 * CHUNK);
    world.build("a.pack", std::slice::from_ref(&object));
    let pack = world.open("a.pack").unwrap();
    let id = ObjectId::of(&object);
    for at in [0, 17, 1024 * CHUNK - 1, 2 * 1024 * CHUNK + 5, object.len() - 10] {
        let before = world.sim.stats();
        let mut reader = pack.open_object(&id).unwrap().unwrap();
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut byte = [0; 1];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], object[at]);
        let after = world.sim.stats();
        let calls = after.calls[&Op::Read] - before.calls[&Op::Read];
        let bytes = after.read["pack"] - before.read["pack"];
        // Header, trailer, top, table, chunk; the first time what the index needs.
        assert!(calls <= 5 + 3, "{calls} calls at {at}");
        assert!(bytes < 13_000 + CHUNK as u64 + 1000, "{bytes} bytes at {at}");
    }
}

/// Whatever number of chunks it has.
#[test]
fn a_whole_small_object_is_read_by_one_call() {
    let world = small_chunks(4);
    let object = content(6, 50 * CHUNK);
    world.build("a.pack", std::slice::from_ref(&object));
    let pack = world.open("a.pack").unwrap();
    let id = ObjectId::of(&object);
    assert!(pack.contains(&id).unwrap()); // the index is in the cache then
    let before = world.sim.stats().calls[&Op::Read];
    pack.get(&id).unwrap().unwrap();
    assert_eq!(world.sim.stats().calls[&Op::Read] - before, 1);
}

/// Going through an object in steps that are smaller than a chunk reads no chunk twice.
#[test]
fn reading_on_reads_ahead_and_nothing_twice() {
    let world = small_chunks(5);
    let object = content(6, 200 * CHUNK);
    world.build("a.pack", std::slice::from_ref(&object));
    let pack = world.open("a.pack").unwrap();
    let mut reader = pack.open_object(&ObjectId::of(&object)).unwrap().unwrap();
    let before = world.sim.stats();
    let mut buffer = [0; 1000];
    while reader.read(&mut buffer).unwrap() > 0 {}
    let after = world.sim.stats();
    let bytes = after.read["pack"] - before.read["pack"];
    assert!(bytes < object.len() as u64 + 4000, "{bytes}");
    // 800 KB in windows of 256 KiB, the table, and the first chunk by itself.
    assert!(after.calls[&Op::Read] - before.calls[&Op::Read] <= 7);
}

#[test]
fn what_does_not_compress_lies_contiguous_in_the_file() {
    let world = small_chunks(6);
    let object = content(2, 10 * CHUNK + 5);
    world.build("a.pack", std::slice::from_ref(&object));
    let bytes = world.bytes("a.pack");
    assert!(bytes.windows(object.len()).any(|window| window == object));
    let compressible = vec![b'x'; 100_000];
    let report = world.build("b.pack", &[compressible]);
    assert!(report.ratio() < 0.02, "{}", report.ratio());
}

#[test]
fn chunk_sizes_out_of_range_are_refused() {
    for size in [0, 1, 2048, 4095, 4097, 5000, 8 << 20, u32::MAX] {
        let world = World::new(7).with(|options| options.chunk_size(size));
        let error = PackBuilder::create(path("a.pack"), &world.options()).unwrap_err();
        assert!(error.to_string().contains("chunk_size"), "{error}");
        assert!(world.files().is_empty(), "{:?}", world.files());
    }
    for size in [4096, 4 << 20] {
        let world = World::new(7).with(|options| options.chunk_size(size));
        let object = content(3, 10_000_000);
        world.build("a.pack", std::slice::from_ref(&object));
        let pack = world.open("a.pack").unwrap();
        assert!(pack.get(&ObjectId::of(&object)).unwrap().unwrap() == object);
    }
}
