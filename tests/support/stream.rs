//! [`Stream`]: content of any length that is nowhere in memory.

use std::io::{self, Read, Seek, SeekFrom};

use super::rng::{Rng, mix};

const MIB: u64 = 1 << 20;

/// A stream whose bytes follow from their place: of each mebibyte a half compresses.
pub(crate) struct Stream {
    at: u64,
    len: u64,
}

/// The eight bytes at `8 * word`.
fn word(word: u64) -> [u8; 8] {
    match (word / (MIB / 16)).is_multiple_of(2) {
        true => mix(word).to_le_bytes(),
        false => (word / 64).to_le_bytes(),
    }
}

impl Stream {
    pub(crate) fn new(len: u64) -> Stream {
        Stream { at: 0, len }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min((self.len - self.at) as usize);
        let mut filled = 0;
        while filled < len {
            let word = word(self.at / 8);
            let bytes = &word[(self.at % 8) as usize..];
            let n = bytes.len().min(len - filled);
            out[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
            self.at += n as u64;
        }
        Ok(len)
    }
}

/// The reader gives that stream, from the front, and from a thousand other places.
pub(crate) fn check(reader: &mut (impl Read + Seek), len: u64) {
    let mut expected = Stream::new(len);
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = reader.read(&mut ours).unwrap();
        expected.read_exact(&mut theirs[..read]).unwrap();
        assert!(ours[..read] == theirs[..read]);
        if read == 0 {
            break;
        }
    }
    assert_eq!(expected.at, len);
    let mut rng = Rng::new(1);
    for _ in 0..1000 {
        let at = rng.below(len - 100);
        reader.seek(SeekFrom::Start(at)).unwrap();
        reader.read_exact(&mut ours[..100]).unwrap();
        Stream { at, len }.read_exact(&mut theirs[..100]).unwrap();
        assert!(ours[..100] == theirs[..100]);
    }
}
