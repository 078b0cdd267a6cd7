//! Saving what can be read.

use super::*;

fn recovered(world: &World) -> crate::Result<RecoverReport> {
    let _ = world.sim.remove_file(path("b.pack"));
    recover(path("a.pack"), path("b.pack"), &world.options())
}

fn small(seed: u64) -> World {
    World::new(seed).with(|options| options.chunk_size(4096))
}

#[test]
fn a_sound_archive_comes_over_whole() {
    let world = small(1);
    world.append("a.pack", &entries(0..50));
    world.append("a.pack", &entries(40..60));
    let report = recovered(&world).unwrap();
    assert_eq!(
        (report.names, report.lost.len(), report.names_lost.len()),
        (60, 0, 0)
    );
    assert!(report.index.is_none());
    assert_eq!(
        read_back(&world.archive("b.pack").unwrap()),
        sorted(entries(0..60))
    );
}

/// The index, the footer and the header are not needed for the objects.
#[test]
fn objects_are_found_without_end_or_index_or_header() {
    let world = small(2);
    let objects: Vec<_> = (1..40)
        .map(|number| content(number, 300 * number as usize))
        .collect();
    world.build("a.pack", &objects);
    let sound = world.bytes("a.pack");
    let records_end = world.open("a.pack").unwrap().segments[0].footer.records_end as usize;
    let mut no_header = sound.clone();
    no_header[..80].fill(0);
    let mut no_index = sound.clone();
    no_index[records_end..sound.len() - 128].fill(0xee);
    for bytes in [&sound[..records_end], &no_index, &no_header] {
        world.sim.write_file(path("a.pack"), bytes).unwrap();
        let report = recovered(&world).unwrap();
        assert_eq!((report.objects, report.lost.len()), (39, 0));
        assert!(report.index.is_some());
        let pack = world.open("b.pack").unwrap();
        for object in &objects {
            assert_eq!(pack.get(&ObjectId::of(object)).unwrap().as_ref(), Some(object));
        }
    }
    // Neither header nor footer: nothing says which file's parts these are.
    world
        .sim
        .write_file(path("a.pack"), &no_header[..records_end])
        .unwrap();
    assert!(matches!(recovered(&world), Err(crate::Error::Corruption { .. })));
}

/// One damaged byte among the records costs one object at most, and that is told.
#[test]
fn a_damaged_byte_costs_one_object() {
    let world = small(3);
    let objects: Vec<_> = (1..8)
        .map(|number| content(number, 400 * number as usize))
        .collect();
    world.build("a.pack", &objects);
    let sound = world.bytes("a.pack");
    let records_end = world.open("a.pack").unwrap().segments[0].footer.records_end as usize;
    for at in (80..records_end).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        world.sim.write_file(path("a.pack"), &bytes).unwrap();
        let report = recovered(&world).unwrap();
        assert_eq!(report.objects, 6, "byte {at}");
        let pack = world.open("b.pack").unwrap();
        let missing = objects
            .iter()
            .filter(|object| !pack.contains(&ObjectId::of(object)).unwrap());
        assert_eq!(missing.count(), 1, "byte {at}");
        assert_eq!(pack.verify().damages, 0);
        // A record whose header is gone is not known to have been there.
        assert!(report.lost.len() <= 1);
    }
}

#[test]
fn names_of_lost_objects_are_told() {
    let world = small(4);
    let all = entries(1..20);
    world.append("a.pack", &all);
    let archive = world.archive("a.pack").unwrap();
    let entry = archive.get(b"03/00010").unwrap().unwrap();
    let object = archive.open_entry(&entry).unwrap();
    let at = object.info().place.offset + 30;
    drop((object, archive));
    world.sim.flip_bit(path("a.pack"), at, 3).unwrap();
    let report = recovered(&world).unwrap();
    assert_eq!(report.names_lost, ["03/00010"]);
    assert_eq!((report.names, report.lost.len()), (18, 1));
    let kept: Vec<_> = sorted(all)
        .into_iter()
        .filter(|(name, _)| name != "03/00010")
        .collect();
    assert_eq!(read_back(&world.archive("b.pack").unwrap()), kept);
}

