//! `db_bench`: benchmarks of Packstone under the names, flags and output of LevelDB's and RocksDB's db_bench.
//!
//! Exit status: 0 fine, 1 a benchmark failed or what it found was wrong, 2 wrong use.

mod data;
mod database;
mod failure;
mod flags;
mod list;
mod measure;
mod report;
mod runner;
mod workloads;

use std::io::Write;
use std::process::ExitCode;

use flags::{Config, Misuse};
use runner::Runner;

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

fn misused(misuse: &Misuse) -> ExitCode {
    eprintln!("ERROR: {misuse}\ndb_bench --help explains flags and benchmarks");
    ExitCode::from(MISUSED)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let line = match flags::split(&args) {
        Ok(line) => line,
        Err(misuse) => return misused(&misuse),
    };
    if line.help {
        // Who reads only the beginning of it is no error.
        let _ = std::io::stdout().write_all(flags::help().as_bytes());
        return ExitCode::SUCCESS;
    }
    if line.version {
        println!("db_bench {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if !line.ignored.is_empty() {
        eprintln!(
            "WARNING: these flags of RocksDB mean nothing here and are ignored: {}",
            line.ignored.join(", ")
        );
    }
    let config = match Config::new(line) {
        Ok(config) => config,
        Err(misuse) => return misused(&misuse),
    };
    if let Some(codec) = &config.replaced_codec {
        eprintln!("WARNING: the engine has no codec {codec}; lz4 is used");
    }
    let items = match list::parse(&config.benchmarks) {
        Ok(items) => items,
        Err(misuse) => return misused(&misuse),
    };
    match Runner::new(&config).and_then(|mut runner| runner.run(&items)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ERROR: {failure}");
            ExitCode::from(FAILED)
        }
    }
}
