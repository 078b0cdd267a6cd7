//! Packs and archives on the real file system: memory as the system counts it, sizes that hurt.

use std::env;
use std::path::Path;

use packstone::Result;
use packstone::pack::{Archive, ArchiveWriter, ObjectId, Pack, PackBuilder, PackOptions};

mod support;

use support::outside;
use support::stream::{Stream, check};

const MIB: u64 = 1 << 20;
const CHILD: &str = "PACKSTONE_PACK_CHILD";
/// How many objects are built, in place of 300,000.
const OBJECTS: &str = "PACKSTONE_PACK_OBJECTS";
/// How long the streamed object is in MiB, in place of 128.
const STREAM_MIB: &str = "PACKSTONE_PACK_STREAM_MIB";
/// What packs may take, whatever they hold.
const LIMIT: u64 = 64 * MIB;

/// Object `n`: 8 to 71 bytes.
fn object(n: u64) -> Vec<u8> {
    let mut object = n.to_le_bytes().to_vec();
    object.resize(8 + (n % 64) as usize, n as u8);
    object
}

/// What a process of its own does: `build COUNT DIR`, `archive COUNT DIR` or `stream MIB DIR`.
fn child(plan: &str) -> Result<()> {
    let words: Vec<&str> = plan.split(' ').collect();
    let (count, path) = (
        words[1].parse::<u64>().unwrap(),
        Path::new(words[2]).join("a.pack"),
    );
    let options = PackOptions::default();
    match words[0] {
        "build" => {
            let mut builder = PackBuilder::create(&path, &options)?;
            for n in 0..count {
                builder.add(&object(n))?;
            }
            assert_eq!(builder.finish()?.objects, count);
            let pack = Pack::open(&path)?;
            let mut last = None;
            let mut listed = 0;
            for id in pack.ids() {
                let id = id?;
                assert!(last < Some(id));
                last = Some(id);
                listed += 1;
            }
            assert_eq!(listed, count);
            for n in (0..count).step_by((count as usize / 1000).max(1)) {
                assert_eq!(pack.get(&ObjectId::of(&object(n)))?, Some(object(n)));
            }
        }
        "archive" => {
            // Names in no order; half at first, then the other half.
            let name = |n: u64| format!("{:016x}/{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n % 7);
            for half in 0..2 {
                let mut writer = ArchiveWriter::open(&path, &options)?;
                for n in (half..count).step_by(2) {
                    writer.add(name(n).as_bytes(), b"", &object(n))?;
                }
                writer.finish()?;
            }
            let archive = Archive::open(&path)?;
            assert_eq!(archive.len(), count);
            for n in (0..count).step_by((count as usize / 1000).max(1)) {
                let entry = archive.get(name(n).as_bytes())?.expect("it was added");
                assert_eq!(archive.read(&entry)?, object(n));
            }
            let names = archive
                .entries()
                .try_fold(0, |names, entry| entry.map(|_| names + 1))?;
            assert_eq!(names, count);
        }
        _ => {
            let len = count * MIB + 12_345;
            let mut builder = PackBuilder::create(&path, &options)?;
            let added = builder.add_reader(Stream::new(len))?;
            let again = builder.add_reader(Stream::new(len))?;
            assert!(again.duplicate && again.id == added.id);
            builder.finish()?;
            let pack = Pack::open(&path)?;
            let mut reader = pack.open_object(&added.id)?.expect("it was added");
            assert_eq!(reader.len(), len);
            check(&mut reader, len);
            assert_eq!(pack.verify().damages, 0);
        }
    }
    Ok(())
}

/// The child of the tests below; on its own it does nothing.
#[test]
fn works_in_a_process_of_its_own() {
    if let Ok(plan) = env::var(CHILD) {
        child(&plan).unwrap();
    }
}

fn within_the_limit(what: &str, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (most, _) = outside::watch(CHILD, &format!("{what} {count} {}", dir.path().display()));
    assert!(most <= LIMIT, "{what} {count}: {most} bytes");
    let names: Vec<_> = dir
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a.pack"]);
}

/// `PACKSTONE_PACK_OBJECTS=10000000 cargo test --release --test packs -- --nocapture` for the size of the promise.
#[test]
fn what_the_system_measures_of_building_does_not_grow_with_the_objects() {
    if outside::can_be_measured() {
        let count = outside::number(OBJECTS, 300_000);
        within_the_limit("build", count);
        within_the_limit("archive", count);
    }
}

/// `PACKSTONE_PACK_STREAM_MIB=10240 cargo test --release --test packs -- --nocapture` for 10 GiB.
#[test]
fn what_the_system_measures_of_a_stream_does_not_grow_with_its_length() {
    if outside::can_be_measured() {
        within_the_limit("stream", outside::number(STREAM_MIB, 128));
    }
}
