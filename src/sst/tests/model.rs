//! Files against a model: a sorted vector.

use super::*;

/// Random entries: versions of a key, long shared prefixes, empty and long keys, all classes of values.
fn random_entries(random: &mut Random) -> Vec<Entry> {
    let prefixes: [&[u8]; 4] = [b"", b"p", &[0xff; 300], b"a/long/shared/prefix/"];
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..random.below(150) + 1 {
        let mut key = prefixes[random.below(4) as usize].to_vec();
        let tail = if random.below(60) == 0 {
            3000
        } else {
            random.below(7)
        };
        let alphabet = if random.below(2) == 0 { 3 } else { 256 };
        key.extend((0..tail).map(|_| random.below(alphabet) as u8));
        keys.insert(key);
    }
    if random.below(4) == 0 {
        keys.insert(vec![0xff; SortOrder::Hash { seed: 0 }.max_key_len()]);
    }
    let wide = [1, 200, 100_000, MAX_SEQ / 1000][random.below(4) as usize];
    let mut entries = Vec::new();
    for key in keys {
        let versions = match random.below(12) {
            0 => 40,
            1..=3 => 3,
            _ => 1,
        };
        let mut seq = random.below(wide) + versions * wide;
        for _ in 0..versions {
            let len = match random.below(10) {
                0..=3 => random.below(9),
                4..=7 => random.below(200),
                8 => random.below(MAX_SMALL_LEN as u64 + 1),
                _ => MAX_SMALL_LEN as u64 + 1 + random.below(9000),
            };
            let value = match random.below(6) {
                0 => None,
                1 => object(random.below(40), random.below(1 << 40)),
                _ => Some(value(random, len as usize)),
            };
            entries.push((key.clone(), seq, value));
            seq -= random.below(wide) + 1;
        }
    }
    entries
}

fn options(random: &mut Random) -> SstOptions {
    SstOptions {
        key_block_size: [1, 100, 1000, 16 << 10][random.below(4) as usize],
        value_block_size: [1, 100, 8 << 10][random.below(3) as usize],
        compression: CODECS[random.below(2) as usize],
        filter: random.below(5) > 0,
        order: match random.below(4) {
            0 | 1 => SortOrder::Key,
            2 => SortOrder::Hash { seed: 7 },
            _ => WEAK,
        },
        partition_size: [64, 200, 32 << 10][random.below(3) as usize],
    }
}

fn cursor_options(random: &mut Random) -> CursorOptions {
    CursorOptions {
        access: [None, Some(Access::Mapped), Some(Access::Pread)][random.below(3) as usize],
        fill_cache: random.below(2) == 0,
        read_ahead: random.below(2) == 0,
    }
}

/// The first entry of the model at or after (`key`, `seq`).
fn model_seek(entries: &[Entry], key: &[u8], seq: SeqNo) -> usize {
    entries.partition_point(|entry| (entry.0.as_slice(), !entry.1) < (key, !seq))
}

fn assert_at(cursor: &SstCursor, entries: &[Entry], at: Option<usize>) {
    match at.and_then(|at| entries.get(at)) {
        Some(entry) => {
            assert!(cursor.valid());
            assert!(current(cursor).unwrap() == *entry);
            let is_object = cursor.value().kind() == EntryKind::Object;
            assert_eq!(is_object, object_of(entry.2.as_deref()).is_some());
            let mut out = vec![1, 2, 3];
            cursor.load_into(cursor.value(), &mut out).unwrap();
            assert_eq!(out, entry.2.as_deref().unwrap_or_default());
        }
        None => {
            assert!(!cursor.valid());
            assert_eq!((cursor.key(), cursor.seq()), (&[][..], 0));
            assert_eq!(cursor.value().place, ValuePlace::Tombstone);
        }
    }
}

/// A key of the model, or one beside it.
fn probe(random: &mut Random, entries: &[Entry]) -> (Vec<u8>, SeqNo) {
    let entry = &entries[random.below(entries.len() as u64) as usize];
    let mut key = entry.0.clone();
    match random.below(6) {
        0 => key.push(0),
        1 => drop(key.pop()),
        2 => {
            if let Some(last) = key.last_mut() {
                *last = last.wrapping_add(1);
            }
        }
        _ => {}
    }
    let seq = match random.below(5) {
        0 => MAX_SEQ,
        1 => 0,
        2 => entry.1 + 1,
        3 => entry.1.saturating_sub(1),
        _ => entry.1,
    };
    (key, seq)
}

