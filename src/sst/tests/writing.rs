//! What the builder promises.

use super::*;

fn builder(options: &SstOptions) -> (Arc<MemFile>, SstBuilder) {
    let file = Arc::new(MemFile::default());
    let builder = SstBuilder::new(file.clone(), Path::new(PATH), options, identity()).unwrap();
    (file, builder)
}

fn is_misuse(result: Result<impl Sized>) -> bool {
    matches!(result.err(), Some(Error::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput)
}

#[test]
fn one_entry_of_every_class_comes_back() {
    for compression in CODECS {
        let entries = one_of_each();
        let (bytes, summary) = write(
            &entries,
            &SstOptions {
                compression,
                ..SstOptions::default()
            },
        );
        assert_eq!(summary.file_size, bytes.len() as u64);
        assert_eq!((summary.entry_count, summary.tombstone_count), (10, 1));
        assert_eq!(
            (&summary.min_key[..], &summary.max_key[..]),
            (&b"key00"[..], &b"key99"[..])
        );
        assert_eq!((summary.min_seq, summary.max_seq), (0, MAX_SEQ));
        for access in BOTH {
            let sst = open(&bytes, access).unwrap();
            assert_eq!(*sst.summary(), summary);
            assert_eq!(scan(&sst, CursorOptions::default()).unwrap(), entries);
            for entry in &entries {
                assert_eq!(
                    get(&sst, &entry.0, MAX_SEQ).unwrap(),
                    expected(&entries, &entry.0, MAX_SEQ)
                );
            }
            assert_eq!(get(&sst, b"key05x", MAX_SEQ).unwrap(), None);
            let p = sst.properties();
            assert_eq!(
                (p.inline_count, p.small_count, p.medium_count, p.tombstone_count),
                (3, 3, 2, 1)
            );
            assert_eq!(p.object_count, 1);
            assert_eq!((p.keyspace, p.file_number, &p.replaces[..]), (3, 7, &[4, 5][..]));
            assert_eq!(sst.verify().unwrap().entries, 10);
            let kinds: Vec<_> = sst.blocks().unwrap().iter().map(|block| block.kind).collect();
            assert_eq!(
                kinds,
                [
                    BlockKind::Key,
                    BlockKind::Value,
                    BlockKind::Medium,
                    BlockKind::Medium,
                    BlockKind::References
                ]
            );
        }
    }
}

/// `count` entries with values of `len` bytes, written, checked whole and read back; gives the kinds of the file's blocks.
fn many(count: u32, len: usize) -> Vec<BlockKind> {
    let value = |i: u32| {
        Some(
            (0..len)
                .map(|at| (at as u32 ^ i.wrapping_mul(0x9e37_79b9) >> 7) as u8)
                .collect(),
        )
    };
    let entries: Vec<Entry> = (0..count)
        .map(|i| (format!("key{i:06}").into_bytes(), SeqNo::from(i), value(i)))
        .collect();
    let (bytes, summary) = write(&entries, &SstOptions::default());
    assert_eq!(summary.entry_count, u64::from(count));
    for access in BOTH {
        let sst = open(&bytes, access).unwrap();
        assert_eq!(sst.verify().unwrap().entries, u64::from(count));
        assert_eq!(scan(&sst, CursorOptions::default()).unwrap(), entries);
        for entry in entries.iter().step_by(7) {
            assert_eq!(
                get(&sst, &entry.0, MAX_SEQ).unwrap(),
                expected(&entries, &entry.0, MAX_SEQ)
            );
        }
    }
    let blocks = open(&bytes, Access::Pread).unwrap().blocks().unwrap();
    blocks.iter().map(|block| block.kind).collect()
}

#[test]
fn many_small_values_share_blocks() {
    let kinds = many(5_000, 100);
    let shared = kinds.iter().filter(|kind| **kind == BlockKind::Value).count();
    // Forty-one values of 100 bytes reach the 4 KiB at which a block is closed.
    assert_eq!(shared, 5_000_usize.div_ceil(41));
    assert!(!kinds.contains(&BlockKind::Medium));
}

#[test]
fn many_medium_values_have_blocks_of_their_own() {
    let kinds = many(300, 5_000);
    assert_eq!(
        kinds.iter().filter(|kind| **kind == BlockKind::Medium).count(),
        300
    );
    assert!(!kinds.contains(&BlockKind::Value));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "neither finished nor abandoned")]
fn dropping_a_builder_with_entries_is_noticed_in_debug_builds() {
    let (_, mut builder) = builder(&tiny());
    builder.add(b"key", 1, EntryValue::Tombstone).unwrap();
    drop(builder);
}

#[test]
fn slice_and_streaming_give_the_same_bytes() {
    let entries = one_of_each();
    let (slice, _) = write(&entries, &tiny());
    let (file, mut streaming) = builder(&tiny());
    for (key, seq, value) in rows(&entries, &objects_of(&entries)) {
        streaming.add(key, seq, value).unwrap();
    }
    streaming.finish().unwrap();
    assert!(file.contents() == slice);
}

