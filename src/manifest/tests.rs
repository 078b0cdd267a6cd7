//! When a manifest is rolled, and what a failure leaves.

use std::io::ErrorKind;

use super::*;
use crate::env::sim::{Effect, Op, SimEnv};

const DIR: &str = "/db";
const EDITS: u64 = 200;

fn machine() -> (SimEnv, Env) {
    let sim = SimEnv::new(5);
    let env = sim.env();
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    (sim, env)
}

/// A manifest with some edits, and where it ends.
fn with_edits(env: &Env, roll_size: u64) -> (Manifest, Catalog, u64) {
    let mut catalog = Catalog::new([1; 16]);
    let mut manifest = Manifest::create(env, Path::new(DIR), 1, roll_size, &catalog).unwrap();
    for number in 1..=EDITS {
        commit(&mut manifest, &mut catalog, number);
    }
    let end = manifest.log.as_ref().unwrap().end();
    (manifest, catalog, end)
}

fn commit(manifest: &mut Manifest, catalog: &mut Catalog, log: u64) -> Committed {
    let edit = Edit {
        records: vec![Record::LogKnown(log)],
    };
    catalog.apply(&edit).unwrap();
    manifest.commit(&edit, catalog).unwrap()
}

#[test]
fn a_manifest_is_rolled_when_it_has_come_to_the_size_for_that() {
    let (_sim, env) = machine();
    let (manifest, _, end) = with_edits(&env, u64::MAX);
    assert!(end > manifest.snapshot_size * 4, "the size decides");
    for (roll_size, rolled) in [(end, true), (end + 1, false)] {
        let (_sim, env) = machine();
        let (mut manifest, mut catalog, _) = with_edits(&env, roll_size);
        let committed = commit(&mut manifest, &mut catalog, EDITS + 1);
        assert_eq!(committed.replaced.is_some(), rolled);
        assert_eq!(
            current_number(&*env.fs, Path::new(DIR)).unwrap(),
            Some(1 + u64::from(rolled))
        );
        let loaded = load(&*env.fs, Path::new(DIR)).unwrap().unwrap();
        assert_eq!(loaded.catalog, catalog);
    }
}

#[test]
fn a_state_much_larger_than_the_roll_size_is_not_written_anew_with_each_edit() {
    let (_sim, env) = machine();
    let (manifest, ..) = with_edits(&env, 1);
    let (least, end) = (manifest.snapshot_size, manifest.log.as_ref().unwrap().end());
    assert!(end <= least * 4 + least, "{end} and {least}");
    assert!(manifest.last_number < EDITS / 4, "{}", manifest.last_number);
}

#[test]
fn a_leftover_of_current_that_can_not_be_removed_leaves_the_old_one_in_force() {
    let (sim, env) = machine();
    let dir = Path::new(DIR);
    current::write(&*env.fs, dir, 3).unwrap();
    let kind = ErrorKind::PermissionDenied;
    sim.fail_matching(Some(Op::Remove), names::CURRENT_TMP, 1, kind, Effect::Nothing);
    let refused = current::write(&*env.fs, dir, 4);
    assert!(matches!(refused, Err(current::WriteError::Unchanged(_))));
    assert_eq!(current_number(&*env.fs, dir).unwrap(), Some(3));
}
