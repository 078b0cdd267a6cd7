//! Keys and values, from small numbers.

use std::rc::Rc;

use super::steps::Id;
use crate::support::rng::mix;

pub(crate) type Bytes = Rc<[u8]>;

/// The names of the keyspaces.
pub(crate) const NAMES: [&str; 4] = ["a", "b", "a longer name", "d"];

/// The key of that number. Styles differ in length, shared prefixes and order.
pub(crate) fn key(style: u64, number: Id) -> Bytes {
    let n = u64::from(number);
    let bytes: Vec<u8> = match style % 6 {
        0 => u32::from(number).to_be_bytes().to_vec(),
        1 => format!("user:{n:08}").into_bytes(),
        2 => mix(n).to_be_bytes().to_vec(),
        // Of all lengths, each a prefix of the next; the first one is empty.
        3 => vec![b'p'; n as usize],
        // One byte decides, then zeros.
        4 => {
            let mut key = vec![(n / 4) as u8];
            key.resize(1 + (n % 4) as usize, 0);
            key
        }
        _ => {
            let mut key = vec![0xff; (n % 5) as usize * if n % 7 == 0 { 90 } else { 1 }];
            key.extend_from_slice(&number.to_be_bytes());
            key
        }
    };
    bytes.into()
}

/// The value of that number: no two of one number are the same, but the shortest. Odd ones compress.
pub(crate) fn value(len: u32, stamp: u32) -> Bytes {
    let len = len as usize;
    let mut bytes = Vec::with_capacity(len + 8);
    bytes.extend_from_slice(&stamp.to_le_bytes());
    let mut state = u64::from(stamp);
    while bytes.len() < len {
        if stamp.is_multiple_of(2) {
            state = mix(state);
            bytes.extend_from_slice(&state.to_le_bytes());
        } else {
            bytes.extend_from_slice(b"--------");
        }
    }
    bytes.truncate(len);
    bytes.into()
}
