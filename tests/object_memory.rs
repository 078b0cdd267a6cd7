//! A value of any length goes through a database within 64 MiB of memory, as the system counts it.

mod support;

use std::env;
use std::path::Path;

use packstone::{Db, Result};
use support::outside;
use support::stream::{Stream, check};

const MIB: u64 = 1 << 20;
const CHILD: &str = "PACKSTONE_OBJECT_CHILD";
/// How long the value is in MiB, in place of 512.
const STREAM_MIB: &str = "PACKSTONE_OBJECT_STREAM_MIB";
/// What a value may take, however long it is.
const LIMIT: u64 = 64 * MIB;

/// What a process of its own does: `MIB DIR`.
fn child(plan: &str) -> Result<()> {
    let (count, dir) = plan.split_once(' ').unwrap();
    let len = count.parse::<u64>().unwrap() * MIB + 12_345;
    let db = Db::open(Path::new(dir).join("db"))?;
    let values = db.keyspace("values")?;
    assert_eq!(values.put_reader("key", Stream::new(len))?, len);
    let mut reader = values.open("key")?.expect("it was written");
    assert_eq!(reader.len(), len);
    check(&mut reader, len);
    drop(reader);
    let objects = db.metrics().objects;
    assert_eq!(objects.content_bytes, len);
    let stored = objects.bytes;
    assert!(stored > len / 2, "a half of it does not compress: {stored}");
    values.delete("key")?;
    let report = db.collect_garbage()?;
    // The background may have been first.
    assert!(
        report.objects_removed <= 1 && report.objects_moved == 0,
        "{report:?}"
    );
    assert!(db.metrics().objects.bytes < stored / 1000);
    assert!(
        outside::most_resident() <= LIMIT,
        "{} bytes resident",
        outside::most_resident()
    );
    println!(
        "{:.1} MiB resident at the most",
        outside::most_resident() as f64 / MIB as f64
    );
    db.close()
}

/// The child of the test below; on its own it does nothing.
#[test]
fn works_in_a_process_of_its_own() {
    if let Ok(plan) = env::var(CHILD) {
        child(&plan).unwrap();
    }
}

/// `PACKSTONE_OBJECT_STREAM_MIB=10240 cargo test --release --test object_memory -- --nocapture` for 10 GiB.
#[test]
fn what_the_system_measures_of_a_long_value_does_not_grow_with_its_length() {
    if !outside::can_be_measured() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let count = outside::number(STREAM_MIB, 512);
    let (most, said) = outside::watch(CHILD, &format!("{count} {}", dir.path().display()));
    assert!(most <= LIMIT, "{most} bytes");
    let resident = said.lines().find(|line| line.contains("resident"));
    println!("{}", resident.unwrap_or_default());
}
