//! Large values: objects in packs behind the ordinary keyspace API, and as streams.

mod support;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use packstone::{Db, Durability, Error, KeyspaceOptions, Options, Order};
use support::data::noise;
use support::rng::Rng;

fn small_packs() -> Options {
    Options::new().pack_size(64 << 10)
}

fn low_threshold() -> KeyspaceOptions {
    KeyspaceOptions::new().object_threshold(Some(100))
}

fn pack_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let packs = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"));
    // One may go meanwhile.
    packs
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

fn pack_count(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"))
        .count()
}

#[test]
fn values_on_both_sides_of_the_threshold_come_back_from_everywhere() {
    for order in [Order::Key, Order::Hash] {
        let dir = tempfile::tempdir().unwrap();
        let db = small_packs().open(dir.path()).unwrap();
        let values = db.keyspace_with("values", low_threshold().order(order)).unwrap();
        let lens = [
            0, 1, 8, 9, 99, 100, 101, 4096, 4097, 65_535, 65_536, 65_537, 300_000,
        ];
        for (n, len) in lens.into_iter().enumerate() {
            values.put(format!("key {n:02}"), noise(n as u64, len)).unwrap();
        }
        let check = |db: &Db, when: &str| {
            let values = db.open_keyspace("values").unwrap();
            let snapshot = db.snapshot();
            let mut buffer = Vec::new();
            for (n, len) in lens.into_iter().enumerate() {
                let (key, expected) = (format!("key {n:02}"), noise(n as u64, len));
                assert!(
                    values.get(&key).unwrap().unwrap() == expected[..],
                    "{when}: get {len}"
                );
                assert!(snapshot.get(&values, &key).unwrap().unwrap() == expected[..]);
                assert!(values.get_into(&key, &mut buffer).unwrap());
                assert!(buffer == expected, "{when}: get_into {len}");
                assert!(values.contains_key(&key).unwrap());
                let mut reader = values.open(&key).unwrap().unwrap();
                assert_eq!(reader.len(), len as u64);
                buffer.clear();
                reader.read_to_end(&mut buffer).unwrap();
                assert!(buffer == expected, "{when}: stream {len}");
                let middle = len / 2;
                reader.seek(SeekFrom::Start(middle as u64)).unwrap();
                buffer.clear();
                reader.read_to_end(&mut buffer).unwrap();
                assert!(
                    buffer == expected[middle..],
                    "{when}: stream from the middle of {len}"
                );
            }
            let keys: Vec<String> = (0..lens.len()).map(|n| format!("key {n:02}")).collect();
            let many = values.multi_get(&keys).unwrap();
            for (n, value) in many.into_iter().enumerate() {
                assert!(value.unwrap() == noise(n as u64, lens[n])[..]);
            }
            if order == Order::Key {
                for (n, entry) in values.iter().enumerate() {
                    let (key, value) = entry.unwrap();
                    assert_eq!(key, format!("key {n:02}").as_bytes());
                    assert!(value == noise(n as u64, lens[n])[..], "{when}: iterate {n}");
                }
                let mut cursor = values.cursor().unwrap();
                assert!(cursor.seek_to_last().unwrap());
                assert!(cursor.value().unwrap().unwrap() == noise(12, 300_000)[..]);
            }
            assert!(!values.contains_key("none").unwrap());
            assert!(values.open("none").unwrap().is_none());
        };
        check(&db, "in memory");
        assert_eq!(db.keyspaces(), ["values"]);
        db.flush().unwrap();
        check(&db, "flushed");
        values.compact_range::<&[u8], _>(..).unwrap();
        check(&db, "compacted");
        db.close().unwrap();
        drop(values);
        let db = small_packs().open(dir.path()).unwrap();
        check(&db, "reopened");
        let reader = Options::new().open_read_only(dir.path()).unwrap();
        check(&reader, "read-only");
        let copy = tempfile::tempdir().unwrap();
        let target = copy.path().join("checkpoint");
        db.checkpoint(&target).unwrap();
        db.close().unwrap();
        check(&Options::new().open(&target).unwrap(), "checkpoint");
    }
}

#[test]
fn equal_values_are_stored_once_across_keys_and_keyspaces() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let (a, b) = (db.keyspace("a").unwrap(), db.keyspace("b").unwrap());
    let alone = db
        .keyspace_with("alone", KeyspaceOptions::new().deduplicate(false))
        .unwrap();
    let value = noise(1, 100_000);
    a.put("1", &value).unwrap();
    let once = pack_bytes(dir.path());
    assert!(once < 101_000, "{once}");
    a.put("2", &value).unwrap();
    b.put("1", &value).unwrap();
    b.put_reader("2", &value[..]).unwrap();
    let mut batch = db.batch();
    batch.put(&a, "3", &value);
    batch.put(&b, "3", &value);
    batch.put(&b, "4", "small");
    batch.commit(Durability::Sync).unwrap();
    assert_eq!(pack_bytes(dir.path()), once);
    alone.put("1", &value).unwrap();
    alone.put("2", &value).unwrap();
    let thrice = pack_bytes(dir.path());
    assert!((3 * once - 1000..3 * once).contains(&thrice), "{thrice}");
    for (keyspace, key) in [
        (&a, "1"),
        (&a, "2"),
        (&a, "3"),
        (&b, "1"),
        (&b, "2"),
        (&b, "3"),
        (&alone, "2"),
    ] {
        assert!(keyspace.get(key).unwrap().unwrap() == value[..]);
    }
    // A stream is written before its id is known, and taken back then.
    let long = noise(2, 3_000_000);
    a.put_reader("long", &long[..]).unwrap();
    let packs = pack_count(dir.path());
    b.put_reader("long", &long[..]).unwrap();
    assert_eq!(pack_count(dir.path()), packs);
    assert!(b.get("long").unwrap().unwrap() == long[..]);
}

