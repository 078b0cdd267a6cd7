//! `peers`: Packstone beside other embedded engines, on the same machine, in the same minutes.
//!
//! What makes the comparison fair, and what it does not say:
//! * Each engine runs in a fresh process (this binary starts itself) and in a fresh directory. The engines take turns,
//!   and the order turns round with each round; medians are reported with the smallest and the largest figure.
//! * Settings are alike and printed whole: LZ4, write buffer, cache, one write a call, durable against the death of the
//!   process but not synced. Figures are of one thread, with the data in the page cache if the machine has room for it.
//! * Keys present and absent have equal length and the same form. Every value is checked (identity and length; all
//!   bytes of one in sixteen), and the checks are inside the timing, alike for all.
//! * A load is reported twice: the rate of the writes alone, and the seconds until background work has settled.
//! * Bytes written and memory come from the kernel, not from the engine.
//! * Absolute figures wander from hour to hour; the ratio of a run is what counts.

mod data;
mod engine;
mod fjall_engine;
mod measure;
mod packstone_engine;
mod report;
mod workloads;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;

use crate::engine::{ENGINES, Settings};
use crate::report::Report;
use crate::workloads::Plan;

/// Any failure, as a message: nobody handles these but `main`.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Compares Packstone with other embedded key-value engines.
#[derive(Parser, Clone)]
#[command(name = "peers", version, about)]
struct Args {
    /// Entries to load.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(16..=1_000_000_000))]
    num: u64,
    /// Point reads of each kind [default: as many as entries].
    #[arg(long)]
    reads: Option<u64>,
    /// Seeks, each reading ten entries [default: a tenth of the entries].
    #[arg(long)]
    seeks: Option<u64>,
    /// Bytes of a value, half of them random.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    value_size: u32,
    /// How often each engine runs.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The engines, in order; the first is compared with each of the others.
    #[arg(long, value_delimiter = ',', default_values_t = ENGINES.map(String::from))]
    engines: Vec<String>,
    /// Write buffer (memtable) in MiB.
    #[arg(long, default_value_t = 64)]
    write_buffer: u64,
    /// Block cache in MiB.
    #[arg(long, default_value_t = 64)]
    cache: u64,
    /// Where the databases go; each is removed after its run [default: a new directory below the system's temporary one].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write every run's figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Internal: run one engine in this process, in `--dir`.
    #[arg(long, hide = true)]
    child: Option<String>,
}

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            entries: self.num,
            reads: self.reads.unwrap_or(self.num).max(1),
            seeks: self.seeks.unwrap_or(self.num / 10).max(1),
            value_size: self.value_size as usize,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            write_buffer: self.write_buffer << 20,
            cache: self.cache << 20,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match (&args.child, &args.dir) {
        (Some(engine), Some(dir)) => run_child(&args, engine, dir),
        (Some(_), None) => Err("--child needs --dir".into()),
        (None, _) => run_all(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("peers: {e}");
            ExitCode::FAILURE
        }
    }
}

/// One engine, in this process: figures go to standard output, one `name value` a line.
fn run_child(args: &Args, engine: &str, dir: &Path) -> Result<()> {
    for (name, value) in workloads::run(engine, dir, args.settings(), args.plan())? {
        println!("{name} {value}");
    }
    Ok(())
}

fn run_all(args: &Args) -> Result<()> {
    for engine in &args.engines {
        if !ENGINES.contains(&engine.as_str()) {
            return Err(format!("unknown engine {engine}; there are {}", ENGINES.join(", ")).into());
        }
    }
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("peers-{}", std::process::id())),
    };
    let mut report = Report::new(args.plan(), args.settings(), &args.engines);
    for round in 0..args.rounds {
        let mut order = args.engines.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for engine in order {
            eprintln!("round {} of {}: {engine}", round + 1, args.rounds);
            let place = dir.join(format!("{engine}-{round}"));
            let figures = spawn(args, &engine, &place);
            // Remove what the run left, whether or not it went well.
            std::fs::remove_dir_all(&place).or_else(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            })?;
            report.add(&engine, figures?);
        }
    }
    if args.dir.is_none() {
        std::fs::remove_dir(&dir)?;
    }
    print!("{}", report.markdown());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}

/// Runs one engine in a process of its own and reads its figures.
fn spawn(args: &Args, engine: &str, dir: &Path) -> Result<Vec<(String, f64)>> {
    if dir.exists() {
        return Err(format!("{} is in the way", dir.display()).into());
    }
    std::fs::create_dir_all(dir)?;
    let plan = args.plan();
    let numbers = [
        ("--num", plan.entries),
        ("--reads", plan.reads),
        ("--seeks", plan.seeks),
        ("--value-size", plan.value_size as u64),
        ("--write-buffer", args.write_buffer),
        ("--cache", args.cache),
    ];
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--child", engine, "--dir"])
        .arg(dir)
        .stderr(Stdio::inherit());
    for (name, value) in numbers {
        command.args([name, &value.to_string()]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("the run of {engine} failed ({})", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .map(|line| {
            let (name, value) = line
                .split_once(' ')
                .ok_or_else(|| format!("{engine} said {line:?}"))?;
            Ok((name.to_owned(), value.parse::<f64>()?))
        })
        .collect()
}
