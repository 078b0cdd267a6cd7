//! What the parts of a pack promise together, on the simulated disk.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::*;
use crate::env::sim::SimEnv;

mod archives;
mod builders;
mod crashes;
mod damage;
mod objects;
mod recovering;
mod shared;
mod shared_crashes;
mod shared_damage;
mod shared_streams;

/// A machine with a directory, and options for it.
struct World {
    sim: SimEnv,
    options: PackOptions,
}

impl World {
    fn new(seed: u64) -> World {
        let sim = SimEnv::new(seed);
        sim.env().fs.create_dir_all(dir()).unwrap();
        let options = PackOptions::default().env(sim.env()).identity([7; 16]);
        World { sim, options }
    }

    /// The options, on the machine as it is since the last crash.
    fn options(&self) -> PackOptions {
        self.options.clone().env(self.sim.env())
    }

    fn with(mut self, change: impl FnOnce(PackOptions) -> PackOptions) -> World {
        self.options = change(self.options);
        self
    }

    fn build(&self, name: &str, objects: &[Vec<u8>]) -> PackReport {
        let mut builder = PackBuilder::create(path(name), &self.options()).unwrap();
        for object in objects {
            builder.add(object).unwrap();
        }
        builder.finish().unwrap()
    }

    fn open(&self, name: &str) -> crate::Result<Pack> {
        Pack::open_with(path(name), &self.options())
    }

    fn archive(&self, name: &str) -> crate::Result<Archive> {
        Archive::open_with(path(name), &self.options())
    }

    /// Adds `name -> content` for each, and seals.
    fn append(&self, name: &str, entries: &[(String, Vec<u8>)]) -> SealReport {
        let mut writer = ArchiveWriter::open(path(name), &self.options()).unwrap();
        for (name, content) in entries {
            writer.add(name.as_bytes(), b"meta", content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.sim.read_file(path(name)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let files = self.sim.list().into_iter();
        files
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }
}

fn dir() -> &'static Path {
    Path::new("/packs")
}

fn path(name: &str) -> PathBuf {
    dir().join(name)
}

/// Bytes that follow from the number: half of them compress.
fn content(number: u64, len: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    if number.is_multiple_of(2) {
        (0..len).map(|_| next()).collect()
    } else {
        (0..len)
            .map(|at| {
                if at % 8 == 0 {
                    next()
                } else {
                    b'a' + (at % 3) as u8
                }
            })
            .collect()
    }
}

/// A reader that gives `len` bytes and then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the reader fails"));
        }
        let len = out.len().min(self.0);
        out[..len].fill(0x5a);
        self.0 -= len;
        Ok(len)
    }
}

/// All names and contents, read back.
fn read_back(archive: &Archive) -> Vec<(String, Vec<u8>)> {
    let entries = archive.entries().map(|entry| {
        let entry = entry.unwrap();
        let content = archive.read(&entry).unwrap();
        assert_eq!(
            (entry.id, entry.len),
            (ObjectId::of(&content), content.len() as u64)
        );
        (String::from_utf8(entry.name.to_vec()).unwrap(), content)
    });
    entries.collect()
}

fn entries(range: std::ops::Range<u64>) -> Vec<(String, Vec<u8>)> {
    let entry = |number| {
        let name = format!("{:02}/{number:05}", number % 7);
        (name, content(number, (number * 37 % 900) as usize))
    };
    range.map(entry).collect()
}

fn sorted(mut entries: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    entries.sort();
    entries
}
