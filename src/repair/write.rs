//! Writes the target: packs, SSTs, then the manifest, then `CURRENT`.
//!
//! Order: each pack and each SST is synced when it is finished, their names by one sync of the directory, then the manifest is made, which puts
//! `CURRENT` in place by a rename: the point of no return. Before it nothing takes the directory for a database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decide::{Plan, Space};
use super::logs;
use super::merge::merge;
use super::place::{Placed, Unit, lay_out};
use super::survey::{Condition, Found};
use super::{Fate, Repair, objects};
use crate::cursor::Cursor;
use crate::engine::keyspace::Sought;
use crate::engine::table::describe as meta_of;
use crate::env::{Env, FileSystem};
use crate::inspect::open_sst;
use crate::manifest::{Catalog, CommitError, FileMeta, KeyspaceEntry, LEVELS, Manifest, PackMeta};
use crate::memtable::{Memtable, SortedTable};
use crate::names;
use crate::sst::{EntryValue, SortKeyBuffer, SstBuilder, SstIdentity, SstOrigin};
use crate::types::{EntryKind, KeyspaceId, ObjectRef, SeqNo};
use crate::wal::Op;
use crate::{Error, Result};

/// Bytes at which the next SST is begun: the engine's default.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Entries at which it is, as the engine does.
const MAX_FILE_ENTRIES: u64 = 1 << 20;
/// Bytes of log entries that are sorted in memory, of all keyspaces together: the engine's default write buffer.
const MEMTABLE_BYTES: usize = 64 << 20;
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;
/// Bytes of manifest after which it would be rolled; this one is written once.
const MANIFEST_ROLL_SIZE: u64 = 1 << 20;

/// What has been written of one keyspace: level and file.
pub(super) type Written = Vec<(u32, FileMeta)>;

/// Writes everything.
pub(super) fn write(
    repair: &mut Repair<'_>,
    plan: &Plan,
    placed: BTreeMap<KeyspaceId, Placed>,
) -> Result<()> {
    let fs = repair.env.fs.clone();
    let target = repair.target.to_owned();
    fs.create_dir_all(&target)
        .map_err(|e| Error::io("create", &target, e))?;
    let mut next_number = plan.next_number;
    let packs = objects::write_packs(repair, &mut next_number)?;
    let mut placed = placed;
    let mut temporary = Vec::new();
    let mut counts = BTreeMap::new();
    for (id, units) in log_units(repair, plan, &mut next_number, &mut counts)? {
        let of = placed.entry(id).or_insert_with(|| Placed {
            units: Vec::new(),
            leveled: false,
        });
        // Above everything that the manifest has placed: these writes were in no SST.
        temporary.extend(
            units
                .iter()
                .flat_map(|unit| &unit.files)
                .map(|found| found.path.clone()),
        );
        of.units.extend(units);
    }
    let mut written: BTreeMap<KeyspaceId, Written> = BTreeMap::new();
    for (id, placed) in placed {
        let Some(space) = plan.spaces.get(&id) else {
            continue;
        };
        let units = if placed.leveled {
            placed.units
        } else {
            lay_out(placed.units)
        };
        let files = written.entry(id).or_default();
        for unit in units {
            let metas = write_unit(repair, plan, space, &unit, &mut next_number)?;
            let kept = unit.is_copied();
            let report = repair.report.keyspaces.iter_mut().find(|report| report.id == id);
            if let Some(report) = report {
                let logged = unit.files.iter().any(|found| temporary.contains(&found.path));
                let anew = !kept || logged;
                let many = metas.len() as u64;
                report.copied += if anew { 0 } else { many };
                report.written += if anew { many } else { 0 };
                report.entries += metas.iter().map(|meta| meta.entries).sum::<u64>();
            }
            files.extend(metas.into_iter().map(|meta| (unit.level, meta)));
        }
    }
    if let Some(id) = plan.directory {
        written.insert(
            id,
            objects::write_directory(repair, plan, id, &packs.places, &mut next_number)?,
        );
    }
    for report in &mut repair.report.keyspaces {
        report.from_logs = counts.get(&report.id).copied().unwrap_or(0);
    }
    fs.sync_dir(&target).map_err(|e| Error::io("sync", &target, e))?;
    put_in_force(repair, plan, (packs.packs, written), next_number)
}

