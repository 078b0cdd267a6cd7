//! What `extract` makes, and what it refuses to make.

use std::fs;
use std::path::Path;

use packstone::pack::{ArchiveWriter, PackOptions};

use crate::common::{Place, noise, snapshot};

const FILE: u8 = 0;
const DIRECTORY: u8 = 1;
const LINK: u8 = 2;

/// Meta data as the README draws it: mode 755, 1970.
fn meta(kind: u8) -> Vec<u8> {
    let mut bytes = vec![1, kind];
    bytes.extend_from_slice(&0o755u32.to_le_bytes());
    bytes.resize(18, 0);
    bytes
}

/// An archive that `create` would not make.
fn made_by_hand(place: &Place, objects: &[(&str, u8, &str)]) {
    let mut writer = ArchiveWriter::create(place.path("x.pack"), &PackOptions::default()).unwrap();
    for (name, kind, content) in objects {
        writer
            .add(name.as_bytes(), &meta(*kind), content.as_bytes())
            .unwrap();
    }
    writer.finish().unwrap();
}

#[test]
#[cfg(unix)]
fn a_tree_comes_back_as_it_was_and_gives_the_same_archive_again() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    place.write("t/a file", b"content");
    place.write("t/empty", b"");
    place.write("t/sub/deep/er/large", &noise(3_000_000));
    place.write("t/sub/program", b"#!/bin/sh\n");
    place.write("t/locked/inside", b"x");
    fs::create_dir(place.path("t/nothing in it")).unwrap();
    symlink("../a file", place.path("t/sub/link")).unwrap();
    symlink("nowhere/at all", place.path("t/dangling")).unwrap();
    symlink("sub", place.path("t/link to a directory")).unwrap();
    let times = [("a file", 1_234_567_890, 123_456_789), ("empty", -3, 500_000_000)];
    for (name, seconds, nanoseconds) in times {
        let second = std::time::Duration::from_secs(1);
        let time = match seconds < 0 {
            true => std::time::UNIX_EPOCH - second * 3,
            false => std::time::UNIX_EPOCH + second * 1_234_567_890,
        };
        let time = time + std::time::Duration::from_nanos(nanoseconds);
        let file = fs::File::options()
            .write(true)
            .open(place.path("t").join(name))
            .unwrap();
        file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    }
    place.set_mode("t/sub/program", 0o750);
    place.set_mode("t/empty", 0o400);
    place.set_mode("t/sub", 0o711);
    place.set_mode("t/locked", 0o500);
    let before = snapshot(&place.path("t"));
    let identity = "--identity 0123456789abcdef0123456789ABCDEF";
    place.good(&format!("create x.pack -C t . {identity}"));
    let said = place.good("extract x.pack out/put").out;
    assert_eq!(
        said,
        "extracted  5 files of 3000018 bytes, 5 directories, 3 symbolic links; 0 problems\n"
    );
    let after = snapshot(&place.path("out/put"));
    assert_eq!(before, after);
    place.good(&format!("create y.pack -C out/put . {identity}"));
    let [x, y] = ["x.pack", "y.pack"].map(|name| fs::read(place.path(name)).unwrap());
    assert!(x == y);
    for tree in ["t", "out/put"] {
        place.set_mode(&format!("{tree}/locked"), 0o700); // so that it can be removed
    }
}

#[test]
fn a_prefix_is_a_part() {
    let place = Place::new();
    for name in ["a/x", "a/y", "ab/z", "c"] {
        place.write(&format!("t/{name}"), name.as_bytes());
    }
    place.good("create x.pack -C t .");
    place.good("extract x.pack one a/");
    assert_eq!(snapshot(&place.path("one")).len(), 3);
    place.good("extract x.pack two c a/x a");
    let names: Vec<_> = snapshot(&place.path("two")).into_keys().collect();
    assert_eq!(names, ["a", "a/x", "a/y", "ab", "ab/z", "c"].map(Path::new));
}

#[test]
fn what_is_there_is_replaced_only_if_that_is_wanted() {
    let place = Place::new();
    place.write("t/a", b"new");
    place.write("t/b", b"new");
    place.good("create x.pack -C t .");
    place.write("out/a", b"old");
    let ran = place.run("extract x.pack out");
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        "pack: a is skipped: out/a is there already (see --overwrite)\n"
    );
    assert_eq!(fs::read(place.path("out/a")).unwrap(), b"old");
    assert_eq!(fs::read(place.path("out/b")).unwrap(), b"new");
    place.good("extract x.pack out --overwrite");
    assert_eq!(fs::read(place.path("out/a")).unwrap(), b"new");
    // A directory is never replaced.
    fs::remove_file(place.path("out/a")).unwrap();
    place.write("out/a/inside", b"old");
    let ran = place.run("extract x.pack out --overwrite");
    assert_eq!(
        (ran.status, fs::read(place.path("out/a/inside")).unwrap()),
        (1, b"old".to_vec())
    );
    assert_eq!(snapshot(&place.path("out")).len(), 3, "nothing temporary stays");
}

