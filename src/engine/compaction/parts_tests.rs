//! How a merge is cut into parts, and its outputs into files.

use std::path::Path;

use super::super::plan::Action;
use super::super::range::plan_range;
use super::*;
use crate::Options;
use crate::engine::recovery;
use crate::env::sim::SimEnv;

const DIR: &str = "/db";
const FILE: u64 = 64 << 10;
const KEYS: u64 = 8_000;

/// A last level of keys 0 to `KEYS` in order, some twelve files of them.
fn opened(sim: &SimEnv, threads: usize) -> Arc<Core> {
    let options = || {
        let options = Options::new().write_buffer_size(FILE).max_file_size(FILE);
        options.background_threads(threads).env(sim.env())
    };
    let db = options().open(DIR).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    let mut noise = 1u64;
    for i in 0..KEYS {
        let value: [[u8; 8]; 12] = std::array::from_fn(|_| {
            noise = noise
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (noise ^ (noise >> 29)).to_be_bytes()
        });
        keyspace.put(i.to_be_bytes(), value.as_flattened()).unwrap();
    }
    db.flush().unwrap();
    keyspace.compact_range::<&[u8], _>(..).unwrap();
    drop((keyspace, db));
    recovery::open(Path::new(DIR), options(), false).unwrap().0
}

fn tree_of(core: &Core) -> Arc<Tree> {
    core.keyspace_cores()[0].view().tree.clone()
}

/// Where parts begin, as percents of the keys from `least` to `greatest`.
fn bounds(core: &Core, plan: &Plan) -> Vec<u64> {
    let number = |key: &[u8]| u64::from_be_bytes(std::array::from_fn(|i| key.get(i).copied().unwrap_or(0)));
    let (least, greatest) = (number(&plan.least), number(&plan.greatest));
    let bounds = core.part_bounds(plan).unwrap();
    let percent = |key: &Vec<u8>| (number(key) - least) * 100 / (greatest - least);
    bounds.iter().map(percent).collect()
}

#[test]
fn parts_are_of_equal_size_and_no_more_than_threads_and_files() {
    for (threads, wanted) in [
        (1, &[][..]),
        (2, &[]),
        (3, &[50]),
        (4, &[33, 67]),
        (5, &[25, 50, 75]),
    ] {
        let sim = SimEnv::new(1);
        let core = opened(&sim, threads);
        let tree = tree_of(&core);
        assert!(tree.level(6).len() >= 10, "{}", tree.level(6).len());
        let plan = plan_range(&tree, b"", None).unwrap();
        let found = bounds(&core, &plan);
        assert_eq!(found.len(), wanted.len(), "{threads} threads: {found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.abs_diff(*wanted) <= 9, "{threads} threads: {found} percent");
        }
    }
}

#[test]
fn no_part_is_smaller_than_a_file() {
    let sim = SimEnv::new(2);
    let core = opened(&sim, 8);
    let tree = tree_of(&core);
    let of = |files: usize, level| {
        let inputs = tree.level(6)[..files].iter().map(|table| (6, table.clone()));
        Plan::new(Action::Merge, inputs.collect(), level).unwrap()
    };
    for files in 1..=8 {
        let plan = of(files, 6);
        let bytes: u64 = plan.inputs.iter().map(|(_, table)| table.meta.size).sum();
        let parts = core.part_bounds(&plan).unwrap().len() as u64 + 1;
        assert_eq!(
            parts,
            (bytes / FILE).clamp(1, 7),
            "{files} files of {bytes} bytes"
        );
    }
    assert_eq!(
        core.part_bounds(&of(4, 0)).unwrap().len(),
        0,
        "within level 0 it is one file"
    );
}

#[test]
fn outputs_are_cut_by_what_lies_behind_and_within_level_0_hardly_at_all() {
    let sim = SimEnv::new(3);
    let core = opened(&sim, 2);
    let tree = tree_of(&core);
    let inputs = |files: usize| {
        let tables = tree.level(6)[1..1 + files].iter();
        tables.map(|table| (5, table.clone())).collect()
    };
    let whole = Cuts::new(&core.options, Work::Compaction);
    let deep = core.cuts(&Plan::new(Action::Merge, inputs(3), 5).unwrap(), &tree);
    assert_eq!(
        (deep.max_bytes, deep.max_entries),
        (whole.max_bytes, whole.max_entries)
    );
    assert_eq!((deep.grandparents.len(), deep.max_grandparents), (3, 10 * FILE));
    assert!(deep.paced && !whole.paced);
    let last = core.cuts(&Plan::new(Action::Merge, inputs(3), 6).unwrap(), &tree);
    assert_eq!(last.grandparents.len(), 0);
    let within = core.cuts(&Plan::new(Action::Merge, inputs(3), 0).unwrap(), &tree);
    assert_eq!(
        (within.max_bytes, within.max_entries),
        (8 * FILE, most_entries_within(whole.max_entries))
    );
    assert!(within.paced && within.grandparents.is_empty());
}

