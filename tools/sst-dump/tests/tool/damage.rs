//! Damaged databases: every case exits with 1 and says which file, and where in it.

use std::path::Path;

use crate::support::{self, Database, Run};

/// The run found damage, named this file and this offset, and ended orderly.
fn assert_names(run: &Run, path: &Path, offset: impl Into<Option<u64>>) {
    assert_eq!(run.status, 1, "{}{}", run.stdout, run.stderr);
    let wanted = match offset.into() {
        Some(offset) => format!("{} is damaged at offset {offset}", path.display()),
        None => format!("{} is damaged at offset", path.display()),
    };
    assert!(
        run.stderr.contains(&wanted),
        "expected {wanted:?} in:\n{}",
        run.stderr
    );
}

fn flip(database: &Database, path: &Path, offset: usize) {
    database.change(path, |bytes| bytes[offset] ^= 0x10);
}

#[test]
fn a_flipped_bit_in_a_block_is_found_by_every_command_that_reads_it() {
    for command in ["check", "verify", "scan", "layout", "raw"] {
        let database = support::closed();
        let path = database.file("000004.sst");
        flip(&database, &path, 70); // in the value block at 52
        assert_names(&database.run(&format!("{command} @")), &path, 52);
        assert_names(&database.run(&format!("{command} {}", path.display())), &path, 52);
    }
}

#[test]
fn the_other_files_are_read_although_one_is_damaged() {
    let database = support::closed();
    flip(&database, &database.file("000004.sst"), 357); // its key block
    let run = database.run("scan @");
    assert_names(&run, &database.file("000004.sst"), 352);
    for key in ["'cat'", "'dog'", "'user-012'"] {
        assert!(run.stdout.contains(key), "{key} is missing");
    }
}

#[test]
fn every_region_of_an_sst_is_checked() {
    let whole = support::closed();
    let len = std::fs::metadata(whole.file("000004.sst")).unwrap().len() as usize;
    for offset in (0..len).step_by(37) {
        let database = support::closed();
        let path = database.file("000004.sst");
        flip(&database, &path, offset);
        for command in ["verify", "check"] {
            let run = database.run(&format!("{command} @"));
            assert_eq!(
                run.status, 1,
                "{command}, offset {offset}: {}{}",
                run.stdout, run.stderr
            );
            assert!(
                run.stderr.contains("000004.sst"),
                "offset {offset}: {}",
                run.stderr
            );
        }
    }
}

#[test]
fn a_cut_off_sst_is_damaged() {
    for len in [0, 1, 39, 200, 1000] {
        let database = support::closed();
        let path = database.file("000004.sst");
        database.change(&path, |bytes| bytes.truncate(len));
        assert_names(&database.run("verify @"), &path, None);
        assert_eq!(database.run(&format!("verify {}", path.display())).status, 1);
    }
}

#[test]
fn a_missing_sst_is_damage_of_the_database() {
    let database = support::closed();
    let path = database.file("000004.sst");
    std::fs::remove_file(&path).unwrap();
    for command in ["check", "verify", "scan", "lsm"] {
        assert_names(&database.run(&format!("{command} @")), &path, 0);
    }
}

#[test]
fn an_sst_in_anothers_place_is_noticed() {
    let database = support::closed();
    let path = database.file("000005.sst");
    std::fs::copy(database.file("000006.sst"), &path).unwrap();
    for command in ["check", "verify"] {
        let run = database.run(&format!("{command} @"));
        assert_names(&run, &path, 0);
        assert!(run.stderr.contains("another identity"), "{}", run.stderr);
    }
}

#[test]
fn a_file_that_is_something_else_than_its_name_says_is_damage() {
    let database = support::closed();
    let path = database.file("000004.sst");
    std::fs::copy(database.manifest(), &path).unwrap();
    assert_names(&database.run("check @"), &path, 0);
    std::fs::write(&path, b"a letter, a poem, a shopping list").unwrap();
    assert_names(&database.run("check @"), &path, 0);
    assert_names(&database.run(&format!("scan {}", path.display())), &path, 0);
}

#[test]
fn damage_in_synced_log_data_is_found_at_its_frame() {
    let database = support::closed();
    let path = database.first(".log");
    flip(&database, &path, 110); // in the first frame, at 96
    for command in ["check", "verify", "wal"] {
        assert_names(&database.run(&format!("{command} @")), &path, 96);
    }
    assert_names(&database.run(&format!("scan {}", path.display())), &path, 96);
}

