//! Checkpoints: a second directory that opens as a database by itself, at exactly one sequence number.
//!
//! ```text
//! 1  the target, which is empty, gets a file that says "unfinished checkpoint"; durable with its name
//! 2  one moment: manifest and write path held; number, catalog, SSTs and ends of the logs taken and pinned; let go
//! 3  SSTs: hard links, copies where links are impossible                     writers and background jobs go on
//! 4  logs: copied, each up to its end of that moment, and synced
//! 5  manifest: the catalog of that moment with the ends of the logs; synced, the directory synced
//! 6  CURRENT: renamed, the directory synced   <- point of no return
//! 7  the file of step 1 goes
//! ```
//!
//! * The log is copied rather than the memtables flushed: so a checkpoint neither waits for a flush nor makes small SSTs, and what
//!   it costs is at most `max_log_size` bytes of copying. Who wants a short log calls `Db::flush` before.
//! * Under both locks of step 2 all frames in the log are published, nothing else is, and catalog and views agree: so the log up to
//!   its end, on top of the SSTs, is the state at the published number. The manifest records the ends: nothing behind them is
//!   ever replayed, and a log that falls short of them is damage.
//! * SSTs are immutable and were durable, contents and name, before the catalog named them: a link needs only the sync of its own
//!   directory. Logs and manifests grow, so they are never linked.
//! * What is linked or copied stays until then: tables are held, the log is pinned (`wal::PinnedLog`).
//! * Until step 6 the directory opens as nothing but "a checkpoint that was not finished". Step 5 syncs the directory before
//!   CURRENT, so whoever finds CURRENT finds all else.
//! * A failure never concerns the source, whatever call fails: nothing of it was written to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::Core;
use super::objects::Pack;
use super::tree::Tree;
use crate::env::{File, is_unlinkable};
use crate::manifest::{Catalog, CommitError, Edit, FileMeta, Manifest, PackMeta, Record};
use crate::names;
use crate::pack::shared::unsealed_header;
use crate::planted::{self, Bug};
use crate::types::SeqNo;
use crate::wal::{PinnedFile, PinnedLog};
use crate::{Error, Result};

/// Bytes copied by one call: enough that calls cost little beside the copying.
const CHUNK: u64 = 256 << 10;

/// What a checkpoint is made of.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[allow(unreachable_pub, reason = "part of the API")]
pub struct CheckpointReport {
    /// The sequence number of the last write in it. All writes up to it are in the checkpoint, and none behind it.
    pub seq: SeqNo,
    /// SSTs that share their bytes with the database.
    pub linked_files: u64,
    /// Their bytes, which take no room.
    pub linked_bytes: u64,
    /// SSTs that had to be copied, because the target can't have links to them.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Why the first of them was not linked.
    pub not_linked: Option<Error>,
    /// Log files copied.
    pub log_files: u64,
    /// Their bytes.
    pub log_bytes: u64,
}

/// The database at one number, pinned.
struct Moment<'c> {
    seq: SeqNo,
    catalog: Catalog,
    log: PinnedLog<'c>,
    /// Hold the catalog's SSTs.
    _trees: Vec<Arc<Tree>>,
    /// The catalog's packs. Those that are not sealed are taken up to the end of the records that are whole at that moment.
    packs: Vec<(Arc<Pack>, PackMeta)>,
}

impl Core {
    /// Makes a checkpoint in `dir`, which is empty or does not exist.
    pub(crate) fn checkpoint(self: &Arc<Self>, dir: &Path) -> Result<CheckpointReport> {
        self.check_open()?;
        self.wal()?;
        let mut result = Err(Error::Closed);
        // Like a job, so that closing waits for it.
        self.run(|core| result = core.checkpoint_now(dir));
        result
    }

    fn checkpoint_now(&self, dir: &Path) -> Result<CheckpointReport> {
        let mut target = Target::begin(self, dir)?;
        let result = self.moment().and_then(|moment| target.fill(&moment));
        match &result {
            Ok(_) => target.finish(),
            Err(error) => {
                self.note_full_disk(error);
                target.abandon();
            }
        }
        result
    }

    fn moment(&self) -> Result<Moment<'_>> {
        let state = self.manifest.lock();
        let writes = self.writes.lock();
        // A log whose last frames are not in memory, or not known to be on the medium, has no end to go by.
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        let wal = self.wal()?;
        let floor = wal.obsolete_below(writes.first_unflushed());
        let keyspaces = self.keyspace_cores();
        let trees = keyspaces.iter().map(|keyspace| keyspace.view().tree.clone());
        let packs = state.catalog.packs.values().filter_map(|meta| {
            let pack = self.objects.pack(meta.number)?;
            let len = if meta.sealed { meta.len } else { pack.records_end() };
            let meta = PackMeta { len, ..meta.clone() };
            Some((pack, meta))
        });
        Ok(Moment {
            packs: packs.collect(),
            seq: self.snapshots.published(),
            log: wal.pin(floor.max(state.catalog.log_floor)),
            _trees: trees.collect(),
            catalog: state.catalog.clone(),
        })
    }
}

