//! What memtables cost an entry: the engine's radix tree, the skip list it was compared with, and a `BTreeMap` under a lock
//! for scale. `cargo bench --bench memtable`; a part of it: `cargo bench --bench memtable -- 'digits/500000/find'`.
//!
//! Before the times it prints the bytes an entry that each memtable has allocated, keys and values included.
//!
//! The memtables are internal, so this file compiles their sources as modules of its own: measuring them makes nothing
//! public.
#![allow(
    missing_docs,
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::RwLock;

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
use memtable::skip_list::SkipList;
use memtable::{Memtable, SortedTable};
use slice::Slice;
use types::{EntryKind, MAX_SEQ, SeqNo};

const VALUE: [u8; 100] = [1; 100];

/// SplitMix64.
fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `n`th key of a kind.
type KeyOf = fn(u64) -> Vec<u8>;

fn digits(n: u64) -> Vec<u8> {
    format!("{:016}", scattered(n) % 10_000_000_000_000_000).into_bytes()
}

fn ascending(n: u64) -> Vec<u8> {
    format!("{n:016}").into_bytes()
}

fn random_bytes(n: u64) -> Vec<u8> {
    [scattered(n).to_be_bytes(), scattered(n + (1 << 40)).to_be_bytes()].concat()
}

/// Long shared prefixes, some of them far into the key.
fn urls(n: u64) -> Vec<u8> {
    let parts = ["books", "music", "garden", "tools", "toys"];
    let part = parts[(scattered(n) % 5) as usize];
    let item = scattered(n) / 5 % 100_000_000;
    format!("https://www.example.com/shop/{part}/products/all/item-{item:08}.html").into_bytes()
}

/// Four versions of each key, one after the other.
fn versions(n: u64) -> Vec<u8> {
    digits(n / 4)
}

const KINDS: [(&str, KeyOf); 5] = [
    ("digits", digits),
    ("ascending", ascending),
    ("random bytes", random_bytes),
    ("urls", urls),
    ("versions", versions),
];

trait Measured {
    const NAME: &'static str;
    fn new() -> Self;
    fn insert(&self, key: &[u8], seq: SeqNo);
    fn find(&self, key: &[u8]) -> bool;
    /// Gives the first entry at or after the key to `black_box`.
    fn seek(&self, keys: &[Vec<u8>]);
    fn walk(&self, forward: bool);
    fn bytes(&self) -> Option<usize>;
}

/// A memtable of ours.
struct Ours<T>(Arc<T>);

trait Named {
    const NAME: &'static str;
}

impl Named for Memtable {
    const NAME: &'static str = "radix tree";
}

impl Named for SkipList {
    const NAME: &'static str = "skip list";
}

impl<T: SortedTable + Named> Measured for Ours<T> {
    const NAME: &'static str = <T as Named>::NAME;

    fn new() -> Self {
        Ours(Arc::new(T::new()))
    }

    fn insert(&self, key: &[u8], seq: SeqNo) {
        self.0.insert(key, seq, EntryKind::Put, &VALUE).expect("room");
    }

    fn find(&self, key: &[u8]) -> bool {
        self.0.get(key, MAX_SEQ).is_some()
    }

    fn seek(&self, keys: &[Vec<u8>]) {
        let mut cursor = self.0.cursor();
        for key in keys {
            cursor.seek(key, MAX_SEQ).expect("seek");
            black_box(cursor.key());
        }
    }

    fn walk(&self, forward: bool) {
        let mut cursor = self.0.cursor();
        if forward {
            cursor.seek_to_first().expect("seek");
        } else {
            cursor.seek_to_last().expect("seek");
        }
        while cursor.valid() {
            black_box((cursor.key(), cursor.value()));
            if forward { cursor.next() } else { cursor.prev() }.expect("step");
        }
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.0.memory_usage())
    }
}

type Map = BTreeMap<(Vec<u8>, Reverse<SeqNo>), Vec<u8>>;

/// What anybody would write first. Its readers block its writers.
struct Locked(RwLock<Map>);

