//! Opening read-only, beside a writer that goes on. It takes no lock and changes nothing; what it sees is one state of the database:
//! all that was acknowledged when the opening began, and of what came later a prefix in the order of commits.
//!
//! ```text
//! 1  CURRENT -> manifest -> catalog                       } an error starts over, unless nothing has changed since the
//! 2  open every SST; those of an earlier attempt are kept } last one: files vanish when the writer needs them no more
//! 3  replay the logs, up to what is whole                 }
//! 4  look again (see below); start over if that state has never been
//! ```
//!
//! Why 1 to 3 give a state that has been. Catalogs name SSTs and say what is in them; logs from the floor on hold all else, in the
//! order of commits, and frames are whole or not there. A log or SST that the catalog needs and the writer has deleted is
//! missed, never silently: SSTs by their names, logs by the chain of their headers. Flushes and compactions between 1 and 3 move entries
//! and change none. What is left is looked at in 4:
//! * A keyspace that was created or dropped in between: the logs could show a write behind its drop, and the catalog the keyspace. So the
//!   manifest is read again when the logs have been read, and has to be the same file with the same keyspaces. (Their ids are never
//!   used twice.) The same goes for packs, which the logs refer to.
//! * A group of frames whose write failed may be whole in a log until the writer cuts it off. So the last frame that was read must
//!   still be in its log, and the log's successor, if it has got one, must not say that it ends before. (A reader that looks in between
//!   sees such a write, as a recovery may after a crash.) Lengths of files are not compared: a mapped log's is that of its room.
//!
//! A mapped log grows in the middle of its file while it is read: a marker that is found behind the end may be younger than what was
//! read of the end. The end is then read again before it is called damage (`record_log`).
//!
//! What has been opened is held: SSTs by their handles or mappings. A file system on which a removed file is gone for those who have it
//! open can't have readers beside a writer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RecoveryReport;
use super::directory::{fresh, list};
use super::opening::{Opening, Tables};
use crate::engine::core::Core;
use crate::env::Env;
use crate::manifest::{self, Loaded};
use crate::options::Options;
use crate::planted::{self, Bug};
use crate::types::KeyspaceId;
use crate::wal;
use crate::{Error, Result, names};

/// So often an opening starts over. Each time the writer has to be faster with a change that matters (a keyspace created or dropped, a
/// file deleted) than the reader is with reading; a handful of times in a row is rare even under full load.
const ATTEMPTS: u32 = 64;

/// Opens the database in `dir` for reading.
pub(super) fn open(env: &Env, dir: &Path, options: &Options) -> Result<(Arc<Core>, RecoveryReport)> {
    let mut tables = Tables::new(env, options);
    let mut last_error: Option<(Error, Scene)> = None;
    for _ in 0..ATTEMPTS {
        match attempt(env, dir, options, &mut tables) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => last_error = None,
            Err(error @ Error::NotADatabase { .. }) => return Err(error),
            Err(error) => {
                let now = Scene::of(env, dir);
                // This one and not the first, which may be of a scene that has been over before it was looked at.
                if last_error.is_some_and(|(_, then)| then == now) {
                    return Err(error);
                }
                last_error = Some((error, now));
            }
        }
    }
    Err(last_error.map_or_else(
        || Error::Changing {
            path: dir.to_owned(),
            attempts: ATTEMPTS,
        },
        |(error, _)| error,
    ))
}

/// `None`: it has changed meanwhile.
fn attempt(
    env: &Env,
    dir: &Path,
    options: &Options,
    tables: &mut Tables,
) -> Result<Option<(Arc<Core>, RecoveryReport)>> {
    let began = env.clock.now();
    let names = list(env, dir)?;
    let Some(loaded) = manifest::load(&*env.fs, dir)? else {
        return fresh(env, dir, options, true, &names).map(|_| None);
    };
    let first = Look::of(&loaded);
    let mut opening = Opening::new(env.clone(), dir, options.clone(), loaded, tables)?;
    let replayed = opening.replay(None)?;
    let report = RecoveryReport::new(&replayed, opening.replayed, &opening.damage_of_packs()?);
    let unchanged = planted::is(Bug::ReaderNotRechecked)
        || (first.is_still_true(env, dir)? && wal::still_counts(&*env.fs, dir, &replayed)?);
    match unchanged {
        true => Ok(Some((opening.finish_read_only(began)?, report))),
        false => Ok(None),
    }
}

/// What must be the same before and after the logs have been read.
#[derive(PartialEq, Eq)]
struct Look {
    manifest: PathBuf,
    database: [u8; 16],
    keyspaces: Vec<KeyspaceId>,
    /// The logs name places in them.
    packs: Vec<u64>,
}

impl Look {
    fn of(loaded: &Loaded) -> Look {
        Look {
            manifest: loaded.path.clone(),
            database: loaded.catalog.identity,
            keyspaces: loaded.catalog.keyspaces.keys().copied().collect(),
            packs: loaded.catalog.packs.keys().copied().collect(),
        }
    }

    fn is_still_true(&self, env: &Env, dir: &Path) -> Result<bool> {
        let loaded = manifest::load(&*env.fs, dir)?;
        Ok(loaded.is_some_and(|loaded| Look::of(&loaded) == *self))
    }
}

/// What lies in the directory: a failure in the same scene as the one before is no accident of the moment.
#[derive(PartialEq, Eq)]
struct Scene(Vec<String>, Option<(u64, Option<u64>)>);

impl Scene {
    fn of(env: &Env, dir: &Path) -> Scene {
        let names = env.fs.list(dir).unwrap_or_default();
        let names = names.into_iter().map(|entry| entry.name).collect();
        let current = manifest::current_number(&*env.fs, dir).ok().flatten();
        let length = |number| {
            let file = env.fs.open(&names::manifest(dir, number)).ok()?;
            file.len().ok()
        };
        Scene(names, current.map(|number| (number, length(number))))
    }
}
