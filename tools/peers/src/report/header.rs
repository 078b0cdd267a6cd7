//! [`Header`]: how a report was measured, so that somebody else can do it again: machine, versions, date, command,
//! sizes, settings whole, and where the text came from.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::date;
use crate::args::Request;
use crate::catalogue::{BATCH_LEN, SEEK_LEN};
use crate::data::TextInfo;
use crate::engines::{Config, Durability, Setting, describe};
use crate::measure::{file_system, machine};

/// The crates whose versions are the engines', as the lock file has them; librocksdb-sys names the C++ release.
const CRATES: [&str; 7] = [
    "rocksdb",
    "librocksdb-sys",
    "fjall",
    "lsm-tree",
    "heed",
    "lmdb-master-sys",
    "redb",
];

/// One engine's settings under one of the two, in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EngineSetting {
    pub(super) setting: Setting,
    pub(super) engine: String,
    pub(super) text: String,
    /// Of the workloads that sync every write, where they differ.
    pub(super) synced: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(super) date: String,
    pub(super) seconds: u64,
    pub(super) command: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory: u64,
    pub(super) kernel: String,
    pub(super) file_system: String,
    pub(super) load_before: String,
    pub(super) load_after: String,
    pub(super) versions: BTreeMap<String, String>,
    pub(super) num: u64,
    pub(super) rounds: u32,
    /// How keys and values are made and checked, and what else holds for all.
    pub(super) method: Vec<String>,
    pub(super) engine_settings: Vec<EngineSetting>,
    pub(super) text: Option<TextInfo>,
}

impl Header {
    pub(crate) fn new(
        request: &Request,
        dir: &Path,
        text: Option<TextInfo>,
        synced: bool,
        config: impl Fn(Setting, Durability) -> Config,
    ) -> Self {
        let machine = machine();
        let settings = request.settings.iter().flat_map(|setting| {
            let config = &config;
            request.engines.iter().map(move |engine| {
                let words = |durability| describe(engine, config(*setting, durability));
                let text = words(Durability::Buffered);
                let when_synced = Some(words(Durability::Synced)).filter(|other| synced && *other != text);
                EngineSetting {
                    setting: *setting,
                    engine: engine.clone(),
                    text,
                    synced: when_synced,
                }
            })
        });
        Header {
            date: date::now(),
            seconds: 0,
            command: command(),
            processor: machine.processor,
            cores: machine.cores,
            memory: machine.memory,
            kernel: machine.kernel,
            file_system: file_system(dir),
            load_before: machine.load,
            load_after: String::new(),
            versions: versions(),
            num: request.num,
            rounds: request.rounds,
            method: method(request),
            engine_settings: settings.collect(),
            text,
        }
    }

    /// The measuring is over.
    pub(crate) fn finish(&mut self, time: Duration) {
        self.seconds = time.as_secs();
        self.load_after = machine().load;
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("# Packstone beside other engines\n\n");
        let _ = writeln!(
            text,
            "* {}, {} minutes: `{}`",
            self.date,
            self.seconds.div_ceil(60),
            self.command
        );
        let _ = writeln!(
            text,
            "* {}, {} cores, {:.0} GiB, {}, {}; load average {} before, {} after",
            self.processor,
            self.cores,
            self.memory as f64 / f64::from(1 << 30),
            self.kernel,
            self.file_system,
            self.load_before,
            self.load_after
        );
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let _ = writeln!(text, "* {}", versions.join(", "));
        for line in &self.method {
            let _ = writeln!(text, "* {line}");
        }
        if let Some(source) = &self.text {
            let _ = writeln!(text, "* Real text: {}", source.describe());
        }
        text
    }

    pub(super) fn settings_markdown(&self, setting: Setting, text: &mut String) {
        for one in self.engine_settings.iter().filter(|one| one.setting == setting) {
            let _ = writeln!(text, "* {}: {}", one.engine, one.text);
            if let Some(synced) = &one.synced {
                let _ = writeln!(text, "  * where every write is synced: {synced}");
            }
        }
    }
}

/// What was typed, without the directories that the program lies in.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./~:".contains(c);
        if word.chars().all(plain) {
            word
        } else {
            format!("'{word}'")
        }
    });
    std::iter::once("peers".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn versions() -> BTreeMap<String, String> {
    let lock = include_str!("../../Cargo.lock");
    let mut versions = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_matches([' ', '=', '"']))
        };
        let (Some(name), Some(version)) = (field("name"), field("version")) else {
            continue;
        };
        let built = cfg!(feature = "rocksdb") || !name.contains("rocksdb");
        if CRATES.contains(&name) && built {
            versions.insert(name.to_owned(), version.to_owned());
        } else if name == "packstone" {
            versions.insert(name.to_owned(), format!("{version}{}", commit()));
        }
    }
    versions
}

/// The commit of this checkout, if git can tell; whether it has been changed since, too.
fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(env!("CARGO_MANIFEST_DIR"))
            .args(words)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return String::new();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    format!(" ({commit}{})", if changed { ", changed" } else { "" })
}

fn method(request: &Request) -> Vec<String> {
    let Request {
        num,
        rounds,
        value_size,
        threads,
        writer_rate,
        mixed_seconds,
        load_seconds,
        step_seconds,
        ..
    } = request;
    let never = |seconds: u64| match seconds {
        0 => "never".to_owned(),
        n => format!("after {n} s"),
    };
    vec![
        format!(
            "{num} entries in the largest workloads (the others have a part of them: `peers --list`); {}; values of \
             {value_size} bytes, {}, where the workload does not say otherwise; N is {threads} threads",
            request.keys.describe(),
            request.values.describe()
        ),
        format!(
            "Rounds: {rounds}; a fresh process and directory for each engine, scenario and round, engines in turns. Medians; \
             ± is half of the range in percent of the median. The last column is how many times better Packstone is than \
             the better of RocksDB and fjall, for seconds and bytes too: below 1 it is behind"
        ),
        "Every write survives the death of the process and is not synced, unless said otherwise. Absent keys are as long as \
         present ones. Every value's length and identity are checked, one in sixteen byte by byte, inside the timing"
            .to_owned(),
        format!(
            "A seek reads {SEEK_LEN} entries, a batch has {BATCH_LEN}. The writer beside readers is held to {writer_rate} \
             writes a second, for {mixed_seconds} s. A load ends {}, any other workload {}: what has been cut short is \
             marked †",
            never(*load_seconds),
            never(*step_seconds)
        ),
        "Bytes written are the kernel's (/proc/self/io); memory is the peak of RssAnon, sampled every 10 ms, less what \
         the generator holds; resident pages of mapped files stand beside it"
            .to_owned(),
    ]
}
