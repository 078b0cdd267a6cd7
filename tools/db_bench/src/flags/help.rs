//! The text of `--help`.

use std::fmt::Write;

use super::table::{GROUPS, Kind};
use crate::workloads::BENCHMARKS;

const INTRODUCTION: &str = "\
db_bench: benchmarks of Packstone, under the names, flags and output of LevelDB's and RocksDB's db_bench

Usage: db_bench [--benchmarks=name,name,...] [--flag=value | --flag value | --switch | --noswitch] ...

Each benchmark prints a line on stdout:
  name : <mean microseconds> micros/op <ops a second> ops/sec <seconds> seconds <n> operations; <MB/s> (x of y found)
Every value that is read is checked; what is found and written is compared with what was done. A difference ends the run.

Exit status: 0 fine, 1 a benchmark failed, 2 wrong use.

Examples:
  db_bench --benchmarks=fillseq,readrandom,readseq --num=1000000
  db_bench --benchmarks=fillrandom,compact,stats --value_size=400 --histogram --db=/tmp/bench
  db_bench --benchmarks='readrandom[X5-W1]' --use_existing_db --db=/tmp/bench --threads=4
  db_bench --benchmarks=fillseq,ycsba,ycsbb --num=200000 --threads=2 --duration=10 --plot=ycsb.svg
  db_bench --benchmarks=fillrandom,mixgraph --mixgraph_mode=paper --mix_get_ratio=0.83 --mix_put_ratio=0.14 \\
           --mix_seek_ratio=0.03 --key_dist_a=0.002312 --key_dist_b=0.3467 --key_size=48
  db_bench --benchmarks=fillsync --num=100000 --json | jq .latency_micros.p99
";

/// The whole text: introduction, benchmarks, flags.
pub(crate) fn help() -> String {
    let mut text = INTRODUCTION.to_string();
    text.push_str("\nBenchmarks:\n");
    for benchmark in BENCHMARKS {
        paragraph(&mut text, benchmark.name, benchmark.about);
    }
    for group in GROUPS {
        let _ = write!(text, "\n{}:\n", group.title);
        for flag in group.flags {
            let default = match flag.kind {
                Kind::Text | Kind::Word(_) if flag.default.is_empty() => String::new(),
                _ if flag.name == "benchmarks" => " (default: LevelDB's list)".to_string(),
                _ => format!(" (default: {})", flag.default),
            };
            let words = match flag.kind {
                Kind::Word(words) if flag.name != "compression_type" => {
                    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
                    format!(" [{}]", words.join(", "))
                }
                _ => String::new(),
            };
            paragraph(
                &mut text,
                &format!("--{}", flag.name),
                &format!("{}{words}{default}", flag.help),
            );
        }
    }
    text.push_str("\nOther flags of RocksDB's db_bench are accepted, named in a warning and ignored; --undefok=a,b as usual.\n");
    text
}

/// A name, and beside it a text that is broken at this width.
fn paragraph(text: &mut String, name: &str, about: &str) {
    const WIDTH: usize = 110;
    const INDENT: usize = 32;
    let mut line = format!("  {name:<28}  ");
    if line.chars().count() > INDENT {
        let _ = writeln!(text, "{}", line.trim_end());
        line = " ".repeat(INDENT);
    }
    for word in about.split(' ') {
        if line.chars().count() + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(INDENT);
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(text, "{}", line.trim_end());
}