#[test]
fn a_raw_medium_block_is_carried_over_as_stored() {
    let medium = value(&mut Random(5), 30_000);
    let (bytes, _) = write(
        &[(b"k".to_vec(), 9, Some(medium.clone()))],
        &SstOptions::default(),
    );
    let from = open(&bytes, Access::Mapped).unwrap();
    let (_, place) = from.find(b"k", SortOrder::Key.hash(b"k"), 9).unwrap().unwrap();
    let raw = from.raw_block(place).unwrap();
    assert_eq!((raw.codec, raw.uncompressed_len()), (Codec::Lz4, 30_000));
    let cursor = from.cursor(CursorOptions {
        access: Some(Access::Pread),
        fill_cache: false,
        read_ahead: true,
    });
    assert_eq!(cursor.raw_block(place).unwrap(), raw);

    let file = Arc::new(MemFile::default());
    let other = SstIdentity {
        identity: [1; 16],
        ..identity()
    };
    let mut to = SstBuilder::new(file.clone(), Path::new(PATH), &SstOptions::default(), other).unwrap();
    to.add(b"k", 4, EntryValue::RawMedium(&raw)).unwrap();
    to.finish().unwrap();
    let to = open(&file.contents(), Access::Mapped).unwrap();
    assert_eq!(get(&to, b"k", 9).unwrap(), Some(Found::Value(4, medium.into())));
    assert_eq!(to.blocks().unwrap()[1].stored_len as usize, raw.stored_len());
    to.verify().unwrap();
    assert!(from.raw_block(ValuePlace::Tombstone).is_err());
}

#[test]
fn an_empty_builder_is_refused() {
    let (_, builder) = builder(&SstOptions::default());
    assert!(is_misuse(builder.finish()));
}

#[test]
fn entries_out_of_order_are_refused_and_leave_the_file_good() {
    let (file, mut builder) = builder(&SstOptions::default());
    builder.add(b"b", 5, EntryValue::Put(b"1")).unwrap();
    for (key, seq) in [(&b"a"[..], 9), (b"b", 5), (b"b", 6), (b"", 1)] {
        assert!(
            is_misuse(builder.add(key, seq, EntryValue::Tombstone)),
            "{key:?} {seq}"
        );
    }
    builder.add(b"b", 4, EntryValue::Tombstone).unwrap();
    builder.finish().unwrap();
    let entries = [(b"b".to_vec(), 5, Some(b"1".to_vec())), (b"b".to_vec(), 4, None)];
    assert_eq!(
        scan(
            &open(&file.contents(), Access::Mapped).unwrap(),
            CursorOptions::default()
        )
        .unwrap(),
        entries
    );
}

