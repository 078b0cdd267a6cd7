//! The part of [`crate::fuzzing`] that needs what is private to `sst`: filter, header, footer, offset table.
#![allow(missing_docs, unreachable_pub)]

use super::filter::{self, Filter};
use super::footer::{self, Footer};
use super::offset_table::{BlockPlace, PLACE_LEN};

/// The format version that the writer writes.
pub const SST_VERSION: u32 = footer::VERSION;

/// A filter of these hashes, as the writer makes it.
pub fn filter_build(hashes: &[u64]) -> Option<Vec<u8>> {
    filter::build(&mut hashes.to_vec())
}

/// What the filter says of each hash; `None`: these bytes are no filter.
pub fn filter_answers(bytes: &[u8], hashes: &[u64]) -> Option<Vec<bool>> {
    let filter = Filter::parse(bytes)?;
    // As descriptions ask it.
    let tables = filter.tables().count();
    debug_assert!(tables <= bytes.len());
    Some(
        hashes
            .iter()
            .map(|hash| {
                let answer = filter.may_contain(bytes, *hash);
                assert_eq!(filter::ask(bytes, *hash), Some(answer), "asked without parsing");
                answer
            })
            .collect(),
    )
}

/// The header that these bytes are, encoded again.
pub fn sst_header(bytes: &[u8]) -> Option<Vec<u8>> {
    footer::decode_header(bytes)
        .ok()
        .map(|header| footer::encode_header(&header))
}

/// The footer that these bytes are, encoded again.
pub fn footer(bytes: &[u8]) -> Option<Vec<u8>> {
    Footer::decode(bytes).ok().map(|footer| footer.encode())
}

/// The entry of the offset table that these bytes are, encoded again.
pub fn block_place(bytes: [u8; PLACE_LEN]) -> Option<[u8; PLACE_LEN]> {
    let place = BlockPlace::decode(bytes)?;
    Some(place.encode())
}