/// For a dry run: what would become of each file.
pub(super) fn describe(repair: &mut Repair<'_>, placed: BTreeMap<KeyspaceId, Placed>) {
    for (id, placed) in placed {
        let units = if placed.leveled {
            placed.units
        } else {
            lay_out(placed.units)
        };
        for unit in &units {
            note_fates(repair, unit);
            let report = repair.report.keyspaces.iter_mut().find(|report| report.id == id);
            if let (Some(report), true) = (report, unit.is_copied()) {
                report.copied += 1;
                let properties = unit.files.first().and_then(|found| found.properties.as_ref());
                report.entries += properties.map_or(0, |properties| properties.entry_count);
            }
        }
    }
}

fn note_fates(repair: &mut Repair<'_>, unit: &Unit) {
    for found in &unit.files {
        if found.path.parent() != Some(repair.source) {
            continue; // entries of the log, on their way
        }
        let (fate, what) = match &found.condition {
            Condition::Damaged(why) => (Fate::Salvaged, why.clone()),
            Condition::Whole if found.dangling => (
                Fate::Merged,
                "without the entries whose objects are lost".to_owned(),
            ),
            Condition::Whole if unit.is_copied() => (Fate::Copied, format!("to level {}", unit.level)),
            Condition::Whole => (Fate::Merged, "with others that overlap it".to_owned()),
        };
        repair.report.note(&found.path, fate, what);
    }
}

/// Copies a file, or merges several.
fn write_unit(
    repair: &mut Repair<'_>,
    plan: &Plan,
    space: &Space,
    unit: &Unit,
    next_number: &mut u64,
) -> Result<Vec<FileMeta>> {
    note_fates(repair, unit);
    let bytes = unit.files.iter().map(|found| found.size).sum();
    let metas = match unit.files.as_slice() {
        [only] if unit.is_copied() => vec![copy(repair, only)?],
        files => {
            let mut run = Run::new(repair, plan, space, unit.keyspace, next_number);
            let sources: Vec<&Found> = files.iter().collect();
            merge(
                repair,
                &sources,
                &mut |key, seq, kind, value| match repair.objects.is_good(kind, value) {
                    true => run.add(key, seq, kind, value),
                    false => Ok(()),
                },
            )?;
            let metas = run.finish()?;
            for found in files
                .iter()
                .filter(|found| found.path.parent() == Some(repair.target))
            {
                let removed = repair.env.fs.remove(&found.path);
                removed.map_err(|e| Error::io("remove", &found.path, e))?;
            }
            metas
        }
    };
    repair.step(bytes);
    Ok(metas)
}

/// Copies an SST under its number, and checks the copy.
fn copy(repair: &Repair<'_>, found: &Found) -> Result<FileMeta> {
    let path = names::sst(repair.target, found.number);
    let fs = &repair.env.fs;
    if path != found.path {
        copy_bytes(&**fs, &found.path, &path, found.size, &[])?;
    }
    let copied = open_sst(&**fs, &path)?;
    copied.verify()?;
    Ok(meta_of(copied.summary()))
}

/// Copies the first `len` bytes of a file to a new one, which begins with `front` in place of what the old one begins with, and syncs that.
pub(super) fn copy_bytes(fs: &dyn FileSystem, from: &Path, to: &Path, len: u64, front: &[u8]) -> Result<()> {
    let source = fs.open(from).map_err(|e| Error::io("open", from, e))?;
    let target = fs.create(to).map_err(|e| Error::io("create", to, e))?;
    let mut bytes = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < len {
        let count = (len - at).min(COPY_BYTES as u64) as usize;
        let part = bytes.get_mut(..count).unwrap_or_default();
        source
            .read_exact_at(at, part)
            .map_err(|e| Error::io("read", from, e))?;
        if at == 0 {
            part.iter_mut().zip(front).for_each(|(to, from)| *to = *from);
        }
        target
            .write_all_at(at, part)
            .map_err(|e| Error::io("write", to, e))?;
        at += count as u64;
    }
    target.sync().map_err(|e| Error::io("sync", to, e))
}

