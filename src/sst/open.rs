//! The first part of opening a file: header, footer and sections, read and checked before anything is believed.
//!
//! Callers: `reader`.

use std::path::Path;

use super::footer::{self, FOOTER_LEN, Footer, HEADER_LEN, Header, Refusal, SectionPlace};
use super::frame::Seed;
use super::offset_table::{PLACE_LEN, page_fits, sums_len};
use super::reader::Access;
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

    /// Reads (or maps) the sections; of the offset table all if `whole_table`, else its sums. Their places have been checked
    /// against the file's length.
    pub(super) fn source(&self, footer: &Footer, access: Access, whole_table: bool) -> Result<Source> {
        if access == Access::Mapped {
            return Ok(Source {
                mapping: Some(self.map(footer.file_len)?),
                ..Source::default()
            });
        }
        let table = footer.offset_table;
        let table_len = match whole_table {
            true => table.len.into(),
            false => sums_len(footer.block_count, footer.page_places),
        };
        let heap_at = footer.filter.offset;
        let len = (table.offset - heap_at) + table_len;
        let mut heap = vec![0; len as usize].into_boxed_slice();
        let read = self.file.read_exact_at(heap_at, &mut heap);
        read.map_err(|e| Error::io("read", self.path, e))?;
        Ok(Source {
            mapping: None,
            heap,
            heap_at,
        })
    }

    /// Verifies the checksums of all sections; of the offset table's pages if `whole_table`.
    pub(super) fn check_sections(
        &self,
        source: &Source,
        footer: &Footer,
        seed: Seed,
        whole_table: bool,
    ) -> Result<()> {
        let table = footer.offset_table;
        let sums = SectionPlace {
            len: sums_len(footer.block_count, footer.page_places) as u32,
            ..table
        };
        let damaged = |offset, name: &str| {
            let what = format!("the checksum of the {name} does not fit");
            Err(Error::corruption(self.path, offset, what))
        };
        for (place, name) in [
            (footer.filter, "filter"),
            (footer.index, "index"),
            (footer.properties, "properties"),
            (sums, "offset table"),
        ] {
            if seed.section(source.section(place)) != place.crc {
                return damaged(place.offset, name);
            }
        }
        if !whole_table {
            return Ok(());
        }
        let (all, sums) = (source.section(table), source.section(sums));
        let pages = all.get(sums.len()..).unwrap_or_default();
        let page_len = footer.page_places as usize * PLACE_LEN;
        for (page, bytes) in (0..).zip(pages.chunks(page_len.max(1))) {
            if !page_fits(sums, page, bytes, seed) {
                return damaged(table.offset, "offset table");
            }
        }
        Ok(())
    }
}

/// Where an open file's bytes come from: its mapping, or a copy of its sections.
#[derive(Default)]
pub(super) struct Source {
    /// In mapped mode.
    pub(super) mapping: Option<Mapping>,
    heap: Box<[u8]>,
    /// Where in the file the copy begins.
    heap_at: u64,
}

impl Source {
    /// The bytes of a section; none where they are not at hand.
    #[inline]
    pub(super) fn section(&self, place: SectionPlace) -> &[u8] {
        let bytes = match &self.mapping {
            Some(mapping) => mapping.get(place.offset as usize..place.offset as usize + place.len as usize),
            None => {
                let start = place.offset.wrapping_sub(self.heap_at) as usize;
                self.heap.get(start..start.wrapping_add(place.len as usize))
            }
        };
        bytes.unwrap_or_default()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.heap.len()
    }
}
