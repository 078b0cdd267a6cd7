//! `verify` and `recover`: what is damaged, and what can be saved.

use std::fs;
use std::num::NonZero;
use std::thread;

use packstone::Error;
use packstone::pack::{Pack, PackOptions, PackVerifyReport, RecoverReport, recover as save};
use serde_json::json;

use crate::args;
use crate::console::{Console, Report, describe, heard};
use crate::names::printable;
use crate::{Failure, Outcome, refuse_a_databases_directory};

/// What has been found in a pack, which does not even open if the report is missing.
struct Found {
    report: PackVerifyReport,
    torn_bytes: u64,
}

pub(crate) fn verify(args: &args::Verify) -> Outcome {
    let found = match Pack::open(&args.archive) {
        Ok(pack) => check(&pack),
        // Damage like any other, found before the rest could be looked at.
        Err(e @ Error::Corruption { .. }) => {
            let mut report = PackVerifyReport::default();
            report.damage.push(e);
            report.damages = 1;
            Found {
                report,
                torn_bytes: 0,
            }
        }
        Err(e) => return Err(e.into()),
    };
    heard(print(args, &found))?;
    Ok(found.is_whole())
}

impl Found {
    /// Bytes behind the last seal may be a sealed segment whose footer is damaged; nobody can tell.
    fn is_whole(&self) -> bool {
        self.report.damages == 0 && self.torn_bytes == 0
    }
}

fn check(pack: &Pack) -> Found {
    let mut console = Console::new();
    console.expect(pack.file_bytes());
    let verification = pack.verification();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let work = || verification.work(&|done| console.bar().set_position(done));
        for _ in 1..cores {
            // Where there are no more threads, this one does the work.
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    console.finish();
    Found {
        report: verification.finish(),
        torn_bytes: pack.torn_bytes(),
    }
}

fn print(args: &args::Verify, found: &Found) -> Result<(), Failure> {
    let checked = &found.report;
    let mut report = Report::new();
    for error in &checked.damage {
        if args.json {
            let offset = match error {
                Error::Corruption { offset, .. } => Some(offset),
                _ => None,
            };
            report.json(&json!({ "record": "damage", "offset": offset, "what": describe(error) }))?;
        } else {
            report.line(&format!("DAMAGED: {}", printable(&describe(error))))?;
        }
    }
    if args.json {
        report.json(&json!({
            "record": "result", "archive": args.archive.to_string_lossy(), "whole": found.is_whole(),
            "objects": checked.objects, "content_bytes": checked.content_bytes, "rows": checked.rows,
            "damages": checked.damages, "torn_bytes": found.torn_bytes,
        }))?;
        return report.end();
    }
    if found.torn_bytes > 0 {
        report.line(&format!(
            "UNDECIDED: {} bytes behind the archive's end: an append that was cut off, or a part whose end is damaged; the next \
             append overwrites them, and `pack recover` saves the objects that are in them",
            found.torn_bytes
        ))?;
    }
    report.line(&format!(
        "whole      {} objects of {} bytes, {} rows of the indexes",
        checked.objects, checked.content_bytes, checked.rows
    ))?;
    report.line(&format!("damaged    {}", checked.damages))?;
    report.end()
}

pub(crate) fn recover(args: &args::Recover) -> Outcome {
    refuse_a_databases_directory(&args.new)?;
    // Also of what is no file: the library would find out at the end.
    if fs::symlink_metadata(&args.new).is_ok() {
        let why = format!("{} is not written: it exists already", args.new.display());
        return Err(Failure::Refused(why));
    }
    let saved = save(&args.archive, &args.new, &PackOptions::default())?;
    heard(print_saved(&saved))?;
    Ok(saved.lost.is_empty() && saved.names_lost.is_empty() && saved.index.is_none())
}

fn print_saved(saved: &RecoverReport) -> Result<(), Failure> {
    let mut report = Report::new();
    for error in &saved.lost {
        report.line(&format!("LOST: {}", printable(&describe(error))))?;
    }
    for name in &saved.names_lost {
        report.line(&format!("LOST: the content of {}", printable(name)))?;
    }
    if let Some(error) = &saved.index {
        let why = printable(&describe(error));
        report.line(&format!("LOST: names, all or some: {why}"))?;
    }
    report.line(&format!(
        "saved      {} objects of {} bytes, {} names",
        saved.objects, saved.content_bytes, saved.names
    ))?;
    report.line(&format!(
        "lost       {} objects, {} names whose objects are lost",
        saved.lost.len(),
        saved.names_lost.len()
    ))?;
    report.end()
}
