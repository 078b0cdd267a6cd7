//! What the memtable costs an entry: `cargo bench --bench memtable`.
//!
//! The memtable is internal, so this file compiles its sources as modules of its own: measuring it makes nothing public.
#![allow(
    missing_docs,
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../src/cursor.rs"]
mod cursor;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/memtable/mod.rs"]
mod memtable;
#[path = "../src/slice.rs"]
mod slice;
#[path = "../src/sync/mod.rs"]
mod sync;
#[path = "../src/types.rs"]
mod types;

use cursor::Cursor;
use error::{Error, Result};
use memtable::{Memtable, SortedTable};
use slice::Slice;
use types::{EntryKind, MAX_SEQ};

/// 16 decimal digits, each number once, in an order without a pattern.
fn random_keys(count: u64) -> Vec<[u8; 16]> {
    let digits = |n: u64| {
        let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 31);
        let mut key = [b'0'; 16];
        key.copy_from_slice(format!("{:016}", scattered % 10_000_000_000_000_000).as_bytes());
        key
    };
    (1..=count).map(digits).collect()
}

fn filled(keys: &[[u8; 16]], value: &[u8]) -> Arc<Memtable> {
    let table = Arc::new(Memtable::new());
    for (seq, key) in (1..).zip(keys) {
        table.insert(key, seq, EntryKind::Put, value).expect("room");
    }
    table
}

fn memtable_benches(c: &mut Criterion) {
    for count in [100_000u64, 500_000] {
        let keys = random_keys(count);
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let mut group = c.benchmark_group("memtable");
        group.throughput(Throughput::Elements(count)).sample_size(10);
        for (name, value) in [("8", &[1u8; 8][..]), ("100", &[1; 100])] {
            let id = BenchmarkId::new(format!("insert random, {name}-byte values"), count);
            group.bench_function(id, |b| b.iter_with_large_drop(|| filled(&keys, value)));
        }
        group.bench_function(BenchmarkId::new("insert ascending, 8-byte values", count), |b| {
            b.iter_with_large_drop(|| filled(&sorted, &[1; 8]));
        });
        let table = filled(&keys, &[1; 8]);
        // Look up in an order other than that of the inserts, whose neighbours share cache lines.
        let mut shuffled = keys.clone();
        shuffled.sort_unstable_by_key(|key| {
            key.iter().rev().fold(0u64, |sum, byte| {
                sum.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(*byte))
            })
        });
        group.bench_function(BenchmarkId::new("find", count), |b| {
            b.iter(|| {
                shuffled
                    .iter()
                    .filter(|key| table.get(&key[..], MAX_SEQ).is_some())
                    .count()
            });
        });
        group.bench_function(BenchmarkId::new("walk forward", count), |b| {
            b.iter(|| {
                let mut cursor = table.cursor();
                cursor.seek_to_first().expect("seek");
                while cursor.valid() {
                    black_box((cursor.key(), cursor.value()));
                    cursor.next().expect("next");
                }
            });
        });
        group.bench_function(BenchmarkId::new("walk backward", count), |b| {
            b.iter(|| {
                let mut cursor = table.cursor();
                cursor.seek_to_last().expect("seek");
                while cursor.valid() {
                    black_box((cursor.key(), cursor.value()));
                    cursor.prev().expect("prev");
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, memtable_benches);
criterion_main!(benches);
