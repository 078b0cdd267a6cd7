//! [`Step`]: one thing that a history does, as data. A step is one line of text and back, and means something in any
//! surroundings: what it needs and does not find (a keyspace, a snapshot) makes it do nothing. So any part of a history
//! is a history, which is what shortening it relies on.

use std::fmt::{self, Display};
use std::str::FromStr;

use packstone::env::sim::{CrashStyle, EIO, EMFILE, ENOSPC, Op};

/// Keyspaces, keys, snapshots and ranges are known by small numbers.
pub(crate) type Id = u16;

/// One write: the value's length and the number that its bytes follow from; `None` deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) keyspace: Id,
    pub(crate) key: Id,
    pub(crate) value: Option<(u32, u32)>,
}

/// From which end a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
    /// By turns.
    Both,
}

/// The keys from one key to before another, or those that begin with the first bytes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Keys(Option<Id>, Option<Id>),
    Prefix(Id, u16),
}

/// What becomes of a value that is written piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is read to its end.
    Reader,
    Commit,
    Synced,
    Abort,
    /// Its source fails at the end.
    Fail,
}

/// Where a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    First,
    Last,
    Seek(Id),
    SeekForPrev(Id),
    Next,
    Prev,
    Refresh,
}

/// The options of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) key_block: u32,
    pub(crate) value_block: u32,
    pub(crate) compressed: bool,
    pub(crate) filter: bool,
    pub(crate) hash_order: bool,
    pub(crate) partition: u32,
    /// Longer values are objects; 0: none are.
    pub(crate) objects_above: u32,
    /// Equal objects are stored each for itself.
    pub(crate) alone: bool,
}

/// The options of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opts {
    pub(crate) write_buffer: u64,
    pub(crate) max_log: u64,
    pub(crate) max_file: u64,
    pub(crate) manifest_roll: u64,
    pub(crate) cache: u64,
    pub(crate) threads: u64,
    /// Milliseconds; 0 means never.
    pub(crate) sync_interval: u64,
    pub(crate) mapped: bool,
    pub(crate) point_in_time: bool,
    /// Bytes a second; 0 means no limit.
    pub(crate) compaction_rate: u64,
    pub(crate) plain_log: bool,
    pub(crate) pack_size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    // ---- the world ----
    /// From the next opening on.
    Options(Opts),
    /// The power goes off with the so-manieth I/O call from here.
    PowerOff(u64, CrashStyle),
    /// The machine stops here.
    Crash(CrashStyle),
    /// The so-manieth I/O call from here fails with this error; `true` means that it does some of its work.
    Fault(u64, i32, bool),
    /// One in so many calls of a kind (`None`: all) fails.
    Chance(u64, i32, Option<Op>),
    /// No more chances.
    Calm,
    /// Room for so many bytes more; `None`: as much as you like.
    Room(Option<u64>),
    /// One in so many reads and writes is interrupted or short; 0: none.
    Flaky(u64),
    /// A call takes up to so many microseconds.
    Slow(u64),
    /// A bit flips in some file whose name contains this.
    Flip(String),
    Advance(u64),
    Jobs(u64),
    Idle,

    // ---- the database ----
    Create(Id, Layout),
    Drop(Id),
    /// With `true`: synced.
    Write(bool, Vec<Item>),
    /// A value, piece by piece, with a job after each.
    Stream(Ending, Item),
    Get(Id, Id),
    /// A value that is held open as a stream: its slot, keyspace, key, snapshot.
    Open(Id, Id, Id, Option<Id>),
    /// Goes to a place in it, if one is named, and reads so many bytes.
    Pour(Id, Option<u64>, u64),
    /// First, last, and whether there is any.
    Ends(Id),
    /// A range read to its end; with `true` only its keys.
    Range(Id, Span, End, bool),
    Snapshot(Id),
    /// Everything that a snapshot sees.
    Look(Id),
    Peek(Id, Id, Id),
    Release(Id),
    /// A range that is held open: its slot, keyspace, span, snapshot.
    Begin(Id, Id, Span, Option<Id>),
    Next(Id, u64, End),
    Finish(Id),
    /// Several keys at once, now or as a snapshot sees them.
    GetMany(Id, Option<Id>, Vec<Id>),
    /// A cursor that is held open: its slot, keyspace, snapshot.
    Cursor(Id, Id, Option<Id>),
    Move(Id, Move),
    Flush,
    Compact(Id, Span),
    Sync,
    Settle,
    Verify,
    /// All that can be read, the files, and the account of space.
    Check,
    ReadOnly,
    /// A checkpoint, while jobs run; with `true` on a disk without links.
    Checkpoint(bool),
    /// A read-only opening while jobs run.
    Beside,
    Close,
    /// Drops all handles.
    Abandon,
}

