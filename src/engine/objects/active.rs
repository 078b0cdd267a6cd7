//! [`Active`]: which packs take values.
//!
//! The next pack begins in the background, as soon as half of the first one is full or one has followed another: a name, an edit and the syncs of
//! both take as long as some megabytes of records (a fifth of a load of 100 kB each was spent on that), and writers would wait for it under the lock. It
//! stays empty until the active one is full, so a crash or an end leaves a pack with nothing in it, which goes on after the next opening.

use std::sync::Arc;

use super::fresh;
use super::pack::Pack;
use super::place::Place;
use crate::engine::core::Core;
use crate::env::Priority;
use crate::manifest::Record;
use crate::pack::shared::{Prepared, SharedPack};
use crate::{Error, Result};

/// A pack takes no more objects than so many: the rows of its index are in memory until it is sealed, some 40 bytes each.
const MOST_OBJECTS: u64 = 1 << 17;

/// See the module's comment.
#[derive(Default)]
pub(super) struct Active {
    /// The pack that takes values, if one has been begun.
    pack: Option<Arc<Pack>>,
    /// The one after it, if that has been begun: it is empty.
    next: Option<Arc<Pack>>,
    /// The background is about to begin it.
    beginning: bool,
    /// The background has failed to, since the active one began.
    failed: bool,
}

impl Active {
    /// Of unsealed packs that are there, by number: the newest that holds something goes on, and an empty one comes after it. The others have
    /// been full.
    pub(super) fn resume(&mut self, packs: Vec<Arc<Pack>>) {
        let (empty, mut begun): (Vec<_>, Vec<_>) = packs.into_iter().partition(|pack| pack.is_empty());
        let mut empty = empty.into_iter();
        self.pack = begun.pop().or_else(|| empty.next());
        self.next = empty.next();
        begun.into_iter().chain(empty).for_each(|pack| pack.retire());
    }

    /// Whether the background is about to begin the next pack.
    pub(super) fn is_beginning(&self) -> bool {
        self.beginning
    }

    /// The active pack takes no more values; true if there was one.
    pub(super) fn retire(&mut self) -> bool {
        self.pack.take().inspect(|pack| pack.retire()).is_some()
    }
}

/// Whether there is no room for so many bytes in a pack that is to have at most `most`. An empty one takes any object.
fn is_full(writer: &SharedPack, len: u64, most: u64) -> bool {
    writer.objects() > 0 && (writer.len().saturating_add(len) > most || writer.objects() >= MOST_OBJECTS)
}

impl Core {
    /// Writes a record to the active pack, or to the next one where that is full.
    pub(super) fn append(self: &Arc<Self>, active: &mut Active, prepared: &Prepared<'_>) -> Result<Place> {
        let most = self.objects.packs.roll_after();
        let room = active.pack.as_ref().and_then(|pack| {
            let writer = pack.writer()?;
            (!is_full(&writer, prepared.record_len(), most)).then_some((pack.number, writer))
        });
        let (number, writer) = match room {
            Some(room) => room,
            None => self.next_pack(active)?,
        };
        let record = writer.append(prepared)?;
        if is_full(&writer, most / 2, most) {
            self.schedule_next_pack(active);
        }
        Ok(Place { pack: number, record })
    }

    /// The next pack becomes the active one, which is full, if there is one.
    fn next_pack(self: &Arc<Self>, active: &mut Active) -> Result<(u64, Arc<SharedPack>)> {
        let next = match active.next.take() {
            Some(next) => next,
            None => self.begin_pack()?,
        };
        let was_there = active.retire();
        active.failed = false;
        active.pack = Some(next.clone());
        if was_there {
            self.schedule_seal();
            self.schedule_next_pack(active);
            self.update_pressure();
        }
        Ok((next.number, next.writer().ok_or(Error::Closed)?))
    }

