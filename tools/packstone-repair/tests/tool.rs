//! The program from outside: what it prints, its exit status, and that the source stays what it was.
//! After a wanted change of the golden: `UPDATE_GOLDENS=1 cargo test -p packstone-repair`.
#![allow(clippy::unwrap_used)] // a failure fails the test

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use packstone::Options;
use packstone::env::sim::SimEnv;
use serde_json::Value;

/// The same database in every run: made on the simulated machine.
fn database() -> tempfile::TempDir {
    let sim = SimEnv::new(20);
    let db = Options::new().env(sim.env()).open("/db").unwrap();
    let users = db.keyspace("users").unwrap();
    for i in 0..40u32 {
        users
            .put(
                format!("user-{i:03}"),
                format!("the person of number {i}, of whom little is known"),
            )
            .unwrap();
    }
    db.flush().unwrap();
    users.delete("user-003").unwrap();
    db.close().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    for path in sim.list() {
        let bytes = sim.read_file(&path).unwrap();
        std::fs::write(dir.path().join("db").join(path.file_name().unwrap()), bytes).unwrap();
    }
    dir
}

fn sst(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ext| ext == "sst"))
        .min()
        .unwrap()
}

/// Flips a bit in the SST's first block, which is one of values.
fn damage(dir: &Path) {
    let path = sst(dir);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn remove_manifest(dir: &Path) {
    for name in ["CURRENT", "MANIFEST-000001"] {
        std::fs::remove_file(dir.join("db").join(name)).unwrap();
    }
}

/// Runs the tool in `dir`; standard output and error, and the status.
fn run(dir: &Path, args: &str) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packstone-repair"));
    let output = command
        .current_dir(dir)
        .args(args.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code().unwrap(),
    )
}

/// What is done to a database, in words and in deed.
type Damage = (&'static str, fn(&Path));

#[test]
fn the_report_is_what_the_golden_says() {
    let mut text = String::new();
    let damages: [Damage; 3] = [
        ("whole", |_| {}),
        ("without a manifest", remove_manifest),
        ("with a damaged SST", damage),
    ];
    for (what, damage) in damages {
        let dir = database();
        damage(dir.path());
        for args in ["db --dry-run", "db new", "db new2 --json --mode files"] {
            let (out, err, status) = run(dir.path(), args);
            text += &format!("# {what}\n$ packstone-repair {args}\n{out}{err}[status {status}]\n\n");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/report.txt");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == golden,
        "another report now; if that is wanted: UPDATE_GOLDENS=1\n{text}"
    );
}

#[test]
fn what_is_written_opens_and_has_everything_that_is_not_reported_lost() {
    let dir = database();
    remove_manifest(dir.path());
    let before = std::fs::read(sst(dir.path())).unwrap();
    assert_eq!(run(dir.path(), "db new").2, 0);
    assert_eq!(std::fs::read(sst(dir.path())).unwrap(), before);
    let db = Options::new().open(dir.path().join("new")).unwrap();
    let users = db.open_keyspace("users").unwrap();
    assert!(users.get("user-003").unwrap().is_none(), "a delete stays one");
    assert_eq!(users.range::<&[u8], _>(..).count(), 39);
    db.close().unwrap();
}

#[test]
fn wrong_use_has_status_2() {
    let dir = database();
    std::fs::create_dir(dir.path().join("other")).unwrap();
    std::fs::write(dir.path().join("other/file"), "x").unwrap();
    for args in [
        "db",
        "db db/new",
        "db ./other/../db/x",
        "db other",
        "missing new",
        "other new",
    ] {
        let (out, err, status) = run(dir.path(), args);
        assert_eq!((out.as_str(), status), ("", 2), "{args}");
        assert!(!err.is_empty(), "{args}");
    }
    // What a killed repair has left is such a directory, too.
    let (_, err, _) = run(dir.path(), "db other");
    assert!(err.contains("not empty; choose a new directory"), "{err}");
    assert!(!dir.path().join("new").exists() && !dir.path().join("db/new").exists());
}

#[test]
fn help_has_examples() {
    let (out, _, status) = run(Path::new("."), "--help");
    assert_eq!(status, 0);
    assert!(
        out.contains("Examples:") && out.contains("--dry-run") && out.contains("Exit status"),
        "{out}"
    );
}

/// The fields of each record in SCHEMA.md with their types.
fn documented() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = include_str!("../SCHEMA.md");
    let mut records: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) {
            current = name.to_owned();
            records.insert(current.clone(), BTreeMap::new());
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, field, kind, ..] = cells[..]
            && field.starts_with('`')
        {
            let field = field.trim_matches('`').to_owned();
            records.get_mut(&current).unwrap().insert(field, kind.to_owned());
        }
    }
    records
}

#[test]
fn every_record_is_as_documented() {
    let documented = documented();
    let mut seen = BTreeMap::new();
    let damages: [fn(&Path); 2] = [damage, |dir| {
        remove_manifest(dir);
        std::fs::remove_file(sst(dir)).unwrap();
    }];
    for damage in damages {
        let dir = database();
        damage(dir.path());
        let (out, _, status) = run(dir.path(), "db new --json --undecided keep");
        assert_eq!(status, 1);
        for line in out.lines() {
            let object: Value = serde_json::from_str(line).unwrap();
            let record = object["record"].as_str().unwrap().to_owned();
            let fields = &documented[&record];
            for (field, value) in object
                .as_object()
                .unwrap()
                .iter()
                .filter(|(field, _)| *field != "record")
            {
                let kind = fields
                    .get(field)
                    .unwrap_or_else(|| panic!("{record}.{field} is not documented"));
                let fits = match value {
                    Value::Null => kind.contains("or null"),
                    Value::Bool(_) => kind == "bool",
                    Value::Number(_) => kind.starts_with("integer"),
                    Value::String(_) => kind.starts_with("string"),
                    Value::Array(_) => kind == "array",
                    Value::Object(_) => false,
                };
                assert!(fits, "{record}.{field} is {value}, documented as {kind}");
            }
            assert_eq!(object.as_object().unwrap().len(), fields.len() + 1, "{record}");
            *seen.entry(record).or_insert(0) += 1;
        }
        assert_eq!(
            serde_json::from_str::<Value>(out.lines().last().unwrap()).unwrap()["record"],
            "result"
        );
    }
    assert_eq!(seen.len(), documented.len(), "{seen:?}");
}
