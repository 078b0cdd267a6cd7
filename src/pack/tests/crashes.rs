//! Power loss after every call, and every call failing, while packs are built and archives grow.

use super::*;
use crate::env::sim::{Call, CrashStyle, Effect, Fault, Op};

const STYLES: [CrashStyle; 4] = [
    CrashStyle::KeepNothing,
    CrashStyle::KeepAll,
    CrashStyle::Random,
    CrashStyle::Blocks,
];

/// Objects of all kinds, one of which is streamed and larger than the output's buffer.
fn build(world: &World) -> crate::Result<()> {
    let mut builder = PackBuilder::create(path("a.pack"), &world.options())?;
    for number in 0..6 {
        builder.add(&content(number, 3000 * number as usize))?;
    }
    builder.add_reader(&content(8, 2_500_000)[..])?;
    builder.add_reader(&content(8, 2_500_000)[..])?;
    builder.finish().map(drop)
}

fn grow(world: &World) -> crate::Result<()> {
    let mut writer = ArchiveWriter::append(path("a.pack"), &world.options())?;
    for (name, content) in entries(20..30) {
        writer.add(name.as_bytes(), b"meta", &content)?;
    }
    writer.add_reader(b"large", b"", &content(8, 1_500_000)[..])?;
    writer.finish().map(drop)
}

fn grown() -> Vec<(String, Vec<u8>)> {
    let mut all = entries(0..10);
    all.extend(entries(20..30));
    all.push(("large".to_owned(), content(8, 1_500_000)));
    sorted(all)
}

/// How many calls `run` makes on a machine that `prepare` has made.
fn calls(prepare: impl Fn(u64) -> World, run: impl Fn(&World) -> crate::Result<()>) -> (u64, u64) {
    let world = prepare(0);
    let before = world.sim.io_count();
    run(&world).unwrap();
    (before, world.sim.io_count())
}

#[test]
fn a_pack_is_whole_or_not_there_wherever_the_power_goes() {
    let (first, last) = calls(World::new, build);
    for index in first..last {
        for style in STYLES {
            let world = World::new(index);
            world.sim.set_fault(Fault::PowerOffAt { index });
            build(&world).unwrap_err();
            world.sim.crash(style);
            world.sim.env().fs.create_dir_all(dir()).unwrap();
            match world.open("a.pack") {
                Ok(pack) => {
                    let report = pack.verify();
                    assert_eq!(
                        (report.damages, report.objects),
                        (0, 7),
                        "call {index}, {style:?}"
                    );
                }
                Err(crate::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    // What is left is replaced.
                    build(&world).unwrap_or_else(|e| panic!("call {index}, {style:?}: {e}"));
                    assert_eq!(world.files(), ["a.pack"]);
                    assert_eq!(world.open("a.pack").unwrap().verify().damages, 0);
                }
                Err(e) => panic!("call {index}, {style:?}: {e}"),
            }
        }
    }
}

/// Once `finish` has returned, the pack and its name are durable.
#[test]
fn a_finished_pack_survives_the_worst_crash() {
    let world = World::new(1);
    build(&world).unwrap();
    world.sim.crash(CrashStyle::KeepNothing);
    assert_eq!(world.open("a.pack").unwrap().verify().objects, 7);
    let world = prepared(1);
    grow(&world).unwrap();
    world.sim.crash(CrashStyle::KeepNothing);
    assert_eq!(read_back(&world.archive("a.pack").unwrap()), grown());
}

/// A crash in the middle of a seal may leave one copy of the footer, and the length of before in the header.
fn only_the_seal(report: &PackVerifyReport) {
    let of_the_seal =
        |what: &String| what.contains("copies of the footer") || what.contains("length of the sealed");
    assert!(
        report
            .damage
            .iter()
            .map(ToString::to_string)
            .all(|what| of_the_seal(&what)),
        "{report:?}"
    );
}

fn prepared(seed: u64) -> World {
    let world = World::new(seed);
    world.append("a.pack", &entries(0..10));
    world
}

