//! What the fuzz targets share: a reader of the fuzzer's bytes, and the repair of checksums.
//!
//! A changed byte under a checksum only shows that the checksum is looked at. To reach what lies behind, a target changes
//! bytes and then makes the checksums right again, the way the formats in DESIGN.md say.

/// The fuzzer's bytes, taken from the front; zeros when they are used up.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from(self.u8()) | u16::from(self.u8()) << 8
    }

    pub fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let found = self.bytes(8);
        bytes[..found.len()].copy_from_slice(found);
        u64::from_le_bytes(bytes)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// At most `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// Changes `bytes` as the input says: overwrites, inserts, removes, cuts.
    pub fn patch(&mut self, bytes: &mut Vec<u8>) {
        let how = self.u8();
        let at = usize::from(self.u16()) % (bytes.len() + 1);
        // Half of the changes are near the end, where footers and the newest frames are.
        let at = if how & 0x80 == 0 {
            at
        } else {
            bytes.len() - at.min(bytes.len()) % 300 % (bytes.len() + 1)
        };
        let new = self.bytes(usize::from(how >> 3 & 15) + 1);
        match how & 7 {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, new.iter().copied())),
            2 => drop(bytes.drain(at..(at + new.len()).min(bytes.len()))),
            _ => {
                for (to, from) in bytes.iter_mut().skip(at).zip(new) {
                    *to = *from;
                }
            }
        }
    }
}

/// A number that follows from `x` and looks random (splitmix64).
pub fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Appends a LEB128 varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint length and the bytes.
pub fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// CRC-32 of `parts`, one after the other.
fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Makes a CRC-32 of all but the last four bytes right, which are the CRC.
pub fn repair_end(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(4) else {
        return;
    };
    let sum = crc(&[&bytes[..at]]);
    set_u32(bytes, at, sum);
}

/// Makes all checksums of an SST right again, as far as its places make sense.
pub fn repair_sst(bytes: &mut [u8]) {
    const HEADER: usize = 52;
    const FOOTER: usize = 128;
    if bytes.len() < HEADER + FOOTER {
        return;
    }
    let footer = bytes.len() - FOOTER;
    let header_crc = crc(&[&bytes[..HEADER - 4]]);
    set_u32(bytes, HEADER - 4, header_crc);
    let identity = bytes[16..32].to_vec();
    // The fourth section is the offset table; blocks come first, because sections do not cover them.
    let table = footer + 96;
    let sums = u32_at(bytes, table).unwrap_or(0) as usize;
    let blocks = u32_at(bytes, footer + 20).unwrap_or(0) as usize;
    let page = (u32_at(bytes, footer + 120).unwrap_or(0) as usize).max(1);
    let sums_len = blocks.div_ceil(page) * 4;
    let start = sums + sums_len;
    let whole = start.saturating_add(blocks.saturating_mul(8)) <= footer;
    for number in 0..if whole { blocks } else { 0 } {
        let place = (
            u32_at(bytes, start + number * 8),
            u32_at(bytes, start + number * 8 + 4),
        );
        let (Some(at), Some(packed)) = place else { break };
        let (at, len) = (at as usize, (packed & ((1 << 28) - 1)) as usize);
        if len < 16 || at + len > footer {
            continue;
        }
        let number = (number as u32).to_le_bytes();
        let sum = crc(&[&identity, &number, &bytes[at..at + 12], &bytes[at + 16..at + len]]);
        set_u32(bytes, at + 12, sum);
    }
    if whole {
        for (number, from) in (0..blocks).step_by(page).enumerate() {
            let to = (from + page).min(blocks);
            let sum = crc(&[&identity, &bytes[start + from * 8..start + to * 8]]);
            set_u32(bytes, sums + number * 4, sum);
        }
    }
    for section in 0..4 {
        let place = footer + 48 + section * 16;
        let at = u32_at(bytes, place).unwrap_or(0) as usize;
        // The table's checksum covers its sums.
        let len = match section {
            3 => sums_len,
            _ => u32_at(bytes, place + 8).unwrap_or(0) as usize,
        };
        if at + len <= footer {
            let sum = crc(&[&identity, &bytes[at..at + len]]);
            set_u32(bytes, place + 12, sum);
        }
    }
    let footer_crc = crc(&[&bytes[footer..footer + FOOTER - 4]]);
    set_u32(bytes, footer + FOOTER - 4, footer_crc);
}

/// Makes all checksums of a log or manifest right again, up to the first frame whose length makes no sense.
pub fn repair_record_log(bytes: &mut [u8]) {
    const HEADER: usize = 96;
    if bytes.len() < HEADER {
        return;
    }
    let header_crc = crc(&[&bytes[..HEADER - 4]]);
    set_u32(bytes, HEADER - 4, header_crc);
    let identity = bytes[24..40].to_vec();
    let mut at = HEADER;
    while let Some(len) = u32_at(bytes, at) {
        let end = at + 9 + len as usize;
        // Nine zeros end a log in reserved room.
        if end > bytes.len() || bytes[at..at + 9] == [0; 9] {
            break;
        }
        let offset = (at as u64).to_le_bytes();
        let sum = crc(&[&identity, &offset, &bytes[at..at + 4], &bytes[at + 8..end]]);
        set_u32(bytes, at + 4, sum);
        at = end;
    }
}

/// Makes the checksums of a database's file right again, by its name.
pub fn repair(name: &str, bytes: &mut Vec<u8>) {
    match name {
        name if name.ends_with(".sst") => repair_sst(bytes),
        name if name.ends_with(".pack") => crate::packs::repair_pack(bytes),
        name if name.ends_with("CURRENT") => repair_current(bytes),
        _ => repair_record_log(bytes),
    }
}

/// Makes the checksum of `CURRENT` right again.
pub fn repair_current(bytes: &mut Vec<u8>) {
    if let Some(at) = bytes.iter().rposition(|byte| *byte == b' ') {
        bytes.truncate(at + 1);
        let sum = crc(&[bytes]);
        bytes.extend_from_slice(format!("{sum:08x}\n").as_bytes());
    }
}
