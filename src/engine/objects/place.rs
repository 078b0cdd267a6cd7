//! [`Place`]: where an object lies.

use crate::coding::{Decoder, put_varint};
use crate::names::MAX_NUMBER;
use crate::pack::RecordPlace;

/// Which pack, and where in it. What the directory holds of an object: `pack number varint | offset varint | record length varint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: u64,
    pub(crate) record: RecordPlace,
}

impl Place {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        for number in [self.pack, self.record.offset, self.record.record_len] {
            put_varint(&mut out, number);
        }
        out
    }

    /// `None` for what no release has written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Place> {
        let mut d = Decoder::new(bytes);
        let place = Place {
            pack: d.varint().filter(|number| *number < MAX_NUMBER)?,
            record: RecordPlace {
                offset: d.varint()?,
                record_len: d.varint()?,
            },
        };
        place.end()?;
        d.is_empty().then_some(place)
    }

    /// Where the record ends in its file.
    pub(crate) fn end(&self) -> Option<u64> {
        self.record.offset.checked_add(self.record.record_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_bytes_that_the_comment_says() {
        let record = RecordPlace {
            offset: 80,
            record_len: 300,
        };
        let place = Place { pack: 7, record };
        assert_eq!(place.encode(), [7, 80, 172, 2]);
        assert_eq!(Place::decode(&place.encode()), Some(place));
        for bad in [&[][..], &[7, 80], &[7, 80, 172, 2, 0], &[0xff; 40]] {
            assert_eq!(Place::decode(bad), None);
        }
    }
}
