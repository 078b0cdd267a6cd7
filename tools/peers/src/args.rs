//! The command line: [`Args`] as written, and [`Request`], which has every default filled in and nothing impossible.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::Result;
use crate::catalogue::{SCENARIOS, Scenario, Set, Threads, find};
use crate::data::{KeyKind, ValueKind, default_dir};
use crate::engines::{ENGINES, FLOORS, HASHED, Setting, available, is_extra};
use crate::plan::TextSource;

const EXAMPLES: &str = "\
Examples:
  peers                                          the quick set, all engines that are built in
  peers --set standard --markdown report.md --json report.json --svg charts
  peers --workloads readrandom,readzipf --engines packstone,fjall --num 1000000 --rounds 3
  peers --workloads fillrandom --values random --value-size 1000 --settings both
  peers --workloads fillrandom-threads,readrandom-threads --threads 8
  peers --from report.json --markdown again.md   the report of an earlier run once more
  peers --list                                   workloads, sets and engines

RocksDB is there if the program was built with it: cargo build --release --features rocksdb";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Settings {
    /// The same codec, write buffer and cache for all engines.
    Alike,
    /// What each project's documentation recommends.
    Recommended,
    /// Both, one after the other.
    Both,
}

/// Compares Packstone with other embedded key-value engines: each in a fresh process and directory, in turns.
#[derive(Parser, Clone, Debug)]
#[command(name = "peers", version, about, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A named set of workloads, with its sizes.
    #[arg(long, value_enum, default_value_t = Set::Quick)]
    pub(crate) set: Set,
    /// Workloads instead of the set's, by name (see --list); the load that one needs runs with it.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    workloads: Vec<String>,
    /// The engines [default: all that are built in].
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    engines: Vec<String>,
    /// Entries of the largest workloads, which others scale with [default: the set's].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1000..=1_000_000_000))]
    num: Option<u64>,
    /// Bytes of a value, where the workload does not fix it.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    value_size: u32,
    /// What values are made of, where the workload does not fix it.
    #[arg(long, value_enum, default_value_t = ValueKind::Half)]
    values: ValueKind,
    /// What keys look like, where the workload does not fix it.
    #[arg(long, value_enum, default_value_t = KeyKind::Random)]
    keys: KeyKind,
    /// Threads of the workloads that are about threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Point reads, overwrites and YCSB operations of a workload [default: half of its entries, 200,000 at least].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    operations: Option<u64>,
    /// How often each engine runs [default: the set's].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Whose settings the engines get.
    #[arg(long, value_enum, default_value_t = Settings::Alike)]
    settings: Settings,
    /// Write buffer (memtable) of the settings alike, in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    write_buffer: u64,
    /// Block cache of the settings alike, in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    cache: u64,
    /// Values of at least so many bytes live apart from the tree, where an engine can do that [default: 16 KiB where the workload is about
    /// it, else as each engine does by itself].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(32..=1_000_000_000))]
    apart: Option<u64>,
    /// MiB of page cache that are filled and given back right before each load: in a virtual machine the first to use memory waits for the
    /// host, which takes free memory back within seconds.
    #[arg(long, value_name = "MIB", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_048_576))]
    touch: u64,
    /// Writes a second of the writer beside readers.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    writer_rate: u64,
    /// Seconds after which a load ends with fewer entries, which the report says; 0 for never [default: the set's].
    #[arg(long, value_name = "SECONDS")]
    load_seconds: Option<u64>,
    /// Seconds after which any other workload ends; 0 for never [default: the set's].
    #[arg(long, value_name = "SECONDS")]
    step_seconds: Option<u64>,
    /// Seconds of reading beside a writer [default: the set's].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    mixed_seconds: Option<u64>,
    /// Where the text for values comes from: the Rust sources below it [default: those that cargo has downloaded, else
    /// this repository].
    #[arg(long, value_name = "DIR")]
    text: Option<PathBuf>,
    /// MiB of text.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(2..=4096))]
    text_size: u64,
    /// Where the databases go; each is removed after its run [default: a new directory below the system's temporary one].
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Also write every run's figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Also write the report to this file [it always goes to standard output].
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Also draw bar charts into this directory, as SVG.
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,
    /// Measure nothing: report what an earlier run wrote with --json.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// List workloads, sets and engines.
    #[arg(long)]
    pub(crate) list: bool,
    /// Internal: what this process is to measure, as JSON.
    #[arg(long, hide = true)]
    pub(crate) child: Option<String>,
}

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) scenarios: Vec<(&'static Scenario, Vec<&'static str>)>,
    pub(crate) engines: Vec<String>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) num: u64,
    pub(crate) rounds: u32,
    pub(crate) operations: Option<u64>,
    pub(crate) value_size: usize,
    pub(crate) values: ValueKind,
    pub(crate) keys: KeyKind,
    pub(crate) threads: usize,
    pub(crate) write_buffer: u64,
    pub(crate) cache: u64,
    pub(crate) apart: Option<u64>,
    pub(crate) touch: u64,
    pub(crate) writer_rate: u64,
    pub(crate) load_seconds: u64,
    pub(crate) step_seconds: u64,
    pub(crate) mixed_seconds: u64,
    pub(crate) text: TextSource,
}

