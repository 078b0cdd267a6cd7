//! Large values: which objects the packs hold, which of them somebody refers to, and what becomes of references that lead nowhere.
//!
//! The packs themselves are believed, nothing else: an object is there if a record's content hashes to its id, wherever it lies. So the
//! directory (id -> place) is made anew from what the packs hold, and its SSTs and log entries are not used, however whole. Without a name it is known
//! by its entries in the log, each of which leads to a record with its key as id.
//!
//! An entry whose object is in no pack is left out and reported, as one whose value can't be read. In the log it counts only if it is the newest
//! of its key there: what an overwritten one refers to may have been collected.

mod write;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Plan, Space};
use super::merge::merge;
use super::survey::{Condition, Found};
use super::{Fate, Loss, Repair};
use crate::engine::objects::{DIRECTORY, Place};
use crate::inspect::open_sst;
use crate::manifest::Catalog;
use crate::names;
use crate::options::{KeyspaceOptions, Order};
use crate::pack::salvage::{Condition as PackCondition, Examined, examine};
use crate::pack::{ObjectId, RecordPlace};
use crate::sst::{Access, SortKeyBuffer};
use crate::types::{EntryKind, KeyspaceId, ObjectRef, SeqNo};
use crate::wal::Op;
use crate::{Error, Result, Slice};

pub(super) use write::{write_directory, write_packs};

/// An object of which there is a whole copy.
pub(super) struct Known {
    len: u64,
    /// The pack of the source, and where in it.
    pack: u64,
    place: RecordPlace,
    /// Somebody refers to it.
    referenced: Cell<bool>,
}

/// What the packs of the source hold. Some 70 bytes for each object.
#[derive(Default)]
pub(super) struct Objects {
    /// Those that have anything, by number.
    packs: BTreeMap<u64, Examined>,
    known: BTreeMap<ObjectId, Known>,
    /// Of objects that are damaged: where, in words.
    damaged: BTreeMap<ObjectId, String>,
}

impl Objects {
    /// Whether a reference leads to an object. Takes note that somebody refers to it.
    pub(super) fn refer(&self, object: &ObjectRef) -> bool {
        let known = self.known.get(&ObjectId(object.id));
        let known = known.filter(|known| known.len == object.len);
        known.is_some_and(|known| {
            known.referenced.set(true);
            true
        })
    }

    /// Whether an entry of this kind with this value can go into the target.
    pub(super) fn is_good(&self, kind: EntryKind, value: &[u8]) -> bool {
        kind != EntryKind::Object || ObjectRef::from_bytes(value).is_some_and(|object| self.refer(&object))
    }

    /// Whether this is what the directory says of an object.
    fn is_place(&self, key: &[u8], value: &[u8]) -> bool {
        let id = <[u8; 16]>::try_from(key).map(ObjectId).ok();
        let known = id.and_then(|id| self.known.get(&id));
        let place = known.map(|known| Place {
            pack: known.pack,
            record: known.place,
        });
        place.is_some() && place == Place::decode(value)
    }

    /// The loss of an entry.
    fn loss(
        &self,
        repair: &Repair<'_>,
        path: &std::path::Path,
        keyspace: KeyspaceId,
        sort_key: &[u8],
        object: &ObjectRef,
    ) -> Loss {
        let id = ObjectId(object.id);
        let why = match self.damaged.get(&id) {
            Some(damage) => format!("is damaged: {damage}"),
            None => format!("is in no pack of {}", repair.source.display()),
        };
        Loss {
            keyspace: Some(keyspace),
            from_key: Some(Slice::from(sort_key)),
            to_key: Some(Slice::from(sort_key)),
            entries: Some(1),
            ..Loss::of(
                path.to_owned(),
                format!("object {id} of {} bytes, the value of the key, {why}", object.len),
            )
        }
    }
}

