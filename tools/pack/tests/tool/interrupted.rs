//! A process that is killed in the middle of writing.

use std::fs;
use std::io::Write;
use std::process::Child;

use crate::common::{Place, noise};

/// More than what the pipe and the writer's buffers hold together, so that a part of it has reached the file.
const ENOUGH: usize = 8 << 20;

/// Starts the program, gives it content that never ends, and kills it.
fn killed(place: &Place, args: &str) {
    let mut child: Child = place.command(args).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&noise(ENOUGH)).unwrap();
    child.kill().unwrap(); // SIGKILL
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "it did not end by itself");
}

#[test]
#[cfg(unix)]
fn a_killed_append_leaves_the_archive_as_it_was() {
    let place = Place::new();
    place.write("a", b"first");
    place.write("b", b"second");
    place.good("create x.pack a");
    let before = fs::read(place.path("x.pack")).unwrap();
    killed(&place, "append x.pack - --name large");
    let torn = fs::read(place.path("x.pack")).unwrap();
    assert!(torn.len() > before.len() + (1 << 20) && torn.starts_with(&before));
    assert_eq!(place.good("list x.pack").out, "a\n");
    assert_eq!(place.good("cat x.pack a").out, "first");
    assert_eq!(
        place.json("info x.pack --json")["torn_bytes"],
        torn.len() - before.len()
    );
    let ran = place.run("append x.pack b");
    assert_eq!(ran.status, 0);
    assert!(
        ran.err.contains("bytes behind the archive's end are overwritten"),
        "{}",
        ran.err
    );
    assert_eq!(place.good("list x.pack").out, "a\nb\n");
    // But for the sealed length in the header.
    let after = fs::read(place.path("x.pack")).unwrap();
    assert!(after[..64] == before[..64] && after[80..before.len()] == before[80..]);
    place.good("verify x.pack");
}

#[test]
#[cfg(unix)]
fn a_killed_create_leaves_no_archive() {
    let place = Place::new();
    place.write("a", b"first");
    killed(&place, "create x.pack - --name large");
    assert!(!place.path("x.pack").exists());
    assert!(place.path("x.pack.unfinished").exists());
    place.good("create x.pack a");
    assert_eq!(place.good("list x.pack").out, "a\n");
    assert!(!place.path("x.pack.unfinished").exists());
    place.good("verify x.pack");
}

#[test]
#[cfg(unix)]
fn of_two_writers_the_second_is_refused() {
    let place = Place::new();
    place.write("a", b"first");
    place.good("create x.pack a");
    for (first, second) in [
        ("append x.pack - --name large", "append x.pack a"),
        ("create y.pack - --name large", "create y.pack a"),
    ] {
        let mut child = place.command(first).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(&noise(ENOUGH)).unwrap(); // it is at work by then
        let ran = place.run(second);
        assert_eq!(ran.status, 2, "{second}");
        assert!(
            ran.err.contains("is being written by another process"),
            "{}",
            ran.err
        );
        drop(child.stdin.take());
        assert!(child.wait_with_output().unwrap().status.success(), "{first}");
    }
    assert_eq!(place.good("list x.pack").out, "a\nlarge\n");
    assert_eq!(place.good("list y.pack").out, "large\n");
}
