//! The program: all that it does is in the library beside it.

use std::process::ExitCode;

use sst_dump::{World, run};

fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os().skip(1), World::real()))
}
