//! The objects of a database that nobody has open, or somebody else: whether its packs are whole, and whether references, directory and packs agree.
//!
//! ```text
//! entry of an SST or the log ── reference ──> directory ── place ──> record in a pack, whole
//! ```
//!
//! A reference of the log counts if it is not in SSTs yet and no later write of the log has replaced it. Objects that nobody refers to are counted, and are no
//! damage: a crash leaves them, or an overwrite, until they are collected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::manifest::{KeyspaceState, PackInfo, State};
use super::{Result, open_sst};
use crate::cursor::Cursor;
use crate::engine::objects::{DIRECTORY, Place};
use crate::env::FileSystem;
use crate::names;
use crate::pack::ObjectId;
use crate::pack::salvage::{Condition, WholeRecord, examine};
use crate::record_log::{self, RecoveryMode};
use crate::sst::{Access, CursorOptions, Sst};
use crate::types::{EntryKind, KeyspaceId, ObjectRef, SeqNo};
use crate::wal::{self, Op, ReplayOptions};
use crate::{Error, Slice};

/// A pack of a database, every byte of which has been looked at. See [`check_pack`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PackCheck {
    /// Its number.
    pub number: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it is sealed: it never changes any more.
    pub sealed: bool,
    /// Its length.
    pub file_bytes: u64,
    /// Objects whose content hashes to their id.
    pub objects: u64,
    /// Bytes of their contents.
    pub content_bytes: u64,
    /// Bytes behind the last whole object of a pack that is not sealed: what is being written, or what a crash has torn.
    pub torn_bytes: u64,
    /// What is wrong with it.
    pub damage: Vec<Error>,
    /// In the order of the file.
    records: Vec<WholeRecord>,
}

/// Checks a pack of the database in `dir`: every byte of a sealed one, every record of another.
///
/// # Errors
/// It is missing, can't be read, or is another file. Damage is no error but part of the answer.
pub fn check_pack(fs: &dyn FileSystem, dir: &Path, pack: &PackInfo) -> Result<PackCheck> {
    let path = names::pack(dir, pack.number);
    let examined = examine(fs, &path, pack.number, Some(pack.identity))?;
    let mut check = PackCheck {
        number: pack.number,
        sealed: matches!(examined.condition, Condition::Sealed),
        file_bytes: examined.len,
        objects: examined.records.len() as u64,
        content_bytes: examined.records.iter().map(|record| record.content_len).sum(),
        torn_bytes: 0,
        damage: Vec::new(),
        records: examined.records,
        path,
    };
    let damaged = examined.damaged.into_iter().map(|damaged| damaged.error);
    match examined.condition {
        Condition::Sealed => {}
        Condition::Unsealed { end } if !pack.sealed && end >= pack.len => {
            check.torn_bytes = examined.len - end
        }
        Condition::Unsealed { end } => {
            let what = match pack.sealed {
                true => "expected a sealed pack, as the manifest says, and its header says that it is not"
                    .to_owned(),
                false => format!("expected whole objects up to {} at least", pack.len),
            };
            check.damage.push(Error::corruption(&check.path, end, what));
            check.damage.extend(damaged);
        }
        Condition::Damaged(error) => {
            check.damage.push(error);
            check.damage.extend(damaged);
        }
    }
    if pack.sealed && check.sealed && check.file_bytes != pack.len {
        let what = format!(
            "expected {} bytes, as the manifest says, found {}",
            pack.len, check.file_bytes
        );
        check.damage.push(Error::corruption(
            &check.path,
            pack.len.min(check.file_bytes),
            what,
        ));
    }
    // The same place may be told twice, by the check of the whole and by that of the record.
    let mut told = BTreeSet::new();
    check.damage.retain(|error| told.insert(error.to_string()));
    Ok(check)
}

/// What [`check_objects`] has found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ObjectsReport {
    /// Objects that the directory knows.
    pub objects: u64,
    /// Objects that keys refer to.
    pub referenced: u64,
    /// Objects of the directory to which no key refers. Collection removes them.
    pub unreferenced: u64,
    /// What they take of the packs, in bytes.
    pub unreferenced_bytes: u64,
    /// Objects that the log names behind the last whole record of a pack that is not sealed: written since the pack was checked, or lost with
    /// writes that were never synced, which the next opening cuts off.
    pub beyond: u64,
    /// Objects that are not where the directory says, or that it does not know, and that keys refer to.
    pub damage: Vec<DamagedObject>,
    /// SSTs and logs that could not be read, and were left out.
    pub unread: Vec<Error>,
}