#[test]
fn an_archive_is_as_before_or_as_after_wherever_the_power_goes() {
    let (first, last) = calls(prepared, grow);
    let (mut before, mut after) = (0, 0);
    for index in first..last {
        for style in STYLES {
            let world = prepared(index);
            world.sim.set_fault(Fault::PowerOffAt { index });
            grow(&world).unwrap_err();
            world.sim.crash(style);
            let archive = world
                .archive("a.pack")
                .unwrap_or_else(|e| panic!("call {index}, {style:?}: {e}"));
            let found = read_back(&archive);
            if found == grown() {
                after += 1;
            } else {
                assert_eq!(found, sorted(entries(0..10)), "call {index}, {style:?}");
                before += 1;
                drop(archive);
                grow(&world).unwrap_or_else(|e| panic!("call {index}, {style:?}: {e}"));
            }
            let archive = world.archive("a.pack").unwrap();
            assert_eq!((read_back(&archive), archive.pack().torn_bytes()), (grown(), 0));
            only_the_seal(&archive.pack().verify());
            drop(archive);
            world.append("a.pack", &[("z".to_owned(), content(99, 10))]);
            assert_eq!(world.open("a.pack").unwrap().verify().damages, 0);
        }
    }
    assert!(before > 0 && after > 0, "{before} as before, {after} as after");
}

/// Every call fails in turn, before and half done: the error comes out, and what there was is there. Room that runs out is such a failure.
#[test]
fn every_failing_call_is_told_and_harms_nothing() {
    let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull];
    for (kind, effect) in kinds
        .into_iter()
        .flat_map(|kind| [(kind, Effect::Nothing), (kind, Effect::Partial)])
    {
        let (first, last) = calls(World::new, build);
        for index in first..last {
            let world = World::new(index);
            world.sim.set_fault(Fault::FailCall { index, kind, effect });
            let built = build(&world);
            if built.is_err() && world.files() == ["a.pack"] {
                // Only its name was not made durable.
                assert_eq!(world.open("a.pack").unwrap().verify().damages, 0, "call {index}");
            } else if built.is_err() {
                // One file may stay if it was the removal that failed; the next builder replaces it.
                assert!(world.files().len() <= 1, "call {index}: {:?}", world.files());
                build(&world).unwrap_or_else(|e| panic!("call {index}: {e}"));
            }
            assert_eq!(world.open("a.pack").unwrap().verify().objects, 7, "call {index}");
        }
        let (first, last) = calls(prepared, grow);
        for index in first..last {
            let world = prepared(index);
            world.sim.set_fault(Fault::FailCall { index, kind, effect });
            if grow(&world).is_err() {
                let found = read_back(&world.archive("a.pack").unwrap());
                assert!(
                    found == sorted(entries(0..10)) || found == grown(),
                    "call {index}"
                );
                grow(&world).unwrap_or_else(|e| panic!("call {index}: {e}"));
            }
            assert_eq!(read_back(&world.archive("a.pack").unwrap()), grown());
            assert_eq!(world.open("a.pack").unwrap().verify().damages, 0, "call {index}");
        }
    }
}

/// A disk that is full in the middle of a stream: the error says so, and the pack goes on where there is room.
#[test]
fn a_full_disk_in_the_middle_of_a_stream() {
    let world = World::new(3);
    let mut builder = PackBuilder::create(path("a.pack"), &world.options()).unwrap();
    builder.add(&content(1, 5000)).unwrap();
    world.sim.set_capacity(Some(2_000_000));
    let error = builder.add_reader(&content(2, 5_000_000)[..]).unwrap_err();
    assert!(error.is_out_of_space(), "{error}");
    builder.add(&content(4, 5000)).unwrap();
    world.sim.set_capacity(None);
    builder.add_reader(&content(2, 5_000_000)[..]).unwrap();
    builder.finish().unwrap();
    let report = world.open("a.pack").unwrap().verify();
    assert_eq!((report.damages, report.objects), (0, 3));
}

