//! Packs and archives: whole, damaged, cut, torn, under other names, beside a database.

use std::path::Path;

use packstone::pack::{ObjectId, PackOptions, recover};

use crate::support::{self, Database, Run};

fn assert_damaged(run: &Run, path: &Path, what: &str) {
    assert_eq!(run.status, 1, "{what}: {}{}", run.stdout, run.stderr);
    let wanted = format!("{} is damaged at offset", path.display());
    let newer = format!("{}", path.display());
    assert!(
        run.stderr.contains(&wanted) || run.stderr.contains(&newer),
        "{what}: {}",
        run.stderr
    );
}

/// Where an object's chunks begin, from the tool's own drawing.
fn content_at(database: &Database, file: &str, id: &ObjectId) -> usize {
    let run = database.run(&format!("layout -v @/{file}"));
    let line = run.stdout.lines().find(|line| line.contains(&id.to_string()));
    let offset = line.unwrap().split("offset: ").nth(1).unwrap();
    offset.split(' ').next().unwrap().parse::<usize>().unwrap() + 24
}

#[test]
fn every_damaged_object_is_listed_and_the_others_are_read() {
    let database = support::packs();
    let path = database.file("objects.pack");
    let ids = [ObjectId::of(b"hello"), ObjectId::of(&support::noise(5000))];
    for id in &ids {
        let at = content_at(&database, "objects.pack", id);
        database.change(&path, |bytes| bytes[at] ^= 0x10);
    }
    for line in [
        "verify @/objects.pack",
        "verify @/objects.pack --threads 3",
        "check @/objects.pack",
    ] {
        let run = database.run(line);
        assert_damaged(&run, &path, line);
        assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
        for id in &ids {
            assert!(run.stderr.contains(&id.to_string()), "{}", run.stderr);
        }
        assert!(run.stdout.contains("2 objects, 10000 bytes"), "{}", run.stdout);
    }
    let run = database.run(&format!("extract @/objects.pack --id={}", ids[0]));
    assert_damaged(&run, &path, "extract");
    assert_eq!(run.stdout, "");
}

#[test]
fn every_region_of_a_pack_is_checked() {
    let whole = support::packs();
    let sound = std::fs::read(whole.file("letters.pack")).unwrap();
    let path = whole.file("letters.pack");
    for offset in (0..sound.len()).step_by(61) {
        let mut bytes = sound.clone();
        bytes[offset] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let run = whole.run("verify @/letters.pack");
        // Without its last footer an archive is what it was before, and torn.
        let torn = run.status == 0 && run.stdout.contains("of an unfinished append");
        // A format of the future is refused, and is no damage.
        let newer = run.status == 2 && run.stderr.contains("this release");
        if !torn && !newer {
            assert_damaged(&run, &path, &format!("offset {offset}"));
        }
    }
}

#[test]
fn a_cut_pack_is_damaged() {
    let database = support::packs();
    let path = database.file("objects.pack");
    let sound = std::fs::read(&path).unwrap();
    for len in [8, 79, 80, 200, sound.len() - 256, sound.len() - 129] {
        std::fs::write(&path, &sound[..len]).unwrap();
        for command in ["check", "verify", "scan", "layout", "properties", "raw"] {
            let run = database.run(&format!("{command} @/objects.pack"));
            assert_damaged(&run, &path, &format!("{command}, {len} bytes"));
        }
        let run = database.run("identify @/objects.pack");
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        assert!(run.stdout.contains("objects.pack: a pack, "), "{}", run.stdout);
    }
}

#[test]
fn a_pack_is_told_by_its_content_whatever_its_name() {
    let (database, dir) = (support::packs(), tempfile::tempdir().unwrap());
    std::fs::copy(database.file("letters.pack"), dir.path().join("rescued.bin")).unwrap();
    std::fs::write(dir.path().join("fake.pack"), "not ours").unwrap();
    let run = support::run(["check", dir.path().to_str().unwrap()]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(run.stdout.contains("rescued.bin: ok, 4 names"), "{}", run.stdout);
    let run = support::run(["check", dir.path().join("fake.pack").to_str().unwrap()]);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("not a file of packstone"), "{}", run.stderr);
    // What has lost its first bytes is still told by its last ones.
    let path = database.file("objects.pack");
    database.change(&path, |bytes| bytes[..16].fill(0xee));
    assert_damaged(&database.run("verify @/objects.pack"), &path, "header");
}

