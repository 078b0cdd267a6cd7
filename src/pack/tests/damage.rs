//! Damage: every byte flipped, every cut, foreign files. What is read is what was written, or an error that names the place.

use super::*;
use crate::Error;

/// A small archive of two segments, with an object of several chunks.
fn sample(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut all = entries(0..12);
    all.push(("large".to_owned(), content(3, 20_000)));
    world.append("a.pack", &all);
    let more = entries(20..24);
    world.append("a.pack", &more);
    all.extend(more);
    sorted(all)
}

fn small(seed: u64) -> World {
    World::new(seed).with(|options| options.chunk_size(4096).dedup_window(8))
}

/// What opening and reading everything gives.
fn read_all(world: &World) -> crate::Result<Vec<(String, Vec<u8>)>> {
    let archive = world.archive("a.pack")?;
    let mut all = Vec::new();
    for entry in archive.entries() {
        let entry = entry?;
        let content = archive.read(&entry)?;
        all.push((String::from_utf8(entry.name.to_vec()).unwrap(), content));
    }
    for id in archive.pack().ids() {
        let id = id?;
        let content = archive.pack().get(&id)?.expect("it is listed");
        assert_eq!(ObjectId::of(&content), id);
    }
    Ok(all)
}

#[test]
fn every_flipped_byte_is_found_by_verify_and_none_is_read() {
    let world = small(1);
    let all = sample(&world);
    let sound = world.bytes("a.pack");
    assert_eq!(read_all(&world).unwrap(), all);
    let (mut unread, mut refused) = (0, 0);
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        world.sim.write_file(path("a.pack"), &bytes).unwrap();
        match read_all(&world) {
            Ok(found) if found == all => unread += 1,
            Ok(_) => panic!("byte {at}: something else was read"),
            Err(Error::Corruption {
                path: named, offset, ..
            }) => {
                assert_eq!(named, path("a.pack"));
                assert!(offset <= sound.len() as u64, "byte {at} told at {offset}");
                refused += 1;
            }
            // A changed version: of a section or an SST; its own checksum is behind it.
            Err(Error::NewerFormat { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
        match world.open("a.pack") {
            Ok(pack) => {
                let report = pack.verify();
                assert!(report.damages > 0, "byte {at} is not noticed");
            }
            Err(Error::Corruption { .. } | Error::NewerFormat { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(
        refused > unread,
        "{refused} refused, {unread} not touched by reading"
    );
}

/// What an append that was cut off leaves: the file as it was before, its header included, and any part of what came behind.
#[test]
fn an_append_that_is_cut_off_anywhere_leaves_the_archive_as_it_was() {
    let world = small(2);
    let all = sample(&world);
    let sound = world.bytes("a.pack");
    let archive = world.archive("a.pack").unwrap();
    let [first, second] = [0, 1].map(|segment| archive.pack().segments[segment].footer_at as usize);
    let mut unsealed = sound.clone();
    let sealed_len = format::encode_sealed_len(first as u64 + 256, format::Seed::new(&[7; 16]));
    unsealed[64..80].copy_from_slice(&sealed_len);
    for len in first + 256..sound.len() {
        world.sim.write_file(path("a.pack"), &unsealed[..len]).unwrap();
        let archive = world.archive("a.pack").unwrap();
        let found = read_back(&archive);
        if len >= second + 128 {
            assert_eq!((found, archive.pack().torn_bytes()), (all.clone(), 0));
        } else {
            assert!(found.len() == 13 && found.iter().all(|entry| all.contains(entry)));
            assert_eq!(archive.pack().torn_bytes(), (len - first - 256) as u64);
        }
        if len % 50 == 0 || len > second {
            // The next append goes on from there, and the file is exact again.
            drop(archive);
            let report = world.append("a.pack", &entries(20..24));
            if len < second + 128 {
                assert_eq!(report.added_at, first as u64 + 256);
                assert!(world.bytes("a.pack") == sound);
            }
            assert_eq!(world.open("a.pack").unwrap().verify().damages, 0);
        }
    }
}

/// A file that has lost its end, or whose last seal is damaged, is not taken for one whose last append was cut off: nothing is cut from
/// it, and `recover` saves what is there.
#[test]
fn a_lost_or_damaged_seal_is_told_and_never_written_over() {
    let world = small(2);
    let all = sample(&world);
    let sound = world.bytes("a.pack");
    let last = world.archive("a.pack").unwrap().pack().last_segment().0 as usize;
    let mut damaged = sound.clone();
    damaged[last + 50] ^= 1;
    damaged[last + 128 + 50] ^= 1;
    let cuts = (0..last + 128).step_by(7).map(|len| sound[..len].to_vec());
    for bytes in cuts.chain([damaged.clone()]) {
        world.sim.write_file(path("a.pack"), &bytes).unwrap();
        let len = bytes.len();
        assert!(
            matches!(world.archive("a.pack"), Err(Error::Corruption { .. })),
            "{len} bytes"
        );
        let appended = ArchiveWriter::append(path("a.pack"), &world.options());
        assert!(matches!(appended, Err(Error::Corruption { .. })), "{len} bytes");
        assert!(world.bytes("a.pack") == bytes, "it has not been touched");
    }
    // Of the names, those of the seal before are left; of the objects, all.
    let report = recover(path("a.pack"), path("b.pack"), &world.options()).unwrap();
    assert_eq!(
        (report.names, report.lost.len(), report.index.is_some()),
        (13, 0, true)
    );
    let saved = world.archive("b.pack").unwrap();
    for (_, content) in &all {
        assert!(saved.pack().contains(&ObjectId::of(content)).unwrap());
    }
    // One copy is enough, and the next append makes the other one anew.
    for copy in [last, last + 128] {
        let mut bytes = sound.clone();
        bytes[copy + 50] ^= 1;
        world.sim.write_file(path("a.pack"), &bytes).unwrap();
        assert_eq!(read_back(&world.archive("a.pack").unwrap()), all);
        assert_eq!(world.open("a.pack").unwrap().verify().damages, 1);
        world.append("a.pack", &[("z".to_owned(), content(99, 10))]);
        assert_eq!(world.open("a.pack").unwrap().verify().damages, 0);
    }
}

/// What a crash has left behind the end may be anything, of any length.
#[test]
fn remains_behind_the_end_are_stepped_over_and_go_with_the_next_append() {
    let world = small(3);
    let all = sample(&world);
    let sound = world.bytes("a.pack");
    let old_footer = sound[sound.len() - 256..].to_vec();
    let remains: [Vec<u8>; 5] = [
        vec![0; 1],
        vec![0xff; 127],
        vec![0; 3_000_000],
        old_footer.repeat(3), // footers of other places
        b"PKSTSEAL".repeat(1000),
    ];
    for remains in &remains {
        let mut bytes = sound.clone();
        bytes.extend_from_slice(remains);
        world.sim.write_file(path("a.pack"), &bytes).unwrap();
        let archive = world.archive("a.pack").unwrap();
        assert_eq!(archive.pack().torn_bytes(), remains.len() as u64);
        assert_eq!(read_back(&archive), all);
        drop(archive);
        world.append("a.pack", &[("z".to_owned(), content(99, 10))]);
        let archive = world.archive("a.pack").unwrap();
        assert_eq!(
            (archive.pack().torn_bytes(), archive.len()),
            (0, all.len() as u64 + 1)
        );
        assert_eq!(archive.pack().verify().damages, 0);
    }
}

#[test]
fn foreign_and_unsealed_files_are_refused() {
    let world = small(4);
    for (bytes, expected) in [
        (&b""[..], "fewer than a pack's header"),
        (b"PKSTPACK", "fewer than a pack's header"),
        (&[0; 5000], "PKSTPACK"),
        (&[b'x'; 80], "PKSTPACK"),
    ] {
        world.sim.write_file(path("a.pack"), bytes).unwrap();
        let error = world.open("a.pack").unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("a.pack"), "{error}");
        let error = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(world.bytes("a.pack"), bytes, "it has not been touched");
    }
    world.build("b.pack", &[content(1, 10)]);
    let bytes = world.bytes("b.pack");
    world
        .sim
        .write_file(path("a.pack"), &bytes[..bytes.len() - 129])
        .unwrap();
    let error = world.open("a.pack").unwrap_err().to_string();
    assert!(
        error.contains("never sealed") && error.contains("pack recover"),
        "{error}"
    );
}

/// A part of one pack does not pass for a part of another one, nor at another place.
#[test]
fn records_of_another_pack_or_place_do_not_validate() {
    let world = small(5);
    world.build("a.pack", &[content(2, 500), content(4, 500)]);
    let other = small(5).with(|options| options.identity([8; 16]));
    other.build("a.pack", &[content(2, 500), content(4, 500)]);
    let (mut bytes, foreign) = (world.bytes("a.pack"), other.bytes("a.pack"));
    let record = (bytes.len(), 80..80 + 20 + 500 + 8 + 4 + 64);
    assert_eq!(foreign.len(), record.0);
    bytes[record.1.clone()].copy_from_slice(&foreign[record.1.clone()]);
    world.sim.write_file(path("a.pack"), &bytes).unwrap();
    let pack = world.open("a.pack").unwrap();
    assert!(pack.get(&ObjectId::of(&content(2, 500))).is_err());
    assert!(pack.get(&ObjectId::of(&content(4, 500))).unwrap().is_some());
    // The two records of one pack in each other's place.
    let mut bytes = other.bytes("a.pack");
    let (first, second) = (record.1.clone(), record.1.end..record.1.end + record.1.len());
    let swapped = bytes[second.clone()].to_vec();
    bytes.copy_within(first.clone(), second.start);
    bytes[first].copy_from_slice(&swapped);
    other.sim.write_file(path("a.pack"), &bytes).unwrap();
    let pack = other.open("a.pack").unwrap();
    for number in [2, 4] {
        assert!(pack.get(&ObjectId::of(&content(number, 500))).is_err());
    }
}

#[test]
fn a_newer_format_is_named_as_such() {
    let world = small(6);
    world.build("a.pack", &[content(2, 500)]);
    let sound = world.bytes("a.pack");
    let resealed = |at: usize, value: u8, range: std::ops::Range<usize>| {
        let mut bytes = sound.clone();
        bytes[range.start + at] = value;
        let seed = format::Seed::new(&[7; 16]);
        let sum = seed.sum(range.start as u64, &bytes[range.start..range.end - 4]);
        bytes[range.end - 4..range.end].copy_from_slice(&sum.to_le_bytes());
        world.sim.write_file(path("a.pack"), &bytes).unwrap();
        world.open("a.pack").unwrap_err()
    };
    for (at, value) in [(8, 2), (12, 1)] {
        for range in [0..64, sound.len() - 128..sound.len()] {
            let error = resealed(at, value, range);
            assert!(matches!(error, Error::NewerFormat { .. }), "{error}");
        }
    }
}

/// The checksums of a section depend on the identity that it states itself: it has to be the one of the pack and the place.
#[test]
fn sections_of_another_pack_do_not_validate() {
    let world = small(7);
    world.build("a.pack", &[content(2, 500), content(4, 500)]);
    let other = small(7).with(|options| options.identity([8; 16]));
    other.build("a.pack", &[content(2, 500), content(4, 500)]);
    let section = world.open("a.pack").unwrap().segments[0].sections[0];
    let (mut bytes, foreign) = (world.bytes("a.pack"), other.bytes("a.pack"));
    let place = section.offset as usize..section.end() as usize;
    bytes[place.clone()].copy_from_slice(&foreign[place]);
    world.sim.write_file(path("a.pack"), &bytes).unwrap();
    let error = world.open("a.pack").unwrap_err();
    assert!(
        matches!(error, Error::Corruption { offset, .. } if offset == section.offset),
        "{error}"
    );
}

/// Verification goes through the rows by the first byte of their ids, and would pass over one that has none.
#[test]
fn an_index_with_an_empty_id_is_refused() {
    let world = small(8);
    let env = world.sim.env();
    let mut sorter = sort::Sorter::new(&env, path("scratch"), 1 << 20);
    sorter.add(&[], &[&[0; 24]]).unwrap();
    sorter.add(&[7; 16], &[&[0; 24]]).unwrap();
    let file = env.fs.create(&path("a.pack")).unwrap();
    let mut output = output::Output::new(std::sync::Arc::clone(&file), &path("a.pack"), 0);
    let rows = sorter.finish().unwrap();
    let kind = format::SectionKind::Ids;
    let sections = section::write_sections(&mut output, kind, rows, &[7; 16], |_| Ok(())).unwrap();
    let cache = std::sync::Arc::new(crate::sst::BlockCache::new(0));
    let opened = section::SectionReader::open(&file, &path("a.pack"), sections[0], &[7; 16], &cache);
    assert!(matches!(opened, Err(Error::Corruption { .. })));
}
