//! Runs the tool, and takes its output apart as RocksDB's `tools/benchmark.sh` does with grep and awk.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Every name that is measured, and what it needs beside the defaults.
pub(crate) const MEASURED: &[&str] = &[
    "fillseq",
    "fillrandom",
    "filluniquerandom",
    "fillsync",
    "fillbatch",
    "fill100K",
    "overwrite",
    "updaterandom",
    "deleteseq",
    "deleterandom",
    "readseq",
    "readreverse",
    "readrandom",
    "readmissing",
    "readhot",
    "multireadrandom",
    "seekrandom",
    "seekordered",
    "newiterator",
    "readwhilewriting",
    "readwhilescanning",
    "readrandomwriterandom",
    "seekrandomwhilewriting",
    "randomwithverify",
    "mixgraph",
    "ycsba",
    "ycsbb",
    "ycsbc",
    "ycsbd",
    "ycsbe",
    "ycsbf",
    "compact",
    "flush",
    "waitforcompaction",
    "verifychecksum",
    "crc32c",
    "xxhash",
    "compress",
    "uncompress",
];

pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A directory for databases and files.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Bench {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path("db")
    }

    /// Runs with flags separated by spaces, in this directory.
    pub(crate) fn run(&self, flags: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_db_bench"));
        command
            .current_dir(self.dir.path())
            .arg("--db")
            .arg(self.db())
            .args(flags.split_whitespace());
        let output = command.output().unwrap();
        Output {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs, and expects success.
    pub(crate) fn ok(&self, flags: &str) -> Output {
        let output = self.run(flags);
        assert_eq!(output.status, 0, "{flags}\n{}\n{}", output.stdout, output.stderr);
        output
    }
}

/// `grep ^name | awk '{ print $n }'`: words of the benchmark's line, from $1 on.
pub(crate) fn fields<'a>(output: &'a str, start: &str) -> Vec<&'a str> {
    let line = output.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no line starts with {start:?} in\n{output}"))
        .split_whitespace()
        .collect()
}

/// What benchmark.sh takes from a benchmark's line of the second format.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) micros_per_op: f64,
    pub(crate) ops_per_second: u64,
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    /// $11, if it is followed by MB/s.
    pub(crate) mb_per_second: Option<f64>,
    /// Whatever stands behind the semicolon.
    pub(crate) rest: String,
}

pub(crate) fn line(output: &str, name: &str) -> Line {
    let words = fields(output, &format!("{name:<12} :"));
    assert!(words.len() >= 10, "{words:?}");
    assert_eq!(
        [words[1], words[3], words[5], words[7], words[9]],
        [":", "micros/op", "ops/sec", "seconds", "operations;"],
        "the second format: NF >= 10 && $8 == \"seconds\""
    );
    let mb = (words.get(11) == Some(&"MB/s")).then(|| words[10].parse().unwrap());
    Line {
        micros_per_op: words[2].parse().unwrap(),
        ops_per_second: words[4].parse().unwrap(),
        seconds: words[6].parse().unwrap(),
        operations: words[8].parse().unwrap(),
        mb_per_second: mb,
        rest: words[10..].join(" "),
    }
}

/// `(x of y found)`.
pub(crate) fn found(line: &Line) -> (u64, u64) {
    let inner = line
        .rest
        .split('(')
        .find_map(|part| part.split_once(" found)").map(|(inner, _)| inner))
        .unwrap();
    let (x, y) = inner.split_once(" of ").unwrap();
    (x.parse().unwrap(), y.parse().unwrap())
}

/// `name:n` in a message.
pub(crate) fn count(line: &Line, name: &str) -> u64 {
    let after = line
        .rest
        .split(&format!("{name}:"))
        .nth(1)
        .unwrap_or_else(|| panic!("{name} in {}", line.rest));
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
