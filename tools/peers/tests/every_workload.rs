//! Each engine that is built in passes a small run of every workload: all values are as written, all counts are right,
//! and every workload gives a figure.

use std::process::Command;

use serde_json::Value;

/// Runs everything on one engine and gives the report's JSON.
fn run(engine: &str, settings: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src");
    let output = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args([
            "--set",
            "full",
            "--num",
            "2000",
            "--operations",
            "300",
            "--rounds",
            "1",
        ])
        .args([
            "--mixed-seconds",
            "1",
            "--writer-rate",
            "1000",
            "--text-size",
            "2",
            "--text",
            sources,
        ])
        .args(["--engines", engine, "--settings", settings])
        .arg("--dir")
        .arg(dir.path().join("databases"))
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(dir.path().join("charts"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(!dir.path().join("databases").exists(), "what it made is gone");
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

fn values<'a>(report: &'a Value, kind: &str) -> Vec<(&'a str, f64)> {
    let figures = report["figures"].as_array().unwrap();
    let of_kind = figures.iter().filter(|figure| figure["kind"] == kind);
    of_kind
        .map(|figure| {
            (
                figure["workload"].as_str().unwrap(),
                figure["median"].as_f64().unwrap(),
            )
        })
        .collect()
}

fn check(engine: &str, settings: &str) {
    let report = run(engine, settings);
    let listed = Command::new(env!("CARGO_BIN_EXE_peers"))
        .arg("--list")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let rates = values(&report, "rate");
    // Workloads are the lines with four spaces before the first empty section.
    let workloads = listed.split("\nsets:").next().unwrap();
    let names = workloads.lines().filter_map(|line| line.strip_prefix("    "));
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        let found = rates
            .iter()
            .any(|(workload, rate)| *workload == name && *rate > 0.0);
        assert!(found || name == "reopen", "{engine}: no rate of {name}");
    }
    assert_eq!(values(&report, "opening").len(), 1, "{engine}");
    let recovered = values(&report, "recovered");
    // redb has no commit that survives the death of the process and does not sync; everybody else loses nothing.
    let expected = if engine == "redb" { 0.0 } else { 400.0 };
    assert_eq!(recovered, [("reopen", expected)], "{engine}");
    // LMDB keeps everything in its map: small loads need no memory of their own.
    let memory = values(&report, "anonymous");
    let some = engine == "lmdb" || memory.iter().any(|(_, bytes)| *bytes > 0.0);
    assert!(!memory.is_empty() && some, "{engine}");
    assert!(
        values(&report, "disk").iter().all(|(_, bytes)| *bytes > 0.0),
        "{engine}"
    );
}

#[test]
fn packstone() {
    check("packstone", "alike");
    check("packstone", "recommended");
}

#[test]
fn fjall() {
    check("fjall", "alike");
    check("fjall", "recommended");
}

#[test]
fn lmdb() {
    check("lmdb", "alike");
    check("lmdb", "recommended");
}

#[test]
fn redb() {
    check("redb", "alike");
    check("redb", "recommended");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb() {
    check("rocksdb", "alike");
    check("rocksdb", "recommended");
}

#[test]
fn packstone_counts_its_own_bytes() {
    let report = run("packstone", "alike");
    let total = values(&report, "own_total");
    assert!(
        total
            .iter()
            .any(|(name, bytes)| *name == "fillrandom" && *bytes > 2000.0 * 100.0)
    );
}
