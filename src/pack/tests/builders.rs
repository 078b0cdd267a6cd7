//! Building packs: counts, order, duplicates, bounded scratch, and nothing left behind.

use super::*;
use crate::Error;

#[test]
fn an_empty_pack_is_a_pack() {
    let world = World::new(1);
    let report = world.build("a.pack", &[]);
    assert_eq!(
        (report.objects, report.content_bytes, report.ratio()),
        (0, 0, 1.0)
    );
    let pack = world.open("a.pack").unwrap();
    assert_eq!(pack.objects(), 0);
    assert_eq!(pack.ids().count(), 0);
    assert_eq!(pack.get(&ObjectId::of(b"")).unwrap(), None);
    assert_eq!(pack.verify().damages, 0);
    assert_eq!(pack.file_bytes(), report.file_bytes);
}

/// The same with runs on disk, and merges of merges of them.
#[test]
fn ten_thousand_objects_are_listed_by_id_whatever_memory_sorting_has() {
    let objects: Vec<_> = (0..10_000)
        .map(|number: u64| number.to_le_bytes().to_vec())
        .collect();
    let mut ids: Vec<_> = objects.iter().map(|object| ObjectId::of(object)).collect();
    ids.sort();
    let mut bytes: Option<Vec<u8>> = None;
    for memory in [64 << 20, 0] {
        let world = World::new(2).with(|options| options.sort_memory(memory));
        let report = world.build("a.pack", &objects);
        assert_eq!((report.objects, report.content_bytes), (10_000, 80_000));
        let pack = world.open("a.pack").unwrap();
        let listed: Vec<_> = pack.ids().collect::<Result<_, _>>().unwrap();
        assert_eq!(listed, ids);
        for object in objects.iter().step_by(997) {
            assert_eq!(pack.get(&ObjectId::of(object)).unwrap().as_ref(), Some(object));
        }
        let verified = pack.verify();
        assert_eq!(
            (verified.damages, verified.objects, verified.rows),
            (0, 10_000, 10_000)
        );
        assert_eq!(world.files(), ["a.pack"], "scratch files are gone");
        // How it was sorted does not show.
        let now = world.bytes("a.pack");
        assert!(*bytes.get_or_insert(now.clone()) == now);
    }
}

#[test]
fn equal_contents_are_stored_once() {
    let world = World::new(3);
    let mut builder = PackBuilder::create(path("a.pack"), &world.options()).unwrap();
    let object = content(2, 300_000);
    let first = builder.add(&object).unwrap();
    let after_first = builder.file_bytes();
    let second = builder.add(&object).unwrap();
    let third = builder.add_reader(&object[..]).unwrap();
    assert_eq!(
        (first.duplicate, second.duplicate, third.duplicate),
        (false, true, true)
    );
    assert_eq!((first.id, first.stored > 0), (third.id, true));
    assert_eq!((second.stored, third.stored), (0, 0));
    assert_eq!(builder.file_bytes(), after_first);
    let other = builder.add(&content(4, 10)).unwrap();
    let report = builder.finish().unwrap();
    assert_eq!(
        (report.objects, report.duplicates, report.duplicate_bytes),
        (2, 2, 600_000)
    );
    let pack = world.open("a.pack").unwrap();
    assert_eq!(pack.get(&other.id).unwrap().unwrap(), content(4, 10));
    assert_eq!(pack.verify().damages, 0);
}

/// Beyond the window an object is stored again, and one of the copies is found.
#[test]
fn the_window_for_duplicates_bounds_what_is_found() {
    for (window, stored) in [(0, 40), (4, 40), (100, 20)] {
        let world = World::new(3).with(|options| options.dedup_window(window));
        let objects: Vec<_> = (0..40)
            .map(|number| content(number % 20, 50 + number as usize % 20))
            .collect();
        let report = world.build("a.pack", &objects);
        assert_eq!(
            (report.objects, report.duplicates),
            (stored, 40 - stored),
            "window {window}"
        );
        let pack = world.open("a.pack").unwrap();
        assert_eq!((pack.objects(), pack.ids().count()), (stored, 20));
        assert_eq!(pack.verify().damages, 0);
        for object in &objects {
            assert_eq!(pack.get(&ObjectId::of(object)).unwrap().as_ref(), Some(object));
        }
    }
}

