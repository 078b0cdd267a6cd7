//! What an object costs to add, and to read: `cargo bench --bench pack`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark that can't set up has nothing to say"
)]

use std::hint::black_box;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use packstone::pack::{ObjectId, Pack, PackBuilder, PackOptions};

/// Bytes in all objects of one size together.
const TOTAL: usize = 64 << 20;

/// `len` bytes that differ for each `n`; every second 64 bytes are random, so that LZ4 halves them, or all of them.
fn content(n: u64, len: usize, compressible: bool) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = vec![b'.'; len];
    for (at, block) in content.chunks_mut(64).enumerate() {
        if compressible && at % 2 == 1 {
            continue;
        }
        for word in block.chunks_mut(8) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let bytes = (state ^ (state >> 29)).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
    content
}

fn build(path: &Path, objects: &[Vec<u8>]) -> Vec<ObjectId> {
    let _ = std::fs::remove_file(path);
    let mut builder = PackBuilder::create(path, &PackOptions::default()).unwrap();
    let ids = objects
        .iter()
        .map(|object| builder.add(object).unwrap().id)
        .collect();
    builder.finish().unwrap();
    ids
}

fn objects(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (path, plain) = (dir.path().join("a.pack"), dir.path().join("plain"));
    for (len, compressible) in [
        (1000, true),
        (100_000, true),
        (100_000, false),
        (4_000_000, true),
        (4_000_000, false),
    ] {
        let objects: Vec<_> = (0..(TOTAL / len) as u64)
            .map(|n| content(n, len, compressible))
            .collect();
        let kind = if compressible { "compressible" } else { "raw" };
        let mut group = c.benchmark_group(format!("pack/{len}-{kind}"));
        group.sample_size(10);
        group.throughput(Throughput::Bytes((objects.len() * len) as u64));
        group.bench_function("build", |b| b.iter(|| build(&path, &objects)));
        let ids = build(&path, &objects);
        std::fs::write(&plain, objects.concat()).unwrap();
        let (pack, plain) = (Pack::open(&path).unwrap(), std::fs::File::open(&plain).unwrap());
        group.throughput(Throughput::Bytes(len as u64));
        let mut next = 0;
        let mut any = || {
            next = (next + 7919) % objects.len();
            next
        };
        group.bench_function("get", |b| {
            b.iter(|| black_box(pack.get(&ids[any()]).unwrap().unwrap().len()))
        });
        let mut buffer = Vec::new();
        group.bench_function("get_into", |b| {
            b.iter(|| {
                pack.get_into(&ids[any()], &mut buffer).unwrap();
                black_box(buffer.len())
            });
        });
        let mut buffer = vec![0; len];
        group.bench_function("read into a buffer", |b| {
            b.iter(|| {
                let mut object = pack.open_object(&ids[any()]).unwrap().unwrap();
                object.read_exact(&mut buffer).unwrap();
                black_box(buffer[0])
            });
        });
        group.bench_function("pread of a plain file", |b| {
            b.iter(|| {
                plain.read_exact_at(&mut buffer, (any() * len) as u64).unwrap();
                black_box(buffer[0])
            });
        });
        group.finish();
    }
}

criterion_group!(benches, objects);
criterion_main!(benches);
