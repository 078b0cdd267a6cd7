//! The JSON is what SCHEMA.md says it is, and its numbers agree with each other.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{Bench, MEASURED, read};

/// Fields and types, from the tables of SCHEMA.md: those of the object, those of latencies.
fn schema() -> [BTreeMap<String, String>; 2] {
    let text = include_str!("../SCHEMA.md");
    let mut tables = [BTreeMap::new(), BTreeMap::new()];
    let mut current = None;
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", "field", "type", "meaning", ""] => {
                current = Some(current.map_or(0, |table: usize| table + 1))
            }
            ["", names, kind, _, ""] if names.starts_with('`') => {
                for name in names.split(", ") {
                    tables[current.unwrap()].insert(name.trim_matches('`').to_string(), kind.to_string());
                }
            }
            _ => {}
        }
    }
    assert!(
        tables.iter().all(|table| table.len() > 5),
        "the tables were found"
    );
    tables
}

fn check(value: &Value, fields: &BTreeMap<String, String>, latencies: &BTreeMap<String, String>) {
    let object = value.as_object().unwrap();
    let mut names: Vec<&String> = object.keys().collect();
    names.sort();
    assert_eq!(
        names,
        fields.keys().collect::<Vec<_>>(),
        "exactly the documented fields"
    );
    for (name, kind) in fields {
        let value = &object[name];
        let fits = |kind: &str| match kind {
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "latencies" => {
                check(value, latencies, latencies);
                true
            }
            "object of latencies" => {
                value
                    .as_object()
                    .unwrap()
                    .values()
                    .for_each(|value| check(value, latencies, latencies));
                true
            }
            other => panic!("unknown type {other}"),
        };
        assert!(
            kind.split(" or ").any(fits),
            "{name} is {value}, and {kind} is documented"
        );
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_object_is_as_documented() {
    let [fields, latencies] = schema();
    let list = format!(
        "--benchmarks=fillseq,stats,nosuch,{} --num=1000 --reads=100 --json --seed=9",
        MEASURED.join(",")
    );
    let output = Bench::new().ok(&list);
    let objects = objects(&output.stdout);
    assert_eq!(
        objects.len(),
        MEASURED.len() + 1,
        "stats and the unknown give none"
    );
    for (object, name) in objects[1..].iter().zip(MEASURED) {
        assert_eq!(object["benchmark"], *name);
        check(object, &fields, &latencies);
    }
    assert!(
        output.stderr.contains("fillseq      : "),
        "the text goes to stderr"
    );
}

#[test]
fn numbers_agree() {
    let bench = Bench::new();
    bench.ok(
        "--benchmarks=filluniquerandom,readrandom,overwrite,compact --num=30000 --write_buffer_size=300000 --json_file=o.json \
         --seed=3 --keyspaces=2",
    );
    let objects = objects(&read(&bench.path("o.json")));
    let [fill, reads, _, compact] = &objects[..] else {
        panic!("four objects")
    };
    let n = |object: &Value, name: &str| {
        object[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} of {object}"))
    };
    assert_eq!(n(fill, "operations"), 30_000.0);
    assert_eq!(n(fill, "entries_written"), 30_000.0);
    assert_eq!(n(fill, "user_bytes_written"), 30_000.0 * 116.0);
    assert_eq!(n(fill, "live_bytes"), 30_000.0 * 116.0);
    assert!(n(fill, "log_bytes_written") >= n(fill, "user_bytes_written"));
    assert!(n(fill, "flush_bytes_written") > 0.0);
    let written =
        n(fill, "log_bytes_written") + n(fill, "flush_bytes_written") + n(fill, "compaction_bytes_written");
    assert!((n(fill, "write_amplification") - written / n(fill, "user_bytes_written")).abs() < 1e-9);
    assert!((n(fill, "space_amplification") - n(fill, "disk_bytes") / n(fill, "live_bytes")).abs() < 1e-9);
    assert_eq!(fill["latency_micros"]["count"], 30_000);
    assert!(n(fill, "peak_memory_bytes") >= n(fill, "anonymous_memory_bytes"));

    assert_eq!((n(reads, "reads"), n(reads, "found")), (30_000.0, 30_000.0));
    assert!(reads["write_amplification"].is_null(), "nothing was written");
    assert_eq!(
        reads["latency_micros_by_operation"]["read"],
        reads["latency_micros"]
    );
    let percentiles: Vec<f64> = ["min", "p50", "p75", "p90", "p95", "p99", "p99_9", "p99_99", "max"]
        .iter()
        .map(|name| n(&reads["latency_micros"], name))
        .collect();
    assert!(percentiles.is_sorted(), "{percentiles:?}");

    assert_eq!(
        (n(compact, "level_0_files"), n(compact, "live_keys")),
        (0.0, 30_000.0)
    );
    assert!(n(compact, "compaction_bytes_written") > 0.0);
}
