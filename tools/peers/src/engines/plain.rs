//! The floor behind [`Engine`]: values one behind the other in one file, their places in memory. What is left is reading, and LZ4 where it is
//! asked for, so that the report shows what the system call and the codec cost by themselves. Nothing is checked, indexed or recovered.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::{Check, Config, Counters, Durability, Engine, Put, Reader, View, Visit};
use crate::Result;

/// Bytes that are compressed together: as Packstone's chunks.
const CHUNK: usize = 64 << 10;

pub(crate) fn describe(codec: bool) -> String {
    let codec = match codec {
        true => format!(
            "LZ4 (compressed by the crate lz4_flex, decompressed by lz4) in chunks of {} KiB",
            CHUNK >> 10
        ),
        false => "no codec".into(),
    };
    format!("no engine: one file, read by pread, places in memory; {codec}")
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    stored: usize,
    len: usize,
}

pub(crate) struct Plain {
    file: File,
    end: Mutex<(u64, Vec<u8>)>,
    places: RwLock<HashMap<Vec<u8>, Place>>,
    codec: bool,
    synced: bool,
}

impl Plain {
    pub(crate) fn open(dir: &Path, config: Config, codec: bool) -> Result<Self> {
        let mut options = File::options();
        let file = options
            .create_new(true)
            .read(true)
            .write(true)
            .open(dir.join("values"))?;
        Ok(Plain {
            file,
            end: Mutex::default(),
            places: RwLock::default(),
            codec,
            synced: config.durability == Durability::Synced,
        })
    }
}

/// `length of what is stored u32 | it`, chunk for chunk; how much of `out` that takes.
fn compress(value: &[u8], out: &mut Vec<u8>) -> Result<usize> {
    let mut end = 0;
    for chunk in value.chunks(CHUNK) {
        let at = end + 4;
        let most = at + lz4_flex::block::get_maximum_output_size(chunk.len());
        if out.len() < most {
            out.resize(most, 0); // zeroed once
        }
        let stored = lz4_flex::block::compress_into(chunk, &mut out[at..])?;
        out[end..at].copy_from_slice(&u32::try_from(stored)?.to_le_bytes());
        end = at + stored;
    }
    Ok(end)
}

fn decompress(mut stored: &[u8], out: &mut [u8]) -> Result<()> {
    for chunk in out.chunks_mut(CHUNK) {
        let (len, rest) = stored.split_first_chunk().ok_or("a chunk is missing")?;
        let (bytes, rest) = rest
            .split_at_checked(u32::from_le_bytes(*len) as usize)
            .ok_or("a chunk is cut")?;
        lz4::block::decompress_to_buffer(bytes, Some(i32::try_from(chunk.len())?), chunk)?;
        stored = rest;
    }
    Ok(())
}

impl Engine for Plain {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut guard = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, buffer) = &mut *guard;
        let bytes = match self.codec {
            true => {
                let len = compress(value, buffer)?;
                &buffer[..len]
            }
            false => value,
        };
        self.file.write_all_at(bytes, *end)?;
        if self.synced {
            self.file.sync_data()?;
        }
        let place = Place {
            offset: *end,
            stored: bytes.len(),
            len: value.len(),
        };
        *end += bytes.len() as u64;
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places.insert(key.to_vec(), place);
        Ok(())
    }

    fn batch(&self, fill: &mut dyn FnMut(Put<'_>) -> Result<()>) -> Result<()> {
        fill(&mut |key, value| self.put(key, value))
    }

    fn reader(&self, _: View) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(PlainReader {
            plain: self,
            stored: Vec::new(),
            value: Vec::new(),
        }))
    }

    fn settle(&self) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct PlainReader<'a> {
    plain: &'a Plain,
    stored: Vec<u8>,
    value: Vec<u8>,
}

impl Reader for PlainReader<'_> {
    fn get(&mut self, key: &[u8], check: Check<'_>) -> Result<bool> {
        let places = self.plain.places.read().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = places.get(key).copied() else {
            return Ok(false);
        };
        drop(places);
        // Memory is used again: no zeroing where the length is the same.
        self.value.resize(place.len, 0);
        if self.plain.codec {
            self.stored.resize(place.stored, 0);
            self.plain.file.read_exact_at(&mut self.stored, place.offset)?;
            decompress(&self.stored, &mut self.value)?;
        } else {
            self.plain.file.read_exact_at(&mut self.value, place.offset)?;
        }
        check(&self.value).map(|()| true)
    }

    fn scan(&mut self, _: Option<&[u8]>, _: bool, _: Visit<'_>) -> Result<()> {
        Err("a file of values has no order".into())
    }
}