#[test]
fn a_reader_that_fails_leaves_nothing_of_its_object() {
    let world = World::new(4);
    let mut builder = PackBuilder::create(path("a.pack"), &world.options()).unwrap();
    builder.add(&content(1, 1000)).unwrap();
    let before = builder.file_bytes();
    for len in [0, 1, 100_000, 5_000_000] {
        let error = builder.add_reader(Failing(len)).unwrap_err();
        assert!(error.to_string().contains("the reader fails"), "{error}");
        assert_eq!(builder.file_bytes(), before);
        let on_disk = world.sim.file_len(path("a.pack.unfinished")).unwrap();
        assert!(on_disk <= before, "its room is given back: {on_disk}");
    }
    builder.add(&content(2, 1000)).unwrap();
    assert_eq!(builder.finish().unwrap().objects, 2);
    let pack = world.open("a.pack").unwrap();
    assert_eq!(pack.verify().damages, 0);
    let clean = World::new(5);
    clean.build("a.pack", &[content(1, 1000), content(2, 1000)]);
    assert!(world.bytes("a.pack") == clean.bytes("a.pack"));
}

/// A large object reaches the file while it is being added: it is not gathered.
#[test]
fn the_file_grows_while_an_object_is_being_added() {
    struct Watching<'a>(&'a World, u64, Vec<u64>);
    impl Read for Watching<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = (out.len() as u64).min(self.1);
            out[..len as usize].copy_from_slice(&content(2 * self.1, len as usize));
            self.1 -= len;
            self.2
                .push(self.0.sim.file_len(path("a.pack.unfinished")).unwrap());
            Ok(len as usize)
        }
    }
    let world = World::new(6);
    let mut builder = PackBuilder::create(path("a.pack"), &world.options()).unwrap();
    let mut source = Watching(&world, 8 << 20, Vec::new());
    builder.add_reader(&mut source).unwrap();
    let last = *source.2.last().unwrap();
    assert!(last > 6 << 20, "{last}");
    assert!(source.2.is_sorted());
    builder.finish().unwrap();
}

#[test]
fn a_builder_that_is_dropped_leaves_nothing() {
    let world = World::new(7).with(|options| options.sort_memory(0));
    let mut builder = PackBuilder::create(path("a.pack"), &world.options()).unwrap();
    for number in 0..10_000u64 {
        builder.add(&number.to_le_bytes()).unwrap();
    }
    assert_eq!(world.files().len(), 2, "{:?}", world.files()); // the pack and a scratch file
    drop(builder);
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
fn a_pack_is_not_replaced_and_two_builders_are_kept_apart() {
    let world = World::new(8);
    world.build("a.pack", &[content(1, 10)]);
    let before = world.bytes("a.pack");
    let error = PackBuilder::create(path("a.pack"), &world.options()).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));

    let first = PackBuilder::create(path("b.pack"), &world.options()).unwrap();
    let error = PackBuilder::create(path("b.pack"), &world.options()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    // Somebody makes a file of that name meanwhile.
    world.sim.write_file(path("b.pack"), b"somebody's").unwrap();
    let error = first.finish().unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
    assert_eq!(world.bytes("b.pack"), b"somebody's");
    assert!(world.bytes("a.pack") == before);
    assert_eq!(world.files(), ["a.pack", "b.pack"]);
}

/// What is in the way is told as such, and what can't be known for another reason with that reason.
#[test]
fn what_is_in_the_way_is_told_before_anything_is_written() {
    let world = World::new(11);
    world.sim.env().fs.create_dir_all(&path("a.pack")).unwrap();
    let error = PackBuilder::create(path("a.pack"), &world.options()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists),
        "{error}"
    );
    let denied = io::ErrorKind::PermissionDenied;
    let (open, nothing) = (crate::env::sim::Op::Open, crate::env::sim::Effect::Nothing);
    world.sim.fail_matching(Some(open), "b.pack", 1, denied, nothing);
    let error = PackBuilder::create(path("b.pack"), &world.options()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == denied),
        "{error}"
    );
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
fn what_a_crash_left_is_replaced() {
    let world = World::new(9);
    world
        .sim
        .write_file(path("a.pack.unfinished"), &[1; 10_000])
        .unwrap();
    world
        .sim
        .write_file(path("a.pack.unfinished.ids.sort"), &[1; 10_000])
        .unwrap();
    let world = world.with(|options| options.sort_memory(0));
    let objects: Vec<_> = (0..9_000u64)
        .map(|number| number.to_le_bytes().to_vec())
        .collect();
    world.build("a.pack", &objects);
    assert_eq!(world.files(), ["a.pack"]);
    assert_eq!(world.open("a.pack").unwrap().verify().damages, 0);
}

/// Without a fixed one, identities are random, and so are the bytes.
#[test]
fn packs_have_identities_of_their_own() {
    let world = World::new(10);
    let options = PackOptions::default().env(world.sim.env());
    let mut identities = Vec::new();
    for name in ["a.pack", "b.pack"] {
        let builder = PackBuilder::create(path(name), &options).unwrap();
        builder.finish().unwrap();
        identities.push(world.open(name).unwrap().identity());
    }
    assert_ne!(identities[0], identities[1]);
}
