//! Each part decodes to what was encoded, lies where the drawing says, and nothing else is taken for it.

use super::*;
use crate::pack::id::ObjectId;

const SEED: [u8; 16] = [3; 16];

/// What is wrong, and the change that makes it so.
type Wrong<F> = (&'static str, F);
type OfBothEnds = fn(&mut RecordHeader, &mut Trailer);

fn seed() -> Seed {
    Seed::new(&SEED)
}

fn footer() -> Footer {
    Footer {
        identity: SEED,
        records_at: FILE_HEADER_LEN,
        records_end: 1064,
        objects: 3,
        content_bytes: 5000,
        stored_bytes: 700,
        digest: 0xd1d2_d3d4_d5d6_d7d8,
        table_at: 2064,
        sections: 2,
        segment: 0,
        previous: 0,
        covers: 0,
        names: 9,
    }
}

/// Where the footer above lies.
const FOOTER_AT: u64 = 2064 + 2 * 32 + 4;

#[test]
fn the_bytes_are_what_the_drawing_says() {
    let header = FileHeader {
        identity: SEED,
        number: 0x0102,
    }
    .encode();
    assert_eq!(header.len() as u64, FILE_HEADER_LEN);
    assert_eq!(&header[..16], b"PKSTPACK\x01\0\0\0\0\0\0\0");
    assert_eq!((&header[16..32], &header[32..34]), (&SEED[..], &[2, 1][..]));
    assert_eq!(decode_sealed_len(&header, seed()), Some(0));
    let sealed_len = encode_sealed_len(0x0a0b, seed());
    assert_eq!(sealed_len[..12], [0x0b, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sealed_len.len() as u64, FILE_HEADER_LEN - SEALED_LEN_AT);

    let record = RecordHeader {
        salted: true,
        chunk_shift: 16,
        record_len: 0x0a0b,
    }
    .encode(seed(), 64);
    assert_eq!(record.len() as u64, RECORD_HEADER_LEN);
    assert_eq!(&record[..16], b"PKob\x01\x10\0\0\x0b\x0a\0\0\0\0\0\0");
    assert_eq!(record[16..], seed().sum(64, &record[..16]).to_le_bytes());

    let trailer = Trailer {
        id: ObjectId([1; 16]),
        salt: [2; 16],
        content_len: 3,
        stored_len: 4,
        record_len: 5,
    }
    .encode(seed(), 100);
    assert_eq!(trailer.len() as u64, TRAILER_LEN);
    assert_eq!(
        (trailer[0], trailer[16], trailer[32], trailer[40], trailer[48]),
        (1, 2, 3, 4, 5)
    );
    assert_eq!(&trailer[56..60], b"PKoe");
    assert_eq!(trailer[60..], seed().sum(100, &trailer[..60]).to_le_bytes());

    let chunk = ChunkEntry {
        stored_len: 0x0102,
        raw: true,
        sum: 9,
    };
    let table = encode_table(&[chunk], seed(), 0);
    assert_eq!(table[..8], [2, 1, 0, 0x80, 9, 0, 0, 0]);
    assert_eq!(table.len() as u64, Shape::table_len(1));

    let bytes = footer().encode(FOOTER_AT);
    assert_eq!(bytes.len() as u64, SEAL_LEN);
    assert_eq!(
        (&bytes[..108], bytes[108], bytes[128 + 108]),
        (&bytes[128..236], 0, 1)
    );
    assert_eq!(&bytes[..8], b"PKSTSEAL");
    let at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(
        [32, 40, 48, 56, 64, 80, 112].map(at),
        [80, 1064, 3, 5000, 700, 2064, 9]
    );
}

#[test]
fn what_was_encoded_is_decoded() {
    let header = FileHeader {
        identity: SEED,
        number: 7,
    };
    assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    let seal = footer().encode(FOOTER_AT);
    for at in [0, FOOTER_LEN] {
        let copy = &seal[at as usize..][..FOOTER_LEN as usize];
        assert_eq!(
            Footer::decode(copy, &SEED, FOOTER_AT + at),
            Ok((footer(), FOOTER_AT))
        );
        assert!(Footer::decode(copy, &SEED, FOOTER_AT + FOOTER_LEN - at).is_err());
    }
    let sections = [
        Section {
            kind: SectionKind::Ids,
            offset: 1,
            len: 2,
            rows: 3,
        },
        Section {
            kind: SectionKind::Names,
            offset: 4,
            len: 5,
            rows: 6,
        },
    ];
    let table = encode_sections(&sections, seed(), 5);
    assert_eq!(table.len() as u64, section_table_len(2));
    assert_eq!(decode_sections(&table, seed(), 5).unwrap(), sections);
    assert_eq!(decode_sections(&table, seed(), 6), None);
    let top = encode_top(&[1, u64::MAX], seed(), 5);
    assert_eq!(decode_top(&top, seed(), 5).unwrap(), [1, u64::MAX]);
    assert_eq!(decode_top(&top[1..], seed(), 5), None);
}

/// Lengths that contradict each other make no shape.
#[test]
fn shapes_that_can_not_be_true_are_refused() {
    let shape = Shape {
        chunk_shift: 12,
        content_len: 5000,
        stored_len: 4500,
    };
    let header = RecordHeader {
        salted: false,
        chunk_shift: 12,
        record_len: shape.record_len(),
    };
    let trailer = Trailer {
        id: ObjectId([1; 16]),
        salt: [0; 16],
        content_len: 5000,
        stored_len: 4500,
        record_len: shape.record_len(),
    };
    assert_eq!(shape.record_len(), 20 + 4500 + 2 * 8 + 4 + 64);
    assert_eq!(Shape::of(&header, &trailer), Some(shape));
    let wrong: [Wrong<OfBothEnds>; 6] = [
        ("another length in the header", |header, _| header.record_len += 1),
        ("another length in both", |header, trailer| {
            header.record_len += 8;
            trailer.record_len += 8;
        }),
        ("one chunk more", |_, trailer| trailer.content_len = 8193),
        ("another stored length", |_, trailer| trailer.stored_len -= 1),
        ("a salt and no flag", |_, trailer| trailer.salt[3] = 1),
        ("more content than can be compressed", |header, trailer| {
            trailer.content_len = 4500 * 256 + 1;
            let shape = Shape {
                chunk_shift: 12,
                content_len: trailer.content_len,
                stored_len: 4500,
            };
            header.record_len = shape.record_len();
            trailer.record_len = shape.record_len();
        }),
    ];
    for (what, change) in wrong {
        let (mut header, mut trailer) = (header, trailer);
        change(&mut header, &mut trailer);
        assert_eq!(Shape::of(&header, &trailer), None, "{what}");
    }
}

#[test]
fn footers_that_can_not_be_true_are_refused() {
    let wrong: [Wrong<fn(&mut Footer)>; 10] = [
        ("records that begin elsewhere", |footer| footer.records_at += 1),
        ("records that end before they begin", |footer| {
            footer.records_end = 63
        }),
        ("records that end behind the table", |footer| {
            footer.records_end = 2065
        }),
        ("another number of sections", |footer| footer.sections = 3),
        ("no end of sections", |footer| footer.sections = u32::MAX),
        ("a segment before the first", |footer| footer.segment = 1),
        ("a first segment behind another", |footer| footer.previous = 128),
        ("more covered than there are", |footer| footer.covers = 1),
        ("more objects than fit", |footer| footer.objects = 12),
        ("another file", |footer| footer.identity = [4; 16]),
    ];
    for (what, change) in wrong {
        let mut changed = footer();
        change(&mut changed);
        assert!(
            Footer::decode(&changed.encode(FOOTER_AT), &SEED, FOOTER_AT).is_err(),
            "{what}"
        );
    }
    assert!(Footer::decode(&footer().encode(FOOTER_AT), &SEED, FOOTER_AT + 1).is_err());
    let newer = {
        let mut bytes = footer().encode(FOOTER_AT);
        bytes.truncate(FOOTER_LEN as usize);
        bytes[8] = 2;
        let sum = seed().sum(FOOTER_AT, &bytes[..124]);
        bytes[124..].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    assert!(matches!(
        Footer::decode(&newer, &SEED, FOOTER_AT),
        Err(Unreadable::Newer(_))
    ));
}

#[test]
fn no_part_is_taken_for_another_or_cut() {
    let header = FileHeader {
        identity: SEED,
        number: 7,
    }
    .encode();
    for len in 0..SEALED_LEN_AT as usize {
        assert!(FileHeader::decode(&header[..len]).is_err());
    }
    let record = RecordHeader {
        salted: false,
        chunk_shift: 12,
        record_len: 200,
    };
    let bytes = record.encode(seed(), 0);
    assert_eq!(RecordHeader::decode(&bytes, seed(), 0), Some(record));
    assert_eq!(RecordHeader::decode(&bytes, seed(), 1), None);
    assert_eq!(RecordHeader::decode(&bytes, Seed::new(&[4; 16]), 0), None);
    for (shift, len) in [(11, 200), (23, 200), (12, 83), (12, u64::MAX)] {
        let wrong = RecordHeader {
            salted: false,
            chunk_shift: shift,
            record_len: len,
        };
        assert_eq!(RecordHeader::decode(&wrong.encode(seed(), 0), seed(), 0), None);
    }
    assert_eq!(Trailer::decode(&bytes, seed(), 0), None);
    assert_eq!(decode_table(&[], seed(), 0), None);
}