/// An object that can't be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DamagedObject {
    /// Its id.
    pub id: ObjectId,
    /// The pack that it should be in, and its offset there; `None`: the directory does not know it.
    pub place: Option<(PathBuf, u64)>,
    /// All keys that refer to it: the keyspace's name, and the key.
    pub keys: Vec<(String, Slice)>,
}

/// Follows every reference of the database in `dir`, and every place of its directory of objects. `packs` are those that have been checked; one that is
/// not among them counts as missing. Of a database in use, logs are read first, so packs that are checked after the state was
/// read may be too old: read the state again, and the packs.
///
/// Memory: some 80 bytes for each object. What can't be read is part of the answer.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = packstone::Db::open(dir.path())?;
/// # db.keyspace("images")?.put("a", vec![7; 100_000])?;
/// # db.close()?;
/// use packstone::env::Env;
/// use packstone::inspect;
///
/// let fs = Env::real(1).fs;
/// let manifest = inspect::read_current(&*fs, dir.path())?.expect("a database");
/// let state = inspect::load_state(&*fs, &manifest)?.state.expect("a whole manifest");
/// let packs = state.packs.iter().map(|pack| inspect::check_pack(&*fs, dir.path(), pack));
/// let packs = packs.collect::<Result<Vec<_>, _>>()?;
/// let report = inspect::check_objects(&*fs, dir.path(), &state, &packs);
/// assert_eq!((report.objects, report.referenced, report.damage.len()), (1, 1, 0));
/// # Ok(())
/// # }
/// ```
pub fn check_objects(fs: &dyn FileSystem, dir: &Path, state: &State, packs: &[PackCheck]) -> ObjectsReport {
    let mut report = ObjectsReport::default();
    let (mut check, logged) = Check::begin(fs, dir, state, &mut report.unread);
    report.objects = check.directory.len() as u64;
    check.follow_places(state, packs);
    report.beyond = check.beyond;
    for keyspace in state.keyspaces.iter().filter(|keyspace| !is_directory(keyspace)) {
        check.follow_references(keyspace, &logged, &mut report.unread);
    }
    report.referenced = check.referenced.len() as u64;
    for (id, place) in &check.directory {
        if !check.referenced.contains(id) {
            report.unreferenced += 1;
            report.unreferenced_bytes += place.record.record_len;
        }
    }
    if !check.bad.is_empty() {
        for keyspace in state.keyspaces.iter().filter(|keyspace| !is_directory(keyspace)) {
            check.find_keys(keyspace, &logged);
        }
    }
    report.damage = check.bad.into_values().collect();
    report
}

/// Makes something of an entry: key, kind, value.
type Take<'a, T> = &'a mut dyn FnMut(&[u8], EntryKind, &[u8]) -> Option<T>;

struct Check<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    directory: BTreeMap<ObjectId, Place>,
    bad: BTreeMap<ObjectId, DamagedObject>,
    referenced: BTreeSet<ObjectId>,
    /// Those of the directory that only the log knows.
    logged: BTreeSet<ObjectId>,
    beyond: u64,
}

/// Where the directory says that objects lie.
pub(super) fn places(
    fs: &dyn FileSystem,
    dir: &Path,
    state: &State,
    unread: &mut Vec<Error>,
) -> BTreeMap<ObjectId, Place> {
    Check::begin(fs, dir, state, unread).0.directory
}

fn is_directory(keyspace: &&KeyspaceState) -> bool {
    keyspace.name == DIRECTORY
}

impl<'a> Check<'a> {
    /// With the logs read, and the directory.
    fn begin(
        fs: &'a dyn FileSystem,
        dir: &'a Path,
        state: &State,
        unread: &mut Vec<Error>,
    ) -> (Check<'a>, Logged) {
        let logged = Logged::read(fs, dir, state, unread);
        let mut check = Check {
            fs,
            dir,
            directory: BTreeMap::new(),
            bad: BTreeMap::new(),
            referenced: BTreeSet::new(),
            logged: BTreeSet::new(),
            beyond: 0,
        };
        if let Some(keyspace) = state.keyspaces.iter().find(is_directory) {
            check.read_directory(keyspace, &logged, unread);
        }
        (check, logged)
    }
}

