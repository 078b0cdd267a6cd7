//! The example `tree_store`, run as a program: what it promises to whoever keeps files with it.
#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test: it makes files, and may fail by panicking"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use packstone::{Db, Durability};

/// `cargo test` builds the examples first, into a directory beside the tests'; `cargo test --test tree_store` does not,
/// and then this does.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let program = profile.join("examples/tree_store");
        if !program.exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo
                .args(["build", "--example", "tree_store", "--target-dir"])
                .arg(profile.parent().unwrap());
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(
                cargo
                    .current_dir(env!("CARGO_MANIFEST_DIR"))
                    .status()
                    .unwrap()
                    .success()
            );
        }
        program
    })
}

fn run(arguments: &[&OsStr]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn status(arguments: &[&OsStr]) -> Option<i32> {
    run(arguments).status.code()
}

fn words<'a>(words: &'a [&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(OsStr::new).collect()
}

/// Runs a command with two paths; gives the exit status and what it said to standard error.
fn on(command: &str, a: &Path, b: &Path) -> (Option<i32>, String) {
    let output = run(&[OsStr::new(command), a.as_os_str(), b.as_os_str()]);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn scratch() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (tree, db, out) = (
        dir.path().join("tree"),
        dir.path().join("db"),
        dir.path().join("out"),
    );
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    fs::write(tree.join("a"), "alpha").unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("sub/deep/large"), vec![7; 5 << 20]).unwrap();
    (dir, tree, db, out)
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (_dir, tree, db, out) = scratch();
    let odd = OsStr::from_bytes(b"sub/not utf-8 \xff");
    fs::write(tree.join(odd), "odd").unwrap();
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    let (code, said) = on("store", &tree, &db);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("link (symbolic link)"), "{said}");
    assert_eq!(on("verify", &tree, &db), (Some(0), on("verify", &tree, &db).1));
    assert_eq!(on("restore", &db, &out).0, Some(0));
    assert_eq!(fs::read(out.join("a")).unwrap(), b"alpha");
    assert_eq!(fs::read(out.join("empty")).unwrap(), b"");
    assert_eq!(fs::read(out.join("sub/deep/large")).unwrap(), vec![7; 5 << 20]);
    assert_eq!(fs::read(out.join(odd)).unwrap(), b"odd");
    assert!(!out.join("link").exists());
    let times = [&tree, &out].map(|dir| fs::metadata(dir.join("a")).unwrap().modified().unwrap());
    assert_eq!(times[0], times[1]);
}

#[test]
fn verify_finds_what_differs_what_is_missing_and_what_is_too_much() {
    let (_dir, tree, db, _) = scratch();
    assert_eq!(on("store", &tree, &db).0, Some(0));
    fs::write(tree.join("a"), "alphA").unwrap();
    fs::remove_file(tree.join("empty")).unwrap();
    fs::write(tree.join("new"), "new").unwrap();
    let (code, said) = on("verify", &tree, &db);
    assert_eq!(code, Some(1));
    for line in [
        "a differs from byte 4 on",
        "empty is in the database only",
        "new is not in the database",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(on("store", &tree, &db).0, Some(0), "storing again makes it right");
    assert_eq!(on("verify", &tree, &db).0, Some(0));
}

#[test]
fn a_file_of_any_length_goes_in_and_out_as_a_stream() {
    let (_dir, tree, db, out) = scratch();
    let huge = fs::File::create(tree.join("huge")).unwrap();
    huge.set_len((64 << 20) + 1).unwrap();
    let (code, said) = on("store", &tree, &db);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(on("verify", &tree, &db).0, Some(0));
    assert_eq!(on("restore", &db, &out).0, Some(0));
    assert_eq!(on("verify", &out, &db).0, Some(0));
    huge.set_len((64 << 20) + 2).unwrap();
    let (code, said) = on("verify", &tree, &db);
    assert_eq!(code, Some(1));
    assert!(said.contains("huge differs in length: 67108866 bytes"), "{said}");
}

#[test]
fn a_database_inside_the_tree_is_not_stored_into_itself() {
    let (_dir, tree, _, _) = scratch();
    let db = tree.join("sub/db");
    assert_eq!(on("store", &tree, &db).0, Some(0));
    assert_eq!(on("verify", &tree, &db).0, Some(0));
    let output = run(&[OsStr::new("list"), db.as_os_str()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
}

#[test]
fn restore_refuses_paths_that_lead_out_of_the_target() {
    let (dir, _, path, out) = scratch();
    let db = Db::open(&path).unwrap();
    let (files, meta) = (db.keyspace("files").unwrap(), db.keyspace("meta").unwrap());
    let mut batch = db.batch();
    for key in [
        "../escaped",
        "/escaped",
        "x/../../escaped",
        "./y",
        "x//y",
        "",
        "..",
        "x/",
        "good",
    ] {
        batch.put(&files, key, "contents");
        batch.put(&meta, key, [0; 24]);
    }
    batch.commit(Durability::Sync).unwrap();
    drop((files, meta));
    db.close().unwrap();
    let (code, said) = on("restore", &path, &out);
    assert_eq!(code, Some(1));
    assert_eq!(said.matches("leads out of the target").count(), 8, "{said}");
    assert!(out.join("good").exists());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    assert!(!dir.path().join("escaped").exists());
}

#[test]
fn restore_refuses_a_target_that_is_not_empty() {
    let (_dir, tree, db, _) = scratch();
    assert_eq!(on("store", &tree, &db).0, Some(0));
    let (code, said) = on("restore", &db, &tree);
    assert_eq!(code, Some(1));
    assert!(said.contains("is not empty"), "{said}");
}

#[test]
fn excluded_names_are_left_out() {
    let (_dir, tree, db, _) = scratch();
    let exclude = [OsStr::new("--exclude"), OsStr::new("deep")];
    let store = [
        &[OsStr::new("store"), tree.as_os_str(), db.as_os_str()],
        &exclude[..],
    ]
    .concat();
    assert_eq!(status(&store), Some(0));
    let output = run(&[OsStr::new("list"), db.as_os_str()]);
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(!listed.contains("large"), "{listed}");
}

#[test]
fn the_demo_stores_verifies_and_restores() {
    let (_dir, tree, _, _) = scratch();
    let output = run(&[OsStr::new("demo"), tree.as_os_str()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("every byte stored, verified and restored"),
        "{said}"
    );
    assert!(said.contains("files          3"), "{said}");
}

#[test]
fn the_thorough_demo_stores_twice_and_verifies_what_is_left_of_half() {
    let (_dir, tree, _, _) = scratch();
    for n in 0..6u8 {
        fs::write(tree.join(format!("file {n}")), vec![n; 100_000]).unwrap();
    }
    let output = run(&[OsStr::new("thorough"), tree.as_os_str()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "7 large values known, 0 stored",
        "10 files deleted",
        "8 files, every byte verified",
        "0 problems",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn wrong_arguments_give_the_usage_and_status_2() {
    for line in [
        &[][..],
        &["frobnicate"],
        &["store", "x"],
        &["demo", ".", "--exclude"],
        &["demo", ".", "--what"],
    ] {
        let output = run(&words(line));
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("Usage:"),
            "{line:?}"
        );
    }
    assert_eq!(status(&words(&["--help"])), Some(0));
    assert_eq!(status(&words(&["list", "/nonexistent/packstone"])), Some(1));
}
