//! `recompress`: how large SSTs would be with other codecs and block sizes. The files are built for real, by the library's
//! own builder, and written nowhere.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use packstone::Compression;
use packstone::env::{File, Mapping};
use packstone::sst::{
    Cursor, CursorOptions, EntryValue, Sst, SstBuilder, SstIdentity, SstOptions, ValuePlace, ValueRef,
};
use serde_json::json;

use crate::Ctx;
use crate::args::RecompressArgs;
use crate::draw::ratio;
use crate::entries;
use crate::out::Fail;
use crate::target::{Item, Targets};

pub(crate) fn run(ctx: &mut Ctx, args: &RecompressArgs) -> Result<(), Fail> {
    let codecs = args
        .compression_types
        .iter()
        .map(|name| codec(name))
        .collect::<Result<Vec<_>, _>>()?;
    let targets = Targets::find(ctx, &args.files)?;
    let items = targets.ssts(ctx);
    let bytes: u64 = items.iter().map(|item| item.size).sum();
    ctx.fs.expect(bytes * codecs.len() as u64);
    for item in items {
        ctx.out.line(format_args!("Process {}", item.path.display()))?;
        let Some(sst) = entries::open(ctx, &targets, &item) else {
            continue;
        };
        for codec in &codecs {
            try_one(ctx, &targets, &item, &sst, *codec, args.block_size)?;
        }
    }
    Ok(())
}

fn codec(name: &str) -> Result<Compression, Fail> {
    match name.trim() {
        "none" | "kNoCompression" => Ok(Compression::None),
        "lz4" | "kLZ4Compression" => Ok(Compression::Lz4),
        other => Err(Fail::Usage(format!(
            "--compression_types: there is no codec {other:?} here; none and lz4 there are"
        ))),
    }
}

fn try_one(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    sst: &Arc<Sst>,
    compression: Compression,
    block_size: u32,
) -> Result<(), Fail> {
    let name = match compression {
        Compression::None => "kNoCompression",
        _ => "kLZ4Compression",
    };
    let options = SstOptions {
        compression,
        value_block_size: block_size,
        order: sst.order(),
        ..SstOptions::default()
    };
    let start = Instant::now();
    let size = match rebuild(sst, &item.path, &options) {
        Ok(size) => size,
        Err(error) => {
            targets.failed(ctx, item, &error);
            return Ok(());
        }
    };
    let micros = start.elapsed().as_micros() as u64;
    let raw = sst.properties().raw_key_bytes + sst.properties().raw_value_bytes;
    ctx.out.line(format_args!(
        "Compression: {name:<24} Block Size: {block_size}  Threads: 1"
    ))?;
    ctx.out.line(format_args!(
        "Cx size: {size:>10} Uncx size: {raw:>10} Ratio: {:>8.3} Present size: {:>10} Write usec: {micros:>8}",
        ratio(raw, size),
        item.size,
    ))?;
    let object = json!({
        "file": item.path.display().to_string(), "compression": name, "block_size": block_size, "size": size,
        "present_size": item.size, "raw_bytes": raw, "micros": micros,
    });
    Ok(ctx.out.record("recompress", object)?)
}

/// The size that the file would have.
fn rebuild(sst: &Arc<Sst>, path: &Path, options: &SstOptions) -> packstone::Result<u64> {
    let sink = Arc::new(Nowhere::default());
    let identity = SstIdentity {
        keyspace: sst.properties().keyspace,
        file_number: sst.properties().file_number,
        identity: sst.summary().identity,
        replaces: sst.properties().replaces.clone(),
    };
    let mut builder = SstBuilder::new(sink, path, options, identity)?;
    match copy(sst, &mut builder) {
        Ok(()) => Ok(builder.finish()?.file_size),
        Err(error) => {
            builder.abandon();
            Err(error)
        }
    }
}

fn copy(sst: &Arc<Sst>, builder: &mut SstBuilder) -> packstone::Result<()> {
    let mut cursor = sst.cursor(CursorOptions {
        fill_cache: false,
        read_ahead: true,
        ..CursorOptions::default()
    });
    cursor.seek_to_first()?;
    let mut value = Vec::new();
    while cursor.valid() {
        let place = cursor.value().place;
        let object;
        let entry = match place {
            ValuePlace::Tombstone => EntryValue::Tombstone,
            ValuePlace::Object { .. } => {
                object = sst.object(place)?;
                EntryValue::Object(&object)
            }
            place => {
                cursor.load_into(ValueRef::new(place), &mut value)?;
                EntryValue::Put(&value)
            }
        };
        builder.add(cursor.key(), cursor.seq(), entry)?;
        cursor.next()?;
    }
    Ok(())
}

/// A file that counts what is written to it and keeps nothing.
#[derive(Default)]
struct Nowhere {
    len: AtomicU64,
}

impl File for Nowhere {
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.len.fetch_max(offset + data.len() as u64, Ordering::Relaxed);
        Ok(data.len())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Relaxed))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }
    fn map(&self) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