#[test]
fn a_pack_beside_a_database_is_checked_and_an_unfinished_one_is_not() {
    let (packs, database) = (support::packs(), support::closed());
    let beside = database.path().join("letters.pack");
    std::fs::copy(packs.file("letters.pack"), &beside).unwrap();
    std::fs::write(
        database.path().join("new.pack.unfinished"),
        &std::fs::read(&beside).unwrap()[..100],
    )
    .unwrap();
    for command in [
        "check",
        "verify",
        "identify",
        "layout",
        "properties",
        "lsm",
        "wal",
        "filter",
    ] {
        let run = database.run(&format!("{command} @"));
        assert_eq!(run.status, 0, "{command}: {}{}", run.stdout, run.stderr);
    }
    let run = database.run("check @");
    assert!(run.stdout.contains("letters.pack: ok, 4 names"), "{}", run.stdout);
    assert!(
        run.stdout
            .contains("new.pack.unfinished: not checked; unfinished"),
        "{}",
        run.stdout
    );
    database.change(&beside, |bytes| bytes[100] ^= 1);
    assert_damaged(&database.run("verify @"), &beside, "beside");
}

#[test]
fn extract_gives_what_was_put_in() {
    let database = support::packs();
    let out = tempfile::tempdir().unwrap();
    let to = out.path().join("beta");
    let line = format!("extract @/letters.pack --name=b/beta --output {}", to.display());
    assert_eq!(database.run(&line).status, 0);
    assert_eq!(std::fs::read(&to).unwrap(), b"another beta");
    // The second time the file is there, and stays as it is.
    assert_eq!(database.run(&line).status, 2);
    assert_eq!(std::fs::read(&to).unwrap(), b"another beta");
    let noise = support::noise(5000);
    let to = out.path().join("noise");
    let line = format!(
        "extract @/letters.pack @/objects.pack --id={} --output {}",
        ObjectId::of(&noise),
        to.display()
    );
    assert_eq!(database.run(&line).status, 0);
    assert_eq!(std::fs::read(&to).unwrap(), noise);
    // What is damaged leaves no file.
    let path = database.file("objects.pack");
    let at = content_at(&database, "objects.pack", &ObjectId::of(&noise));
    database.change(&path, |bytes| bytes[at + 4500] ^= 1);
    std::fs::remove_file(&to).unwrap();
    assert_damaged(&database.run(&line), &path, "extract");
    assert!(!to.exists());
}

#[test]
fn wrong_use_of_packs_exits_with_2() {
    let database = support::packs();
    for line in [
        "extract @/letters.pack",
        "extract @/letters.pack --id=12",
        "extract @/letters.pack --name=nobody",
        "extract @/letters.pack --name=a --id=00000000000000000000000000000000",
        "extract @/letters.pack --name=a/alpha --json",
        "scan @/objects.pack --prefix=hello",
        "filter @/objects.pack",
        "wal @/objects.pack",
        "lsm @/letters.pack",
    ] {
        let run = database.run(line);
        assert_eq!(run.status, 2, "{line}: {}{}", run.stdout, run.stderr);
        // In JSON the message is a record.
        assert!(!(run.stderr + &run.stdout).is_empty(), "{line}: no message");
    }
}

#[test]
fn no_command_changes_or_locks_a_pack_and_what_recovers_is_whole() {
    let database = support::packs();
    let before = database.names();
    let bytes = std::fs::read(database.file("torn.pack")).unwrap();
    for command in ["check", "verify", "scan", "raw", "layout -v", "identify"] {
        assert_eq!(database.run(&format!("{command} @")).status, 0, "{command}");
    }
    assert_eq!(database.names(), before);
    assert_eq!(std::fs::read(database.file("torn.pack")).unwrap(), bytes);
    let (from, to) = (database.file("torn.pack"), database.path().join("new.pack"));
    recover(from, to, &PackOptions::default()).unwrap();
    assert_eq!(database.run("verify @/new.pack").status, 0);
}

#[test]
fn no_flipped_byte_anywhere_in_a_pack_makes_a_command_panic() {
    // `support::run` fails at a panic. The commands differ in what they read, so the status is free.
    let id = ObjectId::of(b"hello");
    let extract = format!("extract --id={id}");
    let commands = [
        "check",
        "scan",
        "layout -v",
        "raw",
        "properties",
        "identify",
        &extract,
    ];
    let database = support::packs();
    let names = ["objects.pack", "letters.pack"];
    let sound = names.map(|name| std::fs::read(database.file(name)).unwrap());
    for (turn, command) in commands.into_iter().enumerate() {
        for (name, sound) in names.iter().zip(&sound) {
            let mut bytes = sound.clone();
            let len = bytes.len();
            for i in 0..4 {
                bytes[(turn * 131 + i * 977) % len] ^= 0xff;
            }
            std::fs::write(database.file(name), bytes).unwrap();
            let run = database.run(&format!("{command} @/{name}"));
            assert!(run.status <= 2);
        }
    }
}