#[test]
fn a_damaged_log_header_is_found() {
    for offset in [3, 9, 20, 93] {
        let database = support::closed();
        let path = database.first(".log");
        flip(&database, &path, offset);
        assert_names(&database.run("check @"), &path, 0);
        assert_names(&database.run(&format!("wal {}", path.display())), &path, 0);
    }
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let database = support::killed();
    let path = database.first(".log");
    let whole = database.run("check @");
    assert_eq!(whole.status, 0, "{}", whole.stderr);
    database.change(&path, |bytes| {
        // Behind the last frame is reserved room.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[end - 5..end].fill(0);
    });
    let run = database.run("check @");
    assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("of an unfinished write at the end"),
        "{}",
        run.stdout
    );
    let run = database.run("wal @");
    assert_eq!(run.status, 0);
    assert!(run.stdout.contains("no whole frame"), "{}", run.stdout);
}

#[test]
fn a_damaged_manifest_is_found_and_what_can_be_read_is_shown() {
    let database = support::closed();
    let path = database.manifest();
    flip(&database, &path, 800);
    let run = database.run("manifest @");
    assert_names(&run, &path, None);
    assert!(run.stdout.contains("'users'"), "{}", run.stdout);
    assert_names(&database.run("check @"), &path, None);
}

#[test]
fn a_missing_manifest_is_found() {
    let database = support::closed();
    let path = database.manifest();
    std::fs::remove_file(&path).unwrap();
    assert_names(&database.run("check @"), &path, 0);
}

#[test]
fn a_damaged_or_missing_current_is_found_and_the_newest_manifest_serves() {
    let database = support::closed();
    let path = database.file("CURRENT");
    flip(&database, &path, 20);
    let run = database.run("lsm @");
    assert_names(&run, &path, 0);
    assert!(run.stdout.contains("keyspace 'users'"), "{}", run.stdout);
    std::fs::remove_file(&path).unwrap();
    let run = database.run("lsm @");
    assert_names(&run, &path, 0);
    assert!(run.stdout.contains("keyspace 'users'"), "{}", run.stdout);
}

#[test]
fn no_flipped_byte_anywhere_makes_a_command_panic() {
    // `support::run` fails at a panic. The commands differ in what they read, so the status is free.
    let commands = [
        "scan",
        "layout -v",
        "raw",
        "wal",
        "manifest",
        "histogram",
        "filter",
        "find user-007",
        "lsm",
        "properties",
    ];
    let whole = support::closed();
    let names: Vec<String> = whole.names().into_iter().filter(|name| name != "LOCK").collect();
    for (turn, command) in commands.into_iter().enumerate() {
        for name in &names {
            let database = support::closed();
            let path = database.file(name);
            database.change(&path, |bytes| {
                let len = bytes.len();
                for i in 0..5 {
                    bytes[(turn * 131 + i * 977) % len] ^= 0xff;
                }
            });
            database.run(&format!("{command} @"));
        }
    }
}

#[test]
fn a_leftover_that_is_damaged_is_not_the_databases_damage_but_its_own() {
    let database = support::closed();
    let path = database.path().join("000077.sst");
    std::fs::write(&path, &std::fs::read(database.file("000004.sst")).unwrap()[..500]).unwrap();
    for command in ["check", "verify", "scan", "histogram"] {
        let run = database.run(&format!("{command} @"));
        assert_eq!(run.status, 0, "{command}: {}{}", run.stdout, run.stderr);
        assert!((run.stdout + &run.stderr).contains("000077.sst") || command == "scan");
    }
    assert_names(&database.run(&format!("check {}", path.display())), &path, None);
}

#[test]
fn a_log_that_a_recovery_has_cut_off_is_whole() {
    let database = support::reopened();
    for command in ["check", "verify", "wal", "scan", "find after"] {
        let run = database.run(&format!("{command} @"));
        assert_eq!(run.status, 0, "{command}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn one_place_of_damage_is_one_problem() {
    let database = support::closed();
    let path = database.first(".log");
    flip(&database, &path, 110);
    let run = database.run("check @");
    assert_eq!(run.stderr.matches("is damaged").count(), 1, "{}", run.stderr);
    assert!(run.stdout.contains("NOT OK"), "{}", run.stdout);
}

#[test]
fn files_without_a_database_are_taken_each_alone_whatever_their_names() {
    let (database, dir) = (support::closed(), tempfile::tempdir().unwrap());
    std::fs::copy(database.file("000004.sst"), dir.path().join("rescued.bin")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
    let run = support::run(["check", dir.path().to_str().unwrap()]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("rescued.bin: ok, 39 entries"),
        "{}",
        run.stdout
    );
}