/// Inputs of one file each, from these levels.
fn plan_of(tree: &Tree, levels: &[usize], action: Action, output: usize) -> Plan {
    let tables = tree.level(6).iter().cloned();
    let inputs = levels.iter().copied().zip(tables);
    Plan::new(action, inputs.collect(), output).unwrap()
}

#[test]
fn every_file_of_level_0_is_a_source_and_so_is_every_deeper_level() {
    let sim = SimEnv::new(4);
    let core = opened(&sim, 2);
    let tree = tree_of(&core);
    for (levels, wanted) in [
        (&[0][..], 1),
        (&[6], 1),
        (&[0, 0, 0], 3),
        (&[5, 5, 6, 6, 6], 2),
        (&[0, 0, 6, 6], 3),
        (&[1, 2, 3, 4, 5, 6], 6),
    ] {
        let plan = plan_of(&tree, levels, Action::Merge, 6);
        assert_eq!(plan.sources(), wanted, "{levels:?}");
    }
}

#[test]
fn a_merge_reserves_for_its_inputs_for_a_file_and_for_another_where_parts_wait_for_each_other() {
    let sim = SimEnv::new(5);
    let core = opened(&sim, 4);
    let (tree, keyspace) = (tree_of(&core), core.keyspace_cores()[0].clone());
    let (buffers, sst) = (buffers(&core.options, Work::Compaction), keyspace.options.sst());
    let entries = |levels: &[usize]| -> u64 {
        let tables = tree.level(6)[..levels.len()].iter();
        tables.map(|table| table.meta.entries).sum()
    };
    let one_file = |levels: &[usize]| {
        let bytes: u64 = tree.level(6)[..levels.len()]
            .iter()
            .map(|table| table.meta.size)
            .sum();
        entries(levels) * FILE * 2 / bytes
    };
    // Fewer bytes than two files have room for: all entries, in one part.
    let levels = [5];
    let plan = plan_of(&tree, &levels, Action::Merge, 6);
    assert_eq!(core.entries_of_file(&plan), entries(&levels));
    let wanted = buffers.reading(1, sst) + buffers.building(entries(&levels), sst);
    assert_eq!(core.merge_memory(&keyspace, &plan), wanted);
    // More: as many as two files' bytes have, and a second file waits.
    let levels = [5, 5, 5, 6, 6, 6, 6, 6];
    let plan = plan_of(&tree, &levels, Action::Merge, 6);
    assert!(one_file(&levels) < entries(&levels));
    assert_eq!(core.entries_of_file(&plan), one_file(&levels));
    let file = buffers.building(one_file(&levels), sst);
    assert_eq!(core.part_memory(&keyspace, &plan), buffers.reading(2, sst) + file);
    assert_eq!(
        core.merge_memory(&keyspace, &plan),
        buffers.reading(2, sst) + 2 * file
    );
    // Within level 0 all entries go into one file.
    let plan = plan_of(&tree, &[0; 8], Action::Merge, 0);
    assert_eq!(core.entries_of_file(&plan), entries(&[0; 8]));
    let whole = buffers.reading(8, sst) + buffers.building(entries(&[0; 8]), sst);
    assert_eq!(core.merge_memory(&keyspace, &plan), whole);
    // What moves is not read.
    let plan = plan_of(&tree, &[5], Action::Move, 6);
    assert_eq!(core.merge_memory(&keyspace, &plan), 0);
}

#[test]
fn within_level_0_a_file_may_have_more_entries_by_so_many_times() {
    assert_eq!(most_entries_within(1), MOST_WITHIN / 2);
    assert_eq!(most_entries_within(1000), 1000 * MOST_WITHIN / 2);
    assert_eq!(most_entries_within(u64::MAX), u64::MAX);
}