#[test]
fn keys_values_and_numbers_at_their_limits_fit_and_beyond_are_refused() {
    let (file, mut builder) = builder(&SstOptions::default());
    let longest = vec![0xff; MAX_KEY_LEN];
    builder
        .add(b"", MAX_SEQ, EntryValue::Put(&vec![7; MAX_VALUE_LEN]))
        .unwrap();
    let limit = |result: Result<()>| match result {
        Err(Error::LimitExceeded { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        limit(builder.add(b"a", 1, EntryValue::Put(&vec![7; MAX_VALUE_LEN + 1]))),
        "value"
    );
    assert_eq!(
        limit(builder.add(b"a", MAX_SEQ + 1, EntryValue::Tombstone)),
        "sequence number"
    );
    assert_eq!(
        limit(builder.add(&vec![0xff; MAX_KEY_LEN + 1], 1, EntryValue::Tombstone)),
        "key"
    );
    builder
        .add(&longest[1..], 1, EntryValue::Put(b"shorter"))
        .unwrap();
    builder.add(&longest, 1, EntryValue::Put(b"longest")).unwrap();
    builder.finish().unwrap();
    for access in BOTH {
        let sst = open(&file.contents(), access).unwrap();
        assert_eq!(
            get(&sst, &longest, 1).unwrap(),
            Some(Found::Value(1, b"longest"[..].into()))
        );
        assert!(
            matches!(get(&sst, b"", MAX_SEQ).unwrap(), Some(Found::Value(_, v)) if v.len() == MAX_VALUE_LEN)
        );
        sst.verify().unwrap();
    }
}

#[test]
fn is_full_at_the_entry_limit_and_at_the_size_limit() {
    let (_, mut by_count) = builder(&SstOptions::default());
    let mut added = 0u64;
    while !by_count.is_full(1000, u64::MAX) {
        by_count
            .add(&added.to_be_bytes(), 1, EntryValue::Put(b"v"))
            .unwrap();
        added += 1;
    }
    assert_eq!((added, by_count.entry_count()), (1000, 1000));
    by_count.abandon();

    let (file, mut by_size) = builder(&SstOptions::default());
    let mut random = Random(1);
    while !by_size.is_full(u64::MAX, 1 << 20) {
        let noise: Vec<u8> = (0..500).map(|_| random.below(256) as u8).collect();
        by_size
            .add(&added.to_be_bytes(), 1, EntryValue::Put(&noise))
            .unwrap();
        added += 1;
    }
    let estimate = by_size.estimated_size();
    by_size.finish().unwrap();
    let size = file.contents().len() as u64;
    assert!((1 << 20..(1 << 20) + 2000).contains(&estimate), "{estimate}");
    assert!(size.abs_diff(1 << 20) < 20_000, "{size}");
}

#[test]
fn a_file_never_passes_four_gibibytes() {
    let file = Arc::new(MemFile {
        forget_beyond: Some(0),
        ..MemFile::default()
    });
    let options = SstOptions {
        compression: Compression::None,
        ..SstOptions::default()
    };
    let mut builder = SstBuilder::new(file, Path::new(PATH), &options, identity()).unwrap();
    let large = vec![0; MAX_VALUE_LEN];
    let mut full_at = None;
    for i in 0..70u32 {
        if full_at.is_none() && builder.is_full(u64::MAX, u64::MAX) {
            full_at = Some(i);
        }
        match builder.add(&i.to_be_bytes(), 1, EntryValue::Put(&large)) {
            Ok(()) => {}
            Err(Error::LimitExceeded {
                what: "SST",
                size,
                limit,
            }) => {
                assert!(size > limit);
                assert_eq!(i, 63, "64 such values are past the limit");
                assert!(full_at.is_some_and(|at| at <= i), "is_full said so before");
                builder.finish().unwrap();
                return;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no limit");
}

#[test]
fn memory_is_bounded_whatever_the_mixture_of_values() {
    let (_, mut builder) = builder(&SstOptions::default());
    for i in 0..3u32 {
        builder
            .add(&i.to_be_bytes(), 1, EntryValue::Put(&[1; 100]))
            .unwrap();
    }
    let medium = vec![1; MAX_SMALL_LEN + 1];
    let mut most = 0;
    for i in 3..100_000u32 {
        let value = if i % 10 == 0 {
            &medium[..]
        } else {
            &medium[..(i % 9) as usize]
        };
        builder.add(&i.to_be_bytes(), 1, EntryValue::Put(value)).unwrap();
        most = most.max(builder.buffered_bytes());
    }
    // One open key block (its target counts 24 bytes an entry, the builder's columns take 60) and one open value block.
    assert!(most <= 3 * (16 << 10) + (8 << 10) + MAX_SMALL_LEN, "{most}");
    builder.abandon();
}

#[test]
fn key_blocks_are_cut_at_their_limit() {
    let (file, mut builder) = builder(&SstOptions::default());
    let per_block = (16 << 10) / (4 + 20);
    for i in 0..2 * per_block + 1 {
        builder
            .add(&(i as u32).to_be_bytes(), 1, EntryValue::Tombstone)
            .unwrap();
    }
    builder.finish().unwrap();
    let sst = open(&file.contents(), Access::Mapped).unwrap();
    assert_eq!(sst.properties().key_blocks.count, 3);
    sst.verify().unwrap();
}

#[test]
fn blocks_that_do_not_shrink_by_an_eighth_stay_raw() {
    let mut random = Random(3);
    let noise: Vec<u8> = (0..5000).map(|_| random.below(256) as u8).collect();
    let entries = [
        (b"a".to_vec(), 1, Some(noise)),
        (b"b".to_vec(), 1, Some(vec![b'x'; 5000])),
    ];
    let (bytes, _) = write(&entries, &SstOptions::default());
    let codecs: Vec<_> = open(&bytes, Access::Mapped)
        .unwrap()
        .blocks()
        .unwrap()
        .iter()
        .map(|b| b.codec)
        .collect();
    assert_eq!(codecs, [Codec::Raw, Codec::Raw, Codec::Lz4]);
}

#[test]
fn a_failed_write_ends_the_builder() {
    struct Full;
    impl File for Full {
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn map(&self) -> io::Result<Mapping> {
            Ok(Mapping::default())
        }
    }
    let mut builder = SstBuilder::new(Arc::new(Full), Path::new(PATH), &tiny(), identity()).unwrap();
    let failed = (0..100u32).find_map(|i| {
        let value = vec![1; 1 << 20];
        builder.add(&i.to_be_bytes(), 1, EntryValue::Put(&value)).err()
    });
    // What was compressed away never reached the disk; finishing does.
    let error = failed.or_else(|| builder.finish().err()).unwrap();
    assert!(error.is_out_of_space(), "{error}");
}

#[test]
fn options_out_of_range_are_refused() {
    for size in [0, (4 << 20) + 1] {
        for options in [
            SstOptions {
                key_block_size: size,
                ..SstOptions::default()
            },
            SstOptions {
                value_block_size: size,
                ..SstOptions::default()
            },
        ] {
            let made = SstBuilder::new(
                Arc::new(MemFile::default()),
                Path::new(PATH),
                &options,
                identity(),
            );
            assert!(matches!(made.err(), Some(Error::InvalidOption { .. })));
        }
    }
}