    fn schedule_next_pack(self: &Arc<Self>, active: &mut Active) {
        if active.next.is_none() && !active.beginning && !active.failed {
            active.beginning = true;
            self.spawn_for_all(Priority::High, Core::begin_next_pack);
        }
    }

    /// A failure is not told: whoever needs the next pack begins one, and hears what is wrong.
    fn begin_next_pack(self: &Arc<Self>) {
        let begun = self.check_writable().and_then(|()| self.begin_pack());
        let mut active = self.objects.active.lock();
        active.beginning = false;
        active.failed = begun.is_err();
        active.next = begun.ok();
        drop(active);
        self.progress.notify();
    }

    /// A new pack, which the manifest names durably.
    fn begin_pack(&self) -> Result<Arc<Pack>> {
        let (number, path, identity) = self.name_pack()?;
        let writer = SharedPack::create(&*self.env.fs, &path, identity, number)?;
        let len = writer.sync().map_err(|e| self.poison_if_sync(e))?;
        self.sync_names()?;
        let file = writer.reader();
        let meta = fresh(number, identity, len);
        let pack = Pack::new(&meta, file, Some(Arc::new(writer)), path, &self.trash);
        self.add_pack(Record::Pack(meta), pack.clone())?;
        Ok(pack)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engine::table::Trash;
    use crate::env::sim::SimEnv;
    use crate::pack::shared::RecordBuffers;
    use crate::pack::{ObjectId, Salt};

    /// Packs of these numbers that are not sealed: empty ones and others.
    fn packs(numbers: &[(u64, bool)]) -> Vec<Arc<Pack>> {
        let sim = SimEnv::new(1);
        let trash = Trash::new(&sim.env());
        let pack = |(number, is_empty): &(u64, bool)| {
            let path = PathBuf::from(format!("/{number}"));
            let writer = SharedPack::create(&*sim.env().fs, &path, [1; 16], *number).unwrap();
            if !is_empty {
                let options = super::super::store::record_options(Salt::default()).unwrap();
                let mut buffers = RecordBuffers::default();
                let record = buffers.prepare(b"content", ObjectId::of(b"content"), &options);
                writer.append(&record).unwrap();
            }
            let meta = fresh(*number, [1; 16], writer.len());
            Pack::new(&meta, writer.reader(), Some(Arc::new(writer)), path, &trash)
        };
        numbers.iter().map(pack).collect()
    }

    /// The active pack's number, the next one's, and those of the full ones.
    fn resumed(numbers: &[(u64, bool)]) -> (Option<u64>, Option<u64>, Vec<u64>) {
        let packs = packs(numbers);
        let mut active = Active::default();
        active.resume(packs.clone());
        let number = |pack: &Option<Arc<Pack>>| pack.as_ref().map(|pack| pack.number);
        let full = packs.iter().filter(|pack| pack.is_full());
        (
            number(&active.pack),
            number(&active.next),
            full.map(|pack| pack.number).collect(),
        )
    }

    #[test]
    fn the_newest_pack_that_holds_something_goes_on() {
        let (begun, empty) = (false, true);
        assert_eq!(resumed(&[]), (None, None, vec![]));
        assert_eq!(resumed(&[(7, begun)]), (Some(7), None, vec![]));
        assert_eq!(resumed(&[(7, empty)]), (Some(7), None, vec![]));
        assert_eq!(resumed(&[(7, begun), (8, empty)]), (Some(7), Some(8), vec![]));
        // One began in the background, and in a hurry another one after it.
        assert_eq!(resumed(&[(7, empty), (8, begun)]), (Some(8), Some(7), vec![]));
        assert_eq!(
            resumed(&[(6, begun), (7, begun), (8, begun)]),
            (Some(8), None, vec![6, 7])
        );
        assert_eq!(
            resumed(&[(5, begun), (6, begun), (7, empty), (8, empty)]),
            (Some(6), Some(7), vec![5, 8])
        );
        assert_eq!(resumed(&[(6, empty), (7, empty)]), (Some(6), Some(7), vec![]));
    }
}
