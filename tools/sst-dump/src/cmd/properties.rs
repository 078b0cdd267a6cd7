//! `properties`: what SSTs say of themselves, in the order and words of sst_dump's `Table Properties` where they fit.

use packstone::inspect::FileKind;
use packstone::sst::{SortOrder, Sst};
use serde_json::json;

use super::pack;
use crate::args::FileArgs;
use crate::out::{Fail, hex};
use crate::target::Targets;
use crate::{Ctx, entries, packs};

pub(crate) fn run(ctx: &mut Ctx, args: &FileArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, args)?;
    for item in targets.ssts_and_packs(ctx) {
        if item.kind == FileKind::Pack {
            if let Some(archive) = packs::open(ctx, &targets, &item) {
                ctx.out.line(format_args!("Process {}", item.path.display()))?;
                pack::properties(ctx, &archive)?;
            }
            continue;
        }
        if let Some(sst) = entries::open(ctx, &targets, &item) {
            ctx.out.line(format_args!("Process {}", item.path.display()))?;
            print(ctx, &sst)?;
        }
    }
    Ok(())
}

pub(crate) fn print(ctx: &mut Ctx, sst: &Sst) -> Result<(), Fail> {
    let (p, summary) = (sst.properties(), sst.summary());
    let section = |name: &str| {
        let found = sst
            .sections()
            .into_iter()
            .find(|(section, _, _)| *section == name);
        found.map_or(0, |(_, _, len)| u64::from(len))
    };
    let mean = |bytes: u64, count: u64| {
        if count == 0 {
            0.0
        } else {
            bytes as f64 / count as f64
        }
    };
    // In partitions or in one piece; with partitions the section has where they are.
    let index = section("index") + p.index_blocks.stored_bytes;
    let filter = section("filter") + p.filter_blocks.stored_bytes;
    let values = p.entry_count - p.tombstone_count.min(p.entry_count);
    let compression = if p.compression == 1 { "LZ4" } else { "none" };
    let (min_key, max_key) = (
        ctx.out.bytes(p.order.key_of(&p.min_key)),
        ctx.out.bytes(p.order.key_of(&p.max_key)),
    );
    let (order, seed) = match p.order {
        SortOrder::Key => ("key", None),
        SortOrder::Hash { seed } => ("hash", Some(seed)),
    };
    let seeded = seed.map_or(String::new(), |seed| format!(", seed {seed:#x}"));
    let lines = [
        ("# data blocks", p.key_blocks.count.to_string()),
        ("# value blocks", p.value_blocks.count.to_string()),
        ("# medium value blocks", p.medium_blocks.count.to_string()),
        ("# entries", p.entry_count.to_string()),
        ("# distinct keys", p.key_count.to_string()),
        ("# deletions", p.tombstone_count.to_string()),
        ("# inline values", p.inline_count.to_string()),
        ("# small values", p.small_count.to_string()),
        ("# medium values", p.medium_count.to_string()),
        ("# objects", p.object_count.to_string()),
        ("# different objects", p.references.to_string()),
        ("referenced bytes", p.referenced_bytes.to_string()),
        ("raw key size", p.raw_key_bytes.to_string()),
        (
            "raw average key size",
            format!("{:.6}", mean(p.raw_key_bytes, p.entry_count)),
        ),
        ("raw value size", p.raw_value_bytes.to_string()),
        (
            "raw average value size",
            format!("{:.6}", mean(p.raw_value_bytes, values)),
        ),
        ("data block size", p.key_blocks.stored_bytes.to_string()),
        (
            "data uncompressed size",
            p.key_blocks.uncompressed_bytes.to_string(),
        ),
        ("value block size", p.value_blocks.stored_bytes.to_string()),
        (
            "value uncompressed size",
            p.value_blocks.uncompressed_bytes.to_string(),
        ),
        (
            "medium value block size",
            p.medium_blocks.stored_bytes.to_string(),
        ),
        (
            "medium value uncompressed size",
            p.medium_blocks.uncompressed_bytes.to_string(),
        ),
        (
            "reference block size",
            p.reference_blocks.stored_bytes.to_string(),
        ),
        ("index block size", index.to_string()),
        ("filter block size", filter.to_string()),
        ("# filter and index partitions", p.index_blocks.count.to_string()),
        ("table size", summary.file_size.to_string()),
        ("column family ID", p.keyspace.to_string()),
        ("largest sequence number", p.max_seq.to_string()),
        ("smallest sequence number", p.min_seq.to_string()),
        ("SST file compression algo", compression.to_owned()),
        ("original file number", p.file_number.to_string()),
        ("unique ID", hex(&summary.identity)),
        ("order", format!("{order}{seeded}")),
        ("first key", format!("'{min_key}'")),
        ("last key", format!("'{max_key}'")),
        ("replaces files", format!("{:?}", p.replaces)),
    ];
    ctx.out
        .line(format_args!("Table Properties:\n------------------------------"))?;
    for (name, value) in lines {
        ctx.out.line(format_args!("  {name}: {value}"))?;
    }
    let totals = |t: &packstone::sst::BlockTotals| json!({ "count": t.count, "stored_bytes": t.stored_bytes, "uncompressed_bytes": t.uncompressed_bytes });
    let object = json!({
        "file": sst.path().display().to_string(), "size": summary.file_size, "number": p.file_number,
        "identity": hex(&summary.identity), "keyspace": p.keyspace, "compression": compression.to_lowercase(),
        "entries": p.entry_count, "keys": p.key_count, "tombstones": p.tombstone_count,
        "inline_values": p.inline_count, "small_values": p.small_count, "medium_values": p.medium_count, "objects": p.object_count,
        "references": p.references, "referenced_bytes": p.referenced_bytes,
        "reference_blocks": totals(&p.reference_blocks),
        "raw_key_bytes": p.raw_key_bytes, "raw_value_bytes": p.raw_value_bytes,
        "key_blocks": totals(&p.key_blocks), "value_blocks": totals(&p.value_blocks),
        "medium_blocks": totals(&p.medium_blocks), "index_bytes": index, "filter_bytes": filter,
        "filter_blocks": totals(&p.filter_blocks), "index_blocks": totals(&p.index_blocks),
        "order": order, "seed": seed,
        "min_seq": p.min_seq, "max_seq": p.max_seq, "min_key": min_key, "max_key": max_key, "replaces": p.replaces,
    });
    Ok(ctx.out.record("properties", object)?)
}
