//! Self-checks of debug builds: the recency invariant, after every version change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Core;
use super::keyspace::KeyspaceCore;
use super::tree::Tree;
use crate::cursor::Cursor;
use crate::sst::CursorOptions;
use crate::types::SeqNo;

/// Trees of more entries than this are checked by their files' bounds only.
const MAX_ENTRIES: u64 = 4_000;

impl Core {
    /// Panics, in debug builds, when the keyspace's tree breaks an invariant. Bounds are always checked, and small trees
    /// entry by entry.
    #[allow(
        clippy::panic,
        reason = "a broken invariant in a debug build must not go unnoticed"
    )]
    pub(crate) fn check_recency(&self, keyspace: &Arc<KeyspaceCore>) {
        if !cfg!(debug_assertions) {
            return;
        }
        let tree = keyspace.view().tree.clone();
        if let Err(what) = tree.check().and_then(|()| self.check_entries(&tree)) {
            // A file that is not what its writer made of it breaks the rules without a fault of the engine; reads and
            // `verify` report it.
            if tree.tables().any(|table| table.sst.verify().is_err()) {
                return;
            }
            panic!("recency invariant of keyspace {:?} broken: {what}", keyspace.name);
        }
    }

    fn check_entries(&self, tree: &Tree) -> Result<(), String> {
        if tree.tables().map(|table| table.meta.entries).sum::<u64>() > MAX_ENTRIES {
            return Ok(());
        }
        // For each key the least number of all newer sources: every older source must lie below it.
        let mut least: BTreeMap<Vec<u8>, SeqNo> = BTreeMap::new();
        let level_0 = tree.level(0).iter().map(std::slice::from_ref);
        let deeper = tree.levels().skip(1).map(|(_, tables)| tables);
        for source in level_0.chain(deeper) {
            let mut in_source: BTreeMap<Vec<u8>, SeqNo> = BTreeMap::new();
            for table in source {
                let options = CursorOptions {
                    access: Some(self.background_access()),
                    fill_cache: false,
                    read_ahead: true,
                };
                let mut cursor = table.sst.cursor(options);
                // A file that can't be read is reported by whoever needs it.
                let mut more = cursor.seek_to_first().is_ok();
                while more && cursor.valid() {
                    let seq = cursor.seq();
                    if let Some(newer) = least.get(cursor.key()).filter(|newer| **newer <= seq) {
                        let key = cursor.key().escape_ascii();
                        return Err(format!("key {key}: number {seq} lies below number {newer}"));
                    }
                    let entry = in_source.entry(cursor.key().to_vec()).or_insert(seq);
                    *entry = (*entry).min(seq);
                    more = cursor.next().is_ok();
                }
            }
            for (key, seq) in in_source {
                let entry = least.entry(key).or_insert(seq);
                *entry = (*entry).min(seq);
            }
        }
        Ok(())
    }
}
