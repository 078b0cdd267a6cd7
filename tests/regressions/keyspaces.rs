//! Keyspaces and their stored options.

use super::*;

#[test]
fn a_keyspace_can_be_opened_without_creating_it() -> Result<()> {
    let sim = SimEnv::new(14);
    let db = on(&sim).open("/db")?;
    assert_eq!(db.path(), Path::new("/db"));
    assert!(matches!(db.open_keyspace("users"), Err(Error::KeyspaceNotFound { name }) if name == "users"));
    assert!(db.keyspaces().is_empty());
    assert!(db.keyspace("users")?.is_empty()?);
    let users = db.open_keyspace("users")?;
    users.put("a", "1")?;
    let before = db.snapshot();
    users.put("b", "2")?;
    assert!(!users.is_empty()?);
    assert_eq!(before.first(&users)?, before.last(&users)?);
    assert_eq!(users.last()?.unwrap().0, b"b");
    Ok(())
}

#[test]
fn every_option_of_a_keyspace_can_be_read_back() -> Result<()> {
    let sim = SimEnv::new(15);
    let options = KeyspaceOptions::new()
        .compression(Compression::None)
        .value_block_size(9_999)
        .key_block_size(7_777)
        .filter(false);
    let db = on(&sim).open("/db")?;
    db.keyspace_with("a", options)?;
    db.close()?;
    let db = on(&sim).open("/db")?;
    let keyspace = db.keyspace("a")?;
    let stored = keyspace.options();
    assert_eq!(stored.get_compression(), Compression::None);
    assert_eq!(
        (stored.get_value_block_size(), stored.get_key_block_size()),
        (9_999, 7_777)
    );
    assert!(!stored.get_filter());
    Ok(())
}

#[test]
fn options_of_a_keyspace_are_stored_with_it() -> Result<()> {
    let sim = SimEnv::new(19);
    let options = KeyspaceOptions::new()
        .compression(Compression::None)
        .filter(false)
        .key_block_size(1 << 20)
        .value_block_size(64);
    let db = on(&sim).open("/db")?;
    assert_eq!(*db.keyspace_with("a", options.clone())?.options(), options);
    db.keyspace("b")?;
    assert_eq!(*db.keyspace("a")?.options(), options);
    db.close()?;
    for _ in 0..2 {
        let db = on(&sim).open("/db")?;
        // What is asked for later does not count.
        let other = KeyspaceOptions::new().value_block_size(128);
        assert_eq!(*db.keyspace_with("a", other)?.options(), options);
        assert_eq!(*db.keyspace("b")?.options(), KeyspaceOptions::new());
        assert_eq!(db.keyspaces(), ["a", "b"]);
        db.close()?;
    }
    let db = on(&sim).open("/db")?;
    let bad = KeyspaceOptions::new().key_block_size(63);
    assert!(matches!(
        db.keyspace_with("c", bad),
        Err(Error::InvalidOption {
            name: "key_block_size",
            ..
        })
    ));
    assert_eq!(db.keyspaces(), ["a", "b"]);
    for name in ["", &"x".repeat(256)] {
        assert!(matches!(
            db.keyspace(name),
            Err(Error::InvalidKeyspaceName { .. })
        ));
    }
    Ok(())
}
