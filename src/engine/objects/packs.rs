//! [`Packs`]: those that the manifest names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pack::Pack;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The number of objects' bytes, as a part of all packs, that a memtable may refer to.
const FLUSHED_TOGETHER: u64 = 64;

/// However small all packs are, a memtable may refer to so much: 8 MiB, a quarter of a write buffer if that is less.
const LEAST_FLUSHED: u64 = 8 << 20;

/// There are to be so many packs, unless they got smaller than [`LEAST_PACK`]: what is in the active one, and in the one that is being moved, can't be given back.
const PACKS: u64 = 32;

/// 8 MiB.
const LEAST_PACK: u64 = 8 << 20;

/// See the module's comment.
pub(super) struct Packs {
    sets: RwLock<Sets>,
    /// See [`Packs::flush_after`].
    flush_after: AtomicU64,
    least_flushed: u64,
    /// See [`Packs::roll_after`].
    roll_after: AtomicU64,
    pack_size: u64,
}

#[derive(Default)]
struct Sets {
    all: BTreeMap<u64, Arc<Pack>>,
    /// Those of them that are not sealed.
    unsealed: BTreeMap<u64, Arc<Pack>>,
}

impl Packs {
    pub(super) fn new(write_buffer_size: u64, pack_size: u64) -> Packs {
        let least_flushed = LEAST_FLUSHED.min(write_buffer_size / 4);
        Packs {
            sets: RwLock::default(),
            flush_after: AtomicU64::new(least_flushed),
            least_flushed,
            roll_after: AtomicU64::new(LEAST_PACK.min(pack_size)),
            pack_size,
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Pack>> {
        self.sets.read().all.get(&number).cloned()
    }

    /// By number.
    pub(super) fn all(&self) -> Vec<Arc<Pack>> {
        self.sets.read().all.values().cloned().collect()
    }

    /// Those that are not sealed, by number.
    pub(super) fn unsealed(&self) -> Vec<Arc<Pack>> {
        self.sets.read().unsealed.values().cloned().collect()
    }

    /// Those that take no more values and are not sealed, by number.
    pub(super) fn full(&self) -> Vec<Arc<Pack>> {
        let sets = self.sets.read();
        sets.unsealed
            .values()
            .filter(|pack| pack.is_full())
            .cloned()
            .collect()
    }

    pub(super) fn count_full(&self) -> usize {
        self.sets
            .read()
            .unsealed
            .values()
            .filter(|pack| pack.is_full())
            .count()
    }

    pub(super) fn add(&self, pack: Arc<Pack>) {
        self.change(|sets| {
            if !pack.is_sealed() {
                sets.unsealed.insert(pack.number, pack.clone());
            }
            sets.all.insert(pack.number, pack);
        });
    }

    pub(super) fn remove(&self, number: u64) {
        self.change(|sets| {
            sets.unsealed.remove(&number);
            sets.all.remove(&number);
        });
    }

    /// REQUIRES: the manifest says so, durably.
    pub(super) fn note_sealed(&self, pack: &Pack, len: u64) {
        self.change(|sets| {
            pack.note_sealed(len);
            sets.unsealed.remove(&pack.number);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Sets)) {
        let mut sets = self.sets.write();
        change(&mut sets);
        let bytes = sets
            .all
            .values()
            .fold(0u64, |sum, pack| sum.saturating_add(pack.len()));
        let after = (bytes / FLUSHED_TOGETHER).max(self.least_flushed);
        self.flush_after.store(after, Ordering::Relaxed);
        let after = (bytes / PACKS).max(LEAST_PACK).min(self.pack_size);
        self.roll_after.store(after, Ordering::Relaxed);
    }

    /// When a memtable refers to so many bytes it is flushed, however small it is: before, nobody notices which objects its overwrites have
    /// left behind.
    pub(super) fn flush_after(&self) -> u64 {
        self.flush_after.load(Ordering::Relaxed)
    }

    /// The next pack begins before the active one has more bytes than this: the size that packs are to have, or less in a small database.
    pub(super) fn roll_after(&self) -> u64 {
        self.roll_after.load(Ordering::Relaxed)
    }

    /// Bytes that are known to be dead and can be collected, and bytes of all packs.
    pub(super) fn garbage(&self) -> (u64, u64) {
        let sets = self.sets.read();
        sets.all.values().fold((0u64, 0u64), |(dead, all), pack| {
            let collectable = pack.is_sealed() && !pack.is_damaged();
            let here = if collectable { pack.dead() } else { 0 };
            (dead.saturating_add(here), all.saturating_add(pack.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engine::table::Trash;
    use crate::env::sim::SimEnv;
    use crate::manifest::PackMeta;
    use crate::pack::shared::SharedPack;

    const MIB: u64 = 1 << 20;

    struct World {
        sim: SimEnv,
        trash: Arc<Trash>,
    }

    impl World {
        fn new() -> World {
            let sim = SimEnv::new(1);
            let trash = Trash::new(&sim.env());
            World { sim, trash }
        }

        /// A pack that the manifest says is so long, some of it dead; or one that is not sealed, and empty.
        fn pack(&self, number: u64, sealed: Option<(u64, u64)>) -> Arc<Pack> {
            let path = PathBuf::from(format!("/{number}"));
            let writer = SharedPack::create(&*self.sim.env().fs, &path, [1; 16], number).unwrap();
            let (len, dead) = sealed.unwrap_or((writer.len(), 0));
            let meta = PackMeta {
                number,
                identity: [1; 16],
                sealed: sealed.is_some(),
                len,
                dead,
            };
            let file = writer.reader();
            let writer = sealed.is_none().then(|| Arc::new(writer));
            Pack::new(&meta, file, writer, path, &self.trash)
        }
    }

    #[test]
    fn small_databases_have_small_packs_and_flush_at_a_part_of_a_write_buffer() {
        let packs = Packs::new(64 * MIB, 256 * MIB);
        assert_eq!((packs.flush_after(), packs.roll_after()), (8 * MIB, 8 * MIB));
        // Neither is more than the options allow.
        let packs = Packs::new(8 * MIB, MIB);
        assert_eq!((packs.flush_after(), packs.roll_after()), (2 * MIB, MIB));
    }

    #[test]
    fn what_is_flushed_and_how_long_packs_are_follows_from_all_packs() {
        let (world, packs) = (World::new(), Packs::new(64 * MIB, 256 * MIB));
        for (number, all, flush, roll) in [
            (0, 256, 8, 8),
            (1, 512, 8, 16),
            (2, 1024, 16, 32),
            (3, 2048, 32, 64),
            (4, 8192, 128, 256),
            (5, 16384, 256, 256), // no longer than they are to be
        ] {
            let others = packs.garbage().1;
            packs.add(world.pack(number, Some((all * MIB - others, 0))));
            assert_eq!(packs.garbage(), (0, all * MIB));
            assert_eq!(
                (packs.flush_after(), packs.roll_after()),
                (flush * MIB, roll * MIB)
            );
        }
        for number in 0..=5 {
            packs.remove(number);
        }
        assert_eq!((packs.flush_after(), packs.roll_after()), (8 * MIB, 8 * MIB));
    }

    #[test]
    fn garbage_is_what_collections_may_take() {
        let (world, packs) = (World::new(), Packs::new(64 * MIB, 256 * MIB));
        packs.add(world.pack(1, Some((1000, 300))));
        packs.add(world.pack(2, Some((1000, 5000)))); // an estimate, never more than there is
        let damaged = world.pack(3, Some((1000, 400)));
        let unreadable = crate::Error::corruption(std::path::Path::new("/3"), 0, "");
        damaged.unreadable(unreadable).unwrap();
        packs.add(damaged);
        let unsealed = world.pack(4, None);
        packs.add(unsealed.clone());
        unsealed.add_dead(10);
        assert_eq!(packs.garbage(), (1300, 3000 + unsealed.len()));
    }

    #[test]
    fn full_packs_are_those_that_take_no_more_values_and_are_not_sealed() {
        let (world, packs) = (World::new(), Packs::new(64 * MIB, 256 * MIB));
        packs.add(world.pack(1, Some((1000, 0))));
        let (full, active, next) = (world.pack(2, None), world.pack(3, None), world.pack(4, None));
        for pack in [&full, &active, &next] {
            packs.add((*pack).clone());
        }
        assert_eq!((packs.count_full(), packs.unsealed().len()), (0, 3));
        full.retire();
        let numbers = |packs: Vec<Arc<Pack>>| packs.iter().map(|pack| pack.number).collect::<Vec<_>>();
        assert_eq!(numbers(packs.full()), [2]);
        packs.note_sealed(&full, 5000);
        assert_eq!((packs.count_full(), packs.unsealed().len()), (0, 2));
        assert_eq!((full.len(), full.is_full()), (5000, false));
    }
}
