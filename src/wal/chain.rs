//! Which files of a directory are the log, and in which order.
//!
//! Headers point backwards, and a later recovery may cut off what an earlier file claimed, so the chain is found from the
//! newest file back: the newest one knows what it continues. Files that the chain steps over have been cut off, or
//! failed to be created. Where the chain breaks above the floor, a file is missing whose name was durable: an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::env::FileSystem;
use crate::record_log::{
    HEADER_LEN, Header, HeaderOutcome, LogEnd, LogKind, RecoveryMode, has_frames, read_header,
};
use crate::types::SeqNo;
use crate::{Error, Result};

use super::{ReplayOptions, file_name, file_path, parse_file_name};

/// One file of the log.
pub(super) struct ChainLog {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    /// Its size on disk.
    pub(super) len: u64,
    /// Whether there are frames in it.
    pub(super) has_frames: bool,
    /// Where an earlier recovery found its end.
    pub(super) recorded_end: Option<LogEnd>,
    /// Its own header is damaged; this one is put together from what others say (`Salvage` only).
    pub(super) revived: bool,
}

impl ChainLog {
    /// Whether `next` says that it continues this file.
    pub(super) fn is_continued_by(&self, next: &ChainLog) -> bool {
        let before = next.header.predecessor.as_ref();
        before.is_some_and(|end| end.number == self.header.number && end.identity == self.header.identity)
    }
}

/// The files of the log, oldest first, and what else has a log file's name.
pub(super) struct Chain {
    pub(super) logs: Vec<ChainLog>,
    pub(super) leftovers: Vec<PathBuf>,
    pub(super) next_number: u64,
    /// What `PointInTime` and `Salvage` step over.
    pub(super) dropped: Vec<Error>,
}

impl Chain {
    /// Finds the chain by names and headers alone. Fails where a file that is needed is missing or damaged.
    pub(super) fn find(fs: &dyn FileSystem, dir: &Path, options: &ReplayOptions) -> Result<Chain> {
        let mut survey = Survey::of(fs, dir, options)?;
        if options.mode == RecoveryMode::Salvage {
            survey.revive();
        }
        let mut problems = Vec::new();
        let numbers = survey.link(&mut problems);
        survey.check_needed(&numbers, &mut problems);
        survey.check_behind(&numbers, &mut problems);
        let goes_on = matches!(options.mode, RecoveryMode::PointInTime | RecoveryMode::Salvage);
        if !goes_on && !problems.is_empty() {
            return Err(problems.swap_remove(0));
        }
        let detached = !problems.is_empty();
        let logs = numbers
            .iter()
            .filter_map(|number| survey.whole.remove(number))
            .collect();
        let mut leftovers = survey.leftovers;
        if !detached {
            leftovers.extend(survey.whole.into_values().map(|log| log.path));
            leftovers.extend(survey.damaged.into_keys().map(|number| file_path(dir, number)));
        }
        Ok(Chain {
            logs,
            leftovers,
            next_number: survey.next_number,
            dropped: problems,
        })
    }

    /// What the first file continues.
    pub(super) fn before(&self) -> Option<LogEnd> {
        self.logs.first().and_then(|log| log.header.predecessor.clone())
    }

    /// The last sequence number before the first file.
    pub(super) fn last_seq_before(&self) -> SeqNo {
        self.before().map_or(0, |end| end.last_seq)
    }
}

/// What a file's predecessor turned out to be.
enum Link {
    /// There is none at or above the floor: the file begins the log.
    Root,
    /// This file, and it ends where this one says.
    To(u64),
    /// An earlier recovery ended the predecessor elsewhere, or passed this file over, and so cut it off.
    CutOff,
    /// It is not what this file says.
    Broken(Error),
}

/// All files with a log file's name, judged by their headers. From the floor on, but for `leftovers` and `next_number`.
struct Survey<'a> {
    dir: &'a Path,
    options: &'a ReplayOptions,
    whole: BTreeMap<u64, ChainLog>,
    /// Ours, synced once, and unreadable now.
    damaged: BTreeMap<u64, Error>,
    /// Those of them that have lost their header, with their length.
    headless: BTreeMap<u64, (PathBuf, u64)>,
    foreign: BTreeMap<u64, Error>,
    unborn: BTreeMap<u64, PathBuf>,
    /// Names of ours that are no files: directories, links, pipes.
    no_files: BTreeSet<u64>,
    leftovers: Vec<PathBuf>,
    next_number: u64,
}

