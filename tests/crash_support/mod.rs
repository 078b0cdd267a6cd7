//! What the crash and fault tests share: histories as data, a machine that runs them, and the oracle that knows what
//! a database must still hold afterwards.
//!
//! * `oracle`: every commit in order, with what it was promised; says which contents are right.
//! * `world`: a simulated machine with a database on it; runs steps and checks the result against the oracle.
//! * `checks`: what is asked of that database; `damage`: what disks do to it.
//! * `beside`: checkpoints, and readers next to the writer; `objects`: large values as streams, and what is left of them.
//! * `everywhere`: the power goes at each call of a history; `failing`: each call fails.
//! * `histories`: the scripts; `random`: scripts drawn from a seed; `soak`: what is done to random scripts.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use packstone::LogMedium;

pub mod beside;
pub mod checks;
pub mod damage;
pub mod everywhere;
pub mod failing;
pub mod histories;
pub mod object_histories;
pub mod objects;
pub mod oracle;
pub mod random;
pub mod soak;
pub mod world;

/// What a step writes: key number and value length; `None` deletes. The value follows from the key and a counter.
pub type Item = (&'static str, u32, Option<usize>);

/// An operation that other work may happen in the middle of.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// The snapshot is kept, as by `TakeSnapshot`.
    Snapshot,
    /// A point read of the first of the keys that are written meanwhile.
    Get,
    Sync,
}

/// What happens in the middle of a checkpoint or an opening.
#[derive(Clone, Debug)]
pub struct Amidst {
    /// Before which I/O call.
    pub at: u64,
    /// Written as a batch; then the keyspace is dropped; then they are written again, and everything is compacted.
    pub items: Vec<Item>,
    pub drop: Option<&'static str>,
    /// The disk has no hard links.
    pub no_links: bool,
}

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Step {
    /// Create the keyspace, or open it.
    Keyspace(&'static str),
    Drop(&'static str),
    /// One batch, which may span keyspaces; the flag asks for `Durability::Sync`.
    Write(Vec<Item>, bool),
    /// `count` single buffered puts to keys from `from` on.
    Fill {
        keyspace: &'static str,
        from: u32,
        count: u32,
        len: usize,
    },
    /// A value of this length, written as a stream; the flag asks for `Durability::Sync`.
    Stream(&'static str, u32, usize, bool),
    /// The same by `put_reader`.
    PutReader(&'static str, u32, usize),
    /// A stream that is given up behind so many bytes.
    GiveUp(&'static str, u32, usize),
    /// A `put_reader` whose reader fails behind so many bytes.
    FailingReader(&'static str, u32, usize),
    /// A full collection, asked for.
    Collect,
    Sync,
    Flush,
    /// `compact_range` over everything: also the way to flush one keyspace alone.
    Compact(&'static str),
    /// Runs one background job, if one is due.
    RunOne,
    RunIdle,
    /// Waits until nothing is due.
    Settle,
    /// Moves the clock, by milliseconds, and runs what becomes due.
    Advance(u64),
    TakeSnapshot,
    /// Compares all that readers see with the oracle: iterators and look-ups.
    Look,
    /// Compares the oldest snapshot with what it saw, and lets go of it.
    CheckSnapshot,
    /// The operation, and in the middle of it (where the library lets tests step in, else just before it) a buffered write
    /// of these items; unless it is a sync, everything is compacted meanwhile as well.
    Amid(Reader, Vec<Item>),
    /// Makes a checkpoint, opens it, and compares it with the oracle at its number; again after the next opening of the database.
    Checkpoint(Amidst),
    /// Opens the database read-only beside the writer.
    Beside(Amidst),
    /// Closes the database in order and opens it again.
    Reopen,
    /// Drops all handles and opens again.
    DropAndReopen,
    /// The process dies; everything written stays in the page cache.
    Kill,
    /// Power is lost; only what was synced stays.
    PowerLoss,
    /// Power is lost; anything may stay.
    PowerLossRandom,
}

/// A named script with the options that suit it.
#[derive(Clone, Debug)]
pub struct History {
    pub name: String,
    pub write_buffer_size: u64,
    pub max_log_size: u64,
    pub max_file_size: u64,
    pub manifest_roll_size: u64,
    pub sync_interval_ms: Option<u64>,
    /// SSTs are read by read calls and without a cache, so that every block that a reader needs is a call.
    pub read_calls: bool,
    pub log_medium: LogMedium,
    /// Keyspaces hold objects.
    pub objects: bool,
    pub pack_size: u64,
    pub steps: Vec<Step>,
}