#[test]
fn a_stream_is_seen_when_it_is_committed_or_never() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let values = db.keyspace("values").unwrap();
    for len in [0, 5, 20_000, 1 << 20, (1 << 20) + 1, 5_000_000] {
        let content = noise(len as u64, len);
        let mut writer = values.writer("key").unwrap();
        for piece in content.chunks(70_001) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(writer.len(), len as u64);
        assert!(values.get("key").unwrap().is_none());
        writer.commit(Durability::Sync).unwrap();
        assert!(values.get("key").unwrap().unwrap() == content[..], "{len}");
        values.delete("key").unwrap();

        let before = pack_count(dir.path());
        let mut writer = values.writer("other").unwrap();
        writer.write_all(&noise(len as u64 + 1, len)).unwrap();
        writer.abort();
        assert!(values.get("other").unwrap().is_none());
        assert_eq!(pack_count(dir.path()), before, "{len}");
    }
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("the source failed"));
            }
            let n = buffer.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }
    }
    let before = pack_count(dir.path());
    for len in [0, 100_000, 4_000_000] {
        let failed = values.put_reader("key", Failing(len));
        assert!(matches!(&failed, Err(Error::Io { .. })), "{failed:?}");
        assert!(failed.unwrap_err().to_string().contains("the source failed"));
        assert!(values.get("key").unwrap().is_none());
        assert_eq!(pack_count(dir.path()), before);
    }
}

#[test]
fn packs_roll_over_and_are_sealed_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let db = small_packs().open(dir.path()).unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    for n in 0..100u64 {
        values.put(n.to_be_bytes(), noise(n, 5000)).unwrap();
    }
    // Longer than a pack.
    values.put("long", noise(1000, 200_000)).unwrap();
    values.put("behind", noise(1001, 5000)).unwrap();
    db.wait_for_background().unwrap();
    assert!(
        (9..=12).contains(&pack_count(dir.path())),
        "{}",
        pack_count(dir.path())
    );
    db.close().unwrap();
    drop(values);
    // Whole packs by themselves, but for the one that goes on.
    let mut sealed = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "pack")
            && let Ok(pack) = packstone::pack::Pack::open(&path)
        {
            sealed += pack.objects();
        }
    }
    assert!(sealed >= 100, "{sealed}");
    let db = small_packs().open(dir.path()).unwrap();
    let values = db.open_keyspace("values").unwrap();
    for n in 0..100u64 {
        assert!(values.get(n.to_be_bytes()).unwrap().unwrap() == noise(n, 5000)[..]);
    }
    let packs = pack_count(dir.path());
    values.put("more", noise(1002, 100)).unwrap();
    assert_eq!(pack_count(dir.path()), packs, "the active pack is continued");
}

#[test]
fn what_can_not_be_a_value_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let inline = db
        .keyspace_with("inline", KeyspaceOptions::new().object_threshold(None))
        .unwrap();
    let mut writer = inline.writer("key").unwrap();
    let piece = vec![0; 8 << 20];
    let refused = (0..10).find_map(|_| writer.push(&piece).err());
    assert!(
        matches!(refused, Some(Error::LimitExceeded { what: "value", .. })),
        "{refused:?}"
    );
    drop(writer);
    for name in ["\0objects", "\0"] {
        assert!(matches!(
            db.keyspace(name),
            Err(Error::InvalidKeyspaceName { .. })
        ));
        assert!(matches!(
            db.open_keyspace(name),
            Err(Error::KeyspaceNotFound { .. })
        ));
        assert!(matches!(
            db.drop_keyspace(name),
            Err(Error::KeyspaceNotFound { .. })
        ));
    }
    let bad = db.keyspace_with("bad", KeyspaceOptions::new().object_threshold(Some(1)));
    assert!(matches!(
        bad,
        Err(Error::InvalidOption {
            name: "object_threshold",
            ..
        })
    ));
}

