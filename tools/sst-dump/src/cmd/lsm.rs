//! `lsm`: the shape of the tree: levels, files, sizes, and which part of the key space each file covers.
//!
//! Keys have no lengths on paper, so the key axis counts bounds: the smallest bound of any file of the keyspace is at 0,
//! the next one at 1, and so on. Files that overlap on paper overlap in the tree, and the other way round.

use packstone::inspect::{KeyspaceState, SstInfo};
use serde_json::json;

use super::{lsm_html, manifest};
use crate::Ctx;
use crate::args::LsmArgs;
use crate::draw::size;
use crate::out::Fail;
use crate::target::{Database, Targets};

/// Columns of the drawing of the key space.
const COLUMNS: usize = 48;

pub(crate) fn run(ctx: &mut Ctx, args: &LsmArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, &args.files)?;
    for item in targets.items.iter().filter(|item| item.database.is_none()) {
        ctx.out.misuse(&item.path, "give the directory of a database");
    }
    for database in &targets.databases {
        tree(ctx, database)?;
    }
    let Some(path) = &args.html else { return Ok(()) };
    let Some(database) = targets.databases.first() else {
        return Err(Fail::Usage("there is no database to draw".to_owned()));
    };
    let page = lsm_html::page(&ctx.out, database);
    std::fs::File::create_new(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, page.as_bytes()))
        .map_err(|error| Fail::Usage(format!("cannot create {}: {error}", path.display())))?;
    ctx.out.line(format_args!("wrote {}", path.display()))?;
    let object = json!({ "file": path.display().to_string(), "bytes": page.len() });
    Ok(ctx.out.record("page", object)?)
}

/// Where each bound lies on the key axis.
pub(crate) struct Axis<'a>(Vec<&'a [u8]>);

impl<'a> Axis<'a> {
    pub(crate) fn of(keyspace: &'a KeyspaceState) -> Axis<'a> {
        let files = keyspace.levels.iter().flatten();
        let mut bounds: Vec<&[u8]> = files
            .flat_map(|sst| [&sst.min_key[..], &sst.max_key[..]])
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        Axis(bounds)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// First and last position of a file, inclusive.
    pub(crate) fn span(&self, sst: &SstInfo) -> (usize, usize) {
        let at = |key: &[u8]| self.0.partition_point(|bound| *bound < key);
        (at(&sst.min_key), at(&sst.max_key))
    }
}

pub(crate) struct Totals {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
}

pub(crate) fn totals<'a>(files: impl IntoIterator<Item = &'a SstInfo>) -> Totals {
    let none = Totals {
        files: 0,
        bytes: 0,
        entries: 0,
        tombstones: 0,
    };
    files.into_iter().fold(none, |sum, sst| Totals {
        files: sum.files + 1,
        bytes: sum.bytes.saturating_add(sst.size),
        entries: sum.entries.saturating_add(sst.entries),
        tombstones: sum.tombstones.saturating_add(sst.tombstones),
    })
}

fn tree(ctx: &mut Ctx, database: &Database) -> Result<(), Fail> {
    let state = &database.state;
    let all = totals(database.ssts().map(|(_, _, sst)| sst));
    ctx.out.line(format_args!(
        "{}: {} keyspaces, {} SSTs, {}; logs from {} on; last sequence number in the manifest {}",
        database.dir.display(),
        state.keyspaces.len(),
        all.files,
        size(all.bytes),
        state.log_floor,
        state.last_seq
    ))?;
    for keyspace in &state.keyspaces {
        ctx.out.line(format_args!(
            "\nkeyspace '{}' (id {}), flushed up to {}",
            keyspace.name, keyspace.id, keyspace.flushed
        ))?;
        ctx.out.line(format_args!(
            "level  files        size     entries  tombstones  keys, from the least to the greatest"
        ))?;
        let axis = Axis::of(keyspace);
        let deepest = keyspace.levels.iter().rposition(|files| !files.is_empty());
        let mut levels = Vec::new();
        for (level, files) in keyspace.levels.iter().enumerate() {
            let sum = totals(files);
            if deepest.is_some_and(|deepest| level <= deepest) {
                ctx.out.line(format_args!(
                    "{level:>5} {:>6} {:>11} {:>11} {:>11}  |{}|",
                    sum.files,
                    size(sum.bytes),
                    sum.entries,
                    sum.tombstones,
                    coverage(&axis, files)
                ))?;
            }
            let ssts: Vec<_> = files
                .iter()
                .map(|sst| manifest::sst_json(&ctx.out, sst))
                .collect();
            levels.push(json!({
                "level": level, "files": sum.files, "bytes": sum.bytes, "entries": sum.entries,
                "tombstones": sum.tombstones, "ssts": ssts,
            }));
        }
        if deepest.is_none() {
            ctx.out.line(format_args!("no SSTs"))?;
        }
        let object = json!({
            "file": database.dir.display().to_string(), "keyspace": keyspace.id, "name": keyspace.name,
            "flushed": keyspace.flushed, "levels": levels,
        });
        ctx.out.record("lsm", object)?;
    }
    Ok(())
}

/// How many files of a level cover each part of the key space: a space for none, `-` for one, digits, `+` beyond nine.
fn coverage(axis: &Axis<'_>, files: &[SstInfo]) -> String {
    let mut columns = [0u32; COLUMNS];
    let place = |position: usize| position * (COLUMNS - 1) / axis.len().saturating_sub(1).max(1);
    for sst in files {
        let (first, last) = axis.span(sst);
        for count in columns.iter_mut().take(place(last) + 1).skip(place(first)) {
            *count += 1;
        }
    }
    let sign = |count: u32| match count {
        0 => ' ',
        1 => '-',
        2..=9 => char::from_digit(count, 10).unwrap_or('+'),
        _ => '+',
    };
    columns.into_iter().map(sign).collect()
}
