//! `find`: every mention of a key in logs, the manifest's bounds and SSTs, newest first.
//!
//! An SST of the last level has the number zero for entries whose age no longer matters; those come last, the higher level
//! first, so that for each keyspace the first line is what a read finds.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use packstone::inspect::{self, FileKind, FrameContent, Tail};
use packstone::sst::{ObjectRef, SortKeyBuffer};
use packstone::{KeyspaceId, SeqNo};
use serde_json::json;

use crate::Ctx;
use crate::args::FindArgs;
use crate::entries::{self, Content, KeyRange};
use crate::out::Fail;
use crate::target::{Item, Role, Targets};

/// Bytes of a value that are shown.
const SHOWN: usize = 64;

/// Length and first bytes of a value, or what else there is.
enum Start {
    Value(u64, Vec<u8>),
    Object(ObjectRef),
    Nothing,
}

/// A place where the key is written or deleted.
struct Mention {
    seq: SeqNo,
    /// Which source is newer where numbers are equal: 0 a log, 1 level 0, and so on.
    rank: usize,
    file: String,
    keyspace: KeyspaceId,
    keyspace_name: String,
    place: String,
    content: Start,
}

/// The mentions so far, and how many are kept.
struct Found {
    mentions: Vec<Mention>,
    keep: usize,
    total: u64,
}

impl Found {
    fn add(&mut self, mention: Mention) {
        self.mentions.push(mention);
        self.total += 1;
        if self.mentions.len() >= self.keep.saturating_mul(2).max(1024) {
            self.settle();
        }
    }

    /// Newest first, and no more than are kept.
    fn settle(&mut self) {
        self.mentions.sort_by(|a, b| {
            (Reverse(a.seq), a.rank, Reverse(&a.file)).cmp(&(Reverse(b.seq), b.rank, Reverse(&b.file)))
        });
        self.mentions.truncate(self.keep);
    }
}

pub(crate) fn run(ctx: &mut Ctx, args: &FindArgs) -> Result<(), Fail> {
    let key = entries::parse_key(&args.key, args.input_key_hex)?;
    let targets = Targets::find(ctx, &args.files)?;
    let logs = targets.items.iter().filter(|item| item.kind == FileKind::Log);
    ctx.fs.expect(logs.map(|item| item.size).sum());
    let shown = ctx.out.bytes(&key);
    ctx.out.line(format_args!("'{shown}', newest first:"))?;
    let keep = usize::try_from(args.read_num).unwrap_or(usize::MAX);
    let mut found = Found {
        mentions: Vec::new(),
        keep,
        total: 0,
    };
    let mut bounds = Vec::new();
    for item in targets.items.iter().filter(|item| item.role.counts()) {
        match item.kind {
            FileKind::Log => in_log(ctx, &targets, item, &key, &mut found),
            FileKind::Sst => bounds.extend(in_sst(ctx, &targets, item, &key, &mut found)?),
            _ => {}
        }
    }
    found.settle();
    for mention in &found.mentions {
        tell(ctx, mention, &shown)?;
    }
    if found.total > found.mentions.len() as u64 {
        let left = found.total - found.mentions.len() as u64;
        ctx.out.warn(&format!(
            "{left} older mentions are left out; --read_num shows more"
        ));
    }
    ctx.out.line(format_args!("{} mentions", found.total))?;
    for (file, role, passes, entries) in bounds {
        let passes = if passes { "may hold it" } else { "does not hold it" };
        ctx.out.line(format_args!(
            "{file} ({role}): its bounds cover the key, its filter says that it {passes}; {entries} entries"
        ))?;
    }
    Ok(())
}

fn tell(ctx: &mut Ctx, mention: &Mention, key: &str) -> Result<(), Fail> {
    let Mention {
        seq,
        file,
        keyspace,
        keyspace_name,
        place,
        content,
        ..
    } = mention;
    let (content, value) = match content {
        Start::Value(len, start) => {
            let cut = if *len > start.len() as u64 { "..." } else { "" };
            let shown = format!("{}{cut}", ctx.out.bytes(start));
            (Content::Value(start), Some((*len, shown)))
        }
        Start::Object(object) => {
            let shown = entries::object_text(object);
            (Content::Object(*object), Some((object.len, shown)))
        }
        Start::Nothing => (Content::Nothing, None),
    };
    let kind = content.type_number();
    let shown = value.as_ref().map_or("", |(_, shown)| shown);
    ctx.out.line(format_args!(
        "  keyspace '{keyspace_name}' seq:{seq}, type:{kind} => {shown}  [{file}, {place}]"
    ))?;
    let object = json!({
        "key": key, "keyspace": keyspace, "keyspace_name": keyspace_name, "seq": seq,
        "type": content.type_name(), "file": file, "place": place,
        "value_len": value.as_ref().map(|(len, _)| len), "value_start": value.as_ref().map(|(_, shown)| shown),
    });
    Ok(ctx.out.record("mention", object)?)
}

