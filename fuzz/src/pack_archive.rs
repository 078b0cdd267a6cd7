//! The bytes are operations on an archive: created, appended to, given up, cut off by failures and by the power, opened again. A map is
//! kept beside it.
//!
//! Every answer is the map's: names in order, prefixes, contents, meta data, ids, the numbers of a seal. After a crash the archive is as of
//! its last seal, or as of the one that was cut off; it always verifies clean. Who had it open sees it as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use packstone::Error;
use packstone::env::sim::{CrashStyle, Effect, Fault, SimEnv};
use packstone::pack::{Archive, ArchiveWriter, ObjectId, PackOptions, recover};

use crate::packs::{content, modest};
use crate::support::Input;

const DIR: &str = "/p";
const PATH: &str = "/p/a.pack";
const SAVED: &str = "/p/b.pack";
/// More in one run teaches nothing new and takes long.
const MOST_OPERATIONS: usize = 200;

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mut run = Run::new(flags);
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        run.operation(&mut input);
    }
    run.give_up();
    run.look();
    run.readers.clear();
    run.sim.crash(CrashStyle::KeepAll);
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    /// Name -> meta data, content.
    names: BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    /// All objects, also those that have lost their names.
    ids: BTreeSet<ObjectId>,
}

/// An append that is under way.
struct Pending {
    writer: ArchiveWriter,
    /// What the archive is afterwards.
    state: State,
    names: BTreeSet<Vec<u8>>,
    stored: u64,
    duplicates: u64,
}

struct Run {
    sim: SimEnv,
    flags: u8,
    /// `None`: there is no archive.
    now: Option<State>,
    /// What a crash may show in place of it: what was there, or was to be there, since the last seal that has not failed.
    maybe: Vec<Option<State>>,
    pending: Option<Pending>,
    readers: Vec<(Archive, State)>,
}

/// A reader that gives some bytes and then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::Error::other("the reader fails")),
            n => Ok(n),
        }
    }
}

impl Run {
    fn new(flags: u8) -> Run {
        let sim = SimEnv::new(u64::from(flags));
        sim.env().fs.create_dir_all(DIR.as_ref()).unwrap();
        Run {
            sim,
            flags,
            now: None,
            maybe: Vec::new(),
            pending: None,
            readers: Vec::new(),
        }
    }

    fn options(&self) -> PackOptions {
        PackOptions::default()
            .env(modest(self.sim.env()))
            .identity([9; 16])
            .chunk_size(4096)
            .dedup_window([0, 1, 4, 1000][usize::from(self.flags & 3)])
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        match input.u8() & 15 {
            0..=3 => self.add(input, false),
            4 => self.add(input, true),
            5 | 6 => self.finish(),
            7 => self.give_up(),
            8 => self.crash(input),
            9 => self.cut_off(input),
            10 => self.fail(input),
            11 => self.get(input),
            12 => self.prefix(input),
            13 => self.look(),
            14 => self.save(),
            _ => self.keep_reader(input),
        }
    }

    fn name(input: &mut Input<'_>) -> Vec<u8> {
        let n = input.u8();
        let name = [b'a' + (n & 3), b'/', n >> 2 & 7];
        name[..usize::from(n >> 5).min(3)].to_vec()
    }

    /// A writer, if none is at work yet.
    fn begin(&mut self) -> &mut Pending {
        let options = self.options();
        if self.pending.is_none() {
            let opened = match (&self.now, self.flags & 4) {
                (_, 0) => ArchiveWriter::open(PATH, &options),
                (None, _) => {
                    // Nothing to go on behind; nothing comes into being by trying.
                    assert!(matches!(
                        ArchiveWriter::append(PATH, &options),
                        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound
                    ));
                    ArchiveWriter::create(PATH, &options)
                }
                (Some(_), _) => {
                    assert!(ArchiveWriter::create(PATH, &options).is_err());
                    ArchiveWriter::append(PATH, &options)
                }
            };
            self.pending = Some(Pending {
                writer: opened.unwrap(),
                state: self.now.clone().unwrap_or_default(),
                names: BTreeSet::new(),
                stored: 0,
                duplicates: 0,
            });
            assert!(matches!(
                ArchiveWriter::open(PATH, &options),
                Err(Error::Locked { .. })
            ));
        }
        self.pending.as_mut().unwrap()
    }