/// Reads all packs that may count.
pub(super) fn examine_packs(
    repair: &mut Repair<'_>,
    numbers: &[u64],
    catalog: Option<&Catalog>,
    hints: Option<&Catalog>,
) -> Result<()> {
    let mut found = Vec::new();
    for number in numbers {
        let path = names::pack(repair.source, *number);
        let named = |catalog: &Catalog| catalog.packs.get(number).map(|meta| meta.identity);
        let identity = catalog.or(hints).and_then(named);
        if catalog.is_some() && identity.is_none() {
            let what = "the manifest does not name it: a leftover, or no pack of this database";
            repair.report.note(&path, Fate::LeftOut, what);
            continue;
        }
        match examine(&*repair.env.fs, &path, *number, identity) {
            Ok(examined) => found.push((*number, examined)),
            Err(error @ Error::NewerFormat { .. }) => return Err(error),
            Err(error) => repair.report.note(&path, Fate::Unreadable, error.to_string()),
        }
    }
    let missing = catalog.iter().flat_map(|catalog| catalog.packs.keys());
    for number in missing.filter(|number| !numbers.contains(number)) {
        let path = names::pack(repair.source, *number);
        repair.report.note(&path, Fate::Missing, "the manifest names it");
    }
    // Of copies the one in a pack that stays as it is.
    found
        .sort_by_key(|(number, examined)| (matches!(examined.condition, PackCondition::Damaged(_)), *number));
    for (number, examined) in found {
        repair.step(examined.len);
        note_pack(repair, number, &examined);
        let objects = &mut repair.objects;
        for record in &examined.records {
            objects.known.entry(record.id).or_insert(Known {
                len: record.content_len,
                pack: number,
                place: record.place,
                referenced: Cell::new(false),
            });
        }
        for damaged in &examined.damaged {
            if let Some(id) = damaged.id {
                objects.damaged.insert(id, damaged.error.to_string());
            }
        }
        objects.packs.insert(number, examined);
    }
    Ok(())
}

/// What is, or would be, done with a pack.
fn note_pack(repair: &mut Repair<'_>, number: u64, examined: &Examined) {
    let path = names::pack(repair.source, number);
    let objects = examined.records.len();
    let (fate, what) = match &examined.condition {
        PackCondition::Sealed => (Fate::Copied, format!("a sealed pack of {objects} objects")),
        PackCondition::Unsealed { end } => {
            let torn = match examined.len - end {
                0 => String::new(),
                bytes => format!(", without the last {bytes} bytes, which are no whole object"),
            };
            (
                Fate::Copied,
                format!("a pack of {objects} objects that is not sealed{torn}"),
            )
        }
        PackCondition::Damaged(why) if objects == 0 => {
            (Fate::Unreadable, format!("no object of it is whole: {why}"))
        }
        PackCondition::Damaged(why) => (
            Fate::Salvaged,
            format!("{objects} whole objects go into another pack: {why}"),
        ),
    };
    repair.report.note(&path, fate, what);
}

impl Plan {
    /// Knows the directory by its name.
    pub(super) fn find_directory(&mut self) {
        let mut spaces = self.spaces.iter();
        let named = spaces.find(|(_, space)| space.name.as_deref() == Some(DIRECTORY));
        self.directory = named.map(|(id, _)| *id);
    }

    /// Whether a write in the log shows that its keyspace, whose name is not known, is the directory.
    pub(super) fn is_directory(&self, objects: &Objects, op: &Op<'_>) -> bool {
        let unnamed = |id: &KeyspaceId| {
            let space = self.spaces.get(id);
            space.is_none_or(|space| space.name.is_none())
        };
        match op {
            Op::Put { keyspace, key, value } => {
                self.directory.is_none() && unnamed(keyspace) && objects.is_place(key, value)
            }
            _ => false,
        }
    }
}

/// The directory is made anew: what there is of it does not count, and nothing of it is lost.
pub(super) fn replace_directory(repair: &mut Repair<'_>, plan: &mut Plan) -> Result<()> {
    let known = plan.directory;
    if let Some(id) = known {
        let of_it = |found: &Found| found.keyspace == Some(id);
        for found in plan.ssts.values().filter(|found| of_it(found)) {
            let what = "the directory of objects, which is made anew from the packs";
            repair.report.note(&found.path, Fate::Replaced, what);
        }
        plan.ssts.retain(|_, found| !of_it(found));
        repair.report.lost.retain(|loss| loss.keyspace != Some(id));
        repair.report.undecided.retain(|open| open.keyspace != Some(id));
    } else if repair.objects.known.is_empty() {
        return Ok(());
    }
    let id = known.unwrap_or_else(|| plan.next_keyspace_id());
    let old = plan.spaces.remove(&id).map(|space| space.options);
    let options = match old.filter(|options| options.get_order() == Order::Hash) {
        Some(options) => options,
        None => new_options(repair)?,
    };
    let space = Space {
        name: Some(DIRECTORY.to_owned()),
        options,
        flushed: SeqNo::MAX,
        ..Space::default()
    };
    plan.spaces.insert(id, space);
    plan.directory = Some(id);
    Ok(())
}

