//! [`Inode`]: the contents of one simulated file, as programs see them and as a power cut may leave them.
//!
//! ```text
//!   data     what reads see now                      |AAAA|BBBB|CCC|      (the page cache)
//!   medium   what was synced last                    |AAAA|bbbb|          (the platter)
//!   dirty    sector -> what it held in between           1: [b'b']   2: []
//! ```
//!
//! Invariants:
//! 1. A sector (512 bytes, the unit that a disk writes atomically) that is not dirty is the same in `data` and on the
//!    `medium`; behind their ends both count as zeros.
//! 2. After a crash a dirty sector holds what the medium held, what it holds now, or what it held at some moment
//!    in between: nothing else, and never a mixture.
//! 3. A dirty sector becomes clean when a sync succeeds, unless it is lossy.
//! 4. A failed sync makes what was dirty *lossy*: like Linux, which marks pages clean after a failed write-back, later
//!    syncs report success without writing them. Only writing the sector again cures it. The length likewise.
//!
//! Callers: the disk, under its lock.

use std::collections::BTreeMap;

use super::rng::Rng;

/// The unit that reaches the medium whole or not at all, in bytes: the smallest that disks promise.
pub(super) const SECTOR: usize = 512;

/// The unit in which a page cache writes back, in bytes: with [`Loss::Blocks`] its sectors share one fate.
const BLOCK: usize = 4096;

/// How many old states of a sector are kept between two syncs, besides the synced one and the latest. The first few
/// show what a lost later write uncovers; more would only cost memory.
const OLDER_KEPT: usize = 3;

type Sector = [u8; SECTOR];

#[derive(Debug, Default)]
pub(super) struct Inode {
    data: Vec<u8>,
    medium: Vec<u8>,
    dirty: BTreeMap<u64, Dirty>,
    /// The length on the medium.
    durable_len: u64,
    /// The smallest and the largest length since the last sync, that one's included.
    len_range: (u64, u64),
    len_lossy: bool,
}

/// A sector that was written since the last sync.
#[derive(Debug, Default)]
struct Dirty {
    /// States between the medium's and the present one, oldest first.
    older: Vec<Sector>,
    lossy: bool,
}

/// What a crash does to unsynced contents.
pub(super) enum Loss<'a> {
    /// All of it is gone.
    All,
    /// Each piece takes its newest state in `kept` of 16 cases, otherwise any other that it has had.
    Random { rng: &'a mut Rng, kept: u64 },
    /// Each block is written back whole in `kept` of 16 cases, otherwise not at all.
    Blocks { rng: &'a mut Rng, kept: u64 },
}

impl Loss<'_> {
    fn keeps_newest(&mut self) -> bool {
        match self {
            Loss::All => false,
            Loss::Random { rng, kept } | Loss::Blocks { rng, kept } => rng.chance(*kept, 16),
        }
    }

    /// A number below `n`; 0, which stands for what was synced, if all is lost.
    fn draw(&mut self, n: u64) -> u64 {
        match self {
            Loss::All => 0,
            Loss::Random { rng, .. } | Loss::Blocks { rng, .. } => rng.below(n),
        }
    }

    fn is_in_blocks(&self) -> bool {
        matches!(self, Loss::Blocks { .. })
    }
}

