//! The first part of opening a file: header, footer and sections, read and checked before anything is believed.
//!
//! Callers: `reader`.

use std::path::Path;

use super::footer::{self, FOOTER_LEN, Footer, HEADER_LEN, Header, Refusal, SectionPlace};
use super::frame::Seed;
use super::reader::{Section, section_bytes};
use crate::env::{File, Mapping};
use crate::{Error, Result};

/// A file on the way to being open.
pub(super) struct Opening<'a> {
    pub(super) file: &'a dyn File,
    pub(super) path: &'a Path,
}

impl Opening<'_> {
    /// Reads and checks header and footer.
    pub(super) fn ends(&self) -> Result<(Header, Footer)> {
        let len = self
            .file
            .len()
            .map_err(|e| Error::io("read the length of", self.path, e))?;
        let shortest = (HEADER_LEN + FOOTER_LEN) as u64;
        if len < shortest {
            let what = format!("an SST has at least {shortest} bytes, this file has {len}");
            return Err(Error::corruption(self.path, len, what));
        }
        let footer_at = len - FOOTER_LEN as u64;
        let header = footer::decode_header(&self.read::<HEADER_LEN>(0)?)
            .map_err(|refusal| self.refused(0, refusal))?;
        let footer = Footer::decode(&self.read::<FOOTER_LEN>(footer_at)?)
            .map_err(|refusal| self.refused(footer_at, refusal))?;
        if footer.file_len != len {
            let what = format!(
                "the footer says that the file has {} bytes, it has {len}",
                footer.file_len
            );
            return Err(Error::corruption(self.path, footer_at, what));
        }
        if footer.hash_order != header.order.is_hash() {
            return Err(Error::corruption(
                self.path,
                footer_at,
                "header and footer state different orders",
            ));
        }
        if footer.identity != header.identity {
            return Err(Error::corruption(
                self.path,
                footer_at,
                "header and footer have different identities",
            ));
        }
        Ok((header, footer))
    }

    fn read<const N: usize>(&self, offset: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file
            .read_exact_at(offset, &mut bytes)
            .map_err(|e| Error::io("read", self.path, e))?;
        Ok(bytes)
    }

    fn refused(&self, offset: u64, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Damaged(expected) => {
                Error::corruption(self.path, offset, format!("expected {expected}"))
            }
            Refusal::Newer(what) => Error::NewerFormat {
                path: self.path.to_owned(),
                what,
            },
        }
    }

    pub(super) fn map(&self, len: u64) -> Result<Mapping> {
        let mapping = self.file.map().map_err(|e| Error::io("map", self.path, e))?;
        match mapping.len() as u64 == len {
            true => Ok(mapping),
            false => Err(Error::corruption(
                self.path,
                mapping.len() as u64,
                "the file's length changed",
            )),
        }
    }

    /// Reads a section (its place has been checked against the file's length) and verifies its checksum.
    pub(super) fn section(
        &self,
        mapping: Option<&Mapping>,
        seed: Seed,
        place: SectionPlace,
        name: &str,
    ) -> Result<Section> {
        let section = match mapping {
            Some(_) => Section::Mapped(place.offset as usize..place.offset as usize + place.len as usize),
            None => {
                let mut bytes = vec![0; place.len as usize].into_boxed_slice();
                let read = self.file.read_exact_at(place.offset, &mut bytes);
                read.map_err(|e| Error::io("read", self.path, e))?;
                Section::Heap(bytes)
            }
        };
        if seed.section(section_bytes(mapping, &section)) != place.crc {
            let what = format!("the checksum of the {name} does not fit");
            return Err(Error::corruption(self.path, place.offset, what));
        }
        Ok(section)
    }
}
