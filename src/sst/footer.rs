//! The two ends of a file: the header, by which a file is known even without its footer, and the footer, which says
//! where everything else lies.
//!
//! ```text
//! header, 52 bytes:                        footer, the last 128 bytes:
//!   0  magic "PKSTSST\0"                     0  magic "PKSTFTR\0"
//!   8  format version u32                    8  format version u32
//!  12  feature bits u32                     12  feature bits u32
//!  16  identity [u8; 16]                    16  order u8: as the header's; [u8; 3] = 0
//!  32  keyspace id u32                      20  blocks u32
//!  36  order u32: 0 by key, 1 by hash       24  entries u64
//!  40  seed u64: of hash order, else 0      32  identity [u8; 16]
//!  48  crc32 of the 48 bytes above          48  filter            \
//!                                           64  index              > offset u64, length u32,
//!                                           80  properties         > seeded crc32
//!                                           96  offset table      /
//!                                          112  file length u64
//!                                          120  places a page u32, a power of two
//!                                          124  crc32 of the 124 bytes above
//! ```
//!
//! The sections follow one another without gaps from the end of the blocks to the footer. The checksum of the offset table
//! covers its sums only; they cover the rest (`offset_table`).
//!
//! Callers: `builder` writes; `reader` and `verify` read.

use super::offset_table::{MAX_PAGE_PLACES, MIN_PAGE_PLACES, table_len};
use super::order::SortOrder;
use crate::KeyspaceId;
use crate::coding::{Decoder, u32_at};

pub(crate) const HEADER_LEN: usize = 52;
pub(crate) const FOOTER_LEN: usize = 128;

pub(crate) const HEADER_MAGIC: &[u8; 8] = b"PKSTSST\0";
pub(crate) const FOOTER_MAGIC: &[u8; 8] = b"PKSTFTR\0";
/// 4: partitions, and an offset table in pages. No release has written older versions, which are refused.
pub(super) const VERSION: u32 = 5;
/// The feature bits that this release understands: none yet.
const KNOWN_FEATURES: u32 = 0;
const ORDER_KEY: u8 = 0;
const ORDER_HASH: u8 = 1;

/// Why a header or footer is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Damage, or not an SST: what was expected.
    Damaged(&'static str),
    /// A newer release wrote it.
    Newer(String),
}

/// Where a section lies, and the checksum of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SectionPlace {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

/// The footer's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Whether entries are sorted by hash.
    pub(crate) hash_order: bool,
    pub(crate) block_count: u32,
    pub(crate) entry_count: u64,
    pub(crate) identity: [u8; 16],
    pub(crate) filter: SectionPlace,
    pub(crate) index: SectionPlace,
    pub(crate) properties: SectionPlace,
    pub(crate) offset_table: SectionPlace,
    pub(crate) file_len: u64,
    /// Blocks in each page of the offset table.
    pub(crate) page_places: u32,
}

/// The header's contents: what a file that has lost everything else still says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) identity: [u8; 16],
    pub(crate) keyspace: KeyspaceId,
    pub(crate) order: SortOrder,
}

pub(crate) fn encode_header(header: &Header) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend_from_slice(HEADER_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&KNOWN_FEATURES.to_le_bytes());
    out.extend_from_slice(&header.identity);
    out.extend_from_slice(&header.keyspace.to_le_bytes());
    let (order, seed) = match header.order {
        SortOrder::Key => (ORDER_KEY, 0),
        SortOrder::Hash { seed } => (ORDER_HASH, seed),
    };
    out.extend_from_slice(&u32::from(order).to_le_bytes());
    out.extend_from_slice(&seed.to_le_bytes());
    append_crc(out)
}

/// The header that these bytes are.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, Refusal> {
    const SHORT: Refusal = Refusal::Damaged("an SST header of 52 bytes");
    let mut decoder = checked(
        bytes,
        HEADER_LEN,
        HEADER_MAGIC,
        "the magic of an SST header",
        "an intact SST header",
    )?;
    let identity = decoder.array().ok_or(SHORT)?;
    let keyspace = decoder.u32().ok_or(SHORT)?;
    let (order, seed) = decoder.u32().zip(decoder.u64()).ok_or(SHORT)?;
    let order = match (u8::try_from(order), seed) {
        (Ok(ORDER_KEY), 0) => SortOrder::Key,
        (Ok(ORDER_HASH), seed) => SortOrder::Hash { seed },
        _ => return Err(Refusal::Damaged("a known order")),
    };
    Ok(Header {
        identity,
        keyspace,
        order,
    })
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        out.extend_from_slice(FOOTER_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&KNOWN_FEATURES.to_le_bytes());
        let order = if self.hash_order { ORDER_HASH } else { ORDER_KEY };
        out.extend_from_slice(&[order, 0, 0, 0]);
        out.extend_from_slice(&self.block_count.to_le_bytes());
        out.extend_from_slice(&self.entry_count.to_le_bytes());
        out.extend_from_slice(&self.identity);
        for section in self.sections() {
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.len.to_le_bytes());
            out.extend_from_slice(&section.crc.to_le_bytes());
        }
        out.extend_from_slice(&self.file_len.to_le_bytes());
        out.extend_from_slice(&self.page_places.to_le_bytes());
        append_crc(out)
    }

    /// In the order of the file.
    fn sections(&self) -> [SectionPlace; 4] {
        [self.filter, self.index, self.properties, self.offset_table]
    }

    /// Reads the footer and checks that the sections tile what they must tile.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Footer, Refusal> {
        let mut decoder = checked(
            bytes,
            FOOTER_LEN,
            FOOTER_MAGIC,
            "the magic of an SST footer",
            "an intact SST footer",
        )?;
        let order = decoder.array::<4>().unwrap_or_default();
        let hash_order = match order {
            [ORDER_KEY, 0, 0, 0] => false,
            [ORDER_HASH, 0, 0, 0] => true,
            _ => return Err(Refusal::Damaged("a known order and zeros")),
        };
        let footer =
            Self::decode_fields(&mut decoder, hash_order).ok_or(Refusal::Damaged("a footer of 128 bytes"))?;
        let mut at = footer.filter.offset;
        for section in footer.sections() {
            if section.offset != at {
                return Err(Refusal::Damaged("sections that follow one another"));
            }
            at = at.saturating_add(u64::from(section.len));
        }
        if at.saturating_add(FOOTER_LEN as u64) != footer.file_len || footer.filter.offset < HEADER_LEN as u64
        {
            return Err(Refusal::Damaged("sections that end at the footer"));
        }
        let pages_fit = footer.page_places.is_power_of_two()
            && (MIN_PAGE_PLACES..=MAX_PAGE_PLACES).contains(&footer.page_places);
        if !pages_fit
            || u64::from(footer.offset_table.len) != table_len(footer.block_count, footer.page_places)
        {
            return Err(Refusal::Damaged("one entry of the offset table per block"));
        }
        Ok(footer)
    }

    fn decode_fields(decoder: &mut Decoder<'_>, hash_order: bool) -> Option<Footer> {
        let (block_count, entry_count, identity) = (decoder.u32()?, decoder.u64()?, decoder.array()?);
        let mut section = || {
            Some(SectionPlace {
                offset: decoder.u64()?,
                len: decoder.u32()?,
                crc: decoder.u32()?,
            })
        };
        let (filter, index, properties, offset_table) = (section()?, section()?, section()?, section()?);
        let (file_len, page_places) = (decoder.u64()?, decoder.u32()?);
        Some(Footer {
            hash_order,
            block_count,
            entry_count,
            identity,
            filter,
            index,
            properties,
            offset_table,
            file_len,
            page_places,
        })
    }
}

