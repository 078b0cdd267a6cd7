//! What is in the source: names, the manifest or what is left of it, and the state of every SST.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fate, Repair, RepairBasis, objects};
use crate::inspect::open_sst;
use crate::manifest::{Catalog, DecodeError, Edit, current_number};
use crate::names::{self, FileKind};
use crate::record_log::{self, HeaderOutcome, LogKind, ReadOptions, RecoveryMode};
use crate::sst::salvage::Salvage;
use crate::sst::{Properties, SortOrder};
use crate::types::KeyspaceId;
use crate::{Error, Result};

/// Whether an SST can be used as it is.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// Every byte has been checked.
    Whole,
    /// Entries have to be picked out of it.
    Damaged(String),
}

/// An SST of the source.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) condition: Condition,
    /// Where they can be read, or a file of the same run has them.
    pub(super) properties: Option<Properties>,
    /// Where it is known.
    pub(super) keyspace: Option<KeyspaceId>,
    /// What its entries are sorted by, where that is known.
    pub(super) order: Option<SortOrder>,
    /// Entries of it refer to objects that are lost.
    pub(super) dangling: bool,
}

impl Found {
    /// Opens a damaged file.
    pub(super) fn salvage(&self, repair: &Repair<'_>) -> Result<Arc<Salvage>> {
        let file = repair.env.fs.open(&self.path);
        let file = file.map_err(|e| Error::io("open", &self.path, e))?;
        Salvage::open(file, &self.path, self.order).map(Arc::new)
    }
}

/// What the source holds.
pub(super) struct Survey {
    pub(super) names: Vec<String>,
    pub(super) ssts: BTreeMap<u64, Found>,
    /// The log files' numbers.
    pub(super) logs: Vec<u64>,
    /// The state of a whole manifest.
    pub(super) catalog: Option<Catalog>,
    /// What an incomplete one says: names, options and what was dropped stay true, its list of files does not.
    pub(super) hints: Option<Catalog>,
    sst_numbers: Vec<u64>,
    pack_numbers: Vec<u64>,
    pub(super) highest_number: u64,
}

impl Survey {
    /// Lists the source.
    pub(super) fn of(repair: &mut Repair<'_>) -> Result<Survey> {
        let source = repair.source;
        let entries = repair.env.fs.list(source).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::NotADatabase {
                path: source.to_owned(),
                what: "there is no such directory; check the path".to_owned(),
            },
            _ => Error::io("list", source, e),
        })?;
        let mut survey = Survey {
            names: Vec::new(),
            ssts: BTreeMap::new(),
            logs: Vec::new(),
            catalog: None,
            hints: None,
            sst_numbers: Vec::new(),
            pack_numbers: Vec::new(),
            highest_number: 0,
        };
        let mut manifests = Vec::new();
        for entry in entries {
            let path = source.join(&entry.name);
            let kind = names::parse(&entry.name).filter(|_| entry.is_file);
            match kind {
                Some(FileKind::Sst(number)) => survey.sst_numbers.push(number),
                Some(FileKind::Log(number)) => {
                    survey.logs.push(number);
                    repair.report.note(&path, Fate::Read, "a log");
                }
                Some(FileKind::Manifest(number)) => manifests.push(number),
                Some(FileKind::Pack(number)) => survey.pack_numbers.push(number),
                None => match entry.name.as_str() {
                    names::CURRENT => repair
                        .report
                        .note(&path, Fate::Read, "names the manifest in force"),
                    names::LOCK => repair
                        .report
                        .note(&path, Fate::Read, "the lock, which holds nothing"),
                    names::CURRENT_TMP | names::UNFINISHED_LOG => {
                        repair
                            .report
                            .note(&path, Fate::LeftOut, "a file that was never finished");
                    }
                    _ => repair
                        .report
                        .note(&path, Fate::Foreign, "not a file of packstone"),
                },
            }
            survey.names.push(entry.name);
        }
        if survey.sst_numbers.is_empty() && survey.logs.is_empty() && manifests.is_empty() {
            return Err(Error::NotADatabase {
                path: source.to_owned(),
                what: "it holds neither SSTs nor logs nor manifests; check the path".to_owned(),
            });
        }
        let numbers = survey.sst_numbers.iter().chain(&survey.pack_numbers);
        survey.highest_number = numbers.copied().max().unwrap_or(0);
        survey.find_manifest(repair, manifests)?;
        Ok(survey)
    }

    /// The newest manifest counts, if it is whole; `CURRENT` says which one that is, unless it is lost itself.
    fn find_manifest(&mut self, repair: &mut Repair<'_>, mut numbers: Vec<u64>) -> Result<()> {
        let current = match current_number(&*repair.env.fs, repair.source) {
            Ok(current) => current,
            Err(error @ Error::NewerFormat { .. }) => return Err(error),
            Err(_) => None,
        };
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        if let Some(current) = current {
            // Newer ones were never in force; older ones are out of date, but may tell names.
            numbers.retain(|number| *number <= current);
        }
        let mut newest = true;
        for number in numbers {
            let path = names::manifest(repair.source, number);
            let (state, whole) = read_manifest(repair, &path, number)?;
            let Some(read) = state else {
                // One that a crash kept from being written says nothing; damage hides what it said.
                newest &= whole;
                repair
                    .report
                    .note(&path, Fate::Read, "a manifest without a readable state");
                continue;
            };
            let usable = newest && whole;
            let what = match usable {
                true => "the manifest in force",
                false => "a manifest that is damaged or out of date; it told names only",
            };
            repair.report.note(&path, Fate::Read, what);
            newest = false;
            if usable && repair.options.basis == RepairBasis::Auto {
                repair.report.manifest = Some(path);
                self.catalog = Some(read.clone());
            }
            self.hints.get_or_insert(read);
        }
        Ok(())
    }

    /// Checks every byte of every SST and every pack that may count.
    pub(super) fn examine(&mut self, repair: &mut Repair<'_>) -> Result<()> {
        let mut numbers = std::mem::take(&mut self.sst_numbers);
        if let Some(catalog) = &self.catalog {
            let live = |number: &u64| {
                let mut levels = catalog.keyspaces.values().flat_map(|keyspace| &keyspace.levels);
                levels.any(|files| files.contains_key(number))
            };
            for number in numbers.iter().filter(|number| !live(number)) {
                let path = names::sst(repair.source, *number);
                repair
                    .report
                    .note(&path, Fate::LeftOut, "the manifest does not name it: a leftover");
            }
            numbers.retain(live);
        }
        let size = |path: &Path| {
            let file = repair.env.fs.open(path).and_then(|file| file.len());
            file.unwrap_or(0)
        };
        let sizes: Vec<u64> = numbers
            .iter()
            .map(|number| size(&names::sst(repair.source, *number)))
            .collect();
        let packs = self.pack_numbers.iter();
        let packs = packs.map(|number| size(&names::pack(repair.source, *number)));
        // Once to examine it, once to write it.
        repair.at.total = 2 * (sizes.iter().sum::<u64>() + packs.sum::<u64>());
        for (number, size) in numbers.into_iter().zip(sizes) {
            let path = names::sst(repair.source, number);
            match examine_one(repair, number, &path, size)? {
                Ok(found) => {
                    self.ssts.insert(number, found);
                }
                Err(what) => repair.report.note(&path, Fate::Unreadable, what),
            }
            repair.step(size);
        }
        let numbers = std::mem::take(&mut self.pack_numbers);
        objects::examine_packs(repair, &numbers, self.catalog.as_ref(), self.hints.as_ref())
    }
}

