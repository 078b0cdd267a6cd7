//! `packstone-repair`: makes a new database out of what can be read of a damaged one, and says exactly what is lost.
//!
//! All the work is done by `packstone::repair`; this program parses the command line, shows progress, and prints the report as text
//! or as JSON (`SCHEMA.md`). Exit status: 0 nothing lost, 1 something lost or undecided, 2 wrong use or the target can't be written.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use packstone::env::Env;
use packstone::repair::{RepairBasis, RepairOptions, UndecidedChoice, repair};

/// Below this many bytes there is nothing to wait for: 32 MiB.
const WORTH_A_BAR: u64 = 32 << 20;

const AFTER_HELP: &str = "\
Examples:
  packstone-repair /data/db --dry-run          what could be saved, and what is lost
  packstone-repair /data/db /data/db.new       save it into a new directory
  packstone-repair db new --mode files         do not believe the manifest's list of files
  packstone-repair db new --undecided keep     keep what the files leave open
  packstone-repair db new --json > report      the report for programs

The source is never written to; keep it until the new database has proven itself. The target must be a new or empty directory
outside of the source. It has no CURRENT until it is whole: an interrupted repair leaves nothing that opens.

Exit status: 0 nothing is lost, 1 something is lost or undecided (the report names it), 2 wrong use.";

/// Makes a new packstone database out of what can be read of a damaged one.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    /// The damaged database's directory
    source: PathBuf,
    /// The new database's directory; not needed with --dry-run
    #[arg(required_unless_present = "dry_run")]
    target: Option<PathBuf>,
    /// Report only; write nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line, see SCHEMA.md
    #[arg(long)]
    json: bool,
    /// What the set of files is taken from
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    mode: Mode,
    /// What to do about what the files leave open
    #[arg(long, value_enum, default_value_t = Choice::Stop)]
    undecided: Choice,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// A whole manifest if there is one, else the files
    Auto,
    /// The files alone; a manifest only tells names
    Files,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    /// Write nothing
    Stop,
    /// Keep everything; of two values the one in the newer file
    Keep,
    /// Leave it out
    LeaveOut,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = RepairOptions {
        basis: match args.mode {
            Mode::Auto => RepairBasis::Auto,
            Mode::Files => RepairBasis::Files,
        },
        undecided: match args.undecided {
            Choice::Stop => UndecidedChoice::Stop,
            Choice::Keep => UndecidedChoice::Keep,
            Choice::LeaveOut => UndecidedChoice::LeaveOut,
        },
        dry_run: args.dry_run,
    };
    let target = args.target.unwrap_or_default();
    if !args.dry_run
        && let Some(what) = inside(&args.source, &target)
    {
        eprintln!("packstone-repair: {what}");
        return ExitCode::from(2);
    }
    let bar = ProgressBar::hidden();
    let mut shown = bar.clone();
    let result = repair(&Env::real(1), &args.source, &target, options, &mut |at| {
        if shown.is_hidden() && at.total >= WORTH_A_BAR {
            let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            shown = ProgressBar::new(at.total).with_style(style);
        }
        shown.set_position(at.done);
    });
    shown.finish_and_clear();
    match result {
        Ok(found) => {
            let status = u8::from(!found.is_clean());
            match report::print(&found, args.dry_run, args.json, status) {
                Ok(()) => ExitCode::from(status),
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(status),
                Err(error) => {
                    eprintln!("packstone-repair: cannot write the report: {error}");
                    ExitCode::from(2)
                }
            }
        }
        Err(error) => {
            eprintln!("packstone-repair: {error}");
            ExitCode::from(2)
        }
    }
}

/// Why the target can't be: it lies in the source, whatever links and dots its path is made of.
fn inside(source: &Path, target: &Path) -> Option<String> {
    let source = source.canonicalize().ok()?;
    let existing = target.ancestors().find_map(|part| {
        let part = if part.as_os_str().is_empty() {
            Path::new(".")
        } else {
            part
        };
        part.canonicalize().ok()
    })?;
    existing.starts_with(&source).then(|| {
        format!(
            "{} lies inside the source; choose a directory outside of it",
            target.display()
        )
    })
}
