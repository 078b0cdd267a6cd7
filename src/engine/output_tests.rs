//! Where files are cut.

use std::path::Path;

use super::*;
use crate::Options;
use crate::engine::core::Core;
use crate::engine::recovery;
use crate::env::sim::SimEnv;

const DIR: &str = "/db";
const FILE: u64 = 64 << 10;

/// Something that does not compress.
fn noise(seed: u64) -> [u8; 96] {
    let mut state = seed;
    let words: [[u8; 8]; 12] = std::array::from_fn(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 29)).to_be_bytes()
    });
    std::array::from_fn(|i| words[i / 8][i % 8])
}

/// A database with some twelve files in its last level.
fn opened(sim: &SimEnv) -> (Arc<Core>, Arc<KeyspaceCore>) {
    let options = || {
        let options = Options::new().write_buffer_size(FILE).max_file_size(FILE);
        options.env(sim.env())
    };
    let db = options().open(DIR).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    for i in 0..8_000u64 {
        keyspace.put(i.to_be_bytes(), noise(i)).unwrap();
    }
    db.flush().unwrap();
    keyspace.compact_range::<&[u8], _>(..).unwrap();
    drop((keyspace, db));
    let (core, _) = recovery::open(Path::new(DIR), options(), false).unwrap();
    let keyspace = core.keyspace_cores().remove(0);
    (core, keyspace)
}

/// The entries of each file that comes of these keys (of one version each, or of numbers that descend).
fn files(core: &Core, keyspace: &Arc<KeyspaceCore>, cuts: Cuts, keys: &[Vec<u8>]) -> Vec<u64> {
    let run = Run::new(keyspace.clone(), Vec::new(), 0);
    let factory = core.factory();
    let mut output = Output::new(&factory, &run, cuts);
    for (key, seq) in keys.iter().zip((1..=keys.len() as u64).rev()) {
        output.add(key, seq, EntryValue::Put(&noise(seq))).unwrap();
    }
    let tables = run.finish(&factory, vec![output.end()]).unwrap();
    tables.iter().map(|table| table.meta.entries).collect()
}

fn whole() -> Cuts {
    Cuts {
        max_bytes: u64::MAX,
        max_entries: u64::MAX,
        max_grandparents: u64::MAX,
        ..Cuts::default()
    }
}

#[test]
fn a_file_ends_when_it_has_its_entries_and_a_key_may_overrun_that_once() {
    let sim = SimEnv::new(1);
    let (core, keyspace) = opened(&sim);
    let cuts = |max_entries| Cuts {
        max_entries,
        ..whole()
    };
    let keys: Vec<Vec<u8>> = (0..25u8).map(|i| vec![i]).collect();
    assert_eq!(files(&core, &keyspace, cuts(10), &keys), [10, 10, 5]);
    assert_eq!(files(&core, &keyspace, whole(), &keys), [25]);
    // "a", 12 versions of "k", which go on in a file of their own, "y" and "z".
    let mut keys = vec![b"k".to_vec(); 12];
    keys.insert(0, b"a".to_vec());
    keys.extend([b"y".to_vec(), b"z".to_vec()]);
    assert_eq!(files(&core, &keyspace, cuts(4), &keys), [8, 5, 2]);
}

/// One key for each of the grandparents from `first` on.
fn one_in_each(grandparents: &[Arc<Table>], first: usize) -> Vec<Vec<u8>> {
    let least = grandparents[first..]
        .iter()
        .map(|table| table.meta.min_key.to_vec());
    least.collect()
}