impl Inode {
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    /// Reads what there is at `offset`.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.data.get(start..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        n
    }

    /// Writes, growing the file where needed.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = offset as usize;
        let end = start + bytes.len();
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            self.touch(sector as u64);
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
            self.len_changed();
        }
        self.data[start..end].copy_from_slice(bytes);
    }

    /// Cuts, or grows with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len == self.len() {
            return;
        }
        let kept = self.data.len().min(len as usize);
        for sector in kept / SECTOR..self.data.len().div_ceil(SECTOR) {
            let cut = (sector * SECTOR).max(kept);
            let end = ((sector + 1) * SECTOR).min(self.data.len());
            if self.data[cut..end].iter().any(|byte| *byte != 0) {
                self.touch(sector as u64); // its tail becomes zeros
            }
        }
        self.data.resize(len as usize, 0);
        self.len_changed();
    }

    /// Makes everything durable that is not lossy.
    pub(super) fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        for (number, state) in dirty {
            if state.lossy {
                self.dirty.insert(number, state);
            } else {
                let now = sector_of(&self.data, number);
                put_sector(&mut self.medium, number, &now);
            }
        }
        if !self.len_lossy {
            self.len_is_durable();
        }
    }

    /// A sync that fails, after it got some of the way if there is an `rng` to say how far.
    pub(super) fn fail_sync(&mut self, mut rng: Option<&mut Rng>) {
        let mut written = || rng.as_mut().is_some_and(|rng| rng.chance(1, 2));
        let dirty = std::mem::take(&mut self.dirty);
        for (number, mut state) in dirty {
            if !state.lossy && written() {
                let now = sector_of(&self.data, number);
                put_sector(&mut self.medium, number, &now);
            } else {
                state.lossy = true;
                self.dirty.insert(number, state);
            }
        }
        if self.len_range != (self.len(), self.len()) && !self.len_lossy {
            if written() {
                self.len_is_durable();
            } else {
                self.len_lossy = true;
            }
        }
    }

    /// The power goes: what was not synced takes one of its possible states, and that is what the medium holds now.
    pub(super) fn crash(&mut self, mut loss: Loss<'_>) {
        let len = self.surviving_len(&mut loss);
        let mut block = None; // the last one that a fate was drawn for, and the fate
        for (number, state) in std::mem::take(&mut self.dirty) {
            let at = number / (BLOCK / SECTOR) as u64;
            let newest = match block {
                Some((decided, newest)) if decided == at && loss.is_in_blocks() => newest,
                _ => loss.keeps_newest(),
            };
            block = Some((at, newest));
            let survivor = if newest {
                sector_of(&self.data, number)
            } else if loss.is_in_blocks() {
                sector_of(&self.medium, number)
            } else {
                let pick = loss.draw(1 + state.older.len() as u64) as usize; // 0 is the medium's
                let older = pick.checked_sub(1).and_then(|pick| state.older.get(pick));
                older.map_or_else(|| sector_of(&self.medium, number), |older| *older)
            };
            put_sector(&mut self.data, number, &survivor);
            put_sector(&mut self.medium, number, &survivor);
        }
        self.data.resize(len as usize, 0);
        self.medium.truncate(len as usize);
        self.len_is_durable();
    }

    fn surviving_len(&self, loss: &mut Loss<'_>) -> u64 {
        let (least, most) = self.len_range;
        if loss.keeps_newest() {
            self.len()
        } else if loss.draw(2) == 0 {
            self.durable_len
        } else {
            least + loss.draw(most - least + 1)
        }
    }

    /// Puts contents there that are durable at once, as if they had always been there.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        *self = Inode {
            data: bytes.to_vec(),
            medium: bytes.to_vec(),
            ..Inode::default()
        };
        self.len_is_durable();
    }

    /// Decay: one bit changes, in the page cache and on the medium. False when the file is shorter.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> bool {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let mask = 1u8.rotate_left(u32::from(bit));
        if let Some(byte) = self.medium.get_mut(at) {
            *byte ^= mask;
        }
        self.data.get_mut(at).map(|byte| *byte ^= mask).is_some()
    }

    /// Notes that a sector is about to change.
    fn touch(&mut self, number: u64) {
        let before = sector_of(&self.data, number);
        match self.dirty.get_mut(&number) {
            Some(state) => {
                state.lossy = false;
                if state.older.len() < OLDER_KEPT {
                    state.older.push(before);
                }
            }
            None => {
                self.dirty.insert(number, Dirty::default()); // the state before is the medium's
            }
        }
    }

    fn len_changed(&mut self) {
        let (least, most) = self.len_range;
        self.len_range = (least.min(self.len()), most.max(self.len()));
        self.len_lossy = false;
    }

    fn len_is_durable(&mut self) {
        self.durable_len = self.len();
        self.len_range = (self.len(), self.len());
        self.len_lossy = false;
    }
}

/// A sector's bytes; zeros behind the end.
fn sector_of(bytes: &[u8], number: u64) -> Sector {
    let mut sector = [0; SECTOR];
    let start = number as usize * SECTOR;
    let there = bytes.get(start..).unwrap_or_default();
    let n = there.len().min(SECTOR);
    sector[..n].copy_from_slice(&there[..n]);
    sector
}

