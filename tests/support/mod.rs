//! What several test programs share: randomness from a seed, keys and values that provoke, and a look at a database's
//! files by the names that DESIGN.md gives them.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure here is a failed test"
)]

pub(crate) mod counting;
pub(crate) mod data;
pub(crate) mod hooked;
pub(crate) mod outside;
pub(crate) mod packs;
pub(crate) mod rng;
pub(crate) mod stream;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use packstone::Options;
use packstone::env::FileSystem;

/// Limits so small that a few hundred writes reach everything.
pub(crate) fn tiny() -> Options {
    Options::new()
        .write_buffer_size(32 << 10)
        .max_file_size(16 << 10)
        .max_log_size(64 << 10)
        .manifest_roll_size(4 << 10)
}

/// The names of the regular files in a directory.
pub(crate) fn file_names(fs: &dyn FileSystem, dir: &Path) -> Vec<String> {
    let entries = fs.list(dir).expect("the database's directory can be listed");
    entries
        .into_iter()
        .filter(|entry| entry.is_file)
        .map(|entry| entry.name)
        .collect()
}

/// How many names end like this.
pub(crate) fn count_suffix(names: &[String], suffix: &str) -> u64 {
    names.iter().filter(|name| name.ends_with(suffix)).count() as u64
}

/// The number in the greatest name of the form `prefix digits suffix`, 0 if there is none.
pub(crate) fn highest_number(names: &[String], prefix: &str, suffix: &str) -> u64 {
    let number = |name: &String| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        digits.parse().ok()
    };
    names.iter().filter_map(number).max().unwrap_or(0)
}

/// No test takes that long; what does waits for somebody who never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends, or the test fails.
#[allow(clippy::disallowed_methods, reason = "a watchdog")]
pub(crate) fn in_time<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    result
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("{what}: it hangs, or has panicked"))
}
