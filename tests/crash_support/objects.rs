//! Large values in a [`World`]: as streams, some of which come to nothing; and what is left of them after a collection.

use std::collections::BTreeSet;
use std::io::{self, Read};

use packstone::pack::ObjectId;
use packstone::{Durability, Error, KeyspaceOptions, Result};

use super::oracle::Content;
use super::world::{Stop, World, key};

/// Streams come in such pieces, in bytes.
const PIECE: usize = 700;

const SOURCE_FAILS: &str = "the source fails";

/// Gives these bytes, and fails then.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::Error::other(SOURCE_FAILS)),
            n => Ok(n),
        }
    }
}

/// From how many bytes on values of the keyspace are objects.
fn threshold(name: &str) -> usize {
    match name {
        "b" | "c" => 64,
        _ => 256,
    }
}

/// Whether its equal values are stored once.
fn deduplicates(name: &str) -> bool {
    name != "c"
}

/// The objects that this content takes.
fn objects_of(content: &Content) -> u64 {
    let (mut shared, mut own) = (BTreeSet::new(), 0);
    for (name, map) in content {
        for value in map.values().filter(|value| value.len() >= threshold(name)) {
            match deduplicates(name) {
                true => drop(shared.insert(ObjectId::of(value))),
                false => own += 1,
            }
        }
    }
    shared.len() as u64 + own
}

impl World {
    pub(super) fn keyspace_options(&self, name: &str) -> KeyspaceOptions {
        let options = KeyspaceOptions::new();
        match self.history.objects {
            true => options
                .object_threshold(Some(threshold(name) as u64))
                .deduplicate(deduplicates(name)),
            false => options,
        }
    }

    pub(super) fn stream(&mut self, name: &str, number: u32, len: usize, sync: bool) -> Result<()> {
        let value = self.value(len);
        let durability = match sync {
            true => Durability::Sync,
            false => Durability::Buffered,
        };
        let written = self.keyspace(name).writer(key(number)).and_then(|mut writer| {
            value.chunks(PIECE).try_for_each(|piece| writer.push(piece))?;
            writer.commit(durability)
        });
        self.note_value(name, number, value, written, sync)
    }

    pub(super) fn put_reader(&mut self, name: &str, number: u32, len: usize) -> Result<()> {
        let value = self.value(len);
        let written = self.keyspace(name).put_reader(key(number), &value[..]);
        self.note_value(name, number, value, written.map(drop), false)
    }

    fn note_value(
        &mut self,
        name: &str,
        number: u32,
        value: Vec<u8>,
        written: Result<()>,
        sync: bool,
    ) -> Result<()> {
        let op = self.oracle.op(name, key(number), Some(value));
        self.oracle.commit(vec![op], written.is_ok(), sync);
        written
    }

    /// `Step::GiveUp`.
    pub(super) fn give_up(&mut self, name: &str, number: u32, len: usize) -> Result<(), Stop> {
        let value = self.value(len);
        self.leaves_nothing(|world| {
            let mut writer = world.keyspace(name).writer(key(number))?;
            value.chunks(PIECE).try_for_each(|piece| writer.push(piece))?;
            writer.abort();
            Ok(())
        })
    }

    /// `Step::FailingReader`.
    pub(super) fn failing_reader(&mut self, name: &str, number: u32, len: usize) -> Result<(), Stop> {
        let value = self.value(len);
        self.leaves_nothing(|world| {
            let keyspace = world.keyspace(name);
            match keyspace.put_reader(key(number), Failing(&value)) {
                Err(Error::Io { source, .. }) if source.to_string() == SOURCE_FAILS => Ok(()),
                Err(error) => Err(error),
                Ok(_) => panic!("a value whose reader failed has been written"),
            }
        })
    }

    /// No pack is there afterwards that was not before, unless removing one has failed.
    fn leaves_nothing(&self, work: impl FnOnce(&World) -> Result<()>) -> Result<(), Stop> {
        let packs = || -> BTreeSet<String> {
            let names = self.names().into_iter();
            names.filter(|name| name.ends_with(".pack")).collect()
        };
        let (before, failures) = (packs(), self.sim.failures());
        work(self)?;
        let undisturbed = self.sim.failures() == failures && !self.sim.is_off();
        match packs().difference(&before).next() {
            Some(left) if undisturbed => {
                Err(Stop::Broken(format!("a stream that was given up leaves {left}")))
            }
            _ => Ok(()),
        }
    }

    /// Every object is whole. After a collection those that are needed are left, and each pack that is there is one of the database's.
    pub(super) fn check_objects(&mut self) -> Result<(), Stop> {
        if !self.history.objects {
            return Ok(());
        }
        self.verify_objects()?;
        self.db().collect_garbage()?;
        let (there, needed) = (self.verify_objects()?, objects_of(&self.oracle.visible()));
        if there != needed {
            return Err(Stop::Broken(format!(
                "{needed} objects are referred to, and {there} are there after a collection"
            )));
        }
        self.check_visible()?;
        self.check_files()
    }

    /// How many there are.
    fn verify_objects(&self) -> Result<u64, Stop> {
        self.db().verify()?;
        let found = self.db().verify_objects()?;
        match found.damage.first() {
            None => Ok(found.objects),
            Some(damaged) => Err(Stop::Broken(format!("{damaged:?}"))),
        }
    }
}
