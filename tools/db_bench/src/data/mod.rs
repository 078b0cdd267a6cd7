//! What goes into the database: random numbers, keys, values, and the record of which keys are there.

mod keys;
mod oracle;
mod random;
mod values;
mod zipf;

pub(crate) use keys::KeyMaker;
pub(crate) use oracle::Oracle;
pub(crate) use random::Random;
pub(crate) use values::{ValueMaker, ValueSizes, contents, is_value_of};
pub(crate) use zipf::Zipf;
