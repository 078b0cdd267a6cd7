//! Leveled compaction: `shape` says how large levels are meant to be, `picker` what is to be compacted next (`level_0`, `elision` and
//! `range` make plans of their kinds), `claims` what can run side by side, `rules` which entries survive; `job` runs it, `parts` merges, `pace` keeps to a limit.

pub(crate) mod claims;
pub(crate) mod elision;
pub(crate) mod job;
pub(crate) mod level_0;
pub(crate) mod pace;
mod parts;
pub(crate) mod picker;
pub(crate) mod plan;
pub(crate) mod range;
pub(crate) mod rules;
pub(crate) mod shape;
#[cfg(test)]
mod tests;