/// Overwrites a sector, growing the bytes to hold it.
fn put_sector(bytes: &mut Vec<u8>, number: u64, sector: &Sector) {
    let start = number as usize * SECTOR;
    if bytes.len() < start + SECTOR {
        bytes.resize(start + SECTOR, 0);
    }
    bytes[start..start + SECTOR].copy_from_slice(sector);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(bytes: &[u8]) -> Inode {
        let mut inode = Inode::default();
        inode.write(0, bytes);
        inode.sync();
        inode
    }

    /// What a random crash leaves, for many seeds.
    fn crashes(prepare: impl Fn() -> Inode) -> Vec<Vec<u8>> {
        let crash = |seed| {
            let mut inode = prepare();
            inode.crash(Loss::Random {
                rng: &mut Rng::new(seed, 0),
                kept: 8,
            });
            inode.data
        };
        let mut all: Vec<_> = (0..300).map(crash).collect();
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn crash_brings_back_what_was_synced() {
        let mut inode = synced(b"old");
        inode.write(1, b"new and longer");
        inode.crash(Loss::All);
        assert_eq!(inode.data(), b"old");
    }

    #[test]
    fn truncated_bytes_come_back_when_the_cut_was_not_synced() {
        let mut inode = synced(&[7; 2000]);
        inode.set_len(10);
        inode.crash(Loss::All);
        assert_eq!(inode.data(), [7; 2000]);
    }

    #[test]
    fn truncated_bytes_stay_away_when_the_file_grows_again() {
        let mut inode = synced(&[7; 2000]);
        inode.set_len(10);
        inode.set_len(2000);
        inode.sync();
        inode.crash(Loss::All);
        assert_eq!(inode.data()[..10], [7; 10]);
        assert_eq!(inode.data()[10..], [0; 1990]);
    }

    #[test]
    fn a_sector_takes_any_state_since_the_last_sync_and_no_other() {
        let states = crashes(|| {
            let mut inode = synced(&[1; SECTOR]);
            inode.write(0, &[2; SECTOR]);
            inode.write(0, &[3; SECTOR]);
            inode
        });
        assert_eq!(states, [vec![1; SECTOR], vec![2; SECTOR], vec![3; SECTOR]]);
    }

    #[test]
    fn sectors_of_one_write_survive_independently() {
        let states = crashes(|| {
            let mut inode = synced(&[1; 2 * SECTOR]);
            inode.write(0, &[2; 2 * SECTOR]);
            inode
        });
        let heads: Vec<_> = states.iter().map(|s| (s[0], s[SECTOR])).collect();
        assert_eq!(heads, [(1, 1), (1, 2), (2, 1), (2, 2)]);
    }

    #[test]
    fn blocks_of_one_write_survive_whole_or_not_at_all() {
        let mut states: Vec<Vec<u8>> = Vec::new();
        for seed in 0..100 {
            let mut inode = synced(&[1; 2 * BLOCK]);
            inode.write(SECTOR as u64, &[2; 2 * BLOCK - SECTOR]);
            inode.write(SECTOR as u64, &[3; 2 * BLOCK - SECTOR]);
            inode.crash(Loss::Blocks {
                rng: &mut Rng::new(seed, 0),
                kept: 8,
            });
            let mut parts: Vec<u8> = inode.data[SECTOR..].to_vec();
            parts.dedup();
            assert_eq!(inode.data[SECTOR], inode.data[BLOCK - 1]);
            assert_eq!(inode.data[BLOCK], inode.data[2 * BLOCK - 1]);
            states.push(parts);
        }
        states.sort();
        states.dedup();
        assert_eq!(states, [vec![1], vec![1, 3], vec![3], vec![3, 1]]);
    }

    #[test]
    fn unsynced_growth_leaves_any_length_and_zeros_where_a_sector_was_lost() {
        let states = crashes(|| {
            let mut inode = synced(b"ab");
            inode.write(2, b"cd");
            inode
        });
        let expected: [&[u8]; 5] = [b"ab", b"ab\0", b"ab\0\0", b"abc", b"abcd"];
        assert_eq!(states, expected);
    }

    #[test]
    fn a_sync_after_a_failed_one_does_not_save_the_data() {
        let mut inode = synced(b"old");
        inode.write(0, b"new!");
        inode.fail_sync(None);
        inode.sync();
        assert_eq!(inode.data(), b"new!");
        inode.crash(Loss::All);
        assert_eq!(inode.data(), b"old");
    }

    #[test]
    fn writing_again_after_a_failed_sync_saves_the_data() {
        let mut inode = synced(b"old");
        inode.write(0, b"new");
        inode.fail_sync(None);
        inode.write(0, b"new");
        inode.sync();
        inode.crash(Loss::All);
        assert_eq!(inode.data(), b"new");
    }

    #[test]
    fn a_failed_sync_may_save_some_sectors() {
        let outcome = |seed| {
            let mut inode = synced(&[1; 4 * SECTOR]);
            inode.write(0, &[2; 4 * SECTOR]);
            inode.fail_sync(Some(&mut Rng::new(seed, 0)));
            inode.crash(Loss::All);
            inode.data.iter().filter(|b| **b == 2).count() / SECTOR
        };
        let saved: std::collections::BTreeSet<_> = (0..200).map(outcome).collect();
        assert_eq!(saved.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_flipped_bit_survives_crash_and_sync() {
        let mut inode = synced(b"a");
        assert!(inode.flip_bit(0, 1));
        assert!(!inode.flip_bit(1, 1));
        inode.crash(Loss::All);
        assert_eq!(inode.data(), b"c");
    }

    #[test]
    fn sectors_that_are_not_dirty_are_the_same_on_the_medium() {
        let mut rng = Rng::new(11, 0);
        let mut inode = Inode::default();
        for _ in 0..5000 {
            let (at, len) = (rng.below(4000), rng.below(1200) as usize);
            match rng.below(8) {
                0 => inode.sync(),
                1 => inode.fail_sync(Some(&mut rng)),
                2 => inode.crash(Loss::Random {
                    rng: &mut rng,
                    kept: 8,
                }),
                3 | 4 => inode.set_len(at),
                _ => inode.write(at, &vec![rng.next_u64() as u8; len]),
            }
            for sector in (0..12).filter(|sector| !inode.dirty.contains_key(sector)) {
                assert_eq!(sector_of(&inode.data, sector), sector_of(&inode.medium, sector));
            }
            let (least, most) = inode.len_range;
            assert!((least..=most).contains(&inode.len()) && (least..=most).contains(&inode.durable_len));
        }
    }
}
