//! A database's packs cut anywhere and damaged anywhere, sealed or not.

use super::shared::*;
use super::*;
use crate::env::sim::{Call, Effect, Op};
use crate::pack::shared::{Recovered, Reopened};

/// A small unsealed pack: its bytes, and what it holds.
fn small() -> (World, Vec<u8>, Vec<Known>) {
    let world = World::new(5);
    let pack = create(&world.sim.env()).unwrap();
    let lens = [0, 10, 700, 9000];
    let objects: Vec<_> = lens
        .into_iter()
        .map(|len| append(&pack, &content(len + 1, len as usize)).unwrap())
        .collect();
    let bytes = world.bytes("000012.pack");
    (world, bytes, objects)
}

fn put(world: &World, bytes: &[u8]) {
    world.sim.write_file(path("000012.pack"), bytes).unwrap();
}

#[test]
fn a_pack_cut_anywhere_is_whole_up_to_its_last_record_or_damaged() {
    let (world, bytes, objects) = small();
    let env = world.sim.env();
    let synced = end_of(&objects[1]);
    for len in 0..=bytes.len() {
        put(&world, &bytes[..len]);
        let surveyed = look(&env, synced);
        assert!(
            world.bytes("000012.pack") == bytes[..len],
            "a survey changes nothing"
        );
        if (len as u64) < synced {
            let errors = [surveyed.unwrap_err(), reopen(&env, synced).unwrap_err()];
            for error in errors {
                assert!(
                    matches!(&error, crate::Error::Corruption { path: at, offset, .. } if *at == path("000012.pack") && *offset <= len as u64),
                    "{len}: {error}"
                );
            }
            assert!(
                world.bytes("000012.pack") == bytes[..len],
                "damage is left as it is"
            );
            continue;
        }
        let ends = objects.iter().map(end_of);
        let end = ends.filter(|end| *end <= len as u64).max().unwrap();
        assert_eq!(surveyed.unwrap(), end);
        let Reopened::Unsealed(pack, found) = reopen(&env, synced).unwrap() else {
            panic!("nobody has sealed it");
        };
        let count = objects.iter().filter(|object| end_of(object) <= end).count() as u64;
        let expected = Recovered {
            cut_bytes: len as u64 - end,
            verified_bytes: end - synced,
            objects: count,
        };
        assert_eq!((found, pack.objects()), (expected, count));
        assert!(world.bytes("000012.pack") == bytes[..end as usize]);
    }
}

#[test]
fn every_flipped_byte_is_a_torn_end_or_damage() {
    let (world, bytes, objects) = small();
    let env = world.sim.env();
    let synced = end_of(&objects[1]);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        put(&world, &flipped);
        let surveyed = look(&env, synced);
        // The lengths in what was synced may be checked by their ends only; then reading tells.
        let content_of_synced = objects[..2].iter().any(|object| {
            let begin = object.place.offset + 20;
            (begin..end_of(object) - 64).contains(&(at as u64))
        });
        match reopen(&env, synced) {
            Ok(Reopened::Unsealed(pack, found)) => {
                assert!(
                    at as u64 >= synced || content_of_synced,
                    "byte {at} was not noticed"
                );
                assert_eq!(surveyed.unwrap(), pack.len());
                for object in &objects {
                    let touched = (object.place.offset..end_of(object)).contains(&(at as u64));
                    match read(&pack.reader(), object) {
                        Ok(()) => assert!(!touched, "byte {at}"),
                        Err(_) => assert!(touched || end_of(object) > pack.len(), "byte {at}"),
                    }
                }
                if !content_of_synced {
                    let torn = objects.iter().find(|object| end_of(object) > at as u64).unwrap();
                    assert_eq!(
                        (pack.len(), found.cut_bytes),
                        (torn.place.offset, bytes.len() as u64 - pack.len())
                    );
                }
            }
            Ok(other) => panic!("byte {at}: {other:?}"),
            Err(crate::Error::Corruption { .. } | crate::Error::NewerFormat { .. }) => {
                assert!((at as u64) < synced, "byte {at}");
                assert!(surveyed.is_err() || (64..80).contains(&at), "byte {at}");
                assert!(world.bytes("000012.pack") == flipped, "damage is left as it is");
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

/// Whatever is known of it, and whatever is damaged of it.
#[test]
fn a_sealed_pack_is_never_changed() {
    let (world, _, objects) = small();
    let env = world.sim.env();
    let Reopened::Unsealed(pack, _) = reopen(&env, 80).unwrap() else {
        panic!("nobody has sealed it");
    };
    let sealed = pack.seal().unwrap();
    let bytes = world.bytes("000012.pack");
    for known in [0, 80, end_of(&objects[0]), sealed.records_end] {
        assert!(matches!(reopen(&env, known), Ok(Reopened::Sealed(found)) if found == sealed));
        assert_eq!(look(&env, known).unwrap(), sealed.records_end);
        assert!(world.bytes("000012.pack") == bytes);
    }
    reopen(&env, sealed.records_end + 1).unwrap_err();
    let damaged = (0..bytes.len()).map(|at| {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        flipped
    });
    let cut = (0..bytes.len()).map(|len| bytes[..len].to_vec());
    for changed in damaged.chain(cut) {
        put(&world, &changed);
        let reopened = reopen(&env, 80);
        if let Ok(other) = reopened {
            assert!(
                matches!(other, Reopened::Sealed(found) if found == sealed),
                "{other:?}"
            );
            assert_eq!(
                changed.len(),
                bytes.len(),
                "the manifest would say another length"
            );
            // The length in the header is what a crash may leave torn.
            let mut repaired = changed.clone();
            repaired[64..80].copy_from_slice(&bytes[64..80]);
            assert!(world.bytes("000012.pack") == repaired);
            continue;
        }
        assert!(world.bytes("000012.pack") == changed);
    }
}

/// Reading what cannot be read is an error, and nothing is cut off for it.
#[test]
fn what_can_not_be_read_is_not_taken_for_torn() {
    let (world, bytes, _) = small();
    let env = world.sim.env();
    let before = world.sim.io_count();
    reopen(&env, 80).unwrap();
    let calls = world.sim.io_count() - before;
    for offset in 0..calls {
        put(&world, &bytes);
        let mut reads = 0;
        let filter = move |call: &Call| {
            reads += u64::from(call.op == Op::Read);
            call.op == Op::Read && reads == offset + 1
        };
        world
            .sim
            .fail_where(filter, 1, io::ErrorKind::Other, Effect::Nothing);
        let reopened = reopen(&env, 80);
        world.sim.clear_faults();
        assert!(world.bytes("000012.pack") == bytes, "read {offset}");
        if let Ok(Reopened::Unsealed(pack, _)) = reopened {
            assert_eq!(pack.len(), bytes.len() as u64);
        }
    }
}