    fn add(&mut self, input: &mut Input<'_>, streamed: bool) {
        let (name, how, more) = (Self::name(input), input.u8(), input.u8());
        let (object, meta) = (content(how, more), vec![b'm'; usize::from(how >> 4)]);
        let pending = self.begin();
        let added = match (streamed, how & 16) {
            (false, _) => pending.writer.add(&name, &meta, &object),
            (true, 0) => pending.writer.add_reader(&name, &meta, &object[..]),
            (true, _) => {
                let failed = pending.writer.add_reader(&name, &meta, Failing(&object));
                assert!(matches!(failed, Err(Error::Io { .. })));
                return;
            }
        };
        let added = added.unwrap();
        assert_eq!(
            (added.id, added.len),
            (ObjectId::of(&object), object.len() as u64)
        );
        match added.duplicate {
            true => pending.duplicates += 1,
            false => pending.stored += 1,
        }
        assert!(!added.duplicate || pending.state.ids.contains(&added.id));
        pending.state.ids.insert(added.id);
        pending.state.names.insert(name.clone(), (meta, object));
        pending.names.insert(name);
    }

    fn finish(&mut self) {
        self.begin();
        let pending = self.pending.take().unwrap();
        let before = self.now.take().unwrap_or_default();
        let report = pending.writer.finish().unwrap();
        let known = pending
            .names
            .iter()
            .filter(|name| before.names.contains_key(*name));
        let replaced = known.count();
        assert_eq!(report.names_before, before.names.len() as u64);
        assert_eq!(report.names_replaced, replaced as u64);
        assert_eq!(report.names_added, (pending.names.len() - replaced) as u64);
        assert_eq!(report.objects_added, pending.stored);
        assert_eq!(report.duplicates, pending.duplicates);
        assert_eq!(report.added_at + report.bytes_added, report.sealed_len);
        if report.bytes_added > 0 {
            assert_eq!(report.sealed_len, self.sim.file_len(PATH).unwrap());
            self.maybe.clear();
        }
        self.now = Some(pending.state);
    }

    /// Drops a writer: the archive is as it was.
    fn give_up(&mut self) {
        if self.pending.take().is_some() {
            assert_eq!(self.sim.read_file(PATH).is_ok(), self.now.is_some());
        }
    }

    fn style(input: &mut Input<'_>) -> CrashStyle {
        match input.u8() & 3 {
            0 => CrashStyle::KeepNothing,
            1 => CrashStyle::KeepAll,
            2 => CrashStyle::Random,
            _ => CrashStyle::Blocks,
        }
    }

    fn crash(&mut self, input: &mut Input<'_>) {
        let style = Self::style(input);
        self.readers.clear();
        self.sim.crash(style);
        // Of the machine before: it can't do anything any more.
        self.pending = None;
        self.settle(style);
    }

    /// The power goes in the middle of a seal.
    fn cut_off(&mut self, input: &mut Input<'_>) {
        self.begin();
        let index = self.sim.io_count() + u64::from(input.u8() & 31);
        self.sim.set_fault(Fault::PowerOffAt { index });
        self.try_finish();
        let style = Self::style(input);
        self.readers.clear();
        self.sim.crash(style);
        self.settle(style);
    }

    /// A call of a seal fails, and the program goes on.
    fn fail(&mut self, input: &mut Input<'_>) {
        self.begin();
        let how = input.u8();
        self.sim.set_fault(Fault::FailCall {
            index: self.sim.io_count() + u64::from(how & 31),
            kind: io::ErrorKind::Other,
            effect: if how & 32 == 0 {
                Effect::Nothing
            } else {
                Effect::Partial
            },
        });
        self.try_finish();
        self.sim.clear_faults();
        let (found, before) = (self.found(), self.now.take());
        let is_known = found == before || self.maybe.contains(&found);
        assert!(is_known, "{found:?}, expected {before:?} or {:?}", self.maybe);
        // What is not shown now may be after a crash.
        self.maybe.push(before);
        self.now = found;
    }

    /// Either the archive is sealed, or `maybe` knows what it would have been.
    fn try_finish(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let now = self.now.clone();
        match pending.writer.finish() {
            Ok(report) => {
                self.now = Some(pending.state);
                if report.bytes_added > 0 {
                    self.maybe.clear();
                }
            }
            Err(_) => {
                self.maybe.push(Some(pending.state));
                self.now = now;
            }
        }
    }

