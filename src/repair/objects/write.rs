//! Writes the packs of the target, and the directory of where each object lies then.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::Objects;
use crate::engine::keyspace::Sought;
use crate::engine::objects::Place;
use crate::env::{Env, is_unlinkable};
use crate::manifest::{LEVELS, PackMeta};
use crate::pack::salvage::{Condition, Examined, WholeRecord};
use crate::pack::shared::{RecordBuffers, SharedPack, StreamPack, unsealed_header};
use crate::pack::{ObjectId, RecordOptions, RecordPlace};
use crate::repair::Repair;
use crate::repair::decide::Plan;
use crate::repair::write::{Run, Written, copy_bytes};
use crate::sst::{Compression, SortKeyBuffer};
use crate::types::{EntryKind, KeyspaceId};
use crate::{Error, Result, Slice, names};

/// Longer records are moved as streams, into packs of their own: 16 MiB.
const LONG: u64 = 16 << 20;

/// The packs of the target.
#[derive(Default)]
pub(in crate::repair) struct WrittenPacks {
    pub(in crate::repair) packs: BTreeMap<u64, PackMeta>,
    pub(in crate::repair) places: Vec<(ObjectId, Place)>,
}

impl WrittenPacks {
    /// Adds a pack. What in it nobody refers to, and copies of what lies elsewhere, is dead.
    fn add(
        &mut self,
        objects: &Objects,
        meta: PackMeta,
        records: impl Iterator<Item = (WholeRecord, Source)>,
    ) {
        let mut meta = meta;
        let number = meta.number;
        for (record, source) in records {
            let known = objects.known.get(&record.id);
            let chosen = known.filter(|known| (known.pack, known.place) == (source.pack, source.place));
            let Some(known) = chosen else {
                meta.dead += record.place.record_len;
                continue;
            };
            if !known.referenced.get() {
                meta.dead += record.place.record_len;
            }
            let place = Place {
                pack: number,
                record: record.place,
            };
            self.places.push((record.id, place));
        }
        self.packs.insert(number, meta);
    }
}

/// Where a record comes from.
#[derive(Clone, Copy)]
struct Source {
    pack: u64,
    place: RecordPlace,
}

/// Links or copies what is whole, and salvages the rest. All of it is synced, but for the names.
pub(in crate::repair) fn write_packs(repair: &mut Repair<'_>, next_number: &mut u64) -> Result<WrittenPacks> {
    let mut written = WrittenPacks::default();
    let sizes: Vec<u64> = repair.objects.packs.values().map(|pack| pack.len).collect();
    for (number, pack) in &repair.objects.packs {
        match pack.condition {
            Condition::Damaged(_) => salvage(repair, *number, pack, next_number, &mut written)?,
            Condition::Sealed => {
                link(repair, *number, pack.len)?;
                carried(repair, *number, pack, (true, pack.len), &mut written);
            }
            Condition::Unsealed { end } => {
                let (from, to) = paths(repair, *number);
                let header = unsealed_header(pack.identity, *number);
                copy_bytes(&*repair.env.fs, &from, &to, end, &header)?;
                carried(repair, *number, pack, (false, end), &mut written);
            }
        }
    }
    sizes.into_iter().for_each(|size| repair.step(size));
    Ok(written)
}

fn paths(repair: &Repair<'_>, number: u64) -> (std::path::PathBuf, std::path::PathBuf) {
    let path = |dir: &Path| names::pack(dir, number);
    (path(repair.source), path(repair.target))
}

/// A pack that keeps its number and its records their places.
fn carried(
    repair: &Repair<'_>,
    number: u64,
    pack: &Examined,
    (sealed, len): (bool, u64),
    written: &mut WrittenPacks,
) {
    let meta = PackMeta {
        number,
        identity: pack.identity,
        sealed,
        len,
        dead: 0,
    };
    let records = pack.records.iter().map(|record| {
        let source = Source {
            pack: number,
            place: record.place,
        };
        (*record, source)
    });
    written.add(&repair.objects, meta, records);
}