fn walk(random: &mut Random, sst: &Arc<Sst>, entries: &[Entry]) {
    let mut cursor = sst.cursor(cursor_options(random));
    assert_at(&cursor, entries, None);
    let mut at: Option<usize> = None;
    for _ in 0..120 {
        match random.below(12) {
            0 => {
                cursor.seek_to_first().unwrap();
                at = Some(0);
            }
            1 => {
                cursor.seek_to_last().unwrap();
                at = Some(entries.len() - 1);
            }
            2 | 3 => {
                let (key, seq) = probe(random, entries);
                cursor.seek(&key, seq).unwrap();
                at = Some(model_seek(entries, &key, seq));
            }
            4 | 5 => {
                let (key, seq) = probe(random, entries);
                cursor.seek_before(&key, seq).unwrap();
                at = model_seek(entries, &key, seq).checked_sub(1);
            }
            n if cursor.valid() => {
                let forwards = n < 9;
                if forwards {
                    cursor.next().unwrap();
                } else {
                    cursor.prev().unwrap();
                }
                at = if forwards {
                    at.map(|at| at + 1)
                } else {
                    at.and_then(|at| at.checked_sub(1))
                };
            }
            _ => {}
        }
        assert_at(&cursor, entries, at);
    }
}

#[test]
fn files_answer_as_a_sorted_vector_does() {
    for seed in 1..=200 {
        let mut random = Random(seed * 0x9e37_79b9);
        let options = options(&mut random);
        let order = options.order;
        let entries = sorted(random_entries(&mut random), order);
        let (bytes, _) = write(&entries, &options);
        let access = BOTH[seed as usize % 2];
        let cache = [0, 1 << 16, 1 << 20][random.below(3) as usize];
        let sst = open_with(MemFile::of(bytes), access, cache).unwrap();
        assert!(
            scan(&sst, cursor_options(&mut random)).unwrap() == entries,
            "seed {seed}"
        );
        for _ in 0..100 {
            let (key, seq) = probe(&mut random, &entries);
            // A probe beside a sort key is one of no key.
            let key = order.key_of(&key);
            assert_eq!(
                get(&sst, key, seq).unwrap(),
                expected(&entries, &sort_key(key, order), seq),
                "seed {seed}"
            );
        }
        walk(&mut random, &sst, &entries);
        let report = sst.verify().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(report.entries, entries.len() as u64);
        assert_eq!(ids(&sst).unwrap(), ids_of(&entries), "seed {seed}");
    }
}

#[test]
fn backward_scans_with_read_ahead_see_everything() {
    let mut random = Random(4);
    let entries: Vec<Entry> = (0..30_000u32)
        .map(|i| {
            (
                i.to_be_bytes().to_vec(),
                1,
                Some(value(&mut random, 60 + i as usize % 50)),
            )
        })
        .collect();
    let (bytes, _) = write(
        &entries,
        &SstOptions {
            compression: Compression::None,
            ..SstOptions::default()
        },
    );
    let file = MemFile::of(bytes.clone());
    let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
    for backwards in [false, true] {
        let mut cursor = sst.cursor(CursorOptions {
            access: None,
            fill_cache: false,
            read_ahead: true,
        });
        let before = file.reads();
        if backwards {
            cursor.seek_to_last()
        } else {
            cursor.seek_to_first()
        }
        .unwrap();
        let mut seen = 0;
        while cursor.valid() {
            let at = if backwards { entries.len() - 1 - seen } else { seen };
            assert!(current(&cursor).unwrap() == entries[at]);
            if backwards { cursor.prev() } else { cursor.next() }.unwrap();
            seen += 1;
        }
        assert_eq!(seen, entries.len());
        let (reads, windows) = (file.reads() - before, bytes.len() as u64 / (256 << 10) + 1);
        assert!(
            reads <= 2 * windows + 4,
            "{reads} reads for {windows} windows, backwards: {backwards}"
        );
    }
}

#[test]
fn a_scan_of_keys_touches_no_value_block() {
    let entries: Vec<Entry> = (0..5000u32)
        .map(|i| (i.to_be_bytes().to_vec(), 1, Some(vec![1; 100])))
        .collect();
    let (bytes, _) = write(&entries, &SstOptions::default());
    let file = MemFile::of(bytes);
    let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
    let before = file.reads();
    let mut cursor = sst.cursor(CursorOptions::default());
    cursor.seek_to_first().unwrap();
    while cursor.valid() {
        cursor.next().unwrap();
    }
    assert_eq!(file.reads() - before, sst.properties().key_blocks.count);
}