impl Measured for Locked {
    const NAME: &'static str = "BTreeMap";

    fn new() -> Self {
        Locked(RwLock::default())
    }

    fn insert(&self, key: &[u8], seq: SeqNo) {
        self.0
            .write()
            .insert((key.to_vec(), Reverse(seq)), VALUE.to_vec());
    }

    fn find(&self, key: &[u8]) -> bool {
        let map = self.0.read();
        let at = (key.to_vec(), Reverse(MAX_SEQ));
        map.range(at..)
            .next()
            .is_some_and(|(found, value)| found.0 == key && !Slice::from(&value[..]).is_empty())
    }

    fn seek(&self, keys: &[Vec<u8>]) {
        for key in keys {
            black_box(self.0.read().range((key.clone(), Reverse(MAX_SEQ))..).next());
        }
    }

    fn walk(&self, forward: bool) {
        let map = self.0.read();
        if forward {
            map.iter().for_each(|entry| {
                black_box(entry);
            });
        } else {
            map.iter().rev().for_each(|entry| {
                black_box(entry);
            });
        }
    }

    fn bytes(&self) -> Option<usize> {
        None
    }
}

fn filled<T: Measured>(keys: &[Vec<u8>]) -> T {
    let table = T::new();
    for (seq, key) in (1..).zip(keys) {
        table.insert(key, seq);
    }
    table
}

fn measure<T: Measured>(group: &mut BenchmarkGroup<'_, WallTime>, keys: &[Vec<u8>], looked_up: &[Vec<u8>]) {
    let table: T = filled(keys);
    if let Some(bytes) = table.bytes() {
        let each = bytes as f64 / keys.len() as f64;
        println!("{}: {each:.1} bytes an entry", T::NAME);
    }
    // The last byte is changed, so that the search goes most of the way.
    let absent: Vec<Vec<u8>> = looked_up
        .iter()
        .map(|key| [&key[..key.len() - 1], &[key[key.len() - 1] ^ 0x41]].concat())
        .collect();
    let count = |keys: &[Vec<u8>]| keys.iter().filter(|key| table.find(key)).count();
    assert_eq!(count(looked_up), looked_up.len());
    group.bench_function(format!("insert/{}", T::NAME), |b| {
        b.iter_with_large_drop(|| filled::<T>(keys));
    });
    group.bench_function(format!("find/{}", T::NAME), |b| b.iter(|| count(looked_up)));
    group.bench_function(format!("find absent/{}", T::NAME), |b| b.iter(|| count(&absent)));
    group.bench_function(format!("seek/{}", T::NAME), |b| b.iter(|| table.seek(looked_up)));
    group.bench_function(format!("walk forward/{}", T::NAME), |b| {
        b.iter(|| table.walk(true));
    });
    group.bench_function(format!("walk backward/{}", T::NAME), |b| {
        b.iter(|| table.walk(false));
    });
}

fn memtable_benches(c: &mut Criterion) {
    for (kind, key_of) in KINDS {
        for count in [100_000u64, 500_000] {
            let keys: Vec<Vec<u8>> = (0..count).map(key_of).collect();
            // Look up in an order other than that of the inserts, whose neighbours share cache lines.
            let mut order: Vec<u64> = (0..count).collect();
            order.sort_by_key(|n| scattered(n + (2 << 40)));
            let looked_up: Vec<Vec<u8>> = order.into_iter().map(key_of).collect();
            let name = format!("{kind}/{count}");
            println!("{name}");
            let mut group = c.benchmark_group(name);
            group
                .throughput(Throughput::Elements(count))
                .sample_size(10)
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1));
            measure::<Ours<Memtable>>(&mut group, &keys, &looked_up);
            measure::<Ours<SkipList>>(&mut group, &keys, &looked_up);
            measure::<Locked>(&mut group, &keys, &looked_up);
            group.finish();
        }
    }
}

criterion_group!(benches, memtable_benches);
criterion_main!(benches);
