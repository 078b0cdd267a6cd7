//! Keys, values and batches at their limits.

use super::*;

#[test]
fn keys_and_values_exactly_at_the_limit_are_kept_and_one_byte_more_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path())?;
    // Objects have no such limit.
    let keyspace = db.keyspace_with("a", KeyspaceOptions::new().object_threshold(None))?;
    let mut rng = Rng::new(1);
    let (long_key, large_value) = (vec![0xff; MAX_KEY_LEN], rng.fill(MAX_VALUE_LEN));
    keyspace.put(&long_key, "long key")?;
    keyspace.put("large", &large_value)?;
    let too_large = |what: &str, result: Result<()>| match result {
        Err(Error::LimitExceeded {
            what: named,
            size,
            limit,
        }) => {
            assert_eq!((named, size), (what, limit + 1));
        }
        other => panic!("{other:?}"),
    };
    let longer_key = vec![0xff; MAX_KEY_LEN + 1];
    let larger_value = vec![0; MAX_VALUE_LEN + 1];
    too_large("key", keyspace.put(&longer_key, "v"));
    too_large("key", keyspace.delete(&longer_key));
    too_large("value", keyspace.put("k", &larger_value));
    let mut batch = db.batch();
    batch.put(&keyspace, "in the same batch", "v");
    batch.put(&keyspace, &longer_key, "v");
    too_large("key", batch.commit(Durability::Buffered));
    assert!(keyspace.get(&longer_key)?.is_none());
    for _ in 0..3 {
        assert_eq!(keyspace.get(&long_key)?.unwrap(), b"long key");
        assert!(keyspace.get("large")?.unwrap() == large_value);
        assert_eq!(keyspace.prefix(&long_key).count(), 1);
        assert_eq!(keyspace.iter().keys().rev().count(), 2);
        keyspace.compact_range::<&[u8], _>(..)?;
    }
    drop(keyspace);
    db.close()?;
    let keyspace = Db::open(dir.path())?.keyspace("a")?;
    assert_eq!(keyspace.get(&long_key)?.unwrap(), b"long key");
    assert!(keyspace.get("large")?.unwrap() == large_value);
    Ok(())
}

#[test]
fn the_empty_key_and_the_empty_value_are_ordinary() -> Result<()> {
    let sim = SimEnv::new(4);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    keyspace.put("", "of the empty key")?;
    keyspace.put("empty", "")?;
    keyspace.put("\0", "")?;
    for _ in 0..3 {
        assert_eq!(keyspace.get("")?.unwrap(), b"of the empty key");
        assert_eq!(keyspace.get("empty")?.unwrap(), b"");
        let keys: Vec<_> = keyspace.iter().keys().map(|key| key.unwrap().to_vec()).collect();
        assert_eq!(keys, [&b""[..], b"\0", b"empty"]);
        assert_eq!(keyspace.range(..="").count(), 1);
        assert_eq!(keyspace.range(.."").count(), 0);
        assert_eq!(keyspace.prefix("").count(), 3);
        assert_eq!(keyspace.first()?.unwrap().0, b"");
        keyspace.compact_range::<&[u8], _>(..)?;
    }
    keyspace.delete("")?;
    assert!(keyspace.get("")?.is_none());
    assert_eq!(keyspace.first()?.unwrap().0, b"\0");
    Ok(())
}

#[test]
fn of_one_key_twice_in_a_batch_the_last_write_wins() -> Result<()> {
    let sim = SimEnv::new(5);
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let mut batch = db.batch();
    batch.put(&keyspace, "put put", "1");
    batch.put(&keyspace, "put put", "2");
    batch.put(&keyspace, "put delete", "1");
    batch.delete(&keyspace, "put delete");
    batch.delete(&keyspace, "delete put");
    batch.put(&keyspace, "delete put", "2");
    assert_eq!(batch.len(), 6);
    batch.commit(Durability::Buffered)?;
    let check = |keyspace: &Keyspace| {
        assert_eq!(keyspace.get("put put").unwrap().unwrap(), b"2");
        assert!(keyspace.get("put delete").unwrap().is_none());
        assert_eq!(keyspace.get("delete put").unwrap().unwrap(), b"2");
        assert_eq!((keyspace.iter().count(), keyspace.iter().rev().count()), (2, 2));
    };
    check(&keyspace);
    sim.crash(CrashStyle::KeepAll);
    drop((keyspace, db));
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    check(&keyspace); // from the log
    db.flush()?;
    check(&keyspace); // from an SST
    keyspace.compact_range::<&[u8], _>(..)?;
    check(&keyspace);
    Ok(())
}

#[test]
fn an_empty_batch_is_no_write() -> Result<()> {
    let sim = SimEnv::new(6);
    let db = on(&sim).open("/db")?;
    let seq = db.snapshot().seq();
    db.batch().commit(Durability::Buffered)?;
    db.batch().commit(Durability::Sync)?;
    assert_eq!(db.snapshot().seq(), seq);
    Ok(())
}