#[test]
fn a_file_ends_before_it_overlaps_too_much_of_what_lies_behind() {
    let sim = SimEnv::new(2);
    let (core, keyspace) = opened(&sim);
    let grandparents = keyspace.view().tree.level(6)[..9].to_vec();
    let of = |at: usize| grandparents[at].meta.size;
    let cuts = |max_grandparents| Cuts {
        grandparents: grandparents.clone(),
        max_grandparents,
        ..whole()
    };
    let keys = one_in_each(&grandparents, 0);
    // Passing two is as much as may be; passing three is too much.
    assert_eq!(files(&core, &keyspace, cuts(of(0) + of(1)), &keys)[0], 3);
    assert_eq!(files(&core, &keyspace, cuts(of(0) + of(1) - 1), &keys)[0], 2);
    assert_eq!(files(&core, &keyspace, cuts(of(0) * 5 / 2), &keys), [3, 3, 3]);
    assert_eq!(files(&core, &keyspace, cuts(20 * FILE), &keys), [9]);
    // What lies before the first key counts for nothing: so begin the later parts of a compaction.
    let behind = one_in_each(&grandparents, 5);
    assert_eq!(files(&core, &keyspace, cuts(of(0) * 5 / 2), &behind), [3, 1]);
}

#[test]
fn a_file_that_is_half_full_ends_with_one_of_those_behind() {
    let sim = SimEnv::new(3);
    let (core, keyspace) = opened(&sim);
    let grandparents = keyspace.view().tree.level(6)[..2].to_vec();
    // 250 entries, 28 KiB, before the first of them ends, and one behind it.
    let mut keys: Vec<Vec<u8>> = (0..250u64).map(|i| i.to_be_bytes().to_vec()).collect();
    assert!(grandparents[0].meta.entries > 250);
    keys.push(grandparents[1].meta.min_key.to_vec());
    let cuts = |max_bytes| Cuts {
        max_bytes,
        grandparents: grandparents.clone(),
        ..whole()
    };
    assert_eq!(files(&core, &keyspace, cuts(40 << 10), &keys), [250, 1]);
    assert_eq!(files(&core, &keyspace, cuts(100 << 10), &keys), [251]);
    // The last key of the first one does not lie behind it.
    *keys.last_mut().unwrap() = grandparents[0].meta.max_key.to_vec();
    assert_eq!(files(&core, &keyspace, cuts(40 << 10), &keys), [251]);
}

#[test]
fn what_is_given_up_leaves_no_file() {
    let sim = SimEnv::new(4);
    let (core, keyspace) = opened(&sim);
    let before = sim.list();
    for finished in [true, false] {
        let run = Run::new(keyspace.clone(), Vec::new(), 0);
        let factory = core.factory();
        let mut output = Output::new(
            &factory,
            &run,
            Cuts {
                max_entries: 1,
                ..whole()
            },
        );
        output.add(b"a", 2, EntryValue::Tombstone).unwrap();
        output.add(b"b", 1, EntryValue::Tombstone).unwrap();
        assert!(sim.list().len() > before.len());
        if finished {
            discard_tables(&run.finish(&factory, vec![output.end()]).unwrap());
        } else {
            output.abandon();
            run.discard(&factory);
        }
        sim.run_until_idle();
        assert_eq!(sim.list(), before);
    }
}

/// However the parts of a run end, the file with the greatest number, and no other, says that it is the last.
#[test]
fn only_the_file_with_the_greatest_number_says_that_it_is_the_last() {
    let sim = SimEnv::new(5);
    let (core, keyspace) = opened(&sim);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let run = Run::new(keyspace.clone(), Vec::new(), 0);
        let factory = core.factory();
        // Each begins a file, so numbers are in this order; they end in another one.
        let mut outputs = Vec::new();
        for key in [b"a", b"b", b"c"] {
            let mut output = Output::new(&factory, &run, whole());
            output.add(key, 1, EntryValue::Tombstone).unwrap();
            outputs.push(Some(output));
        }
        let ended = order.map(|part: usize| run.end_part(outputs[part].take().unwrap().end()).unwrap());
        let tables = run.finish(&factory, Vec::from(ended)).unwrap();
        let mut said: Vec<(u64, bool)> = tables
            .iter()
            .map(|table| (table.meta.number, table.sst.properties().origin.last))
            .collect();
        said.sort();
        let last = said.iter().map(|(_, last)| *last);
        assert_eq!(last.collect::<Vec<_>>(), [false, false, true], "{order:?}");
        discard_tables(&tables);
    }
}