/// A sealed pack never changes, so both directories can share it. All but its header has been synced, or it would not say that it is sealed.
fn link(repair: &Repair<'_>, number: u64, len: u64) -> Result<()> {
    let (from, to) = paths(repair, number);
    let fs = &repair.env.fs;
    match fs.hard_link(&from, &to) {
        Ok(()) => {
            let synced = fs.open(&to).and_then(|file| match file.sync() {
                // Where that needs the right to write.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => fs.open_writable(&to)?.sync(),
                synced => synced,
            });
            synced.map_err(|e| Error::io("sync", &to, e))
        }
        Err(e) if is_unlinkable(&e) => copy_bytes(&**fs, &from, &to, len, &[]),
        Err(e) => Err(Error::io("link", &to, e)),
    }
}

/// Moves the whole records of a damaged pack into a new one; long ones into packs of their own.
fn salvage(
    repair: &Repair<'_>,
    number: u64,
    pack: &Examined,
    next_number: &mut u64,
    written: &mut WrittenPacks,
) -> Result<()> {
    let objects = &repair.objects;
    let chosen = |record: &&WholeRecord| {
        let known = objects.known.get(&record.id);
        known.is_some_and(|known| (known.pack, known.place) == (number, record.place))
    };
    let (long, short): (Vec<&WholeRecord>, Vec<&WholeRecord>) = pack
        .records
        .iter()
        .filter(chosen)
        .partition(|record| record.place.record_len > LONG);
    let source = |record: &WholeRecord| Source {
        pack: number,
        place: record.place,
    };
    for record in long {
        let next = Next::new(repair, next_number)?;
        let options = RecordOptions::new(64 << 10, Compression::Lz4)?;
        let stream = StreamPack::create(repair.env, &next.path, next.identity, next.number, &options)?;
        let moved = stream.copy(&pack.file, record.place, &record.id, record.content_len)?;
        let now = WholeRecord {
            place: moved.place,
            ..*record
        };
        let one = std::iter::once((now, source(record)));
        written.add(objects, next.meta(moved.pack.file_bytes), one);
    }
    if short.is_empty() {
        return Ok(());
    }
    let next = Next::new(repair, next_number)?;
    let writer = SharedPack::create(&*repair.env.fs, &next.path, next.identity, next.number)?;
    let (mut buffers, mut moved) = (RecordBuffers::default(), Vec::new());
    for record in short {
        let prepared = pack
            .file
            .load_record(record.place, &record.id, record.content_len, &mut buffers)?;
        let now = WholeRecord {
            place: writer.append(&prepared)?,
            ..*record
        };
        moved.push((now, source(record)));
    }
    let sealed = writer.seal()?;
    written.add(objects, next.meta(sealed.file_bytes), moved.into_iter());
    Ok(())
}

/// A pack that is about to be made.
struct Next {
    number: u64,
    identity: [u8; 16],
    path: Arc<Path>,
}

impl Next {
    fn new(repair: &Repair<'_>, next_number: &mut u64) -> Result<Next> {
        let number = *next_number;
        *next_number += 1;
        let path = names::pack(repair.target, number);
        let env: &Env = repair.env;
        let identity = env.entropy.identity();
        Ok(Next {
            number,
            identity: identity.map_err(|e| Error::io("create", &path, e))?,
            path: path.into(),
        })
    }

    fn meta(&self, len: u64) -> PackMeta {
        PackMeta {
            number: self.number,
            identity: self.identity,
            sealed: true,
            len,
            dead: 0,
        }
    }
}

/// The directory of objects, on the last level.
pub(in crate::repair) fn write_directory(
    repair: &mut Repair<'_>,
    plan: &Plan,
    id: KeyspaceId,
    places: &[(ObjectId, Place)],
    next_number: &mut u64,
) -> Result<Written> {
    let Some(space) = plan.spaces.get(&id) else {
        return Ok(Written::new());
    };
    let order = space.options.sst().order;
    let mut rows = Vec::new();
    for (id, place) in places {
        let mut room = SortKeyBuffer::default();
        let sought = Sought::new(&id.0, order, &mut room);
        rows.push((Slice::from(sought.sort_key), place));
    }
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut run = Run::new(repair, plan, space, id, next_number);
    for (key, place) in rows {
        // Nobody asks how old it is.
        run.add(&key, 0, EntryKind::Put, &place.encode())?;
    }
    let metas = run.finish()?;
    if let Some(report) = repair.report.keyspaces.iter_mut().find(|report| report.id == id) {
        report.written = metas.len() as u64;
        report.entries = places.len() as u64;
    }
    let last = (LEVELS - 1) as u32;
    Ok(metas.into_iter().map(|meta| (last, meta)).collect())
}
