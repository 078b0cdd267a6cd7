//! What the engine's parts cost a call: the write path, the merge of many sources: `cargo bench --bench engine`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark that can't set up has nothing to say"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use packstone::{Db, Durability, Keyspace, Options};

fn key(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// A put is a frame in the log, an entry in the memtable, and nothing else; a batch shares the frame, a synced one waits
/// for the device.
fn log_benches(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let ks = db.keyspace("a").unwrap();
    let mut group = c.benchmark_group("write");
    let mut n = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("put, buffered, 100 bytes", |b| {
        b.iter(|| {
            n += 1;
            ks.put(key(n), [7; 100]).unwrap();
        });
    });
    group.bench_function("put, synced, 100 bytes", |b| {
        b.iter(|| {
            n += 1;
            ks.put_with(key(n), [7; 100], Durability::Sync).unwrap();
        });
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("batch of 1000, buffered, 100 bytes", |b| {
        b.iter(|| {
            let mut batch = db.batch();
            for _ in 0..1000 {
                n += 1;
                batch.put(&ks, key(n), [7; 100]);
            }
            batch.commit(Durability::Buffered).unwrap();
        });
    });
    group.finish();
    db.close().unwrap();
}

/// A database whose entries lie in `runs` SSTs of level 0 that overlap, and in the memtable.
fn overlapping(db: &Db, runs: u64) -> Keyspace {
    let ks = db.keyspace(&format!("runs {runs}")).unwrap();
    for run in 0..=runs {
        for n in 0..20_000 {
            ks.put(key(n * (runs + 1) + run), [7; 50]).unwrap();
        }
        if run < runs {
            db.flush().unwrap();
        }
    }
    ks
}

fn merge_benches(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().open(dir.path()).unwrap();
    let mut group = c.benchmark_group("merge");
    group.sample_size(10);
    // Below the four SSTs that start a compaction.
    for runs in [0, 1, 3] {
        let ks = overlapping(&db, runs);
        let entries = 20_000 * (runs + 1);
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::new("scan", runs + 1), |b| {
            b.iter(|| ks.iter().for_each(|entry| drop(black_box(entry.unwrap()))));
        });
        group.bench_function(BenchmarkId::new("scan backwards", runs + 1), |b| {
            b.iter(|| ks.iter().rev().for_each(|entry| drop(black_box(entry.unwrap()))));
        });
        group.bench_function(BenchmarkId::new("keys only", runs + 1), |b| {
            b.iter(|| ks.iter().keys().for_each(|entry| drop(black_box(entry.unwrap()))));
        });
    }
    group.finish();
    db.close().unwrap();
}

criterion_group!(benches, log_benches, merge_benches);
criterion_main!(benches);
