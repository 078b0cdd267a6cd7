//! Promises of the payload format.

use crate::types::{MAX_KEY_LEN, MAX_SEQ, MAX_VALUE_LEN};

use super::*;

fn built() -> PayloadBuilder {
    let mut builder = PayloadBuilder::new();
    builder.put(1, b"key", b"value");
    builder.delete(u32::MAX, b"");
    builder.put(300, &[7; 200], b"");
    builder.set_first_seq(41);
    builder
}

fn parse(bytes: &[u8]) -> Result<Vec<Op<'_>>> {
    Payload::parse(Path::new("/db/000001.log"), 96, bytes)?
        .ops()
        .collect()
}

#[test]
fn operations_come_back_as_they_went_in() {
    let builder = built();
    let found = Payload::parse(Path::new("f"), 0, builder.as_bytes()).unwrap();
    assert_eq!((found.first_seq(), found.last_seq(), found.count()), (41, 43, 3));
    let expected = [
        Op::Put {
            keyspace: 1,
            key: b"key",
            value: b"value",
        },
        Op::Delete {
            keyspace: u32::MAX,
            key: b"",
        },
        Op::Put {
            keyspace: 300,
            key: &[7; 200],
            value: b"",
        },
    ];
    assert_eq!(parse(builder.as_bytes()).unwrap(), expected);
    assert_eq!(builder.ops().map(|op| op.unwrap()).collect::<Vec<_>>(), expected);
}

#[test]
fn the_bytes_are_what_the_drawing_says() {
    let mut builder = PayloadBuilder::new();
    builder.put(300, b"k", b"vv");
    builder.delete(1, b"");
    builder.set_first_seq(258);
    let expected = b"\x02\x01\0\0\0\0\0\0\x02\0\0\0\x01\xac\x02\x01k\x02vv\x02\x01\0";
    assert_eq!(builder.as_bytes(), expected);
    assert_eq!((builder.byte_size(), builder.count()), (expected.len(), 2));
}

#[test]
fn a_cleared_builder_starts_afresh() {
    let mut builder = built();
    builder.clear();
    assert!(builder.is_empty());
    builder.put(1, b"a", b"b");
    builder.set_first_seq(1);
    assert_eq!(parse(builder.as_bytes()).unwrap().len(), 1);
}

#[test]
fn every_cut_and_every_extra_byte_is_an_error() {
    let builder = built();
    let bytes = builder.as_bytes();
    for cut in 0..bytes.len() {
        assert!(
            matches!(parse(&bytes[..cut]), Err(Error::Corruption { offset: 96, .. })),
            "cut at {cut}"
        );
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    parse(&longer).unwrap_err();
}

#[test]
fn hostile_counts_kinds_and_numbers_are_errors() {
    let builder = built();
    for (at, byte) in [(8, 0), (8, 4), (8, 2), (11, 255), (12, 0), (12, 3), (12, 255)] {
        let mut bytes = builder.as_bytes().to_vec();
        bytes[at] = byte;
        parse(&bytes).unwrap_err();
    }
    let mut late = built();
    late.set_first_seq(MAX_SEQ - 2);
    parse(late.as_bytes()).unwrap();
    late.set_first_seq(MAX_SEQ - 1);
    parse(late.as_bytes()).unwrap_err();
    late.set_first_seq(u64::MAX);
    parse(late.as_bytes()).unwrap_err();
}

#[test]
fn limits_hold_to_the_byte() {
    let key = vec![1; MAX_KEY_LEN + 1];
    let value = vec![2; MAX_VALUE_LEN + 1];
    for (key_len, value_len, good) in [
        (MAX_KEY_LEN, MAX_VALUE_LEN, true),
        (MAX_KEY_LEN + 1, 0, false),
        (0, MAX_VALUE_LEN + 1, false),
    ] {
        let mut builder = PayloadBuilder::new();
        builder.put(1, &key[..key_len], &value[..value_len]);
        builder.set_first_seq(1);
        assert_eq!(parse(builder.as_bytes()).is_ok(), good);
    }
}

#[test]
fn an_unknown_operation_is_named_by_its_place() {
    let mut builder = PayloadBuilder::new();
    builder.put(1, b"k", b"v");
    builder.delete(1, b"k");
    builder.delete(1, b"k");
    builder.set_first_seq(1);
    let mut bytes = builder.as_bytes().to_vec();
    // Behind the front of 12 bytes the put takes 6, and a delete 4.
    bytes[12 + 6 + 4] = 77;
    let error = parse(&bytes).unwrap_err();
    assert!(error.to_string().contains("operation 2 of the batch"), "{error}");
}

#[test]
fn a_payload_claims_as_many_operations_as_can_be_in_it_and_no_more() {
    let mut builder = PayloadBuilder::new();
    builder.delete(1, b"");
    builder.delete(2, b"");
    builder.set_first_seq(1);
    assert_eq!(
        parse(builder.as_bytes()).unwrap().len(),
        2,
        "the shortest operations"
    );
    let mut bytes = builder.as_bytes().to_vec();
    bytes[8] = 3;
    assert!(
        Payload::parse(Path::new("log"), 0, &bytes).is_err(),
        "before any is decoded"
    );
}
