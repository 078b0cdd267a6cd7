//! Packs of one stream, or of one object that is moved.

use std::io::Write;

use super::shared::*;
use super::shared_crashes::KINDS;
use super::*;
use crate::env::sim::{CrashStyle, Effect, Fault, Op};
use crate::pack::shared::StreamPack;

#[test]
fn a_stream_is_what_a_shared_pack_writes() {
    for object in contents().into_iter().chain([mixed(900_000)]) {
        let world = World::new(1);
        let env = world.sim.env();
        let mut stream =
            StreamPack::create(&env, &path("stream.pack"), IDENTITY, NUMBER, &small_chunks()).unwrap();
        for piece in object.chunks(1000) {
            stream.write_all(piece).unwrap();
        }
        let streamed = stream.finish().unwrap();
        let pack = create(&env).unwrap();
        let known = append(&pack, &object).unwrap();
        assert_eq!(pack.seal().unwrap(), streamed.pack);
        assert_eq!((streamed.id, streamed.place), (known.id, known.place));
        assert_eq!(streamed.len, object.len() as u64);
        assert!(world.bytes("stream.pack") == world.bytes("000012.pack"));
        // And moved, it is the same record.
        let (from, copy) = (pack.reader(), path("copy.pack"));
        let stream = StreamPack::create(&env, &copy, IDENTITY, NUMBER, &small_chunks()).unwrap();
        let copied = stream.copy(&from, known.place, &known.id, streamed.len).unwrap();
        assert_eq!(copied, streamed);
        assert!(world.bytes("copy.pack") == world.bytes("000012.pack"));
        // Nothing was lost by a power cut.
        world.sim.crash(CrashStyle::KeepNothing);
        let opened = world.open("copy.pack").unwrap();
        assert_eq!(opened.verify().objects, 1);
    }
}

/// A stream that is dropped, or fails, leaves no file.
#[test]
fn a_stream_that_is_not_finished_leaves_nothing() {
    let world = World::new(1);
    let env = world.sim.env();
    let name = path("stream.pack");
    for finish in [false, true] {
        let mut stream = StreamPack::create(&env, &name, IDENTITY, NUMBER, &small_chunks()).unwrap();
        stream.write_all(&content(2, 3_000_000)).unwrap();
        if finish {
            world.sim.set_capacity(Some(3_000_000));
            assert!(stream.finish().unwrap_err().is_out_of_space());
        } else {
            drop(stream);
        }
        assert!(world.files().is_empty());
    }
}

/// An object that is much longer than the memory which its stream may take.
#[test]
#[cfg(not(any(packstone_loom, packstone_shuttle)))] // their package has no counter
fn a_stream_needs_a_chunk_and_an_output_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let env = crate::env::Env::real(1);
    let options = RecordOptions::new(64 << 10, crate::Compression::Lz4).unwrap();
    let piece = content(2, 1 << 20);
    let (first, second) = (dir.path().join("1.pack"), dir.path().join("2.pack"));
    let measured = allocation_counter::measure(|| {
        let mut stream = StreamPack::create(&env, &first, IDENTITY, 1, &options).unwrap();
        for _ in 0..64 {
            stream.write_all(&piece).unwrap();
        }
        let streamed = stream.finish().unwrap();
        let from = crate::pack::shared::PackFile::open(&*env.fs, &first, &IDENTITY, 1).unwrap();
        let stream = StreamPack::create(&env, &second, [8; 16], 2, &options).unwrap();
        let copied = stream
            .copy(&from, streamed.place, &streamed.id, streamed.len)
            .unwrap();
        assert_eq!(copied.pack.objects, 1);
    });
    assert!(measured.bytes_max < 4 << 20, "{}", measured.bytes_max);
}

/// A stream's pack is whole and durable when it is finished; before nothing names it, and what a failure leaves goes.
#[test]
fn a_stream_is_whole_when_it_is_finished() {
    let run = |world: &World| {
        let (env, name) = (world.sim.env(), path("000012.pack"));
        let mut stream = StreamPack::create(&env, &name, IDENTITY, NUMBER, &small_chunks())?;
        let written = stream.write_all(&content(2, 2_500_000));
        written.map_err(|e| crate::Error::io("write", &name, e))?;
        stream.finish()
    };
    let clean = World::new(0);
    let streamed = run(&clean).unwrap();
    let last = clean.sim.io_count();
    let created = (1..last).find(|index| {
        let world = World::new(0);
        world.sim.set_trace(true);
        drop(run(&world));
        let call = world
            .sim
            .take_trace()
            .into_iter()
            .find(|call| call.op == Op::Create);
        call.is_some_and(|call| call.index == *index)
    });
    clean.sim.crash(CrashStyle::KeepNothing);
    let object = Known {
        id: streamed.id,
        content: content(2, 2_500_000),
        place: streamed.place,
    };
    read(&reader(&clean.sim.env()).unwrap(), &object).unwrap();
    for (kind, effect) in KINDS {
        for index in 1..last {
            let world = World::new(index);
            world.sim.set_fault(Fault::FailCall { index, kind, effect });
            match run(&world) {
                Ok(found) => assert_eq!(found, streamed),
                // A creation may have taken place and be told to have failed: the name is not used again.
                Err(_) => assert!(
                    world.files().len() <= usize::from(effect == Effect::Partial && Some(index) == created),
                    "call {index}: {:?}",
                    world.files()
                ),
            }
        }
    }
    for index in 1..last {
        let world = World::new(index);
        world.sim.set_fault(Fault::PowerOffAt { index });
        run(&world).unwrap_err();
        world.sim.crash(CrashStyle::KeepAll);
        // A file that nobody names: it is in nobody's way but by its name.
        let _ = world.sim.env().fs.remove(&path("000012.pack"));
        assert_eq!(run(&world).unwrap(), streamed);
    }
}