/// Log entries that are in no SST, sorted, as SSTs of the target: units whose numbers lie above those of the keyspace's SSTs, as a
/// rule.
fn log_units(
    repair: &Repair<'_>,
    plan: &Plan,
    next_number: &mut u64,
    counts: &mut BTreeMap<KeyspaceId, u64>,
) -> Result<BTreeMap<KeyspaceId, Vec<Unit>>> {
    let mut tables: BTreeMap<KeyspaceId, Arc<Memtable>> = BTreeMap::new();
    let mut units: BTreeMap<KeyspaceId, Vec<Unit>> = BTreeMap::new();
    let mut room = SortKeyBuffer::default();
    logs::read_again(repair, plan, &mut |first, payload| {
        for (seq, op) in (first..).zip(payload.ops()) {
            let op = op?;
            let id = logs::keyspace_of(&op);
            if !logs::is_wanted(plan, id, seq) {
                continue;
            }
            if let Op::PutObject { object, .. } = &op
                && !repair.objects.refer(object)
            {
                continue; // reported, unless it has been overwritten
            }
            let reference;
            let (key, kind, value) = match op {
                Op::Put { key, value, .. } => (key, EntryKind::Put, value),
                Op::PutObject { key, object, .. } => {
                    reference = object.to_bytes();
                    (key, EntryKind::Object, &reference[..])
                }
                Op::Delete { key, .. } => (key, EntryKind::Tombstone, &[][..]),
            };
            let table = tables.entry(id).or_insert_with(|| Arc::new(Memtable::new()));
            let order = plan.spaces.get(&id).map(|space| space.options.sst().order);
            let sought = Sought::new(key, order.unwrap_or_default(), &mut room);
            table.insert(sought.sort_key, seq, kind, value)?;
            *counts.entry(id).or_default() += 1;
        }
        let used: usize = tables.values().map(|table| table.memory_usage()).sum();
        if used >= MEMTABLE_BYTES {
            write_tables(repair, plan, &mut tables, next_number, &mut units)?;
        }
        Ok(())
    })?;
    write_tables(repair, plan, &mut tables, next_number, &mut units)?;
    Ok(units)
}

fn write_tables(
    repair: &Repair<'_>,
    plan: &Plan,
    tables: &mut BTreeMap<KeyspaceId, Arc<Memtable>>,
    next_number: &mut u64,
    units: &mut BTreeMap<KeyspaceId, Vec<Unit>>,
) -> Result<()> {
    for (id, table) in std::mem::take(tables) {
        let Some(space) = plan.spaces.get(&id) else {
            continue;
        };
        let mut run = Run::new(repair, plan, space, id, next_number);
        let mut cursor = table.cursor();
        cursor.seek_to_first()?;
        while cursor.valid() {
            let value = cursor.value();
            run.add(cursor.key(), cursor.seq(), value.kind(), &cursor.load(value)?)?;
            cursor.next()?;
        }
        for meta in run.finish()? {
            let path = names::sst(repair.target, meta.number);
            units.entry(id).or_default().push(Unit {
                keyspace: id,
                min_key: meta.min_key.clone(),
                max_key: meta.max_key.clone(),
                min_seq: meta.min_seq,
                max_seq: meta.max_seq,
                level: 0,
                files: vec![Found {
                    number: meta.number,
                    path,
                    size: meta.size,
                    condition: Condition::Whole,
                    properties: None,
                    keyspace: Some(id),
                    order: None,
                    dangling: false,
                }],
            });
        }
    }
    Ok(())
}

