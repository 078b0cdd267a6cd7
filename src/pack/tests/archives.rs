//! Archives: names in order, growing, and what appending leaves alone.

use super::*;
use crate::Error;
use crate::env::sim::Op;

#[test]
fn names_are_listed_in_order_and_found_exactly_and_by_prefix() {
    let world = World::new(1);
    let all = entries(0..500);
    let report = world.append("a.pack", &all);
    assert_eq!(
        (report.names_before, report.names_added, report.names_replaced),
        (0, 500, 0)
    );
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(archive.len(), 500);
    assert_eq!(read_back(&archive), sorted(all.clone()));
    let some = archive.get(b"03/00003").unwrap().unwrap();
    assert_eq!((&some.name[..], &some.meta[..]), (&b"03/00003"[..], &b"meta"[..]));
    for absent in [&b""[..], b"03", b"03/0000", b"03/000030", b"07/00007", b"zz"] {
        assert_eq!(archive.get(absent).unwrap(), None);
    }
    let prefixed = |prefix: &str| {
        let names = archive
            .prefix(prefix.as_bytes())
            .map(|entry| entry.unwrap().name.to_vec());
        names
            .map(|name| String::from_utf8(name).unwrap())
            .collect::<Vec<_>>()
    };
    for prefix in [
        "",
        "0",
        "03",
        "03/",
        "03/0000",
        "03/00003",
        "03/000039",
        "9",
        "\u{7f}",
    ] {
        let mut expected: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
        expected.retain(|name| name.starts_with(prefix));
        expected.sort();
        assert_eq!(prefixed(prefix), expected, "{prefix:?}");
    }
}

/// However a fresh archive is opened, its bytes are the same.
#[test]
fn a_fresh_archive_is_the_same_by_either_way() {
    let all = entries(0..2000);
    let (plain, open) = (World::new(2), World::new(3));
    let mut writer = ArchiveWriter::create(path("a.pack"), &plain.options()).unwrap();
    for (name, content) in &all {
        writer.add(name.as_bytes(), b"meta", content).unwrap();
    }
    writer.finish().unwrap();
    let mut writer = ArchiveWriter::open(path("a.pack"), &open.options()).unwrap();
    for (name, content) in &all {
        writer.add_reader(name.as_bytes(), b"meta", &content[..]).unwrap();
    }
    writer.finish().unwrap();
    assert!(plain.bytes("a.pack") == open.bytes("a.pack"));
}

#[test]
fn an_append_leaves_the_old_bytes_alone_and_finds_everything() {
    let world = World::new(4);
    world.append("a.pack", &entries(0..1500));
    let before = world.bytes("a.pack");
    let open_before = world.archive("a.pack").unwrap();
    let report = world.append("a.pack", &entries(1500..1800));
    assert_eq!(
        (report.names_before, report.names_added, report.names_replaced),
        (1500, 300, 0)
    );
    assert_eq!(report.added_at, before.len() as u64);
    assert_eq!(report.added_at + report.bytes_added, report.sealed_len);
    let after = world.bytes("a.pack");
    assert_eq!(after.len() as u64, report.sealed_len);
    // But for the sealed length in the header.
    assert!(after[..64] == before[..64] && after[80..before.len()] == before[80..]);
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(read_back(&archive), sorted(entries(0..1800)));
    let verified = archive.pack().verify();
    assert_eq!(verified.damages, 0, "{:?}", verified.damage);
    // Who had it open sees it as it was.
    assert_eq!(read_back(&open_before), sorted(entries(0..1500)));
}

#[test]
fn the_last_object_of_a_name_has_it() {
    let world = World::new(5);
    let one = |name: &str, number| (name.to_owned(), content(number, 100));
    world.append("a.pack", &[one("a", 1), one("b", 2), one("a", 3)]);
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(
        (archive.len(), read_back(&archive)),
        (2, vec![one("a", 3), one("b", 2)])
    );
    let report = world.append("a.pack", &[one("b", 4), one("c", 5), one("c", 6), one("b", 7)]);
    assert_eq!(
        (report.names_before, report.names_added, report.names_replaced),
        (2, 1, 1)
    );
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(read_back(&archive), [one("a", 3), one("b", 7), one("c", 6)]);
    assert_eq!(archive.len(), 3);
    assert_eq!(archive.pack().verify().damages, 0);
}

#[test]
fn contents_that_are_there_are_not_stored_again() {
    let world = World::new(6);
    world.append("a.pack", &entries(0..100));
    let again: Vec<_> = entries(0..100)
        .into_iter()
        .map(|(name, content)| (format!("x{name}"), content))
        .collect();
    let report = world.append("a.pack", &again);
    assert_eq!(
        (report.objects_added, report.duplicates, report.names_added),
        (0, 100, 100)
    );
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(archive.len(), 200);
    assert_eq!(archive.pack().verify().damages, 0);
}