#[test]
fn no_name_leads_outside() {
    let place = Place::new();
    let names = [
        "",
        "..",
        "../out-escaped",
        "../escaped",
        "/etc/packstone-escaped",
        "a/../../escaped",
        "a/../escaped",
        "./escaped",
        "b//escaped",
        "c/",
        "/",
        "zero\0byte",
    ];
    let mut objects: Vec<_> = names.iter().map(|name| (*name, FILE, "bad")).collect();
    objects.push(("good", FILE, "good"));
    objects.push(("d/../../x", DIRECTORY, ""));
    objects.push(("d/../../y", LINK, "good"));
    made_by_hand(&place, &objects);
    let ran = place.run("extract x.pack out");
    assert_eq!(ran.status, 1);
    assert_eq!(ran.err.lines().count(), names.len() + 2, "{}", ran.err);
    assert!(
        ran.err
            .contains("pack: a/../../escaped is skipped: no file can have this name")
    );
    let made: Vec<_> = snapshot(&place.path("out")).into_keys().collect();
    assert_eq!(made, [Path::new("good")]);
    assert_eq!(place.names(), [place.path("out"), place.path("x.pack")]);
    assert!(!Path::new("/etc/packstone-escaped").exists());
}

#[test]
#[cfg(unix)]
fn links_of_the_archive_are_not_followed() {
    let place = Place::new();
    fs::create_dir(place.path("outside")).unwrap();
    let outside = place.path("outside");
    let outside = outside.to_str().unwrap();
    made_by_hand(
        &place,
        &[
            ("in", LINK, outside),
            ("in/file", FILE, "bad"),
            ("link", LINK, "../outside"),
            ("link/inner", LINK, "bad"),
            ("link/sub", LINK, "bad"),
            ("z", LINK, "../outside/z"),
        ],
    );
    for args in [
        "extract x.pack out",
        "extract x.pack out",
        "extract x.pack out --overwrite",
    ] {
        assert_eq!(place.run(args).status, 1, "{args}");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "{args}");
    }
    // The file came first, so its directory is one, and the link could not take its place.
    assert!(fs::symlink_metadata(place.path("out/in")).unwrap().is_dir());
    assert!(fs::symlink_metadata(place.path("out/link")).unwrap().is_symlink());
    // Now a second archive goes through the first one's link, or writes to what it points to.
    fs::remove_file(place.path("x.pack")).unwrap();
    made_by_hand(
        &place,
        &[
            ("link/file", FILE, "bad"),
            ("link/dir", DIRECTORY, ""),
            ("link", DIRECTORY, ""),
            ("z", FILE, "plain"),
        ],
    );
    let mode = fs::metadata(outside).unwrap();
    for args in ["extract x.pack out", "extract x.pack out --overwrite"] {
        let ran = place.run(args);
        assert_eq!(ran.status, 1, "{args}");
        assert!(
            ran.err
                .contains("out/link is a symbolic link, which is not followed"),
            "{}",
            ran.err
        );
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "{args}");
    }
    assert_eq!(fs::metadata(outside).unwrap().permissions(), mode.permissions());
    // The link was replaced, not what it points to.
    assert_eq!(fs::read(place.path("out/z")).unwrap(), b"plain");
    assert!(fs::symlink_metadata(place.path("out/z")).unwrap().is_file());
}

#[test]
fn a_file_in_a_directory_s_place_is_in_the_way() {
    let place = Place::new();
    made_by_hand(
        &place,
        &[
            ("a", FILE, "x"),
            ("a/b", FILE, "y"),
            ("d", DIRECTORY, "content"),
            ("e", FILE, "z"),
        ],
    );
    let ran = place.run("extract x.pack out");
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("a/b is skipped: out/a is in the way"),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("d is skipped: it is a directory, and has content"),
        "{}",
        ran.err
    );
    assert_eq!(snapshot(&place.path("out")).len(), 2);
}

#[test]
#[cfg(unix)]
fn nobody_becomes_somebody_else_by_an_archive() {
    let place = Place::new();
    let mut meta = meta(FILE);
    meta[2..4].copy_from_slice(&0o6755u16.to_le_bytes());
    let mut writer = ArchiveWriter::create(place.path("x.pack"), &PackOptions::default()).unwrap();
    writer.add(b"program", &meta, b"x").unwrap();
    writer.finish().unwrap();
    assert!(place.good("list -l x.pack").out.starts_with("-rwsr-sr-x "));
    place.good("extract x.pack out");
    let kept = snapshot(&place.path("out")).into_values().next().unwrap();
    assert!(kept.contains("mode 100755,"), "{kept}");
}

#[test]
fn another_program_s_meta_data_is_no_obstacle() {
    let place = Place::new();
    let mut writer = ArchiveWriter::create(place.path("x.pack"), &PackOptions::default()).unwrap();
    writer.add(b"none", b"", b"1").unwrap();
    writer.add(b"other", b"text/plain", b"2").unwrap();
    writer.finish().unwrap();
    let ran = place.run("extract x.pack out");
    assert_eq!(ran.status, 0);
    assert!(
        ran.err
            .starts_with("pack: 1 names have meta data of another program"),
        "{}",
        ran.err
    );
    assert_eq!(fs::read(place.path("out/other")).unwrap(), b"2");
    assert!(
        place
            .good("list -l x.pack")
            .out
            .starts_with("?---------            1                    - ")
    );
}
