//! What a data frame of the log carries: one batch.
//!
//! Bytes that decode are the one encoding of what they decode to, and no part of them, and nothing longer, decodes as well.
//! A batch within the limits decodes to itself; one past a limit is refused.

use packstone::fuzzing::{Batch, Write};
use packstone::sst::ObjectRef;
use packstone::{MAX_KEY_LEN, MAX_SEQ};

use crate::support::Input;

/// So many ways to cut a payload are tried.
const CUTS: usize = 64;

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    if input.u8() % 4 == 0 {
        return judge(input.rest());
    }
    let batch = batch(&mut input);
    let mut bytes = batch.encode();
    let fits = !batch.writes.is_empty()
        && batch.first_seq.saturating_add(batch.writes.len() as u64 - 1) <= MAX_SEQ
        && batch.writes.iter().all(|write| write.key.len() <= MAX_KEY_LEN);
    match Batch::decode(&bytes) {
        Ok(found) => assert!(fits && found == batch),
        Err(error) => assert!(!fits, "{error}"),
    }
    while !input.is_empty() {
        input.patch(&mut bytes);
    }
    judge(&bytes);
}

/// A batch as the input says, also one that no writer would make.
fn batch(input: &mut Input<'_>) -> Batch {
    let shape = input.u8();
    let first_seq = match shape & 7 {
        0 => input.u64(),
        1 => MAX_SEQ - u64::from(input.u8() % 8),
        _ => u64::from(input.u16()),
    };
    let mut writes = Vec::new();
    for _ in 0..shape >> 3 {
        let how = input.u8();
        let keyspace = match how & 3 {
            0 => input.u64() as u32,
            small => u32::from(small),
        };
        let len = match how >> 2 & 7 {
            // Around the limit.
            7 => MAX_KEY_LEN - 2 + usize::from(input.u8() % 4),
            short => usize::from(short) * 3,
        };
        let mut key = input.bytes(len.min(24)).to_vec();
        key.resize(len, b'k');
        let value = match how >> 5 {
            0 | 1 => None,
            // One and two bytes of length.
            7 => Some(vec![how; 100 + usize::from(input.u8())]),
            len => Some(input.bytes(usize::from(len) * 5).to_vec()),
        };
        let object = (how >> 5 == 1).then(|| ObjectRef {
            id: [how; 16],
            len: u64::from(input.u8()),
        });
        let value = value.filter(|_| object.is_none());
        writes.push(Write {
            keyspace,
            key,
            value,
            object,
        });
    }
    Batch { first_seq, writes }
}

fn judge(bytes: &[u8]) {
    let Ok(batch) = Batch::decode(bytes) else { return };
    assert_eq!(batch.encode(), bytes, "a second encoding of {batch:?}");
    assert!(batch.last_seq() <= MAX_SEQ);
    let step = (bytes.len() / CUTS).max(1);
    for len in (0..bytes.len()).step_by(step) {
        assert!(
            Batch::decode(&bytes[..len]).is_err(),
            "cut to {len} of {}",
            bytes.len()
        );
    }
    let mut longer = bytes.to_vec();
    longer.push(bytes[0]);
    assert!(Batch::decode(&longer).is_err());
}
