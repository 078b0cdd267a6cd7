//! The shortest way through the whole engine.
use packstone::{Db, Durability, Options};

#[test]
fn what_was_written_is_read_back_after_flush_compaction_and_reopen() -> packstone::Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().write_buffer_size(64 << 10).open(dir.path())?;
    let ks = db.keyspace("a")?;
    for i in 0..20_000u32 {
        ks.put(
            i.wrapping_mul(2_654_435_761).to_be_bytes(),
            format!("value {i} {}", "x".repeat((i % 90) as usize)),
        )?;
    }
    ks.put_with("last", "1", Durability::Sync)?;
    db.wait_for_background()?;
    println!("{}", db.metrics());
    assert_eq!(ks.iter().count(), 20_001);
    assert_eq!(ks.iter().rev().count(), 20_001);
    ks.compact_range::<&[u8], _>(..)?;
    println!("{}", db.metrics());
    assert_eq!(ks.iter().count(), 20_001);
    db.close()?;
    let db = Db::open(dir.path())?;
    let ks = db.keyspace("a")?;
    for i in 0..20_000u32 {
        let value = ks.get(i.wrapping_mul(2_654_435_761).to_be_bytes())?.unwrap();
        assert!(value.starts_with(format!("value {i} ").as_bytes()));
    }
    println!("{}", db.metrics());
    drop(ks);
    db.close()
}