impl Step {
    /// Whether it calls the database.
    pub(crate) fn is_operation(&self) -> bool {
        use Step::*;
        !matches!(
            self,
            Options(_)
                | PowerOff(..)
                | Crash(_)
                | Fault(..)
                | Chance(..)
                | Calm
                | Room(_)
                | Flaky(_)
                | Slow(_)
                | Flip(_)
                | Advance(_)
                | Jobs(_)
                | Idle
        )
    }
}

// ---- as text ----

/// Names of things of which there are a few.
const STYLES: [(&str, CrashStyle); 4] = [
    ("nothing", CrashStyle::KeepNothing),
    ("all", CrashStyle::KeepAll),
    ("random", CrashStyle::Random),
    ("blocks", CrashStyle::Blocks),
];
const ERRORS: [(&str, i32); 3] = [("EIO", EIO), ("ENOSPC", ENOSPC), ("EMFILE", EMFILE)];
const ENDS: [(&str, End); 3] = [("front", End::Front), ("back", End::Back), ("both", End::Both)];
const WHAT: [(&str, bool); 2] = [("entries", false), ("keys", true)];
const EFFECTS: [(&str, bool); 2] = [("before", false), ("half", true)];
const LINKS: [(&str, bool); 2] = [("linked", false), ("copied", true)];
const SYNCED: [(&str, bool); 2] = [("buffered", false), ("synced", true)];
const ENDINGS: [(&str, Ending); 5] = [
    ("reader", Ending::Reader),
    ("commit", Ending::Commit),
    ("synced", Ending::Synced),
    ("abort", Ending::Abort),
    ("fail", Ending::Fail),
];
pub(crate) const OPS: [(&str, Option<Op>); 17] = [
    ("any", None),
    ("create", Some(Op::Create)),
    ("open", Some(Op::Open)),
    ("remove", Some(Op::Remove)),
    ("rename", Some(Op::Rename)),
    ("link", Some(Op::Link)),
    ("mkdir", Some(Op::CreateDir)),
    ("list", Some(Op::List)),
    ("syncdir", Some(Op::SyncDir)),
    ("lock", Some(Op::Lock)),
    ("read", Some(Op::Read)),
    ("write", Some(Op::Write)),
    ("sync", Some(Op::Sync)),
    ("len", Some(Op::Len)),
    ("setlen", Some(Op::SetLen)),
    ("map", Some(Op::Map)),
    ("reserve", Some(Op::Reserve)),
];

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    let found = table.iter().find(|(_, known)| known == value);
    found.map_or("?", |(name, _)| name)
}

struct Dash<T>(Option<T>);

impl<T: Display> Display for Dash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Keys(from, to) => write!(f, "from {} {}", Dash(*from), Dash(*to)),
            Span::Prefix(key, len) => write!(f, "prefix {key} {len}"),
        }
    }
}

impl Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::First => f.write_str("first"),
            Move::Last => f.write_str("last"),
            Move::Seek(key) => write!(f, "seek {key}"),
            Move::SeekForPrev(key) => write!(f, "seek-for-prev {key}"),
            Move::Next => f.write_str("next"),
            Move::Prev => f.write_str("prev"),
            Move::Refresh => f.write_str("refresh"),
        }
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.keyspace, self.key)?;
        match self.value {
            Some((len, stamp)) => write!(f, "{len}:{stamp}"),
            None => f.write_str("-"),
        }
    }
}

impl Display for Opts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} {} {} {} {} {}",
            self.write_buffer,
            self.max_log,
            self.max_file,
            self.manifest_roll,
            self.cache,
            self.threads,
            self.sync_interval,
            u8::from(self.mapped),
            u8::from(self.point_in_time),
            self.compaction_rate,
            u8::from(self.plain_log)
        )?;
        // Histories from before there were packs have no word for them.
        if self.pack_size != Opts::DEFAULT_PACK {
            write!(f, " packs {}", self.pack_size)?;
        }
        Ok(())
    }
}

