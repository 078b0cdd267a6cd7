//! What goes into the databases: keys, values, and the order in which both are asked for. The same for every engine and
//! every run, and none of it kept in memory: a value follows from its key, so that whoever meets one can check it.

mod keys;
mod random;
mod text;
mod values;
mod zipf;

pub(crate) use keys::{KeyKind, Keys};
pub(crate) use random::Random;
pub(crate) use text::{Text, TextInfo, default_dir};
pub(crate) use values::{Checker, ValueKind, Values};
pub(crate) use zipf::Zipf;
