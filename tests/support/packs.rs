//! [`SealedPacks`]: what makes sure that a sealed pack never changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use packstone::env::sim::SimEnv;

/// Where a pack's header says how long the file was when it was sealed; 0 if it has not been.
const SEALED_LEN: std::ops::Range<usize> = 64..72;

/// The sealed packs of a directory, as they were when they were first seen.
#[derive(Debug, Default)]
pub(crate) struct SealedPacks(BTreeMap<PathBuf, Vec<u8>>);

impl SealedPacks {
    /// How many there were at the last look.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Looks at the packs. One that was seen sealed before is what it was, or gone.
    pub(crate) fn check(&mut self, sim: &SimEnv, dir: &Path) -> Result<(), String> {
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|end| end == "pack");
        let mut now = BTreeMap::new();
        for path in sim.list() {
            if path.parent() != Some(dir) || !is_pack(&path) {
                continue;
            }
            let Ok(bytes) = sim.read_file(&path) else { continue };
            // The sum of that length may have been torn, and is completed then.
            let but_for_sum = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                bytes.drain(SEALED_LEN.end..bytes.len().min(SEALED_LEN.end + 8));
                bytes
            };
            let before = self.0.remove(&path);
            if let Some(before) = before.filter(|before| but_for_sum(before) != but_for_sum(&bytes)) {
                return Err(format!(
                    "{} was sealed with {} bytes; it has changed, and has {}",
                    path.display(),
                    before.len(),
                    bytes.len()
                ));
            }
            let sealed = bytes
                .get(SEALED_LEN)
                .is_some_and(|len| len == (bytes.len() as u64).to_le_bytes());
            if sealed {
                now.insert(path, bytes);
            }
        }
        self.0 = now;
        Ok(())
    }

    /// The machine has stopped, or a bit has flipped: what was not durable is what it was before.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
