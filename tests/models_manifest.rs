//! `models/` compiles the library's sources with a manifest of its own, which must ask for the same crates.
#![allow(clippy::disallowed_methods)] // reads the manifests

use std::path::Path;

/// The lines of the section of dependencies.
fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn the_models_are_built_with_the_library_s_own_dependencies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path));
    let Ok(models) = read("models/Cargo.toml") else {
        return; // not part of the published package
    };
    let library = read("Cargo.toml").unwrap();
    let known = dependencies(&models);
    for line in dependencies(&library) {
        assert!(known.contains(&line), "models/Cargo.toml lacks `{line}`");
    }
    let checkers = known
        .iter()
        .filter(|line| line.contains("optional = true"))
        .count();
    assert_eq!(
        known.len() - checkers,
        dependencies(&library).len(),
        "models/Cargo.toml has more"
    );
}
