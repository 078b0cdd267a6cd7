//! The benchmarks: the table of their names, and by family what each does.

mod cpu;
mod fill;
mod keys_of_mixgraph;
mod meta;
mod mixed;
mod mixgraph;
mod read;
mod scan;
pub(crate) mod sustained;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod worker;
mod ycsb;

pub(crate) use table::{BENCHMARKS, Benchmark, Kind, Message, Run, find};
pub(crate) use task::{Group, Task};
pub(crate) use worker::Worker;
