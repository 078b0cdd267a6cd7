//! The JSON is what SCHEMA.md says, and SCHEMA.md says nothing that does not happen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{self, Run};

/// Kind of record -> field -> type, from the tables.
type Schema = BTreeMap<String, BTreeMap<String, String>>;

fn schema() -> Schema {
    let text = include_str!("../../SCHEMA.md");
    let mut schema = Schema::new();
    let mut kind = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            kind = name.trim_matches('`').to_owned();
            let fields = BTreeMap::from([("record".to_owned(), "string".to_owned())]);
            assert!(schema.insert(kind.clone(), fields).is_none(), "{kind} twice");
        } else if let Some(row) = line.strip_prefix("| `") {
            let (name, rest) = row.split_once("` | ").expect(line);
            let (type_name, _) = rest.split_once(" |").expect(line);
            let fields = schema.get_mut(&kind).expect(line);
            fields.insert(name.to_owned(), type_name.trim().to_owned());
        }
    }
    assert!(schema.len() > 15, "the tables were not found");
    schema
}

fn fits(value: &Value, type_name: &str) -> bool {
    let wanted = type_name.trim_end_matches('?');
    if let Some(wanted) = wanted.strip_suffix(" or null") {
        return value.is_null() || fits(value, wanted);
    }
    match wanted {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("SCHEMA.md has the unknown type {other}"),
    }
}

/// What has been seen: kinds, and fields of each.
type Seen = BTreeMap<String, BTreeSet<String>>;

fn check(run: &Run, schema: &Schema, seen: &mut Seen) {
    let mut last = None;
    for line in run.stdout.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields = record.as_object().expect(line);
        let kind = fields["record"].as_str().expect(line);
        let wanted = schema
            .get(kind)
            .unwrap_or_else(|| panic!("SCHEMA.md has no {kind}"));
        for (name, value) in fields {
            let type_name = wanted
                .get(name)
                .unwrap_or_else(|| panic!("SCHEMA.md has no {name} in {kind}"));
            assert!(
                fits(value, type_name),
                "{kind}.{name} is {value}, expected {type_name}"
            );
            seen.entry(kind.to_owned()).or_default().insert(name.clone());
        }
        for (name, type_name) in wanted {
            assert!(
                type_name.ends_with('?') || fields.contains_key(name),
                "{kind} without {name}: {line}"
            );
        }
        last = Some(record);
    }
    let last = last.expect("at least the result");
    assert_eq!(last["record"], "result");
    assert_eq!(last["status"], run.status);
    assert!(
        run.stderr.is_empty(),
        "in JSON everything goes to the standard output: {}",
        run.stderr
    );
}

#[test]
fn every_record_is_as_documented() {
    let (schema, mut seen) = (schema(), Seen::new());
    let out = tempfile::tempdir().unwrap();
    let page = format!("lsm @ --html {}/page.html", out.path().display());
    let lines = [
        "check @",
        "check @ --show_properties",
        "verify @",
        "scan @",
        "scan @ --output_hex",
        "raw @",
        "identify @",
        "layout -v @",
        "filter @",
        "histogram @",
        "recompress @",
        "find user-007 @",
        "find user-003 @",
        "manifest @",
        "wal @",
        &page,
        "properties @",
        "check @ --env_uri=x",
    ];
    let database = support::closed();
    for line in lines {
        let run = database.run(&format!("{line} --json"));
        assert_eq!(run.status, 0, "{line}: {}", run.stdout);
        check(&run, &schema, &mut seen);
    }
    let packs = support::packs();
    let extract = format!(
        "extract @/letters.pack --name=b/beta --output {}/beta",
        out.path().display()
    );
    for line in [
        "check @",
        "verify @",
        "scan @",
        "raw @",
        "identify @",
        "layout -v @",
        "properties @",
        &extract,
    ] {
        let run = packs.run(&format!("{line} --json"));
        assert_eq!(run.status, 0, "{line}: {}", run.stdout);
        check(&run, &schema, &mut seen);
    }
    let large = support::large();
    for line in ["check @", "verify @", "identify @", "scan @", "manifest @"] {
        let run = large.run(&format!("{line} --json"));
        assert_eq!(run.status, 0, "{line}: {}", run.stdout);
        check(&run, &schema, &mut seen);
    }
    // A database that has been opened twice, with a keyspace gone: the changes that are left.
    let reopened = support::reopened();
    for line in ["manifest @", "wal @"] {
        check(&reopened.run(&format!("{line} --json")), &schema, &mut seen);
    }
    for line in [
        "scan @/nowhere",
        "wal @/CURRENT",
        "scan @ --from=x --input_key_hex",
    ] {
        let run = database.run(&format!("{line} --json"));
        assert_eq!(run.status, 2, "{line}");
        check(&run, &schema, &mut seen);
    }
    database.change(&database.file("000004.sst"), |bytes| bytes[50] ^= 1);
    database.change(&database.first(".log"), |bytes| bytes[120] ^= 1);
    for line in lines.iter().filter(|line| **line != page) {
        let run = database.run(&format!("{line} --json"));
        check(&run, &schema, &mut seen);
    }
    for (kind, fields) in &schema {
        let missing: Vec<_> = fields
            .keys()
            .filter(|name| !seen.get(kind).is_some_and(|seen| seen.contains(*name)))
            .collect();
        assert!(missing.is_empty(), "never seen in {kind}: {missing:?}");
    }
}
