//! What is measured besides operations: what the kernel says of the process, and the rate of a paced writer.

mod disk;
mod memory;
mod pacer;
mod process;

pub(crate) use disk::{DiskPeak, disk_usage};
pub(crate) use memory::MemoryPeak;
pub(crate) use pacer::Pacer;
pub(crate) use process::{Written, file_system, machine, written};
