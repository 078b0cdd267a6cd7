//! `peers`: Packstone beside other embedded engines, on the same machine, in the same minutes.
//!
//! What makes the comparison fair, and what it does not say:
//! * Each engine runs in a fresh process (this binary starts itself) and in a fresh directory. The engines take turns,
//!   and the order turns round with each round; medians are reported with their spread.
//! * Two settings, both printed whole: alike, and as each project recommends.
//! * Keys present and absent have equal length and the same form. Every value is checked (length and identity; all
//!   bytes of one in sixteen), and the checks are inside the timing, alike for all.
//! * A load is reported twice: the rate of the writes alone, and the seconds until background work has settled.
//! * Bytes written and memory come from the kernel; what engines count themselves stands beside it.
//! * Absolute figures wander from hour to hour; the ratio of a run is what counts.
//!
//! Layers, each of which knows only those before it: data, measure, engines; figures, catalogue; plan; workloads; report;
//! runner; main.

mod args;
mod catalogue;
mod data;
mod engines;
mod figures;
mod measure;
mod plan;
mod report;
mod runner;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

/// Any failure, as a message: nobody handles these but `main`.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// The status for wrong use; clap uses it too.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(plan) = &args.child {
        return status(runner::child(plan));
    }
    if args.list {
        // Nothing to do about a reader that has gone.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), args::list().as_bytes());
        return ExitCode::SUCCESS;
    }
    match args.check() {
        Ok(request) => status(runner::run(&args, &request)),
        Err(e) => {
            eprintln!("peers: {e}");
            ExitCode::from(WRONG_USE)
        }
    }
}

fn status(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("peers: {e}");
            ExitCode::FAILURE
        }
    }
}
