//! What a block costs apart from the database: checksums and compression, of the libraries that the engine uses.

use std::hint::black_box;

use super::task::Budget;
use super::worker::Worker;
use crate::failure::{Failure, Outcome};
use crate::measure::Op;

/// Bytes that a benchmark goes through, without --reads or --duration: LevelDB's.
const CHECKSUM_BYTES: u64 = 500 << 20;
const COMPRESS_BYTES: u64 = 1 << 30;

/// A block of --block_size, compressible as values are.
fn block(worker: &mut Worker<'_>) -> Vec<u8> {
    let len = worker.config.block_size as usize;
    let mut maker = crate::data::ValueMaker::new(worker.config.compression_ratio, len, len);
    maker.value(b"block", len).to_vec()
}

/// As many operations as --reads says if it is given, else as many as make `bytes`.
fn budget(worker: &Worker<'_>, bytes: u64, block: usize) -> Budget {
    let ops = if worker.config.reads == worker.config.num {
        bytes / block as u64
    } else {
        worker.config.reads
    };
    worker.budget(ops.max(1))
}

fn size_note(len: usize) -> String {
    match len % 1024 {
        0 => format!("({}K per op)", len / 1024),
        _ => format!("({len} per op)"),
    }
}

/// One after the other: the number and its known answer make sure that it is the function it is called.
fn checksum(worker: &mut Worker<'_>, op: Op, what: &str, of: fn(&[u8]) -> u64, known: u64) -> Outcome<()> {
    if of(b"123456789") != known {
        return Err(Failure(format!("{what} of \"123456789\" is not {known:x}")));
    }
    let block = block(worker);
    let expected = of(&block);
    let mut budget = budget(worker, CHECKSUM_BYTES, block.len());
    while !worker.is_cancelled() && budget.take(1) > 0 {
        if of(black_box(&block)) != expected {
            return Err(Failure(format!("{what} of the same bytes differs")));
        }
        worker.stats.bytes += block.len() as u64;
        worker.finished(op, 1);
    }
    worker.stats.note = size_note(block.len());
    if op == Op::Crc {
        worker.stats.note.push_str(" (IEEE CRC-32, the engine's)");
    }
    Ok(())
}

pub(super) fn crc(worker: &mut Worker<'_>) -> Outcome<()> {
    checksum(
        worker,
        Op::Crc,
        "CRC-32",
        |bytes| crc32fast::hash(bytes).into(),
        0xcbf4_3926,
    )
}

pub(super) fn xxhash(worker: &mut Worker<'_>) -> Outcome<()> {
    let known = 0x8cb8_41db_40e6_ae83;
    checksum(
        worker,
        Op::Hash,
        "xxHash64",
        |bytes| xxhash_rust::xxh64::xxh64(bytes, 0),
        known,
    )
}

pub(super) fn compress(worker: &mut Worker<'_>) -> Outcome<()> {
    let block = block(worker);
    let mut budget = budget(worker, COMPRESS_BYTES, block.len());
    let mut out = vec![0; lz4_flex::block::get_maximum_output_size(block.len())];
    let (mut produced, mut taken) = (0, 0);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let len = lz4_flex::block::compress_into(black_box(&block), &mut out)
            .map_err(|e| Failure(format!("compression failed: {e}")))?;
        produced += len as u64;
        taken += block.len() as u64;
        worker.finished(Op::Compress, 1);
    }
    let len = (produced * block.len() as u64).checked_div(taken).unwrap_or(0) as usize;
    let again = lz4::block::decompress(&out[..len], Some(block.len() as i32));
    if taken > 0 && again.ok().as_ref() != Some(&block) {
        return Err(Failure(
            "what was compressed decompresses to something else".into(),
        ));
    }
    worker.stats.bytes += taken;
    worker.stats.note = format!("(output: {:.1}%)", produced as f64 * 100.0 / taken.max(1) as f64);
    Ok(())
}

pub(super) fn uncompress(worker: &mut Worker<'_>) -> Outcome<()> {
    let block = block(worker);
    let compressed = lz4_flex::block::compress(&block);
    let mut budget = budget(worker, COMPRESS_BYTES, block.len());
    let mut out = vec![0; block.len()];
    while !worker.is_cancelled() && budget.take(1) > 0 {
        // The library that the engine decompresses with.
        let len =
            lz4::block::decompress_to_buffer(black_box(&compressed), Some(block.len() as i32), &mut out)
                .map_err(|e| Failure(format!("decompression failed: {e}")))?;
        if len != block.len() {
            return Err(Failure(format!("decompressed {len} bytes of {}", block.len())));
        }
        worker.stats.bytes += block.len() as u64;
        worker.finished(Op::Uncompress, 1);
    }
    match out == block || worker.stats.ops == 0 {
        true => Ok(()),
        false => Err(Failure("decompression gives other bytes".into())),
    }
}
