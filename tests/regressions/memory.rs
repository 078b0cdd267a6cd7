//! Sizes that were asked for are kept.

use super::*;

#[test]
fn the_cache_keeps_to_its_size() -> Result<()> {
    for size in [0, 64 << 10, 1 << 20] {
        let sim = SimEnv::new(7);
        let db = Options::new().cache_size(size).env(sim.env()).open("/db")?;
        let keyspace = db.keyspace("a")?;
        let mut rng = Rng::new(1);
        for i in 0..20_000 {
            keyspace.put(key(i), support::data::compressible(&mut rng, 150))?;
        }
        db.flush()?;
        for i in 0..20_000 {
            keyspace.get(key(i))?;
            assert!(db.metrics().cache_bytes <= size);
        }
        assert!(size == 0 || db.metrics().cache_bytes > size / 2, "it is used");
    }
    Ok(())
}

#[test]
fn the_write_buffer_keeps_to_its_size() -> Result<()> {
    const SIZE: u64 = 256 << 10;
    let sim = SimEnv::new(8);
    let db = on(&sim).write_buffer_size(SIZE).open("/db")?;
    let keyspace = db.keyspace("a")?;
    for i in 0..30_000 {
        keyspace.put(key(i), [1; 100])?;
        // One active memtable and at most four frozen ones, each over its limit by an arena's chunk at most.
        let bytes = db.metrics().keyspaces[0].memtable_bytes;
        assert!(bytes <= 10 * SIZE, "{bytes}");
    }
    Ok(())
}
