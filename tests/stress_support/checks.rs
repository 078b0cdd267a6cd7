//! Invariants of an open database that can be seen from outside: which files there are, how levels lie, and whether the
//! metrics' account of space agrees with the disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use packstone::SstFile;

use super::oracle::Loss;
use super::world::{Checked, DIR, World};

impl World {
    /// What a second opening beside the first may lack.
    pub(crate) fn loss_beside(&self) -> Loss {
        if self.is_damaged() {
            Loss::Unproven
        } else {
            Loss::Nothing
        }
    }

    /// Lets background work end, and looks at the files.
    pub(crate) fn check_files(&mut self) -> Checked {
        let settled = self.db().wait_for_background();
        if let Err(error) = settled {
            self.tolerate("wait for background work", &error, self.failures_at_open)?;
        }
        self.sim.run_until_idle();
        if self.sim.is_off() {
            return Ok(());
        }
        self.check_space("at rest")
    }

    pub(crate) fn check_space(&mut self, when: &str) -> Checked {
        self.report.checks += 1;
        self.sealed.check(&self.sim, Path::new(DIR))?;
        let files = self.check_levels().map_err(|what| format!("{when}: {what}"))?;
        self.check_disk(&files).map_err(|what| format!("{when}: {what}"))
    }

    /// Levels ascend without overlap, and the metrics count what the files say. Returns the files.
    fn check_levels(&self) -> Checked<BTreeSet<PathBuf>> {
        let metrics = self.db().metrics();
        let mut all = BTreeSet::new();
        for keyspace in self.keyspaces.values() {
            let files = keyspace.files();
            let counted = metrics
                .keyspaces
                .iter()
                .find(|counted| counted.name == keyspace.name());
            let counted = counted.ok_or_else(|| format!("no metrics of {:?}", keyspace.name()))?;
            for (number, level) in counted.levels.iter().enumerate() {
                let inside: Vec<&SstFile> = files.iter().filter(|file| file.level == number).collect();
                let sum = |of: fn(&SstFile) -> u64| inside.iter().map(|file| of(file)).sum::<u64>();
                let real = (
                    inside.len() as u64,
                    sum(|f| f.bytes),
                    sum(|f| f.entries),
                    sum(|f| f.tombstones),
                );
                if real != (level.files, level.bytes, level.entries, level.tombstones) {
                    return Err(format!(
                        "level {number}: {real:?} in the files, {level:?} in the metrics"
                    ));
                }
                // Of two neighbours the border key may be the same: its versions span both.
                if number > 0 && !inside.is_sorted_by(|a, b| a.max_key[..] <= b.min_key[..]) {
                    return Err(format!(
                        "level {number} of {:?} overlaps: {inside:?}",
                        keyspace.name()
                    ));
                }
            }
            for file in files {
                let len = self.sim.file_len(&file.path);
                if len.as_ref().ok() != Some(&file.bytes) {
                    return Err(format!(
                        "{} of {} bytes is {len:?} on disk",
                        file.path.display(),
                        file.bytes
                    ));
                }
                all.insert(file.path);
            }
        }
        Ok(all)
    }

    pub(crate) fn packs(&self) -> BTreeSet<PathBuf> {
        let paths = self.sim.list().into_iter();
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
        paths
            .filter(|path| path.parent() == Some(Path::new(DIR)) && is_pack(path))
            .collect()
    }

    /// Every file that is needed is there; when nothing has gone wrong and nobody holds an old one, nothing else is.
    fn check_disk(&self, needed: &BTreeSet<PathBuf>) -> Checked {
        let paths: Vec<PathBuf> = self.sim.list();
        let ours: Vec<&PathBuf> = paths
            .iter()
            .filter(|path| path.parent() == Some(Path::new(DIR)))
            .collect();
        let ends = |path: &Path, end: &str| path.extension().is_some_and(|extension| extension == end);
        let ssts: BTreeSet<PathBuf> = ours
            .iter()
            .filter(|path| ends(path, "sst"))
            .map(|path| (*path).clone())
            .collect();
        if let Some(missing) = needed.difference(&ssts).next() {
            return Err(format!("{} is needed and not there", missing.display()));
        }
        let metrics = self.db().metrics();
        let held = (self.snapshots.len() + self.ranges.len() + self.cursors.len()) as u64;
        if metrics.open_snapshots != held {
            return Err(format!(
                "{} open snapshots instead of {held}",
                metrics.open_snapshots
            ));
        }
        if !self.is_clean() || held > 0 {
            return Ok(());
        }
        // Those of the directory of objects are counted, and not named.
        let levels = metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
        let known: u64 = levels.map(|level| level.files).sum();
        if self.packs().len() as u64 != metrics.objects.packs && self.readers.is_empty() {
            return Err(format!(
                "{} packs in the metrics, and these files: {ours:?}",
                metrics.objects.packs
            ));
        }
        if ssts.len() as u64 > known {
            let leaked: Vec<&PathBuf> = ssts.difference(needed).collect();
            return Err(format!(
                "of these {} are leftovers: {leaked:?}",
                ssts.len() as u64 - known
            ));
        }
        let logs = ours.iter().filter(|path| ends(path, "log"));
        let log_bytes: u64 = logs.clone().filter_map(|path| self.sim.file_len(path).ok()).sum();
        if log_bytes != metrics.log_bytes_on_disk {
            return Err(format!(
                "{log_bytes} bytes of log on disk, {} in the metrics",
                metrics.log_bytes_on_disk
            ));
        }
        // LOCK, CURRENT, one manifest, and a file of somebody else's.
        let others = ours.len() - ssts.len() - logs.count() - self.packs().len();
        if others != 4 || metrics.undeleted_files != 0 || metrics.background_failures != 0 {
            return Err(format!("files: {ours:?}, {metrics:?}"));
        }
        Ok(())
    }
}