impl<'a> Survey<'a> {
    fn of(fs: &dyn FileSystem, dir: &'a Path, options: &'a ReplayOptions) -> Result<Survey<'a>> {
        let mut survey = Survey {
            dir,
            options,
            whole: BTreeMap::new(),
            damaged: BTreeMap::new(),
            headless: BTreeMap::new(),
            foreign: BTreeMap::new(),
            unborn: BTreeMap::new(),
            no_files: BTreeSet::new(),
            leftovers: Vec::new(),
            next_number: 1,
        };
        let known = options
            .must_exist
            .iter()
            .copied()
            .chain(options.ends.iter().map(|end| end.number));
        let highest = known.chain([options.floor]).max().unwrap_or(0);
        survey.next_number = highest.saturating_add(1).max(1);
        for entry in fs.list(dir).map_err(|error| Error::io("list", dir, error))? {
            let Some(number) = parse_file_name(&entry.name) else {
                continue;
            };
            survey.next_number = survey.next_number.max(number.saturating_add(1));
            if !entry.is_file {
                survey.no_files.insert(number);
                continue;
            }
            let path = dir.join(&entry.name);
            if number < options.floor {
                survey.add_obsolete(fs, number, path);
            } else {
                survey.add(fs, number, path)?;
            }
        }
        Ok(survey)
    }

    /// A file below the floor: whatever is wrong with it, nobody needs it.
    fn add_obsolete(&mut self, fs: &dyn FileSystem, number: u64, path: PathBuf) {
        match read_header(fs, &path, LogKind::Wal) {
            Ok(HeaderOutcome::Whole(header)) if header.number != number => {}
            Ok(HeaderOutcome::Foreign(_)) | Err(_) => {}
            Ok(_) => self.leftovers.push(path),
        }
    }

    fn add(&mut self, fs: &dyn FileSystem, number: u64, path: PathBuf) -> Result<()> {
        let outcome = match read_header(fs, &path, LogKind::Wal) {
            // Where all is wanted that can be read, what can't be is as good as damaged.
            Err(error @ Error::Io { .. }) if self.options.mode == RecoveryMode::Salvage => {
                HeaderOutcome::Damaged(error)
            }
            outcome => outcome?,
        };
        match outcome {
            HeaderOutcome::Whole(header) if header.number != number => {
                let what = format!(
                    "expected the header of log {number}, found that of log {}",
                    header.number
                );
                self.foreign.insert(number, Error::corruption(&path, 0, what));
            }
            HeaderOutcome::Whole(header) => {
                let recorded_end = self
                    .options
                    .ends
                    .iter()
                    .rev()
                    .find(|end| end.number == number)
                    .cloned();
                if recorded_end
                    .as_ref()
                    .is_some_and(|end| end.identity != header.identity)
                {
                    let what =
                        "expected the file that an earlier recovery read, found another one's identity";
                    self.damaged.insert(number, Error::corruption(&path, 0, what));
                    return Ok(());
                }
                let len = length(fs, &path)?;
                let has_frames = match has_frames(fs, &path, &header) {
                    Err(Error::Io { .. }) if self.options.mode == RecoveryMode::Salvage => true,
                    found => found?,
                };
                self.whole.insert(
                    number,
                    ChainLog {
                        header,
                        path,
                        len,
                        has_frames,
                        recorded_end,
                        revived: false,
                    },
                );
            }
            HeaderOutcome::Unborn => {
                self.unborn.insert(number, path.clone());
                self.leftovers.push(path);
            }
            HeaderOutcome::Damaged(error) => {
                let len = length(fs, &path)?;
                self.headless.insert(number, (path, len));
                self.damaged.insert(number, error);
            }
            HeaderOutcome::Foreign(error) => {
                self.foreign.insert(number, error);
            }
        }
        Ok(())
    }

    /// Gives files that have lost their header the identity that others know of them: the seed of their checksums.
    fn revive(&mut self) {
        for (number, (path, len)) in std::mem::take(&mut self.headless) {
            let recorded_end = self.options.ends.iter().rev().find(|end| end.number == number);
            let successor = self.whole.values().find_map(|log| {
                let before = log.header.predecessor.as_ref()?;
                (before.number == number).then_some(before.identity)
            });
            let Some(identity) = recorded_end.map(|end| end.identity).or(successor) else {
                continue;
            };
            let header = Header {
                kind: LogKind::Wal,
                number,
                identity,
                predecessor: None,
                reserved: true, // maybe not; then nothing follows its end
            };
            let recorded_end = recorded_end.cloned();
            self.whole.insert(
                number,
                ChainLog {
                    header,
                    path,
                    len,
                    has_frames: len > HEADER_LEN,
                    recorded_end,
                    revived: true,
                },
            );
        }
    }

    /// Walks back from the newest file. Returns the chain's numbers, oldest first: the lowest run of files that hold
    /// together down to the floor. Runs above it that don't connect are problems, the newest first; `Salvage` returns them
    /// too.
    fn link(&self, problems: &mut Vec<Error>) -> Vec<u64> {
        let mut below = u64::MAX;
        let mut detached: Vec<u64> = Vec::new();
        loop {
            let Some((&newest, _)) = self.whole.range(..below).next_back() else {
                detached.reverse();
                return detached;
            };
            let mut run = vec![newest];
            let mut at = newest;
            loop {
                match self.link_of(at) {
                    Link::To(number) => {
                        run.push(number);
                        at = number;
                    }
                    Link::Root => {
                        detached.extend(run);
                        detached.reverse();
                        return detached;
                    }
                    Link::CutOff => break,
                    Link::Broken(error) => {
                        problems.push(error);
                        if self.options.mode == RecoveryMode::Salvage {
                            detached.extend(run);
                        } else {
                            detached.clear();
                        }
                        break;
                    }
                }
            }
            below = at;
        }
    }

    fn link_of(&self, number: u64) -> Link {
        let Some(log) = self.whole.get(&number) else {
            return Link::Root;
        };
        let floor = self.options.floor;
        if log.revived {
            let older = self.whole.range(..number).next_back();
            return older.map_or(Link::Root, |(older, _)| Link::To(*older));
        }
        let Some(before) = &log.header.predecessor else {
            // Only the first log of a database has no predecessor. A file without frames below it is a failed attempt.
            let older = self.whole.range(..number).find(|(_, older)| older.has_frames);
            return match older {
                None => Link::Root,
                Some((older, _)) => Link::Broken(Error::corruption(
                    &log.path,
                    0,
                    format!("expected a predecessor in the header, for log {older} is there; found none"),
                )),
            };
        };
        // The manifest names a log only when its name is durable, and every later one continues it. Whoever passes it over
        // is a failed attempt from before, whose removal a failed sync of the directory has lost.
        let passes_over = |known: &u64| before.number < *known && *known < number;
        if self.options.must_exist.iter().any(passes_over) {
            return Link::CutOff;
        }
        if before.number < floor {
            return Link::Root;
        }
        let Some(found) = self.whole.get(&before.number) else {
            return Link::Broken(self.missing(before.number, &format!("{} continues it", file_name(number))));
        };
        if found.header.identity != before.identity {
            let what = format!(
                "expected the file that {} continues, found another one's identity",
                file_name(number)
            );
            return Link::Broken(Error::corruption(&found.path, 0, what));
        }
        match &found.recorded_end {
            Some(end) if end.offset != before.offset => Link::CutOff,
            _ => Link::To(before.number),
        }
    }

    /// Every number that the manifest names is in the chain, has been stepped over by it, or is there but cut off.
    fn check_needed(&self, chain: &[u64], problems: &mut Vec<Error>) {
        let floor = self.options.floor;
        let root = chain.first().and_then(|number| self.whole.get(number));
        let begin = match root.map(|root| &root.header) {
            None => u64::MAX,
            Some(Header {
                predecessor: Some(before),
                ..
            }) => before.number.saturating_add(1),
            Some(header) => header.number,
        };
        let last = chain.last().copied().unwrap_or(0);
        let known = self.options.must_exist.iter().copied();
        for number in known.chain(self.options.ends.iter().map(|end| end.number)) {
            if number >= floor && !(begin..=last).contains(&number) && !self.whole.contains_key(&number) {
                problems.push(self.missing(number, "the manifest names it"));
            }
        }
    }

    /// Behind the chain's end there may be half-created files, and files that are not ours; but nothing that may have
    /// been the log's continuation.
    fn check_behind(&self, chain: &[u64], problems: &mut Vec<Error>) {
        let last = chain.last().copied();
        let behind = |number: u64| last.is_none_or(|last| number > last);
        problems.extend(
            self.damaged
                .iter()
                .filter(|(number, _)| behind(**number))
                .map(|(_, e)| e.clone()),
        );
        let ours = [self.whole.keys().next_back(), self.unborn.keys().next_back()];
        let next = ours
            .into_iter()
            .flatten()
            .max()
            .map_or(self.options.floor, |number| number + 1);
        problems.extend(self.foreign.get(&next).filter(|_| behind(next)).cloned());
    }

    fn missing(&self, number: u64, why: &str) -> Error {
        let found = self.damaged.get(&number).or_else(|| self.foreign.get(&number));
        found.cloned().unwrap_or_else(|| {
            let what = if self.unborn.contains_key(&number) {
                format!("expected a log header, because {why}; found none")
            } else if self.no_files.contains(&number) {
                format!("expected a file, because {why}; found a directory, a link or a pipe")
            } else {
                format!("expected this file, because {why}; it is missing")
            };
            Error::corruption(&file_path(self.dir, number), 0, what)
        })
    }
}

pub(super) fn length(fs: &dyn FileSystem, path: &Path) -> Result<u64> {
    let file = fs.open(path).map_err(|error| Error::io("open", path, error))?;
    file.len()
        .map_err(|error| Error::io("read the length of", path, error))
}
