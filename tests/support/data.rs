//! Keys and values that reach every form of block, and the edges that code gets wrong.

use super::rng::Rng;

/// The longest key allowed.
const MAX_KEY: usize = packstone::MAX_KEY_LEN;

/// A pool of different keys, from which a test draws with skew: the same keys again and again.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pool: Vec<Vec<u8>>,
}

impl Keys {
    /// `count` keys of one style, and beside them some that provoke.
    pub(crate) fn draw(rng: &mut Rng, count: usize) -> Keys {
        let style = rng.below(7);
        let mut pool: Vec<Vec<u8>> = (0..count as u64).map(|i| regular(style, i)).collect();
        if rng.one_in(2) {
            for _ in 0..rng.between(1, 12) {
                pool.push(adversarial(rng));
            }
        }
        if rng.one_in(12) {
            // The longest keys there are, which differ in their last byte only.
            let mut key = vec![b'L'; MAX_KEY];
            pool.push(key.clone());
            key[MAX_KEY - 1] = b'M';
            pool.push(key);
        }
        pool.sort();
        pool.dedup();
        // Skew favours the front of the pool, which shall not be the front of the order.
        for i in (1..pool.len()).rev() {
            pool.swap(i, rng.below(i as u64 + 1) as usize);
        }
        Keys { pool }
    }

    /// A key of the pool: the early ones more often.
    pub(crate) fn any(&self, rng: &mut Rng) -> Vec<u8> {
        let upto = 1 + rng.below(self.pool.len() as u64);
        self.pool[rng.below(upto) as usize].clone()
    }

    /// A key that may or may not be of the pool: for bounds and for look-ups of what is absent.
    pub(crate) fn near(&self, rng: &mut Rng) -> Vec<u8> {
        let mut key = self.any(rng);
        match rng.below(6) {
            0 => key.truncate(rng.below(key.len() as u64 + 1) as usize),
            1 if key.len() < MAX_KEY => key.push(rng.pick(&[0, 1, 0x7f, 0xff])),
            2 => {
                if let Some(last) = key.last_mut() {
                    *last = last.wrapping_add(rng.pick(&[1, 255]));
                }
            }
            _ => {}
        }
        key
    }
}

fn regular(style: u64, i: u64) -> Vec<u8> {
    match style {
        0 => (i as u32).to_be_bytes().to_vec(),
        1 => format!("user:{i:08}").into_bytes(),
        2 => i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec(),
        // Of all lengths, each a prefix of the next.
        3 => vec![b'p'; i as usize],
        4 => {
            let mut key = b"a long prefix that all of the keys share/".to_vec();
            key.extend_from_slice(format!("{:x}", i * i).as_bytes());
            key
        }
        // One byte decides, then zeros: fixed-width columns must not take the zeros for padding.
        5 => {
            let mut key = vec![(i / 4) as u8];
            key.resize(1 + (i % 4) as usize, 0);
            key
        }
        _ => {
            let mut key = vec![0xff; (i % 5) as usize];
            key.extend_from_slice(&(i as u16).to_be_bytes());
            key
        }
    }
}

fn adversarial(rng: &mut Rng) -> Vec<u8> {
    match rng.below(8) {
        0 => Vec::new(),
        1 => vec![0; rng.between(1, 9) as usize],
        2 => vec![0xff; rng.between(1, 9) as usize],
        3 => {
            let mut key = b"user:0000000".to_vec();
            key.resize(12 + rng.below(4) as usize, 0);
            key
        }
        4 => {
            let len = rng.between(200, 3000) as usize;
            vec![b'p'; len]
        }
        5 => {
            let len = rng.between(1, 40) as usize;
            rng.fill(len)
        }
        6 => {
            let mut key = vec![0xff; 255];
            key.push(rng.below(4) as u8);
            key
        }
        _ => {
            let mut key = (rng.below(64) as u32).to_be_bytes().to_vec();
            key.extend_from_slice(&[0, 0]);
            key
        }
    }
}

/// How the values of one test are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    /// Which classes come up, and how often.
    profile: u64,
    /// One in so many is 1 MB; 0 means none.
    huge_one_in: u64,
}

impl Values {
    pub(crate) fn draw(rng: &mut Rng) -> Values {
        Values {
            profile: rng.below(6),
            huge_one_in: if rng.one_in(40) { 60 } else { 0 },
        }
    }

    /// A value, of which no two are the same (but the short ones).
    pub(crate) fn any(&self, rng: &mut Rng) -> Vec<u8> {
        if self.huge_one_in > 0 && rng.one_in(self.huge_one_in) {
            return compressible(rng, 1 << 20);
        }
        let len = match (self.profile, rng.below(20)) {
            // Inline values of one length: fixed strides.
            (0, _) => 8,
            (1, _) => rng.below(9),
            (2, 0..15) | (_, 0..6) => rng.below(9),
            (3, _) => rng.between(90, 110),
            (4, 6..12) => rng.between(4090, 20_000),
            (_, 6..16) => rng.between(9, 300),
            (_, 16 | 17) => rng.between(300, 4096),
            (_, 18) => rng.pick(&[9, 4095, 4096, 4097, 8192]),
            _ => rng.between(4097, 20_000),
        };
        if rng.one_in(2) {
            rng.fill(len as usize)
        } else {
            compressible(rng, len as usize)
        }
    }
}

/// Half of it repeats.
pub(crate) fn compressible(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
        bytes.extend_from_slice(b"--------");
    }
    bytes.truncate(len);
    bytes
}

/// Bytes that do not compress, others for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    Rng::new(seed).fill(len)
}
