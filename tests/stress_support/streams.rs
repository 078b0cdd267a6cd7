//! Values piece by piece: written as streams, and read through readers that are held open across other steps.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use packstone::{Durability, Error, ValueReader};

use super::data::{self, Bytes};
use super::oracle::show;
use super::steps::{Ending, Id, Item};
use super::world::{Checked, World};

/// A value that is being read, and what it must give.
pub(crate) struct HeldReader {
    reader: ValueReader,
    value: Bytes,
    at: usize,
}

/// Gives a value in pieces of growing length, with something done before each; fails at its end, if told to.
struct Source<F> {
    value: Bytes,
    at: usize,
    piece: usize,
    fails: bool,
    before: F,
}

impl<F: FnMut()> Read for Source<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.before)();
        if self.at == self.value.len() && self.fails {
            return Err(io::Error::other("the source failed"));
        }
        let rest = &self.value[self.at..];
        let len = rest.len().min(self.piece).min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        self.piece = (self.piece * 2).min(4000);
        Ok(len)
    }
}

impl World {
    pub(crate) fn stream(&mut self, ending: Ending, item: &Item) -> Checked {
        let (Some((len, stamp)), true) = (item.value, self.oracle.is_live(item.keyspace)) else {
            return Ok(());
        };
        let (value, key) = (data::value(len, stamp), self.key(item.key));
        let keyspace = self.keyspaces[&item.keyspace].clone();
        let (sim, packs) = (self.sim.clone(), self.packs_and_named());
        let mut source = Source {
            value: value.clone(),
            at: 0,
            piece: 1 + stamp as usize % 300,
            fails: ending == Ending::Fail,
            before: move || _ = sim.run_one(),
        };
        self.report.streams += 1;
        let result = match ending {
            Ending::Reader | Ending::Fail => match keyspace.put_reader(&key, &mut source) {
                Ok(written) if written != u64::from(len) => {
                    return Err(format!("a reader of {len} bytes gave {written}"));
                }
                result => result.map(drop),
            },
            Ending::Commit | Ending::Synced | Ending::Abort => {
                keyspace.writer(&key).and_then(|mut writer| {
                    let mut piece = vec![0; 5000];
                    loop {
                        let read = source.read(&mut piece).expect("it does not fail");
                        if read == 0 {
                            break;
                        }
                        writer.push(&piece[..read])?;
                    }
                    writer.flush().expect("it does nothing");
                    match ending {
                        Ending::Abort => writer.abort(),
                        Ending::Commit => writer.commit(Durability::Buffered)?,
                        _ => writer.commit(Durability::Sync)?,
                    }
                    Ok(())
                })
            }
        };
        if self.sim.is_off() && result.is_ok() && matches!(ending, Ending::Abort | Ending::Fail) {
            return Ok(());
        }
        match (ending, result) {
            (Ending::Reader | Ending::Commit, result) => {
                self.committed(false, vec![(item.keyspace, key, Some(value))], result)
            }
            (Ending::Synced, result) => self.committed(true, vec![(item.keyspace, key, Some(value))], result),
            (Ending::Fail, Ok(())) => Err("the source failed, and its value was accepted".to_owned()),
            (Ending::Fail, Err(error)) if error.to_string().contains("the source failed") => {
                self.left(&packs)
            }
            (Ending::Abort, Ok(())) => self.left(&packs),
            (_, Err(error)) => {
                self.note_poison(&error);
                self.tolerate("a stream", &error, self.failures_at_open)
            }
        }
    }

    /// Pack files, and how many packs the manifest names.
    fn packs_and_named(&self) -> (BTreeSet<PathBuf>, usize) {
        (self.packs(), self.db().metrics().objects.packs as usize)
    }

    /// A stream that was given up leaves nothing behind. What collections and the next pack have made meanwhile the manifest names.
    fn left(&self, before: &(BTreeSet<PathBuf>, usize)) -> Checked {
        let (now, named) = self.packs_and_named();
        let more_unnamed = now.len() + before.1 > before.0.len() + named;
        let is_calm = self.is_clean() && !self.sim.is_off() && self.readers.is_empty();
        match now.difference(&before.0).next() {
            Some(more) if more_unnamed && is_calm => {
                Err(format!("a stream that was given up leaves {}", more.display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn open_value(&mut self, slot: Id, id: Id, number: Id, snapshot: Option<Id>) -> Checked {
        let (key, since) = (self.key(number), self.failures());
        let (opened, value) = match snapshot {
            None => match self.keyspaces.get(&id) {
                Some(keyspace) => (keyspace.open(&key), self.oracle.map(id).get(&key).cloned()),
                None => return Ok(()),
            },
            Some(snapshot) => {
                let held = self.snapshots.get(&snapshot);
                match held.and_then(|held| Some((held, held.keyspaces.get(&id)?))) {
                    Some((held, (keyspace, map))) => {
                        (held.snapshot.open(keyspace, &key), map.get(&key).cloned())
                    }
                    None => return Ok(()),
                }
            }
        };
        match (opened, value) {
            (Ok(None), None) => Ok(()),
            (Ok(Some(reader)), Some(value)) if reader.len() == value.len() as u64 => {
                self.readers.insert(slot, HeldReader { reader, value, at: 0 });
                Ok(())
            }
            (Ok(reader), value) => Err(format!(
                "open of {} gives {:?} bytes instead of {}",
                show(Some(&key)),
                reader.map(|reader| reader.len()),
                show(value.as_ref())
            )),
            (Err(error), _) => self.tolerate("open a value", &error, since),
        }
    }

    pub(crate) fn pour(&mut self, slot: Id, to: Option<u64>, count: u64) -> Checked {
        let Some(mut held) = self.readers.remove(&slot) else {
            return Ok(());
        };
        let since = self.failures();
        let len = held.value.len();
        if let Some(to) = to {
            let to = to.min(len as u64);
            match held.reader.seek(SeekFrom::Start(to)) {
                Ok(at) if at == to => held.at = at as usize,
                Ok(at) => return Err(format!("a seek to {to} leads to {at}")),
                Err(error) => return self.tolerate_io("seek in a value", error, since),
            }
        }
        let mut piece = vec![0; (count as usize).min(len - held.at)];
        if let Err(error) = held.reader.read_exact(&mut piece) {
            return self.tolerate_io("read a value", error, since);
        }
        if piece != held.value[held.at..held.at + piece.len()] {
            return Err(format!(
                "a stream gives {} at {} of {}",
                show(Some(&piece.into())),
                held.at,
                show(Some(&held.value))
            ));
        }
        held.at += piece.len();
        self.report.readings += 1;
        self.readers.insert(slot, held);
        Ok(())
    }

    /// An error as `std` has them; the engine's own is inside, or it is the operating system's.
    fn tolerate_io(&mut self, what: &str, error: io::Error, since: u64) -> Checked {
        let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<Error>());
        let error = match inside.cloned() {
            Some(error) => error,
            None => Error::Io {
                operation: "read",
                path: super::world::DIR.into(),
                source: std::sync::Arc::new(error),
            },
        };
        self.tolerate(what, &error, since)
    }
}
