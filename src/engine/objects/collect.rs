//! Collection: what nobody refers to any more goes, and packs that have become too empty are written anew.
//!
//! ```text
//! 1  candidates: the objects of some sealed packs that the directory finds there             (the index of each pack)
//! 2  all of them are doomed, but for those on which a write holds a lease                     `lease`
//! 3  what any memtable or SST refers to is rescued; so is what a write takes a lease on       lists of references, merged
//! 4  what is still doomed is deleted from the directory, in one step with respect to leases
//! 5  of packs that are too empty the rest is copied to other packs, and the directory told
//! 6  packs and log are synced
//! 7  an edit removes the emptied packs           <- point of no return; their files go with the last reader
//! ```
//!
//! Why nothing goes that is needed. A reference is published while its write holds a lease. If the lease was held at 2, the object is not doomed. If it was given
//! back before, the reference is in the views that 3 looks at, which are taken later. If it was taken after 2 it rescued the
//! object, or came after 4 had begun, waited, and found nothing. Whatever a snapshot or a range sees is a version that flushes and compactions keep, so
//! it is in a view as well; so are those of dropped keyspaces with handles. Readers look places up in the newest state, and again if the pack has gone.
//!
//! Why no entry of the directory leads into a removed pack. Entries are written by collections (one at a time), and by writes that have stored an object, or that have found one in
//! the hands of another write. Both hold leases with the place, from before the pack can be a sealed one; a pack in which such a place lies is left alone, and as soon
//! as it is sealed no new ones come.
//!
//! How dead a pack is, is an estimate between collections: flushes and compactions count the references that they leave out, each against the pack of its object, whether or not
//! others are left. A collection knows, and corrects it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Objects;
use super::pack::Pack;
use crate::engine::core::Core;
use crate::env::Priority;
use crate::pack::{ObjectId, RecordPlace};
use crate::sync::atomic::Ordering;
use crate::{Error, Result};

/// Emptied packs go when so much has been copied, as a part of all packs.
const COPIED_TOGETHER: u64 = 64;

/// Of a pack, in percent: when so much is dead it is rewritten unasked. Half: then a byte that is written is copied once at most, on average.
///
/// These numbers are for uniform overwrites, the worst case: the emptiest packs are some 60 % dead when a fourth of all is, so that four bytes are copied for six that come in.
/// What has not been noticed yet, up to a tenth of all, comes on top of the space.
const DEAD_ENOUGH: u64 = 50;
/// Of all packs, in percent: when so much is dead the emptiest are rewritten, although none is half empty.
const DEAD_TOGETHER: u64 = 29;
/// They are rewritten until no more than this is dead, in percent.
const DEAD_LEFT: u64 = 26;
/// Packs with less are not rewritten then, in percent.
const WORTH_IT: u64 = 25;
/// The same when somebody asks for a collection.
const WORTH_ASKED: u64 = 5;

/// What a collection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// Packs whose objects were looked at.
    pub packs_examined: u64,
    /// Packs that are not there any more.
    pub packs_removed: u64,
    /// The bytes of their files.
    pub bytes_removed: u64,
    /// Objects that nobody referred to any more.
    pub objects_removed: u64,
    /// Objects that were copied because their pack was too empty.
    pub objects_moved: u64,
    /// The bytes that this took.
    pub bytes_moved: u64,
}

/// A sealed pack that is looked at.
pub(super) struct Victim {
    pub(super) pack: Arc<Pack>,
    /// The objects that the directory finds here, with their lengths.
    objects: BTreeMap<ObjectId, (RecordPlace, u64)>,
    /// The bytes of their records.
    live: u64,
    /// The bytes of all its records.
    pub(super) records: u64,
    /// It is being emptied.
    pub(super) moving: bool,
}

impl Victim {
    pub(super) fn new(pack: Arc<Pack>) -> Victim {
        Victim {
            pack,
            objects: BTreeMap::new(),
            live: 0,
            records: 0,
            moving: false,
        }
    }

    /// The directory finds this object here.
    pub(super) fn add(&mut self, id: ObjectId, place: RecordPlace, len: u64) {
        if self.objects.insert(id, (place, len)).is_none() {
            self.live = self.live.saturating_add(place.record_len);
        }
    }

    /// These are gone.
    pub(super) fn forget(&mut self, dead: &BTreeSet<ObjectId>) {
        let live = &mut self.live;
        self.objects.retain(|id, (place, _)| {
            let stays = !dead.contains(id);
            if !stays {
                *live = live.saturating_sub(place.record_len);
            }
            stays
        });
    }

