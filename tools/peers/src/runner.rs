//! The two ends of a measurement: [`run`] starts one process for each engine, scenario and round, in turns, and reports;
//! [`child`] is what such a process does.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::args::{Args, Request};
use crate::catalogue::{Scenario, Step, Threads};
use crate::data::{Text, ValueKind};
use crate::engines::{Config, Durability, Setting, is_extra};
use crate::figures::Outcome;
use crate::plan::{Plan, Role};
use crate::report::{Header, Report};
use crate::workloads::{self, READY};

/// The least number of operations of a workload, so that small databases are measured for long enough.
const LEAST_OPERATIONS: u64 = 200_000;
const LEAST_ENTRIES: u64 = 20;
/// Versions of the data that the workloads write, and room for YCSB's inserts: LMDB's map must hold it all.
const VERSIONS: u64 = 4;
/// Bytes of the longest keys.
const LONGEST_KEY: u64 = 130;
/// Bytes that an entry takes in a memtable beside key and value, at most.
const MEMTABLE_OVERHEAD: u64 = 64;

/// Measures what the plan says and prints it.
pub(crate) fn child(plan: &str) -> Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    let outcome = workloads::run(&plan)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Measures, and reports to standard output and whatever files were asked for.
pub(crate) fn run(args: &Args, request: &Request) -> Result<()> {
    if let Some(path) = &args.from {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let report: Report = serde_json::from_str(&text)
            .map_err(|e| format!("{} is not what --json writes: {e}", path.display()))?;
        return write(args, &report, true);
    }
    let place = Place::new(args.dir.as_deref())?;
    let mut report = Report::new(header(request, &place.dir)?, request);
    let start = Instant::now();
    let mut failures = 0;
    for setting in &request.settings {
        for round in 0..request.rounds {
            for (scenario, names) in &request.scenarios {
                failures += turn(
                    request,
                    &place.dir,
                    *setting,
                    round,
                    scenario,
                    names,
                    &mut report,
                    start,
                )?;
            }
            // What has been measured is not lost if somebody ends the rest.
            write(args, &report, false)?;
        }
    }
    report.header.finish(start.elapsed());
    write(args, &report, true)?;
    match failures {
        0 => Ok(()),
        n => Err(format!("{n} runs failed; the report has the others").into()),
    }
}

