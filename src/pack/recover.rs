//! [`recover`]: saves what can be read of a pack into a new one.
//!
//! For packs that were never sealed (a builder's process died), whose index or end is lost, or that are damaged. Records are found one
//! by one from the front; behind damage the next one is searched. An object is taken over if its content hashes to its id. Names come
//! from the indexes that can still be read; an object without one is called `lost/ID` if others have names. The source is not
//! changed.
//!
//! Callers: programs, the tool `pack`.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive::{Archive, ArchiveWriter};
use super::builder::PackBuilder;
use super::format::{FILE_HEADER_LEN, FOOTER_LEN, Footer, RECORD_HEADER_LEN, SEAL_MAGIC, Seed};
use super::object::{ObjectReader, RecordFile, RecordInfo, shared_path};
use super::opening::read_header;
use super::options::PackOptions;
use super::reader::Pack;
use super::scan::{Scan, find_record};
use super::segment::Added;
use crate::{Error, Result};

/// What a recovery has found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoverReport {
    /// Objects that were saved.
    pub objects: u64,
    /// The length of these, in bytes.
    pub content_bytes: u64,
    /// Objects of which both ends were found, and whose content is damaged.
    pub lost: Vec<Error>,
    /// Names that lead to saved objects.
    pub names: u64,
    /// Names whose objects are lost.
    pub names_lost: Vec<String>,
    /// Why the names, or some of them, could not be read.
    pub index: Option<Error>,
}

/// Saves the objects of the pack at `from` into a new one at `to`.
///
/// # Errors
/// The source can't be read at all (there is no header, and no footer either); there is a file at `to`; it can't be written.
pub fn recover(from: impl AsRef<Path>, to: impl AsRef<Path>, options: &PackOptions) -> Result<RecoverReport> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let env = options.to_env();
    let file = env.fs.open(from).map_err(|e| Error::io("open", from, e))?;
    let len = file.len().map_err(|e| Error::io("measure", from, e))?;
    let mut file = RecordFile {
        file,
        path: shared_path(from),
        seed: Seed::new(&[0; 16]),
    };
    let identity = match read_header(&file, len) {
        Ok(header) => header.identity,
        Err(e @ Error::NewerFormat { .. }) => return Err(e),
        Err(e) => identity_of_a_footer(&file, len)?.ok_or(e)?,
    };
    file.seed = Seed::new(&identity);
    let mut report = RecoverReport {
        index: Pack::open_with(from, options).err(),
        ..RecoverReport::default()
    };
    // As of a seal before, if the last one is damaged.
    let archive = Pack::open_damaged(from, options).map(Archive::of).ok();
    match archive.filter(|archive| !archive.is_empty()) {
        Some(archive) => recover_archive(&file, len, &archive, to, options, &mut report)?,
        None => {
            let mut builder = PackBuilder::create(to, options)?;
            each_record(&file, len, &mut report, &mut |info, report| {
                let added = builder.add_reader(ObjectReader::of(file.clone(), *info))?;
                report.count(&added);
                Ok(())
            })?;
            builder.finish()?;
        }
    }
    Ok(report)
}

impl RecoverReport {
    fn count(&mut self, added: &Added) {
        if !added.duplicate {
            self.objects += 1;
            self.content_bytes += added.len;
        }
    }
}

/// First by name, then what no name has led to. Holds all names, and the ids of their objects.
fn recover_archive(
    file: &RecordFile,
    len: u64,
    archive: &Archive,
    to: &Path,
    options: &PackOptions,
    report: &mut RecoverReport,
) -> Result<()> {
    let mut writer = ArchiveWriter::create(to, options)?;
    let (mut named, mut names) = (BTreeSet::new(), BTreeSet::new());
    // Each section by itself, so that damage in one costs no rows of another. The newest row of a name is the one that counts, also if its
    // object is lost.
    for entry in archive.entries_apart().flatten() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                report.index = Some(e);
                continue;
            }
        };
        if !names.insert(entry.name.to_vec()) {
            continue;
        }
        match whole(archive.open_entry(&entry)) {
            Ok(info) => {
                let object = ObjectReader::of(file.clone(), info);
                let added = writer.add_reader(&entry.name, &entry.meta, object)?;
                report.count(&added);
                report.names += 1;
                named.insert(entry.id);
            }
            Err(_) => report
                .names_lost
                .push(String::from_utf8_lossy(&entry.name).into_owned()),
        }
    }
    each_record(file, len, report, &mut |info, report| {
        let name = format!("lost/{}", info.id);
        if !named.contains(&info.id) && names.insert(name.clone().into_bytes()) {
            let object = ObjectReader::of(file.clone(), *info);
            let added = writer.add_reader(name.as_bytes(), b"", object)?;
            report.count(&added);
        }
        Ok(())
    })?;
    writer.finish().map(drop)
}

/// What a record says, if it can be read and its content hashes to its id. What the medium does not give is as good as damaged.
fn whole(object: Result<ObjectReader>) -> Result<RecordInfo> {
    object.and_then(|mut object| object.verify().map(|()| *object.info()))
}

/// Calls `save` for each record whose content hashes to its id, in the order of the file.
fn each_record(
    file: &RecordFile,
    len: u64,
    report: &mut RecoverReport,
    save: &mut dyn FnMut(&RecordInfo, &mut RecoverReport) -> Result<()>,
) -> Result<()> {
    let mut at = FILE_HEADER_LEN.min(len);
    while let Some(found) = find_record(file, at, len) {
        let mut scan = Scan::new(file, found, len);
        at = match scan.next() {
            Ok(Some(info)) => {
                match whole(Ok(ObjectReader::of(file.clone(), info))) {
                    Ok(info) => save(&info, report)?,
                    Err(damage) => report.lost.push(damage),
                }
                found + info.place.record_len
            }
            Ok(None) => return Ok(()),
            Err(damage) => {
                // Its other end is not there, or is damaged: what lies between may be records.
                report.lost.push(damage);
                found + RECORD_HEADER_LEN
            }
        };
    }
    Ok(())
}

/// The identity that a footer states, where the file's header is lost. It is its own proof: it seeds the footer's sum.
pub(super) fn identity_of_a_footer(file: &RecordFile, len: u64) -> Result<Option<[u8; 16]>> {
    const STEP: u64 = 1 << 20;
    let mut at = 0;
    while at + FOOTER_LEN <= len {
        let bytes = file.read(at, (len - at).min(STEP + FOOTER_LEN - 1))?;
        for (place, window) in bytes.windows(FOOTER_LEN as usize).enumerate() {
            if !window.starts_with(SEAL_MAGIC) {
                continue;
            }
            let stated = window.get(16..).and_then(|rest| rest.first_chunk::<16>());
            if let Some(identity) = stated
                && Footer::decode(window, identity, at + place as u64).is_ok()
            {
                return Ok(Some(*identity));
            }
        }
        at += bytes.len() as u64 + 1 - FOOTER_LEN;
    }
    Ok(None)
}
