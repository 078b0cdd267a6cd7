//! What a collection does, step by step; the numbers are those of `collect`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::collect::{Collection, CollectionReport, Victim};
use super::live::Marks;
use super::pack::Pack;
use super::place::Place;
use crate::Result;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::queue::Request;
use crate::manifest::{Edit, Record};
use crate::pack::{ObjectId, PackEntry, RecordPlace, Salt};
use crate::planted::{self, Bug};
use crate::wal::PayloadBuilder;

/// A collection looks at packs with so many objects together, or at one.
const MOST_CANDIDATES: u64 = 1 << 18;
/// It looks at so many packs: what has gone goes soon.
const MOST_PACKS: usize = 16;
/// So much is copied before others have their turn: compactions that wait find the garbage. 8 MiB.
const STEP: u64 = 8 << 20;
/// The directory is told of so many changes by one batch.
const BATCH: usize = 1000;

impl Core {
    /// Steps 1 and 2, with as many of the first packs as one collection can look at.
    pub(super) fn choose_from(&self, collection: &mut Collection, packs: &mut Vec<Arc<Pack>>) -> Result<()> {
        self.check_writable()?;
        let victims = &mut collection.victims;
        let mut objects = 0;
        packs.reverse();
        while objects < MOST_CANDIDATES
            && victims.len() < MOST_PACKS
            && let Some(pack) = packs.pop()
        {
            victims.extend(self.victim(pack)?);
            objects = victims.iter().map(Victim::count).sum();
        }
        packs.reverse();
        collection.report.packs_examined = victims.len() as u64;
        let ids = victims.iter().flat_map(Victim::ids);
        self.objects.leases.doom(ids);
        Ok(())
    }

    /// What of a pack the directory knows; `None`: it must be left alone now.
    fn victim(&self, pack: Arc<Pack>) -> Result<Option<Victim>> {
        // A write that adds a pack of its own holds this until the lease knows the place.
        drop(self.objects.active.lock());
        // Another collection may have removed it since it was chosen.
        let gone = self.objects.pack(pack.number).is_none();
        if gone || !pack.is_sealed() || self.objects.leases.has_place_in(pack.number) {
            return Ok(None);
        }
        let mut victim = Victim::new(pack);
        let index = match victim.pack.file.index(0) {
            Ok(index) => index,
            Err(error) => return victim.pack.unreadable(error).map(|()| None),
        };
        // The index has each object once, and the pack may have it twice.
        victim.records = index.record_bytes();
        for entry in index.entries(&ObjectId::default()) {
            self.check_not_closed()?;
            let PackEntry { id, len, .. } = match entry {
                Ok(entry) => entry,
                Err(error) => return victim.pack.unreadable(error).map(|()| None),
            };
            // The directory's place, and not the index's: an object may lie in a pack twice.
            let found = self.find_object(&id)?;
            if let Some(place) = found.filter(|place| place.pack == victim.pack.number) {
                victim.add(id, place.record, len);
            }
        }
        Ok(Some(victim))
    }

    /// Steps 3 and 4. What is left of the victims is referred to.
    pub(super) fn remove_dead(self: &Arc<Self>, collection: &mut Collection) -> Result<()> {
        if collection.victims.is_empty() {
            return Ok(());
        }
        let directory = self.object_directory()?;
        let ids = collection.victims.iter().flat_map(Victim::ids);
        let mut marks = Marks::new(ids.collect());
        self.mark_referenced(&mut marks)?;
        for id in marks.marked() {
            self.objects.leases.rescue(id);
        }
        let dead = self.objects.leases.begin_removing();
        let removed = self.delete_from(&directory, &dead);
        self.objects.leases.end_removing();
        removed?;
        for victim in &mut collection.victims {
            victim.forget(&dead);
        }
        collection.report.objects_removed = dead.len() as u64;
        Ok(())
    }

    fn delete_from(self: &Arc<Self>, directory: &Arc<KeyspaceCore>, dead: &BTreeSet<ObjectId>) -> Result<()> {
        let mut ids = dead.iter();
        loop {
            let mut payload = PayloadBuilder::new();
            for id in ids.by_ref().take(BATCH) {
                payload.delete(directory.id, &id.0);
            }
            if payload.is_empty() {
                return Ok(());
            }
            self.commit_own(Request::own(payload, directory.clone()))?;
        }
    }

