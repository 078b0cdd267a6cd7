//! The engine reaches files, threads, time and the network only through `env`. Clippy's `disallowed-methods` is one half
//! of that rule; this is the other: it also catches what the list there forgot, and code that clippy never compiles.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // reads the sources; a failure fails the test

use std::fs;
use std::path::{Path, PathBuf};

/// What may stand in `src/env` only.
const FORBIDDEN: [&str; 16] = [
    "std::fs",
    "std::thread",
    "std::time::Instant",
    "SystemTime",
    "std::net",
    "std::process",
    "std::env::temp_dir",
    "thread::sleep",
    "yield_now",
    "spin_loop",
    " fs::",
    "Instant::",
    "getrandom",
    "memmap2",
    "rustix",
    "RandomState",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Blanks out comments, keeping the lines. Strings are respected as far as that a `//` in one is not a comment.
fn without_comments(source: &str) -> String {
    let mut out = String::new();
    let mut chars = source.chars().peekable();
    let (mut in_string, mut depth) = (false, 0);
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (c, next) {
            ('\n', _) => out.push('\n'),
            ('*', Some('/')) if depth > 0 => {
                chars.next();
                depth -= 1;
            }
            ('/', Some('*')) if !in_string => {
                chars.next();
                depth += 1;
            }
            _ if depth > 0 => {}
            ('/', Some('/')) if !in_string => while chars.next_if(|c| *c != '\n').is_some() {},
            ('\\', Some(_)) if in_string => {
                chars.next();
            }
            // '"' as a character literal opens no string.
            ('\'', Some('"')) if !in_string => {
                chars.next();
            }
            ('"', _) => in_string = !in_string,
            _ => out.push(c),
        }
    }
    out
}

/// The forbidden things in a source, each with its line.
fn offences(source: &str) -> Vec<(usize, &'static str)> {
    // Asking whether this thread is panicking touches nothing.
    let lines = without_comments(source).replace("std::thread::panicking()", "");
    let hits = lines.lines().enumerate().flat_map(|(number, line)| {
        FORBIDDEN
            .into_iter()
            .filter(|word| line.contains(word))
            .map(move |word| (number + 1, word))
    });
    hits.collect()
}

#[test]
fn only_env_touches_the_outside_world() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 5, "the sources were not found in {}", src.display());
    let mut found = Vec::new();
    // Unit tests may: they are not part of the engine.
    let is_test = |file: &Path| {
        let within = |name| file.parent().is_some_and(|dir| dir.ends_with(name));
        file.ends_with("tests.rs") || file.ends_with("models.rs") || within("tests") || within("models")
    };
    for file in files
        .iter()
        .filter(|file| !file.starts_with(src.join("env")) && !is_test(file))
    {
        for (line, word) in offences(&fs::read_to_string(file).unwrap()) {
            found.push(format!("{}:{line}: {word}", file.display()));
        }
    }
    assert!(found.is_empty(), "use crate::env instead:\n{}", found.join("\n"));
}

#[test]
fn the_check_sees_code_and_not_comments() {
    let source =
        "use std::fs;\n// std::fs\n/* std::net\n std::net */ let a = \"//\"; std::thread::spawn(f);\n";
    assert_eq!(offences(source), [(1, "std::fs"), (4, "std::thread")]);
    assert_eq!(
        offences("let q = '\"'; std::net::f() // '\"' std::fs\n"),
        [(1, "std::net")]
    );
}
