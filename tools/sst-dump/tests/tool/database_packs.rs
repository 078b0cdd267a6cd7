//! Packs of a database: damage in them names the pack, the offset, the object and its keys.

use packstone::Options;
use packstone::pack::ObjectId;

use crate::support::{self, Database, noise};

/// Where the pack's bytes are that hold this content, which does not compress.
fn find(database: &Database, content: &[u8]) -> (std::path::PathBuf, usize) {
    for name in database
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".pack"))
    {
        let path = database.file(&name);
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(100).position(|window| window == &content[..100]) {
            return (path, at);
        }
    }
    panic!("the content is in no pack");
}

#[test]
fn a_changed_byte_names_pack_offset_object_and_every_key() {
    let whole = support::large();
    // In a pack that is not sealed, and in a sealed one.
    for (content, keys) in [
        (noise(5000), &["cat", "same cat"][..]),
        (noise(1_200_000), &["film"]),
    ] {
        let id = ObjectId::of(&content).to_string();
        for line in ["verify @", "verify @ --threads 3", "check @"] {
            let database = support::large();
            // All of these begin alike; the ones sought are the first in their packs.
            let (path, at) = match content.len() {
                5000 => find(&database, &content),
                _ => {
                    let names = database
                        .names()
                        .into_iter()
                        .filter(|name| name.ends_with(".pack"));
                    let path = names
                        .map(|name| database.file(&name))
                        .max_by_key(|path| path.metadata().unwrap().len());
                    (path.unwrap(), 5000)
                }
            };
            database.change(&path, |bytes| bytes[at + 200] ^= 1);
            let run = database.run(line);
            assert_eq!(run.status, 1, "{line}: {}{}", run.stdout, run.stderr);
            let told = run
                .stderr
                .lines()
                .find(|told| told.contains(&id) && told.contains("keyspace"));
            let told = told.unwrap_or_else(|| panic!("{line}: {}", run.stderr));
            assert!(
                told.contains(&path.display().to_string()) && told.contains("at offset"),
                "{told}"
            );
            for key in keys {
                assert!(told.contains(&format!("'{key}' in keyspace 'photos'")), "{told}");
            }
        }
    }
    assert_eq!(whole.run("verify @").status, 0);
}

#[test]
fn of_a_missing_pack_every_key_is_named() {
    for name in support::large()
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".pack"))
    {
        let database = support::large();
        std::fs::remove_file(database.file(&name)).unwrap();
        let run = database.run("verify @");
        assert_eq!(run.status, 1);
        assert!(run.stderr.contains("it is missing"), "{}", run.stderr);
        assert!(run.stderr.contains("in keyspace 'photos'"), "{}", run.stderr);
    }
}

#[test]
fn a_torn_tail_and_objects_that_nobody_refers_to_are_no_damage() {
    let database = support::large();
    let (path, _) = find(&database, &noise(5000));
    database.change(&path, |bytes| bytes.extend_from_slice(b"half a record"));
    let run = database.run("verify @");
    assert_eq!((run.status, &run.stderr[..]), (0, ""), "{}", run.stdout);
    assert!(
        run.stdout
            .contains("13 bytes behind them that are no whole object"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("5 objects, 4 of them referred to, 1 of"),
        "{}",
        run.stdout
    );
}

#[test]
fn scan_prints_references_or_the_values_that_they_lead_to() {
    let database = support::large();
    let id = ObjectId::of(&noise(8000));
    let plain = database.run("scan @ --from=bird --to=c");
    assert!(
        plain
            .stdout
            .contains(&format!("'bird' seq:12, type:17 => object {id} 8000")),
        "{}",
        plain.stdout
    );
    let values = database.run("scan @ --from=bird --to=c --values --json");
    assert_eq!(values.status, 0, "{}", values.stderr);
    let line = values
        .stdout
        .lines()
        .find(|line| line.contains("\"key\":\"bird\""))
        .unwrap();
    assert!(line.contains("\"type\":\"put\"") && line.len() > 8000, "{line}");
    // What can't be read is told, and stays a reference.
    let (path, at) = find(&database, &noise(8000));
    database.change(&path, |bytes| bytes.truncate(at + 8000));
    let torn = database.run("scan @ --from=bird --to=c --values");
    assert_eq!(torn.status, 1);
    assert!(
        torn.stderr.contains(&path.display().to_string()),
        "{}",
        torn.stderr
    );
    assert!(torn.stdout.contains("'bird' seq:12, type:17"), "{}", torn.stdout);
}

#[test]
fn a_database_in_use_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().open(dir.path()).unwrap();
    let photos = db.keyspace("photos").unwrap();
    let path = dir.path().to_owned();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..200u32 {
                let value = [&n.to_le_bytes()[..], &noise(20_000)].concat();
                photos.put((n % 50).to_le_bytes(), value).unwrap();
            }
            db.flush().unwrap();
        });
        while !writer.is_finished() {
            let run = support::run(["verify".as_ref(), path.as_os_str()]);
            assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
        }
    });
}