    /// Some of step 5; false when nothing is left to be moved.
    pub(super) fn move_from_next(self: &Arc<Self>, collection: &mut Collection) -> Result<bool> {
        let Some(mut victim) = collection.victims.pop() else {
            return Ok(false);
        };
        self.check_writable()?;
        let live = victim.live();
        if !victim.moving {
            // Index and footers are not dead: a pack that is rewritten has them again, and small packs would be rewritten for ever.
            let dead = victim.records.saturating_sub(live);
            victim.pack.set_dead(dead);
            let little =
                u128::from(dead) * 100 < u128::from(collection.worth) * u128::from(victim.pack.len());
            if live > 0 && (dead == 0 || little) {
                return Ok(true);
            }
            victim.moving = true;
        }
        let all = self.move_some(&mut victim, &mut collection.report)?;
        collection.copied = collection.copied.saturating_add(live - victim.live());
        match all {
            true if victim.count() == 0 => collection.emptied.push(victim.pack),
            true => collection.victims.push(victim),
            false => {} // some of it can't be read: it stays
        }
        Ok(true)
    }

    /// Moves the next of a pack's objects; false if some of them can't be read.
    fn move_some(self: &Arc<Self>, victim: &mut Victim, report: &mut CollectionReport) -> Result<bool> {
        let directory = self.object_directory()?;
        let mut payload = PayloadBuilder::new();
        let (mut copied, mut outcome) = (0u64, Ok(true));
        while copied < STEP
            && (payload.count() as usize) < BATCH
            && matches!(outcome, Ok(true))
            && let Some((id, place, len)) = victim.take_next()
        {
            match self.move_record(&victim.pack, place, &id, len) {
                Ok(Some(new)) => {
                    let len = new.record.record_len;
                    copied = copied.saturating_add(len);
                    report.objects_moved += 1;
                    report.bytes_moved = report.bytes_moved.saturating_add(len);
                    self.objects.count_moved(len);
                    payload.put(directory.id, &id.0, &new.encode());
                }
                Ok(None) => outcome = Ok(false),
                Err(error) => outcome = Err(error),
            }
        }
        // Also after a failure: copies that nobody is told of would be made again.
        if !payload.is_empty() {
            self.commit_own(Request::own(payload, directory))?;
        }
        outcome
    }

    /// Copies a record; `None` if it can't be read.
    fn move_record(
        self: &Arc<Self>,
        from: &Pack,
        place: RecordPlace,
        id: &ObjectId,
        len: u64,
    ) -> Result<Option<Place>> {
        self.check_not_closed()?;
        if self.objects.is_long(place.record_len) {
            return self.move_long(from, place, id, len);
        }
        let mut buffers = self.objects.take_buffers();
        let placed = match from.file.load_record(place, id, len, &mut buffers) {
            Ok(record) => self.place(&record).map(Some),
            Err(error) => from.unreadable(error).map(|()| None),
        };
        self.objects.give_buffers(buffers);
        placed
    }

    /// A long object gets a pack of its own.
    fn move_long(&self, from: &Pack, place: RecordPlace, id: &ObjectId, len: u64) -> Result<Option<Place>> {
        let copy = self.begin_lone_pack(Salt::default())?; // that of the record is taken over
        match self.copy_lone(copy, &from.file, place, id, len) {
            Ok(object) => self.add_lone(object).map(Some),
            Err(error) => from.unreadable(error).map(|()| None),
        }
    }

    /// Steps 6 and 7.
    pub(super) fn remove_emptied(self: &Arc<Self>, collection: &mut Collection) -> Result<()> {
        let emptied = std::mem::take(&mut collection.emptied);
        collection.copied = 0;
        if emptied.is_empty() {
            return Ok(());
        }
        if !planted::is(Bug::PackRemovedEarly) {
            self.sync_log()?;
        }
        let mut state = self.manifest.lock();
        let mut edit = Edit::default();
        for pack in &emptied {
            edit.push(Record::RemovePack { number: pack.number });
        }
        let marked = self.commit_edit(&mut state, edit, &[], |_| {
            for pack in &emptied {
                self.objects.remove(pack.number);
            }
        })?;
        drop(state);
        // Without its marker the edit may be taken for a torn tail; then they are leftovers of the next opening.
        if marked {
            emptied.iter().for_each(|pack| pack.mark_obsolete());
        }
        let report = &mut collection.report;
        report.packs_removed += emptied.len() as u64;
        let bytes = emptied.iter().map(|pack| pack.len());
        report.bytes_removed = bytes.fold(report.bytes_removed, u64::saturating_add);
        drop(emptied);
        // At once: what waits behind other jobs takes space that writers are slowed for.
        self.trash.empty();
        // With less in packs a level 0 may be due that was not (`Objects::compact_after`).
        for keyspace in self.keyspace_cores() {
            self.schedule_compaction(&keyspace);
        }
        Ok(())
    }
}