/// Reads and writes that are interrupted or short are gone on with.
#[test]
fn interrupted_and_short_calls_change_nothing() {
    let (calm, flaky) = (prepared(4), prepared(4));
    flaky.sim.set_flaky(Some(2));
    grow(&calm).unwrap();
    grow(&flaky).unwrap();
    assert!(calm.bytes("a.pack") == flaky.bytes("a.pack"));
    assert_eq!(read_back(&flaky.archive("a.pack").unwrap()), grown());
}

/// An append fails at its last sync, after its footer has reached the disk, and is taken back; the power goes during the next one. What lay
/// there before must not come back over the new records.
#[test]
fn the_footer_of_a_failed_append_does_not_come_back_over_the_records_of_the_next() {
    let (mut failed, mut cut) = (0, 0);
    let clean = prepared(0);
    let before = clean.sim.stats().count(Op::Sync);
    clean.append("a.pack", &entries(20..30));
    let last = clean.sim.stats().count(Op::Sync) - before;
    for seed in 0..300 {
        let world = prepared(seed);
        let mut syncs = 0;
        let last_sync = move |call: &Call| {
            syncs += u64::from(call.op == Op::Sync);
            call.op == Op::Sync && syncs + seed % 2 == last
        };
        world
            .sim
            .fail_where(last_sync, 1, io::ErrorKind::Other, Effect::Partial);
        let mut writer = ArchiveWriter::append(path("a.pack"), &world.options()).unwrap();
        for (name, content) in entries(20..30) {
            writer.add(name.as_bytes(), b"meta", &content).unwrap();
        }
        failed += u32::from(writer.finish().is_err());
        world.sim.clear_faults();
        let index = world.sim.io_count() + seed % 23;
        world.sim.set_fault(Fault::PowerOffAt { index });
        cut += u32::from(grow(&world).is_err());
        world.sim.crash(CrashStyle::Random);
        let archive = world.archive("a.pack").unwrap();
        let verified = archive.pack().verify();
        only_the_seal(&verified);
        // As before, with what the failed append had if it was sealed, or with what the one that was cut off had.
        let found = read_back(&archive);
        let appended = |more: &[(String, Vec<u8>)]| found == sorted([entries(0..10), more.to_vec()].concat());
        let large = [("large".to_owned(), content(8, 1_500_000))];
        let possible = [
            entries(0..0),
            entries(20..30),
            [entries(20..30), large.to_vec()].concat(),
        ];
        assert!(possible.iter().any(|more| appended(more)), "seed {seed}");
    }
    assert!(failed > 100 && cut > 100, "{failed} failed, {cut} cut off");
}

/// A builder is killed between giving the archive its name and making that durable. Whoever appends builds on the name: with the next
/// power cut the archive was gone, and with it an append that had been told to be durable.
#[test]
fn an_append_makes_the_name_durable_that_it_builds_on() {
    let create = |world: &World| {
        let mut writer = ArchiveWriter::create(path("a.pack"), &world.options())?;
        writer.add(b"a", b"", b"alpha")?;
        writer.finish()
    };
    let (first, last) = calls(World::new, |world| create(world).map(drop));
    let mut named = 0;
    for index in first..last {
        let world = World::new(index);
        world.sim.set_fault(Fault::PowerOffAt { index });
        create(&world).unwrap_err();
        world.sim.crash(CrashStyle::KeepAll);
        named += u32::from(world.open("a.pack").is_ok());
        world.append("a.pack", &[("b".to_owned(), b"beta".to_vec())]);
        world.sim.crash(CrashStyle::KeepNothing);
        let found = read_back(&world.archive("a.pack").unwrap());
        assert!(
            found.contains(&("b".to_owned(), b"beta".to_vec())),
            "call {index}"
        );
    }
    assert!(named > 0, "never killed behind the name");
}

/// Where that sync fails there is no archive: a sync that succeeds later need not make good for it.
#[test]
fn a_name_that_can_not_be_made_durable_goes() {
    let world = World::new(10);
    let mut writer = ArchiveWriter::create(path("a.pack"), &world.options()).unwrap();
    writer.add(b"a", b"", b"alpha").unwrap();
    let kind = io::ErrorKind::Other;
    world
        .sim
        .fail_where(|call| call.op == Op::SyncDir, 1, kind, Effect::Nothing);
    writer.finish().unwrap_err();
    assert_eq!(world.files(), [""; 0]);
    let added = [("b".to_owned(), b"beta".to_vec())];
    world.append("a.pack", &added);
    world.sim.crash(CrashStyle::KeepNothing);
    assert_eq!(read_back(&world.archive("a.pack").unwrap()), added);
}