/// A directory on its way to become a checkpoint.
struct Target<'c> {
    core: &'c Core,
    dir: PathBuf,
    /// Files that may be there, but for `CURRENT` and the one that says "unfinished".
    made: Vec<PathBuf>,
    report: CheckpointReport,
}

impl<'c> Target<'c> {
    /// Makes the directory, if need be, and marks it as unfinished, durably.
    fn begin(core: &'c Core, dir: &Path) -> Result<Target<'c>> {
        use std::io::ErrorKind;
        let fs = &core.env.fs;
        fs.create_dir_all(dir).map_err(|e| match e.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Error::NotEmpty {
                path: dir.to_owned(),
                found: "a file".to_owned(),
            },
            _ => Error::io("create", dir, e),
        })?;
        let target = Target {
            core,
            dir: dir.to_owned(),
            made: Vec::new(),
            report: CheckpointReport::default(),
        };
        target.check_empty_but_for(None)?;
        let mark = target.mark();
        match fs.create(&mark) {
            Ok(_) => {}
            // Somebody else has begun to make one.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::NotEmpty {
                    path: dir.to_owned(),
                    found: names::UNFINISHED_CHECKPOINT.to_owned(),
                });
            }
            Err(e) => {
                let _ = fs.remove(&mark);
                return Err(Error::io("create", &mark, e));
            }
        }
        // Again: somebody may have made a database here before the file was there to tell him not to.
        let marked = target
            .sync_dir()
            .and_then(|()| target.check_empty_but_for(Some(names::UNFINISHED_CHECKPOINT)));
        match marked {
            Ok(()) => Ok(target),
            Err(e) => {
                // Only our own file: whatever else is there is not ours.
                let _ = fs.remove(&mark);
                Err(e)
            }
        }
    }

    fn check_empty_but_for(&self, ours: Option<&str>) -> Result<()> {
        let entries = self.core.env.fs.list(&self.dir);
        let entries = entries.map_err(|e| Error::io("list", &self.dir, e))?;
        match entries.into_iter().find(|entry| Some(&entry.name[..]) != ours) {
            None => Ok(()),
            Some(entry) => Err(Error::NotEmpty {
                path: self.dir.clone(),
                found: entry.name,
            }),
        }
    }

    fn mark(&self) -> PathBuf {
        self.dir.join(names::UNFINISHED_CHECKPOINT)
    }

    fn sync_dir(&self) -> Result<()> {
        let synced = self.core.env.fs.sync_dir(&self.dir);
        synced.map_err(|e| Error::io("sync", &self.dir, e))
    }

    /// Steps 3 to 6.
    fn fill(&mut self, moment: &Moment<'_>) -> Result<CheckpointReport> {
        self.report.seq = moment.seq;
        let keyspaces = moment.catalog.keyspaces.values();
        let files = keyspaces
            .flat_map(|keyspace| &keyspace.levels)
            .flat_map(|files| files.values());
        if planted::is(Bug::CheckpointLinkedLate) {
            self.copy_log_and_manifest(moment)?;
            for file in files {
                self.take_over_sst(file)?;
            }
            return Ok(self.report.clone());
        }
        for file in files {
            self.take_over_sst(file)?;
        }
        for (_, pack) in &moment.packs {
            self.take_over_pack(pack)?;
        }
        self.copy_log_and_manifest(moment)?;
        Ok(self.report.clone())
    }

    fn take_over_sst(&mut self, file: &FileMeta) -> Result<()> {
        let name = names::sst(Path::new(""), file.number);
        self.take_over(&name, file.size)
    }

    /// Sealed packs are linked; what is not sealed goes on changing, so it is copied.
    fn take_over_pack(&mut self, pack: &PackMeta) -> Result<()> {
        let name = names::pack(Path::new(""), pack.number);
        if pack.sealed {
            return self.take_over(&name, pack.len);
        }
        let (from, to) = (self.core.dir.join(&name), self.dir.join(&name));
        self.made.push(to.clone());
        let header = unsealed_header(pack.identity, pack.number);
        self.copy(&from, &to, pack.len, &header)?;
        self.report.copied_files += 1;
        self.report.copied_bytes += pack.len;
        Ok(())
    }

    fn take_over(&mut self, name: &Path, size: u64) -> Result<()> {
        self.core.check_open()?;
        let (from, to) = (self.core.dir.join(name), self.dir.join(name));
        self.made.push(to.clone());
        match self.core.env.fs.hard_link(&from, &to) {
            Ok(()) => {
                self.report.linked_files += 1;
                self.report.linked_bytes += size;
            }
            Err(e) if is_unlinkable(&e) => {
                self.copy(&from, &to, size, &[])?;
                self.report.copied_files += 1;
                self.report.copied_bytes += size;
                self.report.not_linked.get_or_insert(Error::io("link", &to, e));
            }
            Err(e) => return Err(Error::io("link", &to, e)),
        }
        Ok(())
    }

    fn copy_log_and_manifest(&mut self, moment: &Moment<'_>) -> Result<()> {
        let at_last = planted::is(Bug::CheckpointLogBeyond).then(|| moment.log.again());
        let files: &[PinnedFile] = at_last.as_ref().map_or(&moment.log.files, |log| &log.files);
        let mut edit = Edit::default();
        for file in files {
            self.copy_log(file)?;
            edit.push(Record::LogEnd(file.end.clone()));
            edit.push(Record::LogKnown(file.end.number));
        }
        // What lies below has not been copied.
        edit.push(Record::LogFloor(
            files.first().map_or(0, |first| first.end.number),
        ));
        edit.push(Record::LastSeq(moment.seq));
        let packs = moment.packs.iter().map(|(_, pack)| Record::Pack(pack.clone()));
        edit.records.extend(packs);
        let mut catalog = moment.catalog.clone();
        catalog
            .apply(&edit)
            .map_err(|what| Error::corruption(&self.dir, 0, what))?;
        self.core.check_open()?;
        self.made.push(names::manifest(&self.dir, 1));
        let roll_size = self.core.options.manifest_roll_size;
        Manifest::create(&self.core.env, &self.dir, 1, roll_size, &catalog)
            .map(drop)
            .map_err(|e| match e {
                CommitError::Write(e) | CommitError::Sync(e) => e,
            })
    }

    fn copy_log(&mut self, file: &PinnedFile) -> Result<()> {
        let name = file.path.file_name().unwrap_or_default();
        let to = self.dir.join(name);
        self.made.push(to.clone());
        self.copy(&file.path, &to, file.end.offset, &[])?;
        self.report.log_files += 1;
        self.report.log_bytes += file.end.offset;
        Ok(())
    }

    /// Copies the first `len` bytes of a file to a new one, which begins with `front` in place of what the old one begins with, and syncs that.
    fn copy(&self, from: &Path, to: &Path, len: u64, front: &[u8]) -> Result<()> {
        let fs = &self.core.env.fs;
        let source = fs.open(from).map_err(|e| Error::io("open", from, e))?;
        let target = fs.create(to).map_err(|e| Error::io("create", to, e))?;
        let mut chunk = vec![0; len.min(CHUNK) as usize];
        let mut at = 0;
        while at < len {
            self.core.check_open()?;
            let bytes = (len - at).min(CHUNK);
            let part = chunk.get_mut(..bytes as usize).unwrap_or_default();
            read_part(&*source, from, at, part)?;
            target
                .write_all_at(at, part)
                .map_err(|e| Error::io("write", to, e))?;
            at += bytes;
        }
        if !front.is_empty() {
            target
                .write_all_at(0, front)
                .map_err(|e| Error::io("write", to, e))?;
        }
        target.sync().map_err(|e| Error::io("sync", to, e))
    }

    /// Step 7. Where it fails, the next opening for writing does it.
    fn finish(&self) {
        let _ = self.core.env.fs.remove(&self.mark());
    }

    /// Removes what has been made, as far as that goes. The directory stays, and the file that says "unfinished" goes last, when all
    /// else is known to have gone.
    fn abandon(&self) {
        let fs = &self.core.env.fs;
        let gone = |path: &Path| match fs.remove(path) {
            Err(e) => e.kind() == std::io::ErrorKind::NotFound,
            Ok(()) => true,
        };
        // CURRENT first, durably: with it the rest has to be there. If it can't be made sure, all of it stays.
        let current = [names::CURRENT, names::CURRENT_TMP].map(|name| gone(&self.dir.join(name)));
        if current != [true; 2] || self.sync_dir().is_err() {
            return;
        }
        // Each of them is tried, whatever becomes of the others.
        let left = self.made.iter().filter(|path| !gone(path)).count();
        if left == 0 && self.sync_dir().is_ok() {
            gone(&self.mark());
        }
    }
}

fn read_part(file: &dyn File, path: &Path, at: u64, part: &mut [u8]) -> Result<()> {
    file.read_exact_at(at, part).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::corruption(path, at, "the file ends here, and more has been written to it")
        }
        _ => Error::io("read", path, e),
    })
}