impl Args {
    /// Fills in what is not said, and refuses what cannot be.
    pub(crate) fn check(&self) -> Result<Request> {
        let settings = match self.settings {
            Settings::Alike => vec![Setting::Alike],
            Settings::Recommended => vec![Setting::Recommended],
            Settings::Both => vec![Setting::Alike, Setting::Recommended],
        };
        let text = TextSource {
            dir: self.text.clone().unwrap_or_else(default_dir),
            limit: (self.text_size << 20) as usize,
        };
        if self.text.is_some() && !text.dir.is_dir() {
            return Err(format!("--text: there is no directory {}", text.dir.display()).into());
        }
        Ok(Request {
            scenarios: self.scenarios()?,
            engines: self.engines()?,
            settings,
            num: self.num.unwrap_or(self.set.entries()),
            rounds: self.rounds.unwrap_or(self.set.rounds()),
            operations: self.operations,
            value_size: self.value_size as usize,
            values: self.values,
            keys: self.keys,
            threads: usize::from(self.threads),
            write_buffer: self.write_buffer << 20,
            cache: self.cache << 20,
            apart: self.apart,
            touch: self.touch << 20,
            writer_rate: self.writer_rate,
            load_seconds: self.load_seconds.unwrap_or(self.set.load_seconds()),
            step_seconds: self.step_seconds.unwrap_or(self.set.step_seconds()),
            mixed_seconds: self.mixed_seconds.unwrap_or(self.set.mixed_seconds()),
            text,
        })
    }

    fn scenarios(&self) -> Result<Vec<(&'static Scenario, Vec<&'static str>)>> {
        if let Some(unknown) = self.workloads.iter().find(|name| find(name).is_none()) {
            return Err(format!("there is no workload {unknown}; --list tells what there is").into());
        }
        let wanted = |scenario: &Scenario, name: &str| match self.workloads.as_slice() {
            [] => scenario.set <= self.set,
            names => names.iter().any(|wanted| wanted == name),
        };
        let all = SCENARIOS.iter().map(|scenario| {
            let names = scenario.workloads.iter().map(|workload| workload.name);
            let names: Vec<_> = names.filter(|name| wanted(scenario, name)).collect();
            (scenario, names)
        });
        Ok(all.filter(|(_, names)| !names.is_empty()).collect())
    }

    fn engines(&self) -> Result<Vec<String>> {
        let built = available();
        if self.engines.is_empty() {
            return Ok(built.into_iter().map(String::from).collect());
        }
        for (i, engine) in self.engines.iter().enumerate() {
            let name = engine.as_str();
            if !is_extra(name) && !ENGINES.contains(&name) {
                let (all, floors) = (ENGINES.join(", "), FLOORS.join(", "));
                return Err(format!("there is no engine {name}; there are {all}, {HASHED}, {floors}").into());
            }
            if !is_extra(name) && !built.contains(&name) {
                return Err(format!("{name} is not built in: build with --features {name}").into());
            }
            if self.engines[..i].contains(engine) {
                return Err(format!("--engines names {name} twice").into());
            }
        }
        Ok(self.engines.clone())
    }
}

/// What `--list` prints.
pub(crate) fn list() -> String {
    let mut text = String::from("workloads, by scenario (one database each; the first fills it):\n");
    for scenario in SCENARIOS {
        let set = scenario
            .set
            .to_possible_value()
            .map_or(String::new(), |value| value.get_name().to_owned());
        let threads = match scenario.threads {
            Threads::Exactly(1) => String::new(),
            Threads::Exactly(n) => format!(", {n} threads"),
            Threads::Asked => ", --threads".into(),
        };
        let share = match scenario.share {
            1 => "--num entries".to_owned(),
            n => format!("1/{n} of --num entries"),
        };
        let _ = writeln!(
            text,
            "\n  {} (from the set {set} on; {share}{threads})",
            scenario.name
        );
        for workload in scenario.workloads {
            let _ = writeln!(text, "    {:<22} {}", workload.name, workload.about);
        }
    }
    text.push_str("\nsets:\n");
    for set in Set::value_variants() {
        if let Some(value) = set.to_possible_value() {
            let _ = writeln!(
                text,
                "    {:<10} --num {}, --rounds {}, --load-seconds {}, --step-seconds {}",
                value.get_name(),
                set.entries(),
                set.rounds(),
                set.load_seconds(),
                set.step_seconds()
            );
        }
    }
    let _ = writeln!(
        text,
        "\nengines built in:\n    {}, and by name {HASHED}, {}",
        available().join(", "),
        FLOORS.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Request> {
        Args::try_parse_from(std::iter::once("peers").chain(line.split_whitespace()))?.check()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn a_set_has_the_scenarios_of_the_smaller_ones() {
        let names = |set: &str| -> Vec<&str> {
            let request = check(&format!("--set {set}")).unwrap();
            request.scenarios.iter().map(|(s, _)| s.name).collect()
        };
        let (quick, standard, full) = (names("quick"), names("standard"), names("full"));
        assert!(quick.iter().all(|name| standard.contains(name)) && quick.len() < standard.len());
        assert!(standard.iter().all(|name| full.contains(name)) && standard.len() < full.len());
        assert_eq!(full.len(), SCENARIOS.len());
    }

    #[test]
    fn workloads_by_name_bring_only_their_scenarios() {
        let request = check("--workloads readzipf,urls-seek").unwrap();
        let names: Vec<_> = request
            .scenarios
            .iter()
            .map(|(s, names)| (s.name, names.clone()))
            .collect();
        assert_eq!(names, [("random", vec!["readzipf"]), ("urls", vec!["urls-seek"])]);
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (line, word) in [
            ("--workloads readrandm", "readrandm"),
            ("--engines leveldb", "leveldb"),
            ("--engines fjall,fjall", "twice"),
            ("--text /nowhere/at/all", "/nowhere/at/all"),
            ("--num 5", "1000"),
            ("--set huge", "huge"),
        ] {
            let error = check(line).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