/// One scenario by all engines, one after the other; the order turns round with each round. Gives how many failed.
#[expect(clippy::too_many_arguments, reason = "what a turn consists of")]
fn turn(
    request: &Request,
    dir: &Path,
    setting: Setting,
    round: u32,
    scenario: &'static Scenario,
    names: &[&'static str],
    report: &mut Report,
    start: Instant,
) -> Result<u32> {
    let mut order = request.engines.clone();
    if round % 2 == 1 {
        order.reverse();
    }
    let mut failures = 0;
    for engine in order {
        if is_extra(&engine) && scenario.workloads.iter().any(|w| w.step == Step::Reopen) {
            continue; // what is there after a crash is counted by a scan
        }
        eprintln!(
            "{:>5} s  settings {}, round {} of {}: {} on {engine}",
            start.elapsed().as_secs(),
            setting.name(),
            round + 1,
            request.rounds,
            scenario.name
        );
        let place = dir.join(format!("{engine}-{}-{round}", scenario.name));
        std::fs::create_dir(&place).map_err(|e| format!("cannot create {}: {e}", place.display()))?;
        let plan = plan(request, setting, scenario, names, &engine, place.clone());
        let outcome = measure(&plan);
        // Remove what the run left, whether or not it went well.
        std::fs::remove_dir_all(&place)?;
        match outcome {
            Ok(outcome) => report.add(setting, &engine, scenario.name, outcome),
            Err(e) => {
                failures += 1;
                eprintln!("peers: {} on {engine} failed: {e}", scenario.name);
                let notes = vec![format!("{}: FAILED: {e}", scenario.name)];
                let outcome = Outcome {
                    notes,
                    ..Outcome::default()
                };
                report.add(setting, &engine, scenario.name, outcome);
            }
        }
    }
    Ok(failures)
}

fn plan(
    request: &Request,
    setting: Setting,
    scenario: &'static Scenario,
    names: &[&'static str],
    engine: &str,
    dir: PathBuf,
) -> Plan {
    let value_size = scenario.value_size.unwrap_or(request.value_size);
    let values = scenario.values.unwrap_or(request.values);
    let entry = value_size as u64 + LONGEST_KEY;
    let mut entries = (request.num / scenario.share).max(LEAST_ENTRIES);
    if names.contains(&"reopen") {
        // All of it has to fit into a memtable, or it is not unflushed.
        let room = request.write_buffer.min(64 << 20) * 7 / 8;
        entries = entries.min(room / (value_size as u64 + 16 + MEMTABLE_OVERHEAD));
    }
    // A few operations cost more than they measure where values are large.
    let least = LEAST_OPERATIONS.min((1 << 30) / entry);
    let operations = request.operations.unwrap_or((entries / 2).max(least));
    Plan {
        role: Role::Measure,
        engine: engine.to_owned(),
        scenario: scenario.name.to_owned(),
        workloads: names.iter().map(|name| (*name).to_owned()).collect(),
        dir,
        config: Config {
            setting,
            durability: scenario.durability,
            write_buffer: request.write_buffer,
            cache: request.cache,
            separate: request.apart.or(scenario.separate),
            expected_bytes: (entries + operations) * entry * VERSIONS,
        },
        entries,
        operations,
        seeks: (operations / 5).max(1),
        threads: match scenario.threads {
            Threads::Exactly(n) => n,
            Threads::Asked => request.threads,
        },
        keys: scenario.keys.unwrap_or(request.keys),
        values,
        value_size,
        text: (values == ValueKind::Text).then(|| request.text.clone()),
        load_seconds: request.load_seconds,
        step_seconds: request.step_seconds,
        mixed_seconds: request.mixed_seconds,
        writer_rate: request.writer_rate,
        touch: request.touch,
    }
}

/// Runs one plan, in one process or, for a reopening, two.
fn measure(plan: &Plan) -> Result<Outcome> {
    let scenario = plan.scenario()?;
    let role = if scenario.workloads.iter().any(|w| w.step == Step::Reopen) {
        kill_one(plan)?;
        Role::Survivor
    } else {
        Role::Measure
    };
    let plan = Plan { role, ..plan.clone() };
    let output = start(&plan, Stdio::piped())?.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("peers: ").replace('\n', " ");
        return Err(format!("{said} ({})", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Starts a process that writes, and kills it when it says that it is done.
fn kill_one(plan: &Plan) -> Result<()> {
    let plan = Plan {
        role: Role::Victim,
        ..plan.clone()
    };
    let mut victim = start(&plan, Stdio::inherit())?;
    let stdout = victim.stdout.take().ok_or("no pipe from the process")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    // SIGKILL: nothing of the process runs after it.
    victim.kill()?;
    victim.wait()?;
    if line.trim_end() != READY {
        return Err("the process that was to be killed ended by itself".into());
    }
    Ok(())
}

fn start(plan: &Plan, stderr: Stdio) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--child")
        .arg(serde_json::to_string(plan)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr);
    Ok(command.spawn()?)
}

fn header(request: &Request, dir: &Path) -> Result<Header> {
    let with_text =
        |(scenario, _): &(&Scenario, _)| scenario.values.unwrap_or(request.values) == ValueKind::Text;
    let text = match request.scenarios.iter().any(with_text) {
        true => Some(Text::collect(&request.text.dir, request.text.limit)?.info),
        false => None,
    };
    let scenarios = &request.scenarios;
    let config = |setting, durability| Config {
        setting,
        durability,
        write_buffer: request.write_buffer,
        cache: request.cache,
        separate: request
            .apart
            .or(scenarios.iter().find_map(|(scenario, _)| scenario.separate)),
        expected_bytes: 0,
    };
    let synced = request
        .scenarios
        .iter()
        .any(|(scenario, _)| scenario.durability == Durability::Synced);
    Ok(Header::new(request, dir, text, synced, config))
}

/// Writes the report; to standard output only at the end.
fn write(args: &Args, report: &Report, last: bool) -> Result<()> {
    let save = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
    };
    if let Some(path) = args
        .json
        .as_deref()
        .filter(|path| Some(*path) != args.from.as_deref())
    {
        save(path, &report.json()?)?;
    }
    let markdown = report.markdown();
    if let Some(path) = &args.markdown {
        save(path, &markdown)?;
    }
    if last {
        std::io::stdout().write_all(markdown.as_bytes())?;
        if let Some(dir) = &args.svg {
            std::fs::create_dir_all(dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
            for (name, drawing) in report.charts() {
                save(&dir.join(name), &drawing)?;
            }
        }
    }
    Ok(())
}

/// Where the databases go; what this program has created of it is removed at the end, also after a failure.
struct Place {
    dir: PathBuf,
    created: bool,
}

impl Place {
    fn new(asked: Option<&Path>) -> Result<Self> {
        let dir = match asked {
            Some(dir) => dir.to_owned(),
            None => std::env::temp_dir().join(format!("peers-{}", std::process::id())),
        };
        let created = !dir.exists();
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        Ok(Place { dir, created })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.created {
            // What somebody else has put there meanwhile stays, and the directory with it.
            let _ = std::fs::remove_dir(&self.dir);
        }
    }
}
