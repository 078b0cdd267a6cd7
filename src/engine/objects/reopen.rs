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
use crate::pack::shared::{PackFile, Reopened, SharedPack, survey};
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
}

impl Survey {
    /// Looks at the unsealed packs. Changes nothing.
    pub(crate) fn of(env: &Env, dir: &Path, catalog: &Catalog) -> Result<Survey> {
        let mut ends = BTreeMap::new();
        for meta in catalog.packs.values().filter(|meta| !meta.sealed) {
            let path = names::pack(dir, meta.number);
            let end = survey(&*env.fs, &path, &meta.identity, meta.number, meta.len)?;
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

/// Opens all packs of the catalog. For a writer also those that are not sealed, for writing; what has changed of them with that goes into the
/// next edit.
pub(crate) fn open(
    env: &Env,
    dir: &Path,
    options: &Options,
    catalog: &Catalog,
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
        let pack = Pack::new(&meta, file, writer, path, trash);
        objects.add(pack.clone());
        if !pack.is_sealed() {
            // The newest of them goes on; the others have been full.
            *objects.active.lock() = Some(pack);
        }
    }
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