    /// After a crash: the archive is one of those that it can be, and that is it from now on.
    fn settle(&mut self, style: CrashStyle) {
        self.sim.env().fs.create_dir_all(DIR.as_ref()).unwrap();
        let (found, before) = (self.found(), self.now.take());
        let is_known = found == before || self.maybe.contains(&found);
        assert!(is_known, "{found:?}, expected {before:?} or {:?}", self.maybe);
        self.now = found;
        match style {
            // The process was killed: what was not durable still is not.
            CrashStyle::KeepAll => self.maybe.push(before),
            _ => self.maybe.clear(),
        }
    }

    /// What is there, read to the end.
    fn found(&self) -> Option<State> {
        let archive = match Archive::open_with(PATH, &self.options()) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return None,
            opened => opened.unwrap(),
        };
        Some(read(&archive))
    }

    fn open(&self) -> Option<(Archive, &State)> {
        let state = self.now.as_ref()?;
        Some((Archive::open_with(PATH, &self.options()).unwrap(), state))
    }

    fn get(&self, input: &mut Input<'_>) {
        let name = Self::name(input);
        let Some((archive, state)) = self.open() else {
            return;
        };
        let entry = archive.get(&name).unwrap();
        let found = entry.map(|entry| (entry.meta.to_vec(), archive.read(&entry).unwrap()));
        assert_eq!(found.as_ref(), state.names.get(&name));
    }

    fn prefix(&self, input: &mut Input<'_>) {
        let prefix = Self::name(input);
        let Some((archive, state)) = self.open() else {
            return;
        };
        let names = |entries: packstone::pack::Entries<'_>| -> Vec<Vec<u8>> {
            entries.map(|entry| entry.unwrap().name.to_vec()).collect()
        };
        let wanted: Vec<_> = state
            .names
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect();
        assert_eq!(names(archive.prefix(&prefix)), wanted);
        let from: Vec<_> = state
            .names
            .range(prefix.clone()..)
            .map(|(name, _)| name.clone())
            .collect();
        assert_eq!(names(archive.entries_from(&prefix)), from);
    }

    /// All of it, now and as the readers see it.
    fn look(&self) {
        assert_eq!(self.found(), self.now);
        for (archive, state) in &self.readers {
            assert_eq!(read(archive), *state);
        }
    }

    fn save(&mut self) {
        if self.now.is_none() {
            return;
        }
        let _ = self.sim.remove_file(SAVED);
        let (archive, _) = self.open().unwrap();
        let whole = archive.pack().torn_bytes() == 0;
        let report = recover(PATH, SAVED, &self.options()).unwrap();
        let saved = Archive::open_with(SAVED, &self.options()).unwrap();
        let (found, now) = (read(&saved), self.now.clone().unwrap_or_default());
        // Of what an append has left half done nothing is promised.
        assert!(report.lost.is_empty() || !whole, "{:?}", report.lost);
        assert!(now.ids.is_subset(&found.ids));
        for (name, value) in &now.names {
            assert_eq!(found.names.get(name), Some(value));
        }
        self.sim.remove_file(SAVED).unwrap();
    }

    fn keep_reader(&mut self, input: &mut Input<'_>) {
        if input.u8() & 1 == 0 && !self.readers.is_empty() {
            self.readers.remove(0);
        } else if let Some((archive, state)) = self.open() {
            let reader = (archive, state.clone());
            self.readers.push(reader);
        }
    }
}

/// Everything in an archive, which verifies clean, but for what a crash or a failure in the middle of a seal leaves: one copy of the footer, no
/// length in the header.
fn read(archive: &Archive) -> State {
    let verified = archive.pack().verify();
    let of_the_seal =
        |what: String| what.contains("copies of the footer") || what.contains("length of the sealed");
    assert!(
        verified
            .damage
            .iter()
            .all(|damage| of_the_seal(damage.to_string())),
        "{:?}",
        verified.damage
    );
    let mut state = State::default();
    for entry in archive.entries() {
        let entry = entry.unwrap();
        let object = archive.read(&entry).unwrap();
        assert_eq!(
            (ObjectId::of(&object), object.len() as u64),
            (entry.id, entry.len)
        );
        state
            .names
            .insert(entry.name.to_vec(), (entry.meta.to_vec(), object));
    }
    assert_eq!(state.names.len() as u64, archive.len());
    state.ids = archive.pack().ids().map(Result::unwrap).collect();
    state
}
