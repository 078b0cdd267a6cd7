//! The engine: what happens to an open database. The API stands on it, the formats and the outside world lie below.
//!
//! | module | what it does |
//! | --- | --- |
//! | `core` | the open database: what it is made of, its locks, close |
//! | `jobs`, `health` | background jobs; what becomes of their failures |
//! | `versions`, `keyspaces` | version changes; keyspaces come and go |
//! | `recovery` | from a directory to a `Core` |
//! | `commit`, `queue` | the write path: group commit, memtable rotation |
//! | `pressure`, `throttle` | slows writers by what flush and compaction owe |
//! | `memory`, `budget` | one limit for memtables, cache, open SSTs and jobs; what jobs reserve of it |
//! | `flush`, `compaction`, `output`, `factory` | memtables to SSTs, SSTs to fewer SSTs |
//! | `keyspace`, `tree`, `table` | what readers pin: views, trees of SSTs, open SSTs |
//! | `objects` | large values: objects in packs |
//! | `latency` | how long operations take, and what filters spare |
//! | `read` | point look-ups |
//! | `run`, `visible`, `merge`, `level_cursor` | ranges and cursors |
//! | `snapshots` | the numbers that somebody still reads at |
//! | `checkpoint` | a second directory with the state of one number |
//! | `check` | self-checks of debug builds |

mod budget;
mod check;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod compaction;
pub(crate) mod core;
mod factory;
mod flush;
pub(crate) mod health;
mod jobs;
pub(crate) mod keyspace;
mod keyspaces;
pub(crate) mod latency;
mod level_cursor;
pub(crate) mod memory;
pub(crate) mod merge;
pub(crate) mod objects;
#[cfg(test)]
mod objects_tests;
mod output;
pub(crate) mod pressure;
pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod recovery;
pub(crate) mod run;
pub(crate) mod snapshots;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod throttle;
pub(crate) mod tree;
mod versions;
pub(crate) mod visible;
