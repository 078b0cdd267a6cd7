//! Packs on the way in.
//!
//! A recovery first asks, and changes nothing, how far the records of each unsealed pack are whole ([`Survey`]). The replay of the log stops where it meets a place
//! that lies beyond, as at a torn frame; in what was synced that is damage. Only then are the packs opened for writing, which cuts off what is not
//! whole and writes anew what no sync is known to have covered ([`SharedPack::reopen`]): before the log goes on, which calls
//! all that was replayed durable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pack::Pack;
use super::place::Place;
use super::{DIRECTORY, Objects};
use crate::engine::table::Trash;
use crate::env::Env;
use crate::manifest::{Catalog, PackMeta, Record};
use crate::options::Options;
use crate::pack::shared::{PackFile, Reopened, SharedPack, look, mend, survey};
use crate::record_log::RecoveryMode;
use crate::sync::Mutex;
use crate::types::KeyspaceId;
use crate::{Error, Result, names};

/// How far the packs are whole.
pub(crate) struct Survey {
    env: Env,
    dir: PathBuf,
    /// Of unsealed packs: the identity, and where the last whole record ends.
    ends: Mutex<BTreeMap<u64, ([u8; 16], u64)>>,
    directory: Option<KeyspaceId>,
    mode: RecoveryMode,
    /// With [`RecoveryMode::Salvage`]: where the last record ends that the log refers to, however damaged it is. So no other one will be placed there.
    referred: Mutex<BTreeMap<u64, u64>>,
}

/// Nobody refers further behind the end of a pack, in bytes: such a place is no place.
const FAR: u64 = 1 << 36;

impl Survey {
    /// Looks at the unsealed packs. Changes nothing.
    pub(crate) fn of(env: &Env, dir: &Path, catalog: &Catalog, mode: RecoveryMode) -> Result<Survey> {
        let mut ends = BTreeMap::new();
        for meta in catalog.packs.values().filter(|meta| !meta.sealed) {
            let path = names::pack(dir, meta.number);
            let end = match mode {
                RecoveryMode::Salvage => look(&*env.fs, &path, &meta.identity, meta.number, meta.len)?.end,
                _ => survey(&*env.fs, &path, &meta.identity, meta.number, meta.len)?,
            };
            ends.insert(meta.number, (meta.identity, end));
        }
        let mut keyspaces = catalog.keyspaces.iter();
        let directory = keyspaces
            .find(|(_, entry)| &*entry.name == DIRECTORY)
            .map(|(id, _)| *id);
        Ok(Survey {
            env: env.clone(),
            dir: dir.to_owned(),
            ends: Mutex::new(ends),
            directory,
            mode,
            referred: Mutex::default(),
        })
    }

    /// What is wrong with a write to a keyspace, if it names a place where there is no whole record. Sealed packs are whole; one that is not
    /// named by the manifest has been removed since, when everything in it had been moved.
    pub(crate) fn fault(&self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Option<String> {
        if Some(keyspace) != self.directory {
            return None;
        }
        let place = Place::decode(value)?;
        let mut ends = self.ends.lock();
        let (identity, end) = ends.get_mut(&place.pack)?;
        if self.mode == RecoveryMode::Salvage {
            let near = end.saturating_add(FAR);
            let mut referred = self.referred.lock();
            let most = referred.entry(place.pack).or_default();
            *most = (*most).max(place.end().filter(|place_end| *place_end <= near).unwrap_or(0));
            return None;
        }
        let is_whole = |end| place.end().is_some_and(|place_end| place_end <= end);
        if is_whole(*end) {
            return None;
        }
        // A writer beside this reader may have appended it since: it was whole before the log referred to it.
        let path = names::pack(&self.dir, place.pack);
        if let Ok(now) = survey(&*self.env.fs, &path, identity, place.pack, *end) {
            *end = now;
        }
        let end = *end;
        if is_whole(end) {
            return None;
        }
        let id = <[u8; 16]>::try_from(key).map(crate::pack::ObjectId);
        let id = id.map_or_else(|_| "?".to_owned(), |id| id.to_string());
        Some(format!(
            "it refers to object {id} at offset {} of {}, which is whole up to {end}",
            place.record.offset,
            names::pack(Path::new(""), place.pack).display()
        ))
    }
}

impl Survey {
    /// Up to where whole records are to be found in an unsealed pack, or damage that will be told and given up.
    fn expected(&self, meta: &PackMeta) -> u64 {
        let referred = self.referred.lock().get(&meta.number).copied();
        referred.unwrap_or(0).max(meta.len)
    }

    /// With [`RecoveryMode::Salvage`], after the replay: what is damaged in unsealed packs, and is given up.
    pub(crate) fn damage(&self, catalog: &Catalog) -> Result<Vec<Error>> {
        let mut damage = Vec::new();
        let unsealed = catalog.packs.values().filter(|meta| !meta.sealed);
        for meta in unsealed.filter(|_| self.mode == RecoveryMode::Salvage) {
            let path = names::pack(&self.dir, meta.number);
            let expected = self.expected(meta);
            damage.extend(look(&*self.env.fs, &path, &meta.identity, meta.number, expected)?.damage);
        }
        Ok(damage)
    }
}

/// Opens all packs of the catalog. For a writer also those that are not sealed, for writing; what has changed of them with that goes into the
/// next edit.
pub(crate) fn open(
    env: &Env,
    dir: &Path,
    options: &Options,
    (catalog, survey): (&Catalog, &Survey),
    trash: &Arc<Trash>,
    for_writing: bool,
) -> Result<(Arc<Objects>, Vec<Record>)> {
    let objects = Objects::new(env, options);
    let mut changed = Vec::new();
    for meta in catalog.packs.values() {
        let path = names::pack(dir, meta.number);
        let fs = &*env.fs;
        let mut meta = meta.clone();
        let mut writer = None;
        if meta.sealed {
            check_len(env, &path, &meta)?;
        } else if for_writing {
            if options.recovery_mode == RecoveryMode::Salvage {
                meta.len = survey.expected(&meta);
                mend(fs, &path, &meta.identity, meta.number, meta.len)?;
            }
            match SharedPack::reopen(fs, &path, &meta.identity, meta.number, meta.len)? {
                Reopened::Sealed(sealed) => {
                    meta.sealed = true;
                    meta.len = sealed.file_bytes;
                }
                Reopened::Unsealed(pack, _) => {
                    meta.len = pack.len();
                    writer = Some(pack);
                }
            }
            changed.push(Record::Pack(meta.clone()));
        }
        let file = PackFile::open(fs, &path, &meta.identity, meta.number)?;
        objects.add(Pack::new(&meta, file, writer, path, trash));
    }
    objects.active.lock().resume(objects.packs.unsealed());
    Ok((objects, changed))
}

fn check_len(env: &Env, path: &Path, meta: &PackMeta) -> Result<()> {
    let file = env.fs.open(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("read", path, e))?;
    if len == meta.len {
        return Ok(());
    }
    let what = format!("it has {len} bytes, and the manifest says {}", meta.len);
    Err(Error::corruption(path, len.min(meta.len), what))
}
