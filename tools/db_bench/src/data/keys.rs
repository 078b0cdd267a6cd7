//! [`KeyMaker`]: from a number to a key, in RocksDB's form.
//!
//! ```text
//!  ├── prefix_size ──┤├── up to 8 bytes ──┤├── rest ──┤
//!  │ prefix, '0's    ││ number, big-endian││ '0' ...  │
//! ```
//!
//! The prefix is there only with --keys_per_prefix. An absent key has the length and place of a present one.

use crate::flags::Config;

#[derive(Clone, Debug)]
pub(crate) struct KeyMaker {
    key_size: usize,
    prefix_size: usize,
    /// How many prefixes there are; 0 without prefixes.
    prefixes: u64,
    key: Vec<u8>,
}

impl KeyMaker {
    pub(crate) fn new(config: &Config) -> Self {
        let prefixes = config
            .num
            .checked_div(config.keys_per_prefix)
            .map_or(0, |n| n.max(1));
        KeyMaker {
            key_size: config.key_size,
            prefix_size: if prefixes > 0 { config.prefix_size } else { 0 },
            prefixes,
            key: Vec::with_capacity(config.key_size + 1),
        }
    }

    /// The key of a number. The bytes are good until the next call.
    pub(crate) fn key(&mut self, number: u64) -> &[u8] {
        self.key.clear();
        if self.prefixes > 0 {
            push_number(&mut self.key, number % self.prefixes, self.prefix_size.min(8));
            self.key.resize(self.prefix_size, b'0');
        }
        let room = self.key_size - self.key.len();
        push_number(&mut self.key, number, room.min(8));
        self.key.resize(self.key_size, b'0');
        &self.key
    }

    /// A key that is not in the database: of the same length where keys have padding, else one byte longer.
    pub(crate) fn absent(&mut self, number: u64) -> &[u8] {
        self.key(number);
        if self.key_size > self.prefix_size + 8 {
            self.key.pop();
            self.key.push(b'1');
        } else {
            self.key.push(b'0');
        }
        &self.key
    }

    /// How many numbers have keys of their own.
    pub(crate) fn distinct(&self) -> u64 {
        match self.key_size - self.prefix_size {
            bytes @ 0..8 => 1 << (8 * bytes),
            _ => u64::MAX,
        }
    }
}

/// The low `bytes` bytes of a number, the greatest first.
fn push_number(key: &mut Vec<u8>, number: u64, bytes: usize) {
    key.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(key_size: usize, prefix_size: usize, prefixes: u64) -> KeyMaker {
        KeyMaker {
            key_size,
            prefix_size,
            prefixes,
            key: Vec::new(),
        }
    }

    #[test]
    fn keys_have_rocksdbs_form() {
        assert_eq!(maker(16, 0, 0).key(0x0102), b"\0\0\0\0\0\0\x01\x0200000000");
        assert_eq!(maker(4, 0, 0).key(0x0102), b"\0\0\x01\x02");
        assert_eq!(maker(14, 4, 3).key(5), b"\0\0\0\x02\0\0\0\0\0\0\0\x0500");
        assert_eq!(
            maker(20, 10, 3).key(5),
            b"\0\0\0\0\0\0\0\x0200\0\0\0\0\0\0\0\x0500"
        );
    }

    #[test]
    fn absent_keys_are_as_long_as_present_ones_where_there_is_padding() {
        assert_eq!(maker(16, 0, 0).absent(1), b"\0\0\0\0\0\0\0\x0100000001");
        assert_eq!(maker(8, 0, 0).absent(1), b"\0\0\0\0\0\0\0\x010");
    }
}