/// Many small appends: the live segments stay few, and each append writes little.
#[test]
fn an_append_costs_what_it_adds() {
    let world = World::new(7).with(|options| options.dedup_window(10));
    world.append("a.pack", &entries(0..5000));
    let first = world.bytes("a.pack").len() as u64;
    let (mut most, mut written, mut expected) = (0, 0, 5000);
    for round in 0..100 {
        let report = world.append(
            "a.pack",
            &[(format!("new/{round:03}"), content(10_000 + round, 20))],
        );
        expected += 1;
        most = most.max(report.bytes_added);
        written += report.bytes_added;
        assert_eq!(report.names_before + report.names_added, expected);
    }
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(archive.pack().segments(), 101);
    let live = archive
        .pack()
        .segments
        .iter()
        .filter(|segment| segment.live)
        .count();
    assert!(live <= 1 + 7, "{live} live segments");
    assert!(
        most < first / 20 && written < first / 2,
        "{most} at most, {written} in all, {first} at first"
    );
    let mut all = entries(0..5000);
    all.extend((0..100).map(|round| (format!("new/{round:03}"), content(10_000 + round, 20))));
    assert_eq!(read_back(&archive), sorted(all));
    let verified = archive.pack().verify();
    assert_eq!(verified.damages, 0, "{:?}", verified.damage);
}

#[test]
fn a_writer_that_is_dropped_leaves_the_archive_as_it_was() {
    let world = World::new(8).with(|options| options.sort_memory(0));
    world.append("a.pack", &entries(0..50));
    let before = world.bytes("a.pack");
    let mut writer = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap();
    assert!(world.bytes("a.pack") == before);
    for (name, content) in entries(100..10_000) {
        writer.add(name.as_bytes(), b"", &content).unwrap();
    }
    writer.add_reader(b"fails", b"", Failing(3_000_000)).unwrap_err();
    assert!(world.bytes("a.pack").len() > before.len());
    drop(writer);
    assert!(world.bytes("a.pack") == before);
    assert_eq!(world.files(), ["a.pack"]);
    // Nothing added: nothing written.
    let writer = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap();
    let writes = world.sim.stats().calls.get(&Op::Write).copied();
    let report = writer.finish().unwrap();
    assert_eq!(world.sim.stats().calls.get(&Op::Write).copied(), writes);
    assert_eq!((report.names_before, report.bytes_added), (50, 0));
    assert!(world.bytes("a.pack") == before);
}

#[test]
fn one_writer_at_a_time_and_none_of_what_is_not_there() {
    let world = World::new(9);
    let error = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound),
        "{error}"
    );
    assert!(world.files().is_empty());
    world.append("a.pack", &entries(0..5));
    let first = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap();
    let error = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    drop(first);
    ArchiveWriter::append(path("a.pack"), &world.options()).unwrap();
}

#[test]
fn a_pack_can_become_an_archive() {
    let world = World::new(10);
    world.build("a.pack", &[content(1, 10), content(2, 1000)]);
    assert!(!world.open("a.pack").unwrap().has_names());
    world.append("a.pack", &[("one".to_owned(), content(2, 1000))]);
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(read_back(&archive), [("one".to_owned(), content(2, 1000))]);
    assert_eq!((archive.pack().objects(), archive.pack().ids().count()), (2, 2));
    assert_eq!(
        archive
            .pack()
            .get(&ObjectId::of(&content(1, 10)))
            .unwrap()
            .unwrap(),
        content(1, 10)
    );
    assert_eq!(archive.pack().verify().damages, 0);
}

#[test]
fn names_and_meta_data_have_limits() {
    let world = World::new(11);
    let mut writer = ArchiveWriter::create(path("a.pack"), &world.options()).unwrap();
    let (longest, longer) = (vec![b'n'; 65_535], vec![b'n'; 65_536]);
    writer.add(&longest, &longest, b"content").unwrap();
    writer.add(b"", b"", b"of no name").unwrap();
    for (name, meta) in [(&longer[..], &b""[..]), (b"name", &longer)] {
        let error = writer.add(name, meta, b"content").unwrap_err();
        assert!(
            matches!(
                error,
                Error::LimitExceeded {
                    size: 65_536,
                    limit: 65_535,
                    ..
                }
            ),
            "{error}"
        );
    }
    writer.finish().unwrap();
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(archive.get(&longest).unwrap().unwrap().meta, longest[..]);
    assert_eq!(
        archive.read(&archive.get(b"").unwrap().unwrap()).unwrap(),
        b"of no name"
    );
    assert_eq!(archive.entries().count(), 2);
}

/// What is there and damaged is no reason not to store the sound content that is given again.
#[test]
fn a_damaged_object_is_stored_anew() {
    let world = World::new(12);
    world.append(
        "a.pack",
        &[
            ("a".to_owned(), content(1, 5000)),
            ("b".to_owned(), content(2, 5000)),
        ],
    );
    let archive = world.archive("a.pack").unwrap();
    let entry = archive.get(b"b").unwrap().unwrap();
    let at = archive.open_entry(&entry).unwrap().info().place.offset + 100;
    drop(archive);
    world.sim.flip_bit(path("a.pack"), at, 1).unwrap();
    let report = world.append(
        "a.pack",
        &[
            ("a".to_owned(), content(1, 5000)),
            ("b".to_owned(), content(2, 5000)),
        ],
    );
    assert_eq!((report.objects_added, report.duplicates), (1, 1));
    let archive = world.archive("a.pack").unwrap();
    assert_eq!(
        archive.read(&archive.get(b"b").unwrap().unwrap()).unwrap(),
        content(2, 5000)
    );
    assert_eq!(archive.pack().get(&entry.id).unwrap().unwrap(), content(2, 5000));
}
