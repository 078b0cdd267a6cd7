//! What an SST costs an entry to build, and to read: `cargo bench --bench sst`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark that can't set up has nothing to say"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use packstone::env::{Env, FileSystem};
use packstone::sst::{
    Access, BlockCache, Cursor, CursorOptions, EntryValue, SortOrder, Sst, SstBuilder, SstIdentity,
    SstOptions, SstReadOptions,
};
use packstone::{Compression, MAX_SEQ};

const ENTRIES: u64 = 500_000;

/// 16 digits, each once, sorted.
fn keys() -> Vec<String> {
    let mut keys: Vec<String> = (1..=ENTRIES)
        .map(|n| {
            format!(
                "{:016}",
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10_000_000_000_000_000
            )
        })
        .collect();
    keys.sort();
    keys
}

/// 100 bytes, of which half are random: LZ4 halves them.
fn value(n: u64) -> Vec<u8> {
    let mut value = vec![b'.'; 100];
    let mut state = n | 1;
    for byte in &mut value[..50] {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    value
}

fn build(fs: &dyn FileSystem, path: &Path, options: &SstOptions, keys: &[String], values: &[Vec<u8>]) {
    let _ = fs.remove(path);
    let file = fs.create(path).unwrap();
    let identity = SstIdentity {
        keyspace: 1,
        file_number: 1,
        identity: [7; 16],
        replaces: Vec::new(),
    };
    let mut builder = SstBuilder::new(file, path, options, identity).unwrap();
    for (key, value) in keys.iter().zip(values) {
        builder.add(key.as_bytes(), 1, EntryValue::Put(value)).unwrap();
    }
    builder.finish().unwrap();
}

fn open(fs: &dyn FileSystem, path: &Path, cache: u64) -> Arc<Sst> {
    let options = SstReadOptions {
        access: Access::Mapped,
        cache: Arc::new(BlockCache::new(cache)),
    };
    Arc::new(Sst::open(fs.open(path).unwrap(), path, &options).unwrap())
}

fn sst_benches(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real(1);
    let (keys, values) = (keys(), (0..ENTRIES).map(value).collect::<Vec<_>>());
    for (name, compression) in [("lz4", Compression::Lz4), ("raw", Compression::None)] {
        let options = SstOptions {
            compression,
            ..SstOptions::default()
        };
        let path: PathBuf = dir.path().join(format!("{name}.sst"));
        let mut group = c.benchmark_group(format!("sst, {name}"));
        group.sample_size(10);
        group.throughput(Throughput::Elements(ENTRIES));
        group.bench_function("build", |b| {
            b.iter(|| build(&*env.fs, &path, &options, &keys, &values))
        });
        let sst = open(&*env.fs, &path, 16 << 20);
        group.bench_function("scan", |b| {
            b.iter(|| {
                let options = CursorOptions {
                    access: None,
                    fill_cache: true,
                    read_ahead: false,
                };
                let mut cursor = sst.cursor(options);
                cursor.seek_to_first().unwrap();
                while cursor.valid() {
                    black_box(cursor.load(cursor.value()).unwrap());
                    cursor.next().unwrap();
                }
            });
        });
        group.throughput(Throughput::Elements(1));
        group.sample_size(50);
        let mut at = 0;
        group.bench_function("get", |b| {
            b.iter(|| {
                at = (at + 7_919_777) % keys.len();
                let key = keys[at].as_bytes();
                black_box(sst.get(key, SortOrder::Key.hash(key), MAX_SEQ).unwrap())
            });
        });
        group.bench_function("get absent", |b| {
            b.iter(|| {
                at = (at + 7_919_777) % keys.len();
                let mut key = keys[at].clone().into_bytes();
                key[15] ^= 1;
                black_box(sst.get(&key, SortOrder::Key.hash(&key), MAX_SEQ).unwrap())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sst_benches);
criterion_main!(benches);
