//! What opening a pack reads: header, the last footer, and the segments from there back.
//!
//! Callers: `reader`, and whoever asks which file this is.

use super::format::{
    FILE_HEADER_LEN, FOOTER_LEN, FileHeader, Footer, SEAL_MAGIC, Section, Unreadable, decode_sections,
    section_table_len,
};
use super::object::RecordFile;
use crate::{Error, Result};

/// What one step of the search for a footer reads.
const SEARCH_STEP: u64 = 1 << 20;

/// One segment: the records between two seals, and the indexes behind them.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) footer_at: u64,
    pub(super) footer: Footer,
    /// Whether its sections are part of what is looked up: those of a covered segment are not.
    pub(super) live: bool,
    pub(super) sections: Vec<Section>,
    /// Why they are not known, of one that is not live.
    pub(super) damage: Option<Error>,
}

fn unreadable(file: &RecordFile, offset: u64, why: Unreadable) -> Error {
    match why {
        Unreadable::Damaged(what) => file.damaged(offset, what),
        Unreadable::Newer(what) => Error::NewerFormat {
            path: file.path.to_path_buf(),
            what,
        },
    }
}

/// Reads a file's header. REQUIRES: the file is `len` bytes long.
pub(super) fn read_header(file: &RecordFile, len: u64) -> Result<FileHeader> {
    if len < FILE_HEADER_LEN {
        let what = format!("expected a pack, and it has {len} bytes, fewer than a pack's header");
        return Err(file.damaged(0, what));
    }
    let bytes = file.read(0, FILE_HEADER_LEN)?;
    FileHeader::decode(&bytes).map_err(|why| unreadable(file, 0, why))
}

/// The last footer: at the end of the file, or searched from there.
pub(super) fn find_footer(file: &RecordFile, header: &FileHeader, len: u64) -> Result<(u64, Footer)> {
    let at_end = len.checked_sub(FOOTER_LEN).filter(|at| *at >= FILE_HEADER_LEN);
    let mut newer = None;
    if let Some(at) = at_end {
        match Footer::decode(&file.read(at, FOOTER_LEN)?, &header.identity, at) {
            Ok((footer, first)) => return Ok((first, footer)),
            Err(why) => newer = matches!(why, Unreadable::Newer(_)).then_some((at, why)),
        }
    }
    if let Some((at, why)) = newer {
        return Err(unreadable(file, at, why));
    }
    let mut end = len;
    while end > FILE_HEADER_LEN {
        let from = end.saturating_sub(SEARCH_STEP).max(FILE_HEADER_LEN);
        // A footer may lie across the border of two steps.
        let upto = (end + FOOTER_LEN - 1).min(len);
        let bytes = file.read(from, upto - from)?;
        let places = (0..bytes.len()).rev();
        for place in places.filter(|place| {
            bytes
                .get(*place..)
                .is_some_and(|rest| rest.starts_with(SEAL_MAGIC))
        }) {
            let at = from + place as u64;
            let found = bytes.get(place..place + FOOTER_LEN as usize);
            if let Some(Ok((footer, first))) = found.map(|found| Footer::decode(found, &header.identity, at))
            {
                return Ok((first, footer));
            }
        }
        end = from;
    }
    Err(file.damaged(
        at_end.unwrap_or(FILE_HEADER_LEN),
        "expected a footer: the pack was never sealed, or its end is lost (`pack recover` saves the objects)",
    ))
}

/// A footer by any copy, the first of which lies at `at`.
fn read_footer(file: &RecordFile, header: &FileHeader, at: u64) -> Result<Footer> {
    let copy = |at| {
        let bytes = file.read(at, FOOTER_LEN)?;
        Footer::decode(&bytes, &header.identity, at).map_err(|why| unreadable(file, at, why))
    };
    let found = copy(at).or_else(|first| copy(at + FOOTER_LEN).map_err(|_| first))?;
    match found.1 == at {
        true => Ok(found.0),
        false => Err(file.damaged(at, "expected the first copy of a footer")),
    }
}

/// All segments, the oldest first, from the last footer back.
pub(super) fn read_segments(
    file: &RecordFile,
    header: &FileHeader,
    last: (u64, Footer),
) -> Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut next = Some(last);
    // How many of those that come now are covered.
    let mut covered = 0;
    while let Some((footer_at, footer)) = next {
        let live = covered == 0;
        covered = match live {
            true => footer.covers,
            false => covered - 1,
        };
        let (sections, damage) = match read_sections(file, &footer) {
            Ok(sections) => (sections, None),
            // Nobody asks it any more; `verify` tells.
            Err(e @ Error::Corruption { .. }) if !live => (Vec::new(), Some(e)),
            Err(e) => return Err(e),
        };
        next = match footer.previous {
            0 => None,
            at => {
                let earlier = read_footer(file, header, at)?;
                // Places lie before their footer, so this ends.
                if earlier.segment + 1 != footer.segment {
                    return Err(file.damaged(at, "expected the footer of the segment before"));
                }
                Some((at, earlier))
            }
        };
        segments.push(Segment {
            footer_at,
            footer,
            live,
            sections,
            damage,
        });
    }
    segments.reverse();
    Ok(segments)
}

fn read_sections(file: &RecordFile, footer: &Footer) -> Result<Vec<Section>> {
    let bytes = file.read(footer.table_at, section_table_len(footer.sections))?;
    let sections = decode_sections(&bytes, file.seed, footer.table_at).filter(|sections| {
        // They tile what lies between the records and their table.
        let mut end = footer.records_end;
        let tiled = sections.iter().all(|section| {
            let follows = section.offset == end && section.len > 0;
            end = section.end();
            follows
        });
        tiled && end == footer.table_at
    });
    sections.ok_or_else(|| file.damaged(footer.table_at, "expected a table of sections"))
}