#[test]
fn neighbouring_small_values_cost_one_look_up_together() {
    let entries: Vec<Entry> = (0..5000u32)
        .map(|i| (i.to_be_bytes().to_vec(), 1, Some(vec![1; 100])))
        .collect();
    let (bytes, _) = write(&entries, &SstOptions::default());
    let file = MemFile::of(bytes);
    let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
    let before = file.reads();
    assert_eq!(scan(&sst, CursorOptions::default()).unwrap().len(), 5000);
    let blocks = sst.properties().key_blocks.count + sst.properties().value_blocks.count;
    // A value block can straddle two key blocks, but it is still the one read last.
    assert_eq!(file.reads() - before, blocks);
}

#[test]
fn an_absent_key_costs_no_read_and_a_raw_block_in_the_mapping_neither() {
    let entries: Vec<Entry> = (0..2000u32)
        .map(|i| (i.to_be_bytes().to_vec(), 1, Some(vec![1; 4])))
        .collect();
    let (bytes, _) = write(&entries, &SstOptions::default());
    let file = MemFile::of(bytes.clone());
    let sst = open_with(file.clone(), Access::Mapped, 1 << 20).unwrap();
    let before = file.reads();
    for i in 0..2000u32 {
        assert!(get(&sst, &i.to_be_bytes(), 1).unwrap().is_some());
    }
    assert_eq!(
        (file.reads(), sst.cache.used_bytes()),
        (before, 0),
        "neither reads nor copies"
    );

    let file = MemFile::of(bytes);
    let sst = open_with(file.clone(), Access::Pread, 0).unwrap();
    let before = file.reads();
    let found = (5000..15_000u32)
        .filter(|i| get(&sst, &i.to_be_bytes(), 1).unwrap().is_some())
        .count();
    assert_eq!(found, 0);
    assert!(
        file.reads() - before < 110,
        "about one look-up in 130 passes the filter: {}",
        file.reads() - before
    );
}

#[test]
fn medium_values_are_cached_once_decompressed() {
    let entries = [(b"k".to_vec(), 1, Some(vec![1; 50_000]))];
    let (bytes, _) = write(&entries, &SstOptions::default());
    for access in BOTH {
        let sst = open_with(MemFile::of(bytes.clone()), access, 4 << 20).unwrap();
        for _ in 0..3 {
            assert!(get(&sst, b"k", 1).unwrap().is_some());
        }
        assert!(sst.cache.hits() >= 2, "{access:?}");
        assert!(sst.cache.used_bytes() >= 50_000);
        let cache = sst.cache.clone();
        drop(sst);
        assert_eq!(cache.used_bytes(), 0, "a closed file's blocks go");
    }
}

#[test]
fn versions_of_one_key_across_many_key_blocks_are_found_at_every_snapshot() {
    let mut entries: Vec<Entry> = vec![(b"a".to_vec(), 1, None)];
    entries.extend(
        (0..1000u64)
            .rev()
            .map(|seq| (b"hot".to_vec(), seq * 2, Some(seq.to_be_bytes().to_vec()))),
    );
    entries.push((b"z".to_vec(), 5, None));
    let (bytes, _) = write(&entries, &tiny());
    let sst = open(&bytes, Access::Mapped).unwrap();
    assert!(sst.properties().key_blocks.count > 50);
    let mut cursor = sst.cursor(CursorOptions::default());
    for snapshot in 0..2001 {
        let newest = (snapshot / 2).min(999);
        let found = Found::Value(newest * 2, newest.to_be_bytes()[..].into());
        assert_eq!(get(&sst, b"hot", snapshot).unwrap(), Some(found));
        cursor.seek(b"hot", snapshot).unwrap();
        assert_eq!(cursor.seq(), newest * 2);
    }
    cursor.seek_before(b"hot", 0).unwrap();
    assert_eq!(cursor.seq(), 2);
    sst.verify().unwrap();
}

#[test]
fn the_real_file_system_serves_files_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("1.sst");
    let env = crate::env::Env::real(1);
    let file = env.fs.create(&path).unwrap();
    let entries = one_of_each();
    let objects = objects_of(&entries);
    let rows = rows(&entries, &objects);
    write_sorted(file, &path, &SstOptions::default(), identity(), rows).unwrap();
    for access in BOTH {
        let options = SstReadOptions {
            access,
            cache: Arc::new(BlockCache::new(1 << 20)),
        };
        let sst = Arc::new(Sst::open(env.fs.open(&path).unwrap(), &path, &options).unwrap());
        assert_eq!(scan(&sst, CursorOptions::default()).unwrap(), entries);
        sst.verify().unwrap();
    }
}