impl Check<'_> {
    fn sst(&self, number: u64) -> Result<std::sync::Arc<Sst>> {
        open_sst(self.fs, &names::sst(self.dir, number))
    }

    /// The newest place of each object: of what several sources say that of the newest counts.
    fn read_directory(&mut self, keyspace: &KeyspaceState, logged: &Logged, unread: &mut Vec<Error>) {
        let deepest_first = keyspace.levels.iter().rev().flatten();
        // By file, its newest first: the first that is met of a key in a file counts.
        for info in deepest_first {
            let mut seen = None;
            let read = self.each_entry(info.number, &mut |id, kind, value| {
                let Ok(id) = <[u8; 16]>::try_from(id).map(ObjectId) else {
                    return None;
                };
                let newer = seen.replace(id) == Some(id);
                (!newer).then(|| (id, Place::decode(value).filter(|_| kind == EntryKind::Put)))
            });
            match read {
                Ok(found) => found
                    .into_iter()
                    .for_each(|(id, place)| self.set_place(id, place)),
                Err(error) => unread.push(error),
            }
        }
        for ((of, key), (_, write)) in &logged.writes {
            if *of == keyspace.id
                && let Ok(id) = <[u8; 16]>::try_from(&key[..]).map(ObjectId)
            {
                let place = match write {
                    Write::Place(place) => Some(*place),
                    _ => None,
                };
                self.set_place(id, place);
                self.logged.insert(id);
            }
        }
    }

    fn set_place(&mut self, id: ObjectId, place: Option<Place>) {
        match place {
            Some(place) => self.directory.insert(id, place),
            None => self.directory.remove(&id),
        };
    }

    /// What `take` makes of the entries of an SST: key, kind, value.
    fn each_entry<T>(&self, number: u64, take: Take<'_, T>) -> Result<Vec<T>> {
        let sst = self.sst(number)?;
        let options = CursorOptions {
            access: None,
            fill_cache: false,
            read_ahead: true,
        };
        let (order, mut cursor) = (sst.order(), sst.cursor(options));
        let mut taken = Vec::new();
        cursor.seek_to_first()?;
        while cursor.valid() {
            let value = cursor.value();
            let bytes = cursor.load(value)?;
            taken.extend(take(order.key_of(cursor.key()), value.kind(), &bytes));
            cursor.next()?;
        }
        Ok(taken)
    }

    /// Whether each place has a whole record of its object.
    fn follow_places(&mut self, state: &State, packs: &[PackCheck]) {
        let packs: BTreeMap<u64, &PackCheck> = packs.iter().map(|pack| (pack.number, pack)).collect();
        for (id, place) in &self.directory {
            let pack = packs.get(&place.pack);
            let records = pack.map_or(&[][..], |pack| &pack.records[..]);
            let found = records
                .binary_search_by_key(&place.record.offset, |record| record.place.offset)
                .ok()
                .and_then(|index| records.get(index));
            if found.is_none_or(|record| (record.id, record.place) != (*id, place.record)) {
                let is_beyond = match pack {
                    Some(pack) => !pack.sealed && place.record.offset >= pack.file_bytes - pack.torn_bytes,
                    None => place.pack >= state.next_file_number,
                };
                if is_beyond && self.logged.contains(id) {
                    self.beyond += 1;
                    continue;
                }
                let path = names::pack(self.dir, place.pack);
                let damaged = DamagedObject {
                    id: *id,
                    place: Some((path, place.record.offset)),
                    keys: Vec::new(),
                };
                self.bad.insert(*id, damaged);
            }
        }
    }

    fn refer(&mut self, id: ObjectId) {
        self.referenced.insert(id);
        if !self.directory.contains_key(&id) {
            self.bad.entry(id).or_insert(DamagedObject {
                id,
                place: None,
                keys: Vec::new(),
            });
        }
    }

    fn follow_references(&mut self, keyspace: &KeyspaceState, logged: &Logged, unread: &mut Vec<Error>) {
        for info in keyspace.levels.iter().flatten() {
            let ids = self
                .sst(info.number)
                .and_then(|sst| sst.references(Some(Access::Pread)).collect::<Result<Vec<_>>>());
            match ids {
                Ok(ids) => ids.into_iter().for_each(|id| self.refer(ObjectId(id))),
                Err(error) => unread.push(error),
            }
        }
        let logged: Vec<ObjectId> = logged.objects(keyspace.id).map(|(_, id)| id).collect();
        logged.into_iter().for_each(|id| self.refer(id));
    }

    /// Finds the keys of objects that are bad.
    fn find_keys(&mut self, keyspace: &KeyspaceState, logged: &Logged) {
        let mut keys: BTreeSet<(ObjectId, Slice)> = BTreeSet::new();
        for info in keyspace.levels.iter().flatten() {
            let is_bad = |id: Result<[u8; 16]>| id.is_ok_and(|id| self.bad.contains_key(&ObjectId(id)));
            // Files that can't be read have been told of.
            let refers = self
                .sst(info.number)
                .is_ok_and(|sst| sst.references(Some(Access::Pread)).any(is_bad));
            if !refers {
                continue;
            }
            let found = self.each_entry(info.number, &mut |key, kind, value| {
                let object = ObjectRef::from_bytes(value).filter(|_| kind == EntryKind::Object)?;
                let id = ObjectId(object.id);
                self.bad.contains_key(&id).then(|| (id, Slice::from(key)))
            });
            keys.extend(found.unwrap_or_default());
        }
        keys.extend(logged.objects(keyspace.id).map(|(key, id)| (id, key.clone())));
        for (id, key) in keys {
            if let Some(bad) = self.bad.get_mut(&id) {
                bad.keys.push((keyspace.name.clone(), key));
            }
        }
    }
}