fn new_options(repair: &Repair<'_>) -> Result<KeyspaceOptions> {
    let mut options = KeyspaceOptions::new().order(Order::Hash).object_threshold(None);
    let drawn = repair.env.entropy.identity();
    let drawn = drawn.map_err(|e| Error::io("draw a seed for", repair.target, e))?;
    options.set_seed(drawn.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte)));
    Ok(options)
}

/// Follows the references of whole SSTs. One with references that lead nowhere is written anew, without them.
pub(super) fn follow_references(repair: &mut Repair<'_>, plan: &mut Plan) -> Result<()> {
    let mut dangling = BTreeSet::new();
    for found in plan.ssts.values_mut() {
        let Some(keyspace) = found.keyspace else { continue };
        if !matches!(found.condition, Condition::Whole) || follow(repair, found)? {
            continue;
        }
        found.dangling = true;
        dangling.insert(keyspace);
        let mut lost = Vec::new();
        merge(repair, &[found], &mut |key, _, kind, value| {
            lost.extend(loss_of(repair, found, keyspace, key, kind, value));
            Ok(())
        })?;
        repair.report.lost.extend(lost);
    }
    for id in dangling {
        if let Some(space) = plan.spaces.get_mut(&id) {
            // Files that are written anew have other numbers, and level 0 is ordered by them.
            space.levels = None;
        }
    }
    Ok(())
}

/// Whether all references of a whole SST lead to objects.
fn follow(repair: &Repair<'_>, found: &Found) -> Result<bool> {
    let sst = open_sst(&*repair.env.fs, &found.path)?;
    let mut all = true;
    for id in sst.references(Some(Access::Pread)) {
        match repair.objects.known.get(&ObjectId(id?)) {
            Some(known) => known.referenced.set(true),
            None => all = false,
        }
    }
    Ok(all)
}

/// The loss of an entry, if its object is lost.
pub(super) fn loss_of(
    repair: &Repair<'_>,
    found: &Found,
    keyspace: KeyspaceId,
    key: &[u8],
    kind: EntryKind,
    value: &[u8],
) -> Option<Loss> {
    let objects = &repair.objects;
    if objects.is_good(kind, value) {
        return None;
    }
    let object = ObjectRef::from_bytes(value)?;
    Some(objects.loss(repair, &found.path, keyspace, key, &object))
}

/// References of the log that lead nowhere and have not been overwritten there.
#[derive(Default)]
pub(super) struct Dangling(BTreeMap<(KeyspaceId, Vec<u8>), (SeqNo, ObjectRef)>);

impl Dangling {
    /// Takes note of a write. They come in order.
    pub(super) fn note(&mut self, objects: &Objects, keyspace: KeyspaceId, seq: SeqNo, op: &Op<'_>) {
        let key = match op {
            Op::Put { key, .. } | Op::PutObject { key, .. } | Op::Delete { key, .. } => *key,
        };
        if !self.0.is_empty() {
            self.0.remove(&(keyspace, key.to_vec()));
        }
        if let Op::PutObject { object, .. } = op
            && !objects.refer(object)
        {
            self.0.insert((keyspace, key.to_vec()), (seq, *object));
        }
    }

    /// Reports those that would go into the target.
    pub(super) fn report(self, repair: &mut Repair<'_>, plan: &Plan) {
        for ((keyspace, key), (seq, object)) in self.0 {
            if !super::logs::is_wanted(plan, keyspace, seq) {
                continue;
            }
            let order = plan.spaces.get(&keyspace).map(|space| space.options.sst().order);
            let order = order.unwrap_or_default();
            let mut room = SortKeyBuffer::default();
            let sort_key = order.sort_key(&key, order.hash(&key), &mut room);
            let mut loss = repair
                .objects
                .loss(repair, repair.source, keyspace, sort_key, &object);
            loss.what += &format!(" (write {seq} of the log)");
            repair.report.lost.push(loss);
        }
    }
}
