//! `raw`: all parts of an SST in sst_dump's sections. It goes to the standard output, or to a new file: sst_dump writes
//! beside the SST, and a database's directory is nothing that this tool may change.

use std::ops::ControlFlow;
use std::sync::Arc;

use packstone::inspect::{FileKind, SstBlock};
use packstone::sst::{BlockKind, ObjectRef, Sst};
use serde_json::json;

use super::layout::{codec_name, describe, kind_name};
use super::{pack, properties};
use crate::args::RawArgs;
use crate::out::{Fail, hex};
use crate::target::Targets;
use crate::{Ctx, entries, packs};

pub(crate) fn run(ctx: &mut Ctx, args: &RawArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, &args.files)?;
    if let Some(path) = &args.output {
        let file = std::fs::File::create_new(path)
            .map_err(|error| Fail::Usage(format!("cannot create {}: {error}", path.display())))?;
        ctx.out.redirect(file)?;
    }
    let items = targets.ssts_and_packs(ctx);
    ctx.fs.expect(items.iter().map(|item| item.size * 2).sum());
    for item in items {
        if item.kind == FileKind::Pack {
            if let Some(archive) = packs::open(ctx, &targets, &item) {
                ctx.out.line(format_args!("{}", item.path.display()))?;
                pack::dump(ctx, &archive)?;
            }
            continue;
        }
        if let Some(sst) = entries::open(ctx, &targets, &item) {
            dump(ctx, &sst)?;
        }
    }
    Ok(())
}

fn title(ctx: &mut Ctx, text: &str) -> Result<(), Fail> {
    let line = "-".repeat(38);
    Ok(ctx.out.line(format_args!("{text}:\n{line}"))?)
}

fn dump(ctx: &mut Ctx, sst: &Arc<Sst>) -> Result<(), Fail> {
    let summary = sst.summary().clone();
    title(ctx, "Footer Details")?;
    ctx.out.line(format_args!("  file: {}", sst.path().display()))?;
    ctx.out
        .line(format_args!("  identity: {}", hex(&summary.identity)))?;
    for (name, offset, len) in sst.sections() {
        ctx.out
            .line(format_args!("  {name} handle: offset {offset} size {len}"))?;
        let object = json!({
            "file": sst.path().display().to_string(), "part": name, "offset": offset, "length": len,
        });
        ctx.out.record("layout", object)?;
    }
    ctx.out.line(format_args!(""))?;
    properties::print(ctx, sst)?;
    ctx.out.line(format_args!(""))?;
    filter(ctx, sst)?;
    title(ctx, "Index Details")?;
    let mut lines = Vec::new();
    let walked = sst.separators(&mut |separator, block| {
        lines.push((separator.to_vec(), block));
        ControlFlow::Continue(())
    });
    if let Err(error) = walked {
        ctx.out.problem(&error);
    }
    for (separator, block) in &lines {
        let text = ctx.out.bytes(separator);
        ctx.out
            .line(format_args!("  HEX    {}: block {block}", hex(separator)))?;
        ctx.out.line(format_args!("  ASCII  {text}\n  ------"))?;
    }
    ctx.out.line(format_args!(""))?;
    blocks(ctx, sst)
}

fn filter(ctx: &mut Ctx, sst: &Sst) -> Result<(), Fail> {
    title(ctx, "Filter Details")?;
    let pieces = sst.filter_pieces();
    if pieces == 0 {
        ctx.out.line(format_args!("  no filter"))?;
    }
    for number in 0..pieces {
        let Some(piece) = super::filter::piece(ctx, sst, number) else {
            continue;
        };
        for table in piece.tables() {
            let (slots, bits) = (table.slots, table.remainder_bits);
            ctx.out.line(format_args!(
                "  quotient filter: {slots} slots, {bits} remainder bits"
            ))?;
        }
    }
    Ok(ctx.out.line(format_args!(""))?)
}

fn blocks(ctx: &mut Ctx, sst: &Arc<Sst>) -> Result<(), Fail> {
    let found = sst
        .blocks()
        .map_err(|error| ctx.out.problem(&error))
        .unwrap_or_default();
    let mut sizes: Vec<u64> = Vec::new();
    for info in &found {
        title(
            ctx,
            &format!(
                "Data Block # {} @ offset {} size {} ({}, {})",
                info.number,
                info.offset,
                info.stored_len,
                kind_name(info.kind),
                codec_name(info.codec)
            ),
        )?;
        match SstBlock::read(sst, info.number) {
            Err(error) => ctx.out.problem(&error),
            Ok(block) => {
                sizes.push(block.bytes.len() as u64);
                match info.kind {
                    BlockKind::Key => entries_of(ctx, sst, &block)?,
                    BlockKind::References => {
                        for id in block.bytes.chunks(16) {
                            ctx.out.line(format_args!("  object {}", hex(id)))?;
                        }
                    }
                    _ => ctx
                        .out
                        .line(format_args!("  {} bytes of values", block.bytes.len()))?,
                }
            }
        }
        ctx.out.line(format_args!(""))?;
    }
    title(ctx, "Data Block Summary")?;
    let count = sizes.len() as u64;
    let (min, max) = (sizes.iter().min(), sizes.iter().max());
    ctx.out.line(format_args!("  # data blocks: {count}"))?;
    ctx.out.line(format_args!(
        "  min data block size: {}",
        min.copied().unwrap_or(0)
    ))?;
    ctx.out.line(format_args!(
        "  max data block size: {}",
        max.copied().unwrap_or(0)
    ))?;
    let mean = sizes.iter().sum::<u64>().checked_div(count).unwrap_or(0);
    Ok(ctx.out.line(format_args!("  avg data block size: {mean}"))?)
}

fn entries_of(ctx: &mut Ctx, sst: &Arc<Sst>, block: &SstBlock) -> Result<(), Fail> {
    let mut failed = None;
    let keyspace = sst.properties().keyspace;
    let walked = block.entries(sst, &mut |key, seq, place| {
        let value = sst
            .load(place)
            .map_err(|error| ctx.out.problem(&error))
            .unwrap_or_default();
        let (kind, place, _) = describe(place);
        let told = (|| {
            let object = ObjectRef::from_bytes(&value).filter(|_| kind == "object");
            let (text, shown) = match object {
                Some(object) => (ctx.out.bytes(key), entries::object_text(&object)),
                None => (ctx.out.bytes(key), ctx.out.bytes(&value)),
            };
            ctx.out.line(format_args!(
                "  HEX    {} seq:{seq} {kind}: {}",
                hex(key),
                hex(&value)
            ))?;
            ctx.out
                .line(format_args!("  ASCII  {text} : {shown}  ({place})\n  ------"))?;
            let type_name = match kind {
                "tombstone" => "delete",
                "object" => kind,
                _ => "put",
            };
            let object = json!({
                "file": sst.path().display().to_string(), "keyspace": keyspace, "key": text, "seq": seq,
                "type": type_name, "value": (kind != "tombstone").then_some(shown),
            });
            ctx.out.record("entry", object)
        })();
        match told {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Err(error) = walked {
        ctx.out.problem(&error);
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