/// Every call on a scratch file fails in turn, and the program goes on: what it was told to be in the pack is there, or it is not sealed.
#[test]
fn a_failing_scratch_file_never_loses_an_object_in_silence() {
    let object = |number: u64| number.to_le_bytes().to_vec();
    let run = |world: &World| {
        let mut told = Vec::new();
        let mut writer = ArchiveWriter::create(path("a.pack"), &world.options()).unwrap();
        for number in 0..5_000u64 {
            // Twice: a repeated call must not say that what failed is there.
            for _ in 0..2 {
                if writer.add(&number.to_be_bytes(), b"", &object(number)).is_ok() {
                    told.push(number);
                    break;
                }
            }
        }
        (told, writer.finish().is_ok())
    };
    let small = |seed| World::new(seed).with(|options| options.sort_memory(0).dedup_window(0));
    let clean = small(0);
    clean.sim.set_trace(true);
    assert_eq!(run(&clean).0.len(), 5_000);
    let trace = clean.sim.take_trace();
    let of_scratch: Vec<u64> = trace
        .iter()
        .filter(|call| call.mentions(".sort"))
        .map(|call| call.index)
        .collect();
    assert!(of_scratch.len() > 10, "{of_scratch:?}");
    let mut failed = 0;
    for index in of_scratch {
        let world = small(0);
        let (kind, effect) = (io::ErrorKind::StorageFull, Effect::Partial);
        world.sim.set_fault(Fault::FailCall { index, kind, effect });
        let (told, sealed) = run(&world);
        failed += u32::from(!sealed);
        if !sealed {
            assert!(world.files().len() <= 1, "call {index}: {:?}", world.files());
            continue;
        }
        let archive = world.archive("a.pack").unwrap();
        assert_eq!(archive.len(), told.len() as u64, "call {index}");
        for number in told {
            let entry = archive.get(&number.to_be_bytes()).unwrap().unwrap();
            assert_eq!(archive.read(&entry).unwrap(), object(number), "call {index}");
            assert!(archive.pack().contains(&entry.id).unwrap());
        }
    }
    assert!(failed > 5, "{failed}");
}

/// A process dies between the link that publishes a pack and the removal of its other name: the next builder of that name must not write
/// to what is now a pack of another name.
#[test]
fn what_is_left_of_a_published_pack_is_not_written_to() {
    let world = World::new(5);
    world.sim.fail_matching(
        Some(Op::Remove),
        "unfinished",
        3,
        io::ErrorKind::Other,
        Effect::Nothing,
    );
    let mut builder = PackBuilder::create(path("a.pack"), &world.options());
    if builder.is_err() {
        // The failing call was that of the beginning.
        world.sim.clear_faults();
        builder = PackBuilder::create(path("a.pack"), &world.options());
        world.sim.fail_matching(
            Some(Op::Remove),
            "unfinished",
            3,
            io::ErrorKind::Other,
            Effect::Nothing,
        );
    }
    let mut builder = builder.unwrap();
    builder.add(&content(1, 5000)).unwrap();
    builder.finish().unwrap_err();
    world.sim.clear_faults();
    assert_eq!(world.files(), ["a.pack", "a.pack.unfinished"]);
    let fs = world.sim.env().fs;
    fs.rename(&path("a.pack"), &path("old.pack")).unwrap();
    world.build("a.pack", &[content(2, 100)]);
    assert_eq!(
        world
            .open("old.pack")
            .unwrap()
            .get(&ObjectId::of(&content(1, 5000)))
            .unwrap()
            .unwrap(),
        content(1, 5000)
    );
    assert_eq!(world.files(), ["a.pack", "old.pack"]);
}
