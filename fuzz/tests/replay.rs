//! Every seed of every target holds, without a fuzzer: an ordinary build, an ordinary test.
//!
//! `cargo test --no-default-features` in this directory.

use std::panic::catch_unwind;
use std::path::Path;

#[test]
fn every_seed_of_every_target_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut failed = Vec::new();
    for (target, run) in packstone_fuzz::TARGETS {
        let mut paths: Vec<_> = std::fs::read_dir(seeds.join(target))
            .unwrap_or_else(|error| panic!("the seeds of {target}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(paths.len() >= 10, "{target} has {} seeds", paths.len());
        for path in &paths {
            let data = std::fs::read(path).unwrap();
            if catch_unwind(|| run(&data)).is_err() {
                failed.push(path.display().to_string());
            }
        }
        println!("{target}: {} seeds", paths.len());
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[test]
fn the_empty_input_holds_and_every_target_has_a_program() {
    for (target, run) in packstone_fuzz::TARGETS {
        run(&[]);
        let program = format!("{}/fuzz_targets/{target}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&program).unwrap();
        assert!(
            text.contains(&format!("packstone_fuzz::{target}::run(data)")),
            "{program}"
        );
    }
}
