//! What is measured: latencies (`histogram`), a thread's counts (`stats`), the course of time (`sampler`), and what the
//! kernel says of the process (`process`).

mod histogram;
mod pacer;
pub(crate) mod process;
mod sampler;
mod stats;

pub(crate) use histogram::Latencies;
pub(crate) use pacer::Pacer;
pub(crate) use sampler::{Course, Point, Sampler, Stop};
pub(crate) use stats::{Op, Shared, Stats};