    /// The next object that is to be moved, which is not one of them from now on.
    pub(super) fn take_next(&mut self) -> Option<(ObjectId, RecordPlace, u64)> {
        let (id, (place, len)) = self.objects.pop_first()?;
        self.live = self.live.saturating_sub(place.record_len);
        Some((id, place, len))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.keys().copied()
    }

    pub(super) fn count(&self) -> u64 {
        self.objects.len() as u64
    }

    /// The bytes of the records that the directory finds here.
    pub(super) fn live(&self) -> u64 {
        self.live
    }
}

/// A collection, of which there is one at a time. Dropped early, it has done what it has done.
pub(super) struct Collection {
    pub(super) objects: Arc<Objects>,
    /// In percent: packs with less dead bytes are left.
    pub(super) worth: u64,
    pub(super) victims: Vec<Victim>,
    pub(super) emptied: Vec<Arc<Pack>>,
    /// The bytes that are in them and elsewhere as well.
    pub(super) copied: u64,
    pub(super) report: CollectionReport,
}

impl Collection {
    /// `None`: one runs already.
    fn begin(objects: &Arc<Objects>, worth: u64) -> Option<Collection> {
        if objects.collecting.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Collection {
            objects: objects.clone(),
            worth,
            victims: Vec::new(),
            emptied: Vec::new(),
            copied: 0,
            report: CollectionReport::default(),
        })
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.objects.leases.end_removing();
        self.objects.collecting.store(false, Ordering::Release);
    }
}

impl Core {
    /// Sees to it that a collection runs if one is due.
    pub(crate) fn schedule_collection(self: &Arc<Self>) {
        if self.wal.is_none() || self.victims(false).is_empty() {
            return;
        }
        if !self.objects.collection_queued.swap(true, Ordering::AcqRel) {
            self.spawn_for_all(Priority::Low, Core::run_collection);
        }
    }

    fn run_collection(self: &Arc<Self>) {
        let Some(mut collection) = Collection::begin(&self.objects, WORTH_IT) else {
            return self.end_collection(Ok(false));
        };
        let mut packs = self.victims(false);
        let begun = self.choose_from(&mut collection, &mut packs);
        self.go_on_with(collection, begun, Core::run_removal);
    }

    fn run_removal(self: &Arc<Self>, mut collection: Collection) {
        let removed = self.remove_dead(&mut collection);
        self.go_on_with(collection, removed, Core::run_moves);
    }

    fn run_moves(self: &Arc<Self>, mut collection: Collection) {
        match self.move_and_remove(&mut collection) {
            Ok(false) => {
                let any = collection.report.packs_removed > 0;
                drop(collection);
                self.end_collection(Ok(any));
            }
            moved => self.go_on_with(collection, moved.map(drop), Core::run_moves),
        }
    }

    /// Goes on with the next step, unless one has failed.
    fn go_on_with(
        self: &Arc<Self>,
        collection: Collection,
        result: Result<()>,
        next: fn(&Arc<Core>, Collection),
    ) {
        match result {
            // Behind what is queued: compactions that wait find the garbage.
            Ok(()) => self.spawn_for_all(Priority::Low, move |core| next(core, collection)),
            Err(error) => {
                drop(collection);
                self.end_collection(Err(error));
            }
        }
    }

    fn end_collection(self: &Arc<Self>, removed_any: Result<bool>) {
        self.objects.collection_queued.store(false, Ordering::Release);
        *self.objects.collection_failure.lock() = removed_any.clone().err();
        match removed_any {
            // There may be more.
            Ok(true) => self.schedule_collection(),
            Ok(false) => {}
            // The next flush or compaction asks again.
            Err(error) => self.note_full_disk(&error),
        }
        self.update_pressure();
    }

    /// Whether no collection is due, queued or running; why the last one has failed, once.
    pub(crate) fn collection_is_settled(&self) -> Result<bool> {
        if self.objects.collection_queued.load(Ordering::Acquire) {
            return Ok(false);
        }
        let failed = self.objects.collection_failure.lock().take();
        failed.map_or(Ok(true), Err)
    }