fn append_crc(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Checks magic, checksum, version and features of a header or footer; returns what follows them.
fn checked<'a>(
    bytes: &'a [u8],
    len: usize,
    magic: &[u8; 8],
    magic_expected: &'static str,
    intact_expected: &'static str,
) -> Result<Decoder<'a>, Refusal> {
    let mut decoder = Decoder::new(bytes);
    if decoder.array() != Some(*magic) {
        return Err(Refusal::Damaged(magic_expected));
    }
    let sum = bytes.get(..len - 4).map(crc32fast::hash);
    if bytes.len() != len || sum.is_none() || sum != u32_at(bytes, len - 4) {
        return Err(Refusal::Damaged(intact_expected));
    }
    match (decoder.u32(), decoder.u32()) {
        (Some(VERSION), Some(features)) if features & !KNOWN_FEATURES == 0 => Ok(decoder),
        (Some(VERSION), features) => Err(Refusal::Newer(format!(
            "feature bits {:#x}, and this release knows none",
            features.unwrap_or(0)
        ))),
        (version, _) => Err(Refusal::Newer(format!(
            "SST format version {}, and this release reads version {VERSION}",
            version.unwrap_or(0)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(order: SortOrder) -> Header {
        Header {
            identity: [9; 16],
            keyspace: 7,
            order,
        }
    }

    fn footer() -> Footer {
        let place = |offset, len| SectionPlace { offset, len, crc: 7 };
        Footer {
            hash_order: false,
            block_count: 3,
            entry_count: 99,
            identity: [5; 16],
            filter: place(100, 10),
            index: place(110, 0),
            properties: place(110, 20),
            offset_table: place(130, 28),
            file_len: 158 + 128,
            page_places: 8,
        }
    }

    fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - 4);
        append_crc(bytes)
    }

    #[test]
    fn header_and_footer_round_trip_and_notice_every_flip() {
        for order in [SortOrder::Key, SortOrder::Hash { seed: u64::MAX - 1 }] {
            let header = header(order);
            let bytes = encode_header(&header);
            assert_eq!(bytes.len(), HEADER_LEN);
            assert_eq!(decode_header(&bytes), Ok(header));
        }
        let bytes = footer().encode();
        assert_eq!(bytes.len(), FOOTER_LEN);
        assert_eq!(Footer::decode(&bytes), Ok(footer()));
        let hashed = Footer {
            hash_order: true,
            ..footer()
        };
        assert_eq!(Footer::decode(&hashed.encode()), Ok(hashed));
        for bit in 0..FOOTER_LEN * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Footer::decode(&bad), Err(Refusal::Damaged(_))));
        }
    }

    #[test]
    fn what_newer_releases_write_is_named_as_newer() {
        for (at, value) in [(8, 6), (12, 1)] {
            let mut bytes = footer().encode();
            bytes[at] = value;
            assert!(
                matches!(Footer::decode(&with_crc(bytes)), Err(Refusal::Newer(_))),
                "byte {at}"
            );
        }
        let mut header = encode_header(&header(SortOrder::Key));
        header[8] = 6;
        assert!(matches!(decode_header(&with_crc(header)), Err(Refusal::Newer(_))));
    }

    #[test]
    fn sections_that_overlap_or_leave_gaps_are_refused() {
        let mut gap = footer();
        gap.index.offset += 1;
        let mut beyond = footer();
        beyond.offset_table.len = u32::MAX;
        let mut count = footer();
        count.block_count = 4;
        let mut page = footer();
        page.page_places = 6;
        for footer in [gap, beyond, count, page] {
            assert!(matches!(
                Footer::decode(&footer.encode()),
                Err(Refusal::Damaged(_))
            ));
        }
    }
}