impl Opts {
    pub(crate) const DEFAULT_PACK: u64 = 256 << 20;
}

impl Layout {
    const DEFAULT_PARTITION: u32 = 32 << 10;
}

impl Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (compressed, filter) = (u8::from(self.compressed), u8::from(self.filter));
        write!(f, "{} {} {compressed} {filter}", self.key_block, self.value_block)?;
        // Histories from before there was another order have no word for it.
        if self.hash_order {
            f.write_str(" hashed")?;
        }
        // The same goes for partitions.
        if self.partition != Layout::DEFAULT_PARTITION {
            write!(f, " partition {}", self.partition)?;
        }
        if self.objects_above > 0 {
            write!(f, " objects {}", self.objects_above)?;
        }
        if self.alone {
            f.write_str(" alone")?;
        }
        Ok(())
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Options(opts) => write!(f, "options {opts}"),
            Step::PowerOff(calls, style) => write!(f, "power-off {calls} {}", name_of(&STYLES, style)),
            Step::Crash(style) => write!(f, "crash {}", name_of(&STYLES, style)),
            Step::Fault(calls, errno, half) => {
                let (error, effect) = (name_of(&ERRORS, errno), name_of(&EFFECTS, half));
                write!(f, "fault {calls} {error} {effect}")
            }
            Step::Chance(one_in, errno, op) => {
                write!(
                    f,
                    "chance {one_in} {} {}",
                    name_of(&ERRORS, errno),
                    name_of(&OPS, op)
                )
            }
            Step::Calm => f.write_str("calm"),
            Step::Room(bytes) => write!(f, "room {}", Dash(*bytes)),
            Step::Flaky(one_in) => write!(f, "flaky {one_in}"),
            Step::Slow(micros) => write!(f, "slow {micros}"),
            Step::Flip(part) => write!(f, "flip {part}"),
            Step::Advance(ms) => write!(f, "advance {ms}"),
            Step::Jobs(n) => write!(f, "jobs {n}"),
            Step::Idle => f.write_str("idle"),
            Step::Create(id, layout) => write!(f, "create {id} {layout}"),
            Step::Drop(id) => write!(f, "drop {id}"),
            Step::Write(sync, items) => {
                write!(f, "write {}", name_of(&SYNCED, sync))?;
                items.iter().try_for_each(|item| write!(f, " {item}"))
            }
            Step::Stream(ending, item) => write!(f, "stream {} {item}", name_of(&ENDINGS, ending)),
            Step::Get(id, key) => write!(f, "get {id} {key}"),
            Step::Open(slot, id, key, snapshot) => {
                write!(f, "open {slot} {id} {key} {}", Dash(*snapshot))
            }
            Step::Pour(slot, to, count) => write!(f, "pour {slot} {} {count}", Dash(*to)),
            Step::Ends(id) => write!(f, "ends {id}"),
            Step::Range(id, span, end, keys) => {
                write!(
                    f,
                    "range {id} {span} {} {}",
                    name_of(&ENDS, end),
                    name_of(&WHAT, keys)
                )
            }
            Step::Snapshot(slot) => write!(f, "snapshot {slot}"),
            Step::Look(slot) => write!(f, "look {slot}"),
            Step::Peek(slot, id, key) => write!(f, "peek {slot} {id} {key}"),
            Step::Release(slot) => write!(f, "release {slot}"),
            Step::Begin(slot, id, span, snapshot) => {
                write!(f, "begin {slot} {id} {span} {}", Dash(*snapshot))
            }
            Step::Next(slot, n, end) => write!(f, "next {slot} {n} {}", name_of(&ENDS, end)),
            Step::Finish(slot) => write!(f, "finish {slot}"),
            Step::GetMany(id, snapshot, keys) => {
                write!(f, "get-many {id} {}", Dash(*snapshot))?;
                keys.iter().try_for_each(|key| write!(f, " {key}"))
            }
            Step::Cursor(slot, id, snapshot) => write!(f, "cursor {slot} {id} {}", Dash(*snapshot)),
            Step::Move(slot, to) => write!(f, "move {slot} {to}"),
            Step::Flush => f.write_str("flush"),
            Step::Compact(id, span) => write!(f, "compact {id} {span}"),
            Step::Sync => f.write_str("sync"),
            Step::Settle => f.write_str("settle"),
            Step::Verify => f.write_str("verify"),
            Step::Check => f.write_str("check"),
            Step::ReadOnly => f.write_str("read-only"),
            Step::Checkpoint(no_links) => write!(f, "checkpoint {}", name_of(&LINKS, no_links)),
            Step::Beside => f.write_str("beside"),
            Step::Close => f.write_str("close"),
            Step::Abandon => f.write_str("abandon"),
        }
    }
}

