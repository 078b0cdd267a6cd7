//! The command line: how flags are spelled (`dialect`), which there are (`table`, `ignored`), what they amount to
//! (`config`), and the text that explains them (`help`).

mod config;
mod dialect;
mod help;
mod ignored;
mod table;

pub(crate) use config::{Config, Mixgraph, MixgraphMode, Sine, SizeDistribution};
pub(crate) use dialect::{Misuse, split};
pub(crate) use help::help;