fn keyspace_name(targets: &Targets, item: &Item, keyspace: KeyspaceId) -> String {
    let database = item.database.and_then(|index| targets.databases.get(index));
    database.map_or_else(
        || format!("#{keyspace}"),
        |database| database.keyspace_name(keyspace),
    )
}

fn in_log(ctx: &mut Ctx, targets: &Targets, item: &Item, key: &[u8], found: &mut Found) {
    let mut problems = Vec::new();
    let limits = targets.log_limits(ctx, item);
    let walked = inspect::walk_log(&ctx.fs, &item.path, &limits, &mut |frame| {
        let FrameContent::Batch(batch) = frame.content else {
            return ControlFlow::Continue(());
        };
        for op in batch.operations() {
            match op {
                Err(error) => problems.push(error),
                Ok(op) if op.key == key => found.add(Mention {
                    seq: op.seq,
                    rank: 0,
                    file: item.path.display().to_string(),
                    keyspace: op.keyspace,
                    keyspace_name: keyspace_name(targets, item, op.keyspace),
                    place: format!("log, offset {}", frame.offset),
                    content: start_of(op.value.into()),
                }),
                Ok(_) => {}
            }
        }
        ControlFlow::Continue(())
    });
    match walked {
        Ok(report) => {
            if let Tail::Damaged(error) = report.tail {
                problems.push(error);
            }
        }
        Err(error) => targets.failed(ctx, item, &error),
    }
    problems.iter().for_each(|error| ctx.out.problem(error));
}

/// What an SST whose bounds cover the key has to say: file, role, the filter's answer, entries found.
type Bounds = (String, String, bool, u64);

fn in_sst(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    key: &[u8],
    found: &mut Found,
) -> Result<Option<Bounds>, Fail> {
    let Some(sst) = entries::open(ctx, targets, item) else {
        return Ok(None);
    };
    let p = sst.properties();
    let mut room = SortKeyBuffer::default();
    let hash = p.order.hash(key);
    let sort_key = p.order.sort_key(key, hash, &mut room);
    if !(&p.min_key[..]..=&p.max_key[..]).contains(&sort_key) {
        return Ok(None);
    }
    let (rank, level) = match &item.role {
        Role::Live { level, .. } => (level + 1, format!("level {level}")),
        _ => (usize::MAX, "SST".to_owned()),
    };
    // The key itself and nothing behind it.
    let range = KeyRange {
        from: key.to_vec(),
        to: Some([key, &[0]].concat()),
        ..KeyRange::default()
    };
    let file = item.path.display().to_string();
    let entries = entries::each(ctx, &sst, &range, true, &mut |_, entry| {
        found.add(Mention {
            seq: entry.seq,
            rank,
            file: file.clone(),
            keyspace: p.keyspace,
            keyspace_name: keyspace_name(targets, item, p.keyspace),
            place: format!("{level}, key block {}", entry.block),
            content: start_of(entry.content()),
        });
        Ok(())
    })?;
    let passes = match sst.may_contain(key, hash) {
        Ok(passes) => passes,
        Err(error) => {
            ctx.out.problem(&error);
            true
        }
    };
    let bounds = json!({
        "file": file, "min_key": ctx.out.bytes(&p.min_key), "max_key": ctx.out.bytes(&p.max_key),
        "filter_passes": passes, "entries": entries,
    });
    ctx.out.record("bounds", bounds)?;
    Ok(Some((file, item.role.describe(), passes, entries)))
}

fn start_of(content: Content<'_>) -> Start {
    match content {
        Content::Value(value) => {
            let start = value.iter().take(SHOWN).copied().collect();
            Start::Value(value.len() as u64, start)
        }
        Content::Object(object) => Start::Object(object),
        Content::Nothing => Start::Nothing,
    }
}