/// Objects that no name leads to any more (replaced ones, or those of an append that was cut off) are saved under their ids.
#[test]
fn objects_without_a_name_are_called_by_their_ids() {
    let world = small(5);
    world.append("a.pack", &[("a".to_owned(), content(1, 100))]);
    let mut writer = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap();
    writer.add(b"b", b"", &content(2, 2_000_000)).unwrap();
    writer.add(b"c", b"", &content(4, 2_000_000)).unwrap();
    let torn = world.bytes("a.pack");
    drop(writer);
    world.sim.write_file(path("a.pack"), &torn).unwrap();
    recovered(&world).unwrap();
    let archive = world.archive("b.pack").unwrap();
    let found = read_back(&archive);
    assert_eq!(found[0], ("a".to_owned(), content(1, 100)));
    let id = ObjectId::of(&content(2, 2_000_000));
    assert!(found.contains(&(format!("lost/{id}"), content(2, 2_000_000))));
}

/// The search for the next record begins where the last one ended, and read a mebibyte there each time.
#[test]
fn recovering_reads_a_few_times_what_there_is() {
    let world = small(6);
    let objects: Vec<_> = (0..500).map(|number| content(number, 200)).collect();
    world.build("a.pack", &objects);
    let len = world.bytes("a.pack").len() as u64;
    let read = || world.sim.stats().read.values().sum::<u64>();
    let before = read();
    assert_eq!(recovered(&world).unwrap().objects, 500);
    let read = read() - before;
    assert!(read < 10 * len, "{read} bytes read of a file of {len}");
}

/// Blocks that the medium does not give cost what lies in them.
#[test]
fn blocks_that_can_not_be_read_cost_what_lies_in_them() {
    let world = small(6);
    let all = entries(1..60);
    world.append("a.pack", &all);
    let bad = 8192..12_288;
    let (from, end) = (bad.start, bad.end);
    world.sim.fail_where(
        move |call| {
            call.op == crate::env::sim::Op::Read
                && call.mentions("a.pack")
                && call.offset < end
                && call.offset + call.len > from
        },
        u64::MAX,
        io::ErrorKind::Other,
        crate::env::sim::Effect::Nothing,
    );
    let report = recovered(&world).unwrap();
    world.sim.clear_faults();
    assert!(!report.names_lost.is_empty() && report.names > 40, "{report:?}");
    assert_eq!(report.names + report.names_lost.len() as u64, 59);
    let saved = world.archive("b.pack").unwrap();
    assert_eq!(saved.pack().verify().damages, 0);
    for (name, content) in read_back(&saved) {
        assert!(name.starts_with("lost/") || all.contains(&(name, content)));
    }
}

/// A section that can't be opened costs the names that are only there.
#[test]
fn a_damaged_section_costs_no_names_of_others() {
    let world = small(7);
    world.append("a.pack", &entries(0..200));
    world.append("a.pack", &entries(300..310));
    let pack = world.open("a.pack").unwrap();
    for segment in 0..2 {
        let mut sections = pack.segments[segment].sections.iter();
        let names = sections
            .rfind(|section| section.kind == format::SectionKind::Names)
            .unwrap();
        let sound = world.bytes("a.pack");
        world
            .sim
            .flip_bit(path("a.pack"), names.offset + names.len - 20, 1)
            .unwrap();
        let report = recovered(&world).unwrap();
        assert!(report.index.is_some());
        assert_eq!(report.names, [10, 200][segment]);
        assert_eq!(world.archive("b.pack").unwrap().pack().objects(), pack.objects());
        world.sim.write_file(path("a.pack"), &sound).unwrap();
    }
}