/// Judges one SST. The inner error: nothing in it can be used.
fn examine_one(repair: &Repair<'_>, number: u64, path: &Path, size: u64) -> Result<Result<Found, String>> {
    let mut found = Found {
        number,
        path: path.to_owned(),
        size,
        condition: Condition::Whole,
        properties: None,
        keyspace: None,
        order: None,
        dangling: false,
    };
    let opened = open_sst(&*repair.env.fs, path).and_then(|sst| sst.verify().map(|_| sst));
    let why = match opened {
        Ok(sst) => {
            found.properties = Some(sst.properties().clone());
            // The size above is for the progress only, and is 0 where it could not be read.
            found.size = sst.summary().file_size;
            found.order = Some(sst.order());
            if sst.properties().file_number == number {
                return Ok(Ok(found));
            }
            format!(
                "the file says that it has the number {}",
                sst.properties().file_number
            )
        }
        Err(error @ Error::NewerFormat { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    match found.salvage(repair) {
        Ok(salvage) => {
            found.properties.clone_from(&salvage.properties);
            found.keyspace = salvage.keyspace;
            found.order = salvage.order;
            found.condition = Condition::Damaged(why);
            Ok(Ok(found))
        }
        Err(error @ Error::NewerFormat { .. }) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The state that a manifest adds up to as far as it can be read, and whether that is all of it.
fn read_manifest(repair: &Repair<'_>, path: &Path, number: u64) -> Result<(Option<Catalog>, bool)> {
    let fs = &*repair.env.fs;
    match record_log::read_header(fs, path, LogKind::Manifest) {
        Ok(HeaderOutcome::Whole(header)) if header.number == number => {}
        Ok(HeaderOutcome::Unborn) => return Ok((None, true)),
        Err(error @ Error::NewerFormat { .. }) => return Err(error),
        _ => return Ok((None, false)),
    }
    let options = ReadOptions {
        mode: RecoveryMode::PointInTime,
        ..ReadOptions::default()
    };
    let mut catalog: Option<Catalog> = None;
    let mut fits = true;
    let outcome = record_log::read(fs, path, LogKind::Manifest, &options, &mut |_, payload| {
        let edit = match Edit::decode(payload) {
            Ok(edit) => edit,
            Err(DecodeError::Newer(what)) => {
                let path = path.to_owned();
                return Err(Error::NewerFormat { path, what });
            }
            Err(DecodeError::Malformed(_)) => {
                fits = false;
                return Ok(());
            }
        };
        // An edit that does not fit may be applied in part: what it says of names is no worse for it.
        fits &= catalog.get_or_insert_default().apply(&edit).is_ok();
        Ok(())
    });
    match outcome {
        Ok(outcome) => Ok((catalog, fits && outcome.damage.is_none())),
        Err(error @ Error::NewerFormat { .. }) => Err(error),
        Err(_) => Ok((catalog, false)),
    }
}
