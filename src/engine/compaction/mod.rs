//! Leveled compaction: `picker` says what is to be merged, `rules` which entries survive, `job` does it.

mod job;
pub(crate) mod picker;
pub(crate) mod rules;