/// The newest write of the log to each key that counts for this: those that are references, and places.
#[derive(Default)]
struct Logged {
    writes: BTreeMap<(KeyspaceId, Slice), (SeqNo, Write)>,
}

enum Write {
    Object(ObjectId),
    Place(Place),
    /// Anything else.
    Other,
}

impl Logged {
    fn read(fs: &dyn FileSystem, dir: &Path, state: &State, unread: &mut Vec<Error>) -> Logged {
        let options = ReplayOptions {
            floor: state.log_floor,
            must_exist: vec![state.log_known],
            ends: state.log_ends.iter().map(record_log::LogEnd::from).collect(),
            mode: RecoveryMode::TornTail,
        };
        let flushed: BTreeMap<KeyspaceId, (SeqNo, bool)> = state
            .keyspaces
            .iter()
            .map(|keyspace| (keyspace.id, (keyspace.flushed, keyspace.name == DIRECTORY)))
            .collect();
        let mut logged = Logged::default();
        let replayed = wal::replay(fs, dir, &options, &mut |first, payload| {
            for (seq, op) in (first..).zip(payload.ops()) {
                let (keyspace, key, write) = match op? {
                    Op::PutObject {
                        keyspace,
                        key,
                        object,
                    } => (keyspace, key, Write::Object(ObjectId(object.id))),
                    Op::Put { keyspace, key, value } => {
                        let of_directory = flushed.get(&keyspace).is_some_and(|(_, directory)| *directory);
                        let place = Place::decode(value).filter(|_| of_directory);
                        (keyspace, key, place.map_or(Write::Other, Write::Place))
                    }
                    Op::Delete { keyspace, key } => (keyspace, key, Write::Other),
                };
                let Some((flushed, directory)) = flushed.get(&keyspace).filter(|(flushed, _)| seq > *flushed)
                else {
                    continue;
                };
                debug_assert!(seq > *flushed, "what is in SSTs counts there");
                let at = (keyspace, Slice::from(key));
                // A write of another kind matters where it replaces one of these.
                match write {
                    Write::Other if !directory => drop(logged.writes.remove(&at)),
                    write => drop(logged.writes.insert(at, (seq, write))),
                }
            }
            Ok(())
        });
        unread.extend(replayed.err());
        logged
    }

    /// The keys of a keyspace whose values are objects.
    fn objects(&self, keyspace: KeyspaceId) -> impl Iterator<Item = (&Slice, ObjectId)> {
        let of_it = self.writes.iter().filter(move |((of, _), _)| *of == keyspace);
        of_it.filter_map(|((_, key), (_, write))| match write {
            Write::Object(id) => Some((key, *id)),
            _ => None,
        })
    }
}
