//! What disks do to a database in a [`World`] beside losing what was not synced: stale blocks, and bits that flip.

use std::path::{Path, PathBuf};

use super::checks::compare;
use super::world::{DIR, Stop, World};
use crate::support::rng::Rng;

impl World {
    /// Keeps the logs' contents for `show_stale_blocks`.
    pub(super) fn remember_logs(&mut self) {
        for path in self.logs() {
            self.stale.extend(self.sim.read_file(&path));
        }
        let old = self.stale.len().saturating_sub(8);
        self.stale.drain(..old);
    }

    fn logs(&self) -> Vec<PathBuf> {
        let mut names = self.names();
        names.retain(|name| name.ends_with(".log"));
        names.sort();
        names.iter().map(|name| Path::new(DIR).join(name)).collect()
    }

    /// What some file systems do after a loss of power: the newest log has its new length, and blocks of some deleted file
    /// where the frames did not reach the disk. Only where no frame did, so that none is overwritten.
    pub fn show_stale_blocks(&mut self, rng: &mut Rng) {
        let Some(path) = self.logs().pop() else { return };
        let Ok(mut log) = self.sim.read_file(&path) else {
            return;
        };
        const HEADER: usize = 96;
        // Without its header the file was being created, and nobody had written a frame to it.
        if log.len() == HEADER && log.starts_with(b"PKST") && !self.stale.is_empty() {
            let old = &self.stale[rng.below(self.stale.len() as u64) as usize];
            log.extend(old.get(HEADER..).unwrap_or_default());
            self.sim.write_file(&path, &log).expect("the disk takes it");
        }
    }

    /// Flips single bits of SSTs and packs: what is read is what was written, or an error.
    pub fn decay(&mut self, rng: &mut Rng) -> Result<(), Stop> {
        let wanted = self.oracle.visible();
        self.snapshots.clear();
        self.keyspaces.clear();
        if let Some(db) = self.db.take() {
            db.close()?;
        }
        let names = self.names();
        let is_data = |name: &&String| name.ends_with(".sst") || name.ends_with(".pack");
        let ssts: Vec<&String> = names.iter().filter(is_data).collect();
        for _ in 0..16 {
            if ssts.is_empty() {
                break;
            }
            let path = Path::new(DIR).join(ssts[rng.below(ssts.len() as u64) as usize]);
            let len = self.sim.read_file(&path).map_or(0, |bytes| bytes.len() as u64);
            let (at, bit) = (rng.below(len), rng.below(8) as u8);
            self.sim.flip_bit(&path, at, bit).expect("the file is there");
            let found = self.read_only();
            self.sim.flip_bit(&path, at, bit).expect("the file is there");
            if let Ok(found) = found {
                compare(
                    &format!("bit {bit} of byte {at} of {} flipped", path.display()),
                    &wanted,
                    &found,
                )?;
            }
        }
        Ok(())
    }
}