/// The words of a line, one after the other.
struct Words<'l>(std::str::SplitWhitespace<'l>);

impl Words<'_> {
    fn word(&mut self) -> Result<&str, String> {
        self.0.next().ok_or_else(|| "a word is missing".to_owned())
    }

    fn get<T: FromStr>(&mut self) -> Result<T, String> {
        let word = self.word()?;
        word.parse()
            .map_err(|_| format!("{word:?} is not what belongs there"))
    }

    fn dash<T: FromStr>(&mut self) -> Result<Option<T>, String> {
        match self.word()? {
            "-" => Ok(None),
            word => word
                .parse()
                .map(Some)
                .map_err(|_| format!("{word:?} is not a number")),
        }
    }

    fn flag(&mut self) -> Result<bool, String> {
        Ok(self.get::<u8>()? == 1)
    }

    fn one_of<T: Copy>(&mut self, table: &[(&'static str, T)]) -> Result<T, String> {
        let word = self.word()?;
        let found = table.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{word:?} is unknown"))
    }

    fn span(&mut self) -> Result<Span, String> {
        match self.word()? {
            "from" => Ok(Span::Keys(self.dash()?, self.dash()?)),
            "prefix" => Ok(Span::Prefix(self.get()?, self.get()?)),
            word => Err(format!("{word:?} begins no span")),
        }
    }

    fn movement(&mut self) -> Result<Move, String> {
        Ok(match self.word()? {
            "first" => Move::First,
            "last" => Move::Last,
            "seek" => Move::Seek(self.get()?),
            "seek-for-prev" => Move::SeekForPrev(self.get()?),
            "next" => Move::Next,
            "prev" => Move::Prev,
            "refresh" => Move::Refresh,
            word => return Err(format!("{word:?} is no move of a cursor")),
        })
    }

    fn layout(&mut self) -> Result<Layout, String> {
        let mut layout = Layout {
            key_block: self.get()?,
            value_block: self.get()?,
            compressed: self.flag()?,
            filter: self.flag()?,
            hash_order: false,
            partition: Layout::DEFAULT_PARTITION,
            objects_above: 0,
            alone: false,
        };
        while let Some(word) = self.0.next() {
            match word {
                "hashed" => layout.hash_order = true,
                "partition" => layout.partition = self.get()?,
                "objects" => layout.objects_above = self.get()?,
                "alone" => layout.alone = true,
                word => return Err(format!("{word:?} is no option of a keyspace")),
            }
        }
        Ok(layout)
    }

    fn opts(&mut self) -> Result<Opts, String> {
        let mut opts = Opts {
            write_buffer: self.get()?,
            max_log: self.get()?,
            max_file: self.get()?,
            manifest_roll: self.get()?,
            cache: self.get()?,
            threads: self.get()?,
            sync_interval: self.get()?,
            mapped: self.flag()?,
            point_in_time: self.flag()?,
            compaction_rate: self.get()?,
            plain_log: self.flag()?,
            pack_size: Opts::DEFAULT_PACK,
        };
        while let Some(word) = self.0.next() {
            match word {
                "packs" => opts.pack_size = self.get()?,
                word => return Err(format!("{word:?} is no option of an opening")),
            }
        }
        Ok(opts)
    }
}

impl FromStr for Item {
    type Err = String;
    fn from_str(text: &str) -> Result<Item, String> {
        let numbers: Vec<Option<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match numbers[..] {
            [Some(keyspace), Some(key), Some(len), Some(stamp)] => Ok((keyspace, key, Some((len, stamp)))),
            [Some(keyspace), Some(key), None] => Ok((keyspace, key, None)),
            _ => Err(format!("{text:?} is no write")),
        }
        .map(|(keyspace, key, value)| Item {
            keyspace: keyspace as Id,
            key: key as Id,
            value,
        })
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(line: &str) -> Result<Step, String> {
        let mut words = Words(line.split_whitespace());
        let w = &mut words;
        let first = w.word()?.to_owned();
        Ok(match &first[..] {
            "options" => Step::Options(w.opts()?),
            "power-off" => Step::PowerOff(w.get()?, w.one_of(&STYLES)?),
            "crash" => Step::Crash(w.one_of(&STYLES)?),
            "fault" => Step::Fault(w.get()?, w.one_of(&ERRORS)?, w.one_of(&EFFECTS)?),
            "chance" => Step::Chance(w.get()?, w.one_of(&ERRORS)?, w.one_of(&OPS)?),
            "calm" => Step::Calm,
            "room" => Step::Room(w.dash()?),
            "flaky" => Step::Flaky(w.get()?),
            "slow" => Step::Slow(w.get()?),
            "flip" => Step::Flip(w.get()?),
            "advance" => Step::Advance(w.get()?),
            "jobs" => Step::Jobs(w.get()?),
            "idle" => Step::Idle,
            "create" => Step::Create(w.get()?, w.layout()?),
            "drop" => Step::Drop(w.get()?),
            "write" => {
                let sync = w.one_of(&SYNCED)?;
                Step::Write(sync, words.0.map(str::parse).collect::<Result<_, _>>()?)
            }
            "stream" => Step::Stream(w.one_of(&ENDINGS)?, w.get()?),
            "open" => Step::Open(w.get()?, w.get()?, w.get()?, w.dash()?),
            "pour" => Step::Pour(w.get()?, w.dash()?, w.get()?),
            "get" => Step::Get(w.get()?, w.get()?),
            "ends" => Step::Ends(w.get()?),
            "range" => Step::Range(w.get()?, w.span()?, w.one_of(&ENDS)?, w.one_of(&WHAT)?),
            "snapshot" => Step::Snapshot(w.get()?),
            "look" => Step::Look(w.get()?),
            "peek" => Step::Peek(w.get()?, w.get()?, w.get()?),
            "release" => Step::Release(w.get()?),
            "begin" => Step::Begin(w.get()?, w.get()?, w.span()?, w.dash()?),
            "next" => Step::Next(w.get()?, w.get()?, w.one_of(&ENDS)?),
            "finish" => Step::Finish(w.get()?),
            "get-many" => {
                let (id, snapshot) = (w.get()?, w.dash()?);
                let keys = words
                    .0
                    .map(|word| word.parse().map_err(|_| format!("{word:?} is no key")));
                Step::GetMany(id, snapshot, keys.collect::<Result<_, _>>()?)
            }
            "cursor" => Step::Cursor(w.get()?, w.get()?, w.dash()?),
            "move" => Step::Move(w.get()?, w.movement()?),
            "flush" => Step::Flush,
            "compact" => Step::Compact(w.get()?, w.span()?),
            "sync" => Step::Sync,
            "settle" => Step::Settle,
            "verify" => Step::Verify,
            "check" => Step::Check,
            "read-only" => Step::ReadOnly,
            "checkpoint" => Step::Checkpoint(w.one_of(&LINKS)?),
            "beside" => Step::Beside,
            "close" => Step::Close,
            "abandon" => Step::Abandon,
            other => return Err(format!("{other:?} is no step")),
        })
    }
}

/// A history: a world and what happens in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// Decides the order of jobs, what crashes leave, and which calls fail by chance.
    pub(crate) world: u64,
    /// How keys look, see [`super::data::key`].
    pub(crate) keys: u64,
    pub(crate) steps: Vec<Step>,
}

impl History {
    /// One more than the greatest number of a key that is written.
    pub(crate) fn keys_end(&self) -> Id {
        let items = self.steps.iter().filter_map(|step| match step {
            Step::Write(_, items) => Some(&items[..]),
            Step::Stream(_, item) => Some(std::slice::from_ref(item)),
            _ => None,
        });
        items.flatten().map(|item| item.key + 1).max().unwrap_or(0)
    }
}

impl Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world {} {}", self.world, self.keys)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for History {
    type Err = String;
    fn from_str(text: &str) -> Result<History, String> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut head = Words(lines.next().unwrap_or_default().split_whitespace());
        if head.word()? != "world" {
            return Err("a history begins with \"world <seed> <keys>\"".to_owned());
        }
        let (world, keys) = (head.get()?, head.get()?);
        let steps = lines.map(|line| line.parse().map_err(|what| format!("{line:?}: {what}")));
        Ok(History {
            world,
            keys,
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}