/// SSTs of the target, one after the other, cut between keys.
pub(super) struct Run<'a> {
    env: Env,
    dir: PathBuf,
    space: &'a Space,
    keyspace: KeyspaceId,
    last_seq: SeqNo,
    next_number: &'a mut u64,
    builder: Option<SstBuilder>,
    numbers: Vec<u64>,
    metas: Vec<FileMeta>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        repair: &Repair<'_>,
        plan: &Plan,
        space: &'a Space,
        keyspace: KeyspaceId,
        next_number: &'a mut u64,
    ) -> Self {
        Run {
            env: repair.env.clone(),
            dir: repair.target.to_owned(),
            space,
            keyspace,
            last_seq: plan.last_seq,
            next_number,
            builder: None,
            numbers: Vec::new(),
            metas: Vec::new(),
        }
    }

    /// Of an object the value is the 24 bytes of its reference.
    pub(super) fn add(&mut self, key: &[u8], seq: SeqNo, kind: EntryKind, value: &[u8]) -> Result<()> {
        let full = |builder: &SstBuilder| {
            builder.is_full(MAX_FILE_ENTRIES, MAX_FILE_BYTES) && builder.last_key() != key
        };
        if self.builder.as_ref().is_some_and(full) {
            self.finish_file(false)?;
        }
        let builder = match &mut self.builder {
            Some(builder) => builder,
            None => {
                let begun = self.begin()?;
                self.builder.insert(begun)
            }
        };
        let added = match (kind, ObjectRef::from_bytes(value)) {
            (EntryKind::Tombstone, _) => builder.add(key, seq, EntryValue::Tombstone),
            (EntryKind::Put, _) => builder.add(key, seq, EntryValue::Put(value)),
            (EntryKind::Object, Some(object)) => builder.add(key, seq, EntryValue::Object(&object)),
            (EntryKind::Object, None) => {
                let what = "expected a reference of 24 bytes";
                Err(Error::corruption(&self.dir, 0, what))
            }
        };
        if added.is_err()
            && let Some(builder) = self.builder.take()
        {
            builder.abandon();
        }
        added
    }

    fn begin(&mut self) -> Result<SstBuilder> {
        let number = *self.next_number;
        *self.next_number += 1;
        let path = names::sst(&self.dir, number);
        let identity = self
            .env
            .entropy
            .identity()
            .map_err(|e| Error::io("create", &path, e))?;
        let file = self
            .env
            .fs
            .create(&path)
            .map_err(|e| Error::io("create", &path, e))?;
        let identity = SstIdentity {
            keyspace: self.keyspace,
            file_number: number,
            identity,
            replaces: Vec::new(),
        };
        let mut builder = SstBuilder::new(file, &path, self.space.options.sst(), identity)?;
        let mut keyspace_options = Vec::new();
        self.space.options.encode(&mut keyspace_options);
        builder.set_origin(SstOrigin {
            keyspace_name: self.space.name.clone().unwrap_or_default(),
            keyspace_options,
            flushed: self.last_seq,
            run: self.numbers.clone(),
            last: false,
            dead: Vec::new(),
        });
        self.numbers.push(number);
        Ok(builder)
    }

    fn finish_file(&mut self, last: bool) -> Result<()> {
        if let Some(mut builder) = self.builder.take() {
            if last {
                builder.set_last();
            }
            self.metas.push(meta_of(&builder.finish()?));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<FileMeta>> {
        self.finish_file(true)?;
        Ok(std::mem::take(&mut self.metas))
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(builder) = self.builder.take() {
            builder.abandon();
        }
    }
}

/// Writes the manifest and `CURRENT`.
fn put_in_force(
    repair: &Repair<'_>,
    plan: &Plan,
    (packs, written): (BTreeMap<u64, PackMeta>, BTreeMap<KeyspaceId, Written>),
    next_number: u64,
) -> Result<()> {
    let target: &Path = repair.target;
    let identity = match plan.catalog.as_ref().or(plan.hints.as_ref()) {
        Some(catalog) => catalog.identity,
        None => {
            let drawn = repair.env.entropy.identity();
            drawn.map_err(|e| Error::io("create", target, e))?
        }
    };
    let mut catalog = Catalog::new(identity);
    catalog.next_file_number = next_number;
    catalog.next_keyspace_id = plan.next_keyspace_id();
    catalog.last_seq = plan.last_seq;
    catalog.packs = packs;
    let mut written = written;
    for (id, space) in &plan.spaces {
        let mut levels: [BTreeMap<u64, FileMeta>; LEVELS] = Default::default();
        for (level, meta) in written.remove(id).unwrap_or_default() {
            if let Some(files) = levels.get_mut(level as usize) {
                files.insert(meta.number, meta);
            }
        }
        catalog.keyspaces.insert(
            *id,
            KeyspaceEntry {
                name: space.name.clone().unwrap_or_default().into(),
                options: space.options.clone(),
                flushed: plan.last_seq,
                levels,
            },
        );
    }
    let failed = |e: CommitError| match e {
        CommitError::Write(e) | CommitError::Sync(e) => e,
    };
    let mut manifest =
        Manifest::create(repair.env, target, 1, MANIFEST_ROLL_SIZE, &catalog).map_err(failed)?;
    manifest.close()
}