    /// The packs that a collection should look at, the emptiest first.
    fn victims(&self, asked: bool) -> Vec<Arc<Pack>> {
        let mut packs = self.objects.packs();
        let (dead, all) = self.objects.garbage();
        let percent = |part: u64, of: u64| (u128::from(part) * 100 / u128::from(of.max(1))) as u64;
        let together = percent(dead, all) >= DEAD_TOGETHER;
        let least = match (asked, together) {
            (true, _) => 0,
            (false, true) => WORTH_IT,
            (false, false) => DEAD_ENOUGH,
        };
        let share = |pack: &Arc<Pack>| percent(pack.dead(), pack.len());
        packs.retain(|pack| pack.is_sealed() && !pack.is_damaged() && share(pack) >= least);
        packs.sort_by_key(|pack| std::cmp::Reverse(share(pack)));
        if !asked {
            // The fuller ones get emptier if they are left for a while.
            let mut left = dead;
            packs.retain(|pack| {
                let wanted = share(pack) >= DEAD_ENOUGH || together && percent(left, all) >= DEAD_LEFT;
                left = left.saturating_sub(pack.dead());
                wanted
            });
        }
        packs
    }

    /// Finds everything that nobody refers to, and rewrites all packs that hold some of it.
    pub(crate) fn collect_all(self: &Arc<Self>) -> Result<CollectionReport> {
        self.check_open()?;
        self.wal()?;
        self.check_writable()?;
        let keyspaces = self.keyspace_cores();
        self.flush_keyspaces(&keyspaces)?;
        for keyspace in keyspaces.iter().filter(|keyspace| !keyspace.is_dropped()) {
            // What older versions refer to is in use until they go.
            let refers = |table: &Arc<crate::engine::table::Table>| table.meta.referenced_bytes > 0;
            if keyspace.view().tree.tables().any(refers) {
                self.compact_range(keyspace, &[], None)?;
            }
        }
        // One that runs already may still copy what has become garbage behind its look: then that is in the active pack.
        let turn = self.wait_for_turn()?;
        let report = self.collect_everywhere(turn);
        self.progress.notify();
        report
    }

    fn collect_everywhere(self: &Arc<Self>, first: Collection) -> Result<CollectionReport> {
        // The active pack may be as empty as any.
        self.objects.active.lock().retire();
        self.seal_full_packs()?;
        let (mut report, mut turn) = (CollectionReport::default(), Some(first));
        let mut left = self.victims(true);
        while !left.is_empty() {
            let mut collection = match turn.take() {
                Some(first) => first,
                None => self.wait_for_turn()?,
            };
            let mut result = Err(Error::Closed);
            // Like a job, so that closing waits for it.
            self.run(|core| result = core.collect_from(&mut collection, &mut left));
            report.add(&collection.report);
            drop(collection);
            self.progress.notify();
            result?;
        }
        Ok(report)
    }

    /// Begins a collection when no other one runs.
    fn wait_for_turn(&self) -> Result<Collection> {
        let mut begun = None;
        self.wait(&mut || {
            begun = begun
                .take()
                .or_else(|| Collection::begin(&self.objects, WORTH_ASKED));
            begun.is_some() || self.is_closed()
        });
        begun.ok_or(Error::Closed)
    }

    /// Looks at the first of these packs; the others are left.
    fn collect_from(self: &Arc<Self>, collection: &mut Collection, packs: &mut Vec<Arc<Pack>>) -> Result<()> {
        self.choose_from(collection, packs)?;
        self.env.scheduler.breathe();
        self.remove_dead(collection)?;
        while self.move_and_remove(collection)? {
            self.env.scheduler.breathe();
        }
        Ok(())
    }

    /// Some of steps 5 to 7; false when all is done.
    fn move_and_remove(self: &Arc<Self>, collection: &mut Collection) -> Result<bool> {
        let more = self.move_from_next(collection)?;
        let (_, all) = self.objects.garbage();
        // Several together, because it takes syncs and an edit; not all, because old and new take space side by side.
        if !more || collection.copied > all / COPIED_TOGETHER {
            self.remove_emptied(collection)?;
        }
        Ok(more)
    }
}

impl CollectionReport {
    fn add(&mut self, other: &CollectionReport) {
        let both = [
            (&mut self.packs_examined, other.packs_examined),
            (&mut self.packs_removed, other.packs_removed),
            (&mut self.bytes_removed, other.bytes_removed),
            (&mut self.objects_removed, other.objects_removed),
            (&mut self.objects_moved, other.objects_moved),
            (&mut self.bytes_moved, other.bytes_moved),
        ];
        for (sum, more) in both {
            *sum = sum.saturating_add(more);
        }
    }
}
