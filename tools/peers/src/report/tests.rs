//! The report against its golden: figures that are made up, in every shape that a cell can have.

use std::path::Path;

use super::header::EngineSetting;
use super::*;
use crate::data::TextInfo;

fn header() -> Header {
    let setting = |engine: &str, synced: Option<&str>| EngineSetting {
        setting: Setting::Alike,
        engine: engine.into(),
        text: "as it comes".into(),
        synced: synced.map(String::from),
    };
    Header {
        date: "2026-01-02 03:04 UTC".into(),
        seconds: 61,
        command: "peers --set standard".into(),
        processor: "a processor".into(),
        cores: 2,
        memory: 24 << 30,
        kernel: "Linux 6".into(),
        file_system: "ext4".into(),
        load_before: "0.01".into(),
        load_after: "2.00".into(),
        versions: [("fjall".into(), "3".into()), ("packstone".into(), "0.1.0".into())].into(),
        num: 1000,
        rounds: 2,
        method: vec!["How it was measured".into()],
        engine_settings: vec![setting("packstone", None), setting("lmdb", Some("syncing"))],
        text: Some(TextInfo {
            from: "~/sources".into(),
            files: 3,
            bytes: 1000,
            hash: "00ff".into(),
        }),
    }
}

fn report() -> Report {
    let mut report = Report {
        schema: SCHEMA,
        header: header(),
        engines: ["packstone", "rocksdb", "fjall", "lmdb"].map(String::from).into(),
        settings: vec![Setting::Alike],
        figures: Vec::new(),
        notes: Vec::new(),
    };
    let runs = [
        ("packstone", "random", "fillrandom", Kind::Rate, [500e3, 520e3]),
        ("rocksdb", "random", "fillrandom", Kind::Rate, [250e3, 260e3]),
        ("fjall", "random", "fillrandom", Kind::Rate, [300e3, 300e3]),
        ("lmdb", "random", "fillrandom", Kind::Rate, [100e3, 100e3]),
        ("packstone", "random", "fillrandom", Kind::Settled, [6.0, 8.0]),
        ("rocksdb", "random", "fillrandom", Kind::Settled, [5.0, 5.0]),
        ("packstone", "random", "fillrandom", Kind::OwnLog, [1e6, 1e6]),
        ("packstone", "random", "fillrandom", Kind::Disk, [136e6, 136e6]),
        ("rocksdb", "random", "fillrandom", Kind::Disk, [136e6, 137e6]),
        ("packstone", "random", "readrandom", Kind::Rate, [1e6, 1e6]),
        ("lmdb", "random", "readrandom", Kind::Rate, [2e6, 2e6]),
        ("packstone", "reopen", "reopen", Kind::Opening, [0.2, 0.2]),
        ("fjall", "reopen", "reopen", Kind::Opening, [1.4, 1.4]),
        ("packstone", "reopen", "reopen", Kind::Recovered, [1000.0, 1000.0]),
    ];
    for (engine, scenario, workload, kind, values) in runs {
        for value in values {
            let mut outcome = Outcome::default();
            outcome.add(workload, kind, value);
            report.add(Setting::Alike, engine, scenario, outcome);
        }
    }
    for operations in [17, 18] {
        let notes = vec![format!("readrandom: ended after {operations} operations")];
        let outcome = Outcome {
            notes,
            ..Outcome::default()
        };
        report.add(Setting::Alike, "lmdb", "random", outcome);
    }
    report
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(
        golden == text,
        "{name} differs; UPDATE_GOLDENS=1 rewrites it:\n{text}"
    );
}

#[test]
fn the_markdown_is_the_golden() {
    compare("report.md", &report().markdown());
}

#[test]
fn the_json_is_the_golden() {
    compare("report.json", &report().json().unwrap());
}

#[test]
fn the_charts_are_the_golden() {
    let charts = report().charts();
    let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "alike-writing.svg",
            "alike-reading.svg",
            "alike-durability.svg",
            "alike-space.svg"
        ]
    );
    compare("alike-writing.svg", &charts[0].1);
}

#[test]
fn json_that_is_read_again_gives_the_same_report() {
    let first = report();
    let again: Report = serde_json::from_str(&first.json().unwrap()).unwrap();
    assert_eq!(again, first);
    assert_eq!(again.markdown(), first.markdown());
}

#[test]
fn losses_are_named() {
    let text = report().markdown();
    assert!(text.contains("ahead in 2, even in 1, behind in 1."), "{text}");
    assert!(
        text.contains("Behind in: fillrandom, until background work has settled (0.71)."),
        "{text}"
    );
}