/// Files are deleted in the background: the bytes of packs, after some patience.
fn shrinks_to(dir: &Path, bytes: u64) -> u64 {
    for _ in 0..200 {
        if pack_bytes(dir) <= bytes {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    pack_bytes(dir)
}

/// Content bytes of the values that are there.
fn live_bytes(values: &packstone::Keyspace) -> u64 {
    values.iter().map(|entry| entry.unwrap().1.len() as u64).sum()
}

#[test]
fn what_nobody_refers_to_any_more_goes_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let db = small_packs().open(dir.path()).unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    let other = db.keyspace_with("other", low_threshold()).unwrap();
    for n in 0..200u64 {
        values.put(n.to_be_bytes(), noise(n, 5000)).unwrap();
    }
    // Of these two copies one is enough.
    other.put("shared", noise(10, 5000)).unwrap();
    let snapshot = db.snapshot();
    let mut reader = values.open(20u64.to_be_bytes()).unwrap().unwrap();
    let mut range = values.iter();
    assert!(range.next().unwrap().unwrap().1 == noise(0, 5000)[..]);
    for n in 0..100u64 {
        values.delete(n.to_be_bytes()).unwrap();
    }
    // What a snapshot sees stays.
    db.collect_garbage().unwrap();
    for n in 0..100u64 {
        assert!(snapshot.get(&values, n.to_be_bytes()).unwrap().unwrap() == noise(n, 5000)[..]);
    }
    assert_eq!(range.count(), 199);
    drop(snapshot);
    let before = pack_bytes(dir.path());
    // The background may have been faster.
    db.collect_garbage().unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == noise(20, 5000), "an open reader keeps what it sees");
    drop(reader);
    db.wait_for_background().unwrap();
    let live = live_bytes(&values) + 5000;
    let after = shrinks_to(dir.path(), live * 12 / 10);
    assert!(
        after * 10 <= live * 12,
        "{live} live, {after} on disk, {before} before"
    );
    for n in 100..200u64 {
        assert!(values.get(n.to_be_bytes()).unwrap().unwrap() == noise(n, 5000)[..]);
    }
    assert!(other.get("shared").unwrap().unwrap() == noise(10, 5000)[..]);
    let again = db.collect_garbage().unwrap();
    assert_eq!((again.objects_removed, again.objects_moved), (0, 0), "{again:?}");
    // The same content comes back.
    values.put("new", noise(50, 5000)).unwrap();
    db.close().unwrap();
    drop((values, other));
    let db = small_packs().open(dir.path()).unwrap();
    let values = db.open_keyspace("values").unwrap();
    assert!(values.get("new").unwrap().unwrap() == noise(50, 5000)[..]);
    assert_eq!(live_bytes(&values), 101 * 5000);
    db.drop_keyspace("values").unwrap();
    drop(values);
    db.collect_garbage().unwrap();
    assert!(db.open_keyspace("other").unwrap().get("shared").unwrap().unwrap() == noise(10, 5000)[..]);
    db.wait_for_background().unwrap();
    let left = shrinks_to(dir.path(), 20_000);
    assert!(left < 20_000, "{left}");
}

#[test]
fn what_overwrites_leave_behind_goes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().pack_size(4 << 20).write_buffer_size(512 << 10);
    let db = options.open(dir.path()).unwrap();
    let values = db.keyspace_with("values", low_threshold()).unwrap();
    const KEYS: u64 = 1500;
    const LEN: usize = 40_000;
    let mut rng = Rng::new(1);
    let mut most = 0;
    for n in 0..11 * KEYS {
        let key = if n < KEYS { n } else { rng.below(KEYS) };
        values.put(key.to_be_bytes(), noise(n, LEN)).unwrap();
        if n >= KEYS && n % 200 == 0 {
            most = most.max(pack_bytes(dir.path()));
        }
    }
    let live = KEYS * LEN as u64;
    db.wait_for_background().unwrap();
    let metrics = db.metrics();
    println!(
        "live {live}, most {most} ({:.2}), at the end {} ({:.2}), {metrics}",
        most as f64 / live as f64,
        pack_bytes(dir.path()),
        pack_bytes(dir.path()) as f64 / live as f64
    );
    // Eleven times as much has been written. What memtables and level 0 hide is found by the next flush and compaction.
    let left = shrinks_to(dir.path(), live * 18 / 10);
    assert!(left * 10 <= live * 18, "{left}");
    assert_eq!(values.iter().count() as u64, KEYS);
    db.collect_garbage().unwrap();
    let left = shrinks_to(dir.path(), live * 12 / 10);
    assert!(left * 10 <= live * 12, "{left}");
    assert_eq!(values.iter().count() as u64, KEYS);
}

#[test]
fn a_stream_is_no_object_where_its_keyspace_has_none_of_that_length() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    for (name, threshold) in [("inline", None), ("long", Some(5 << 20))] {
        let options = KeyspaceOptions::new().object_threshold(threshold);
        let values = db.keyspace_with(name, options).unwrap();
        let value = noise(3, 3 << 20);
        values.put_reader("key", &value[..]).unwrap();
        assert!(values.get("key").unwrap().unwrap() == value[..]);
    }
    assert_eq!(pack_count(dir.path()), 0);
    let long = db.open_keyspace("long").unwrap();
    long.put_reader("key", &noise(4, 5 << 20)[..]).unwrap();
    // A second pack may be there, for what comes next.
    assert_eq!(db.metrics().objects.stored, 1);
}
