//! `layout`: every part of an SST, or of a pack, in the order of the file, drawn as a tree; `-v` adds entries and separators.

use std::ops::ControlFlow;
use std::sync::Arc;

use packstone::inspect::{FileKind, SstBlock};
use packstone::sst::{BlockInfo, BlockKind, Codec, Sst, ValuePlace};
use serde_json::{Value, json};

use super::pack;
use crate::args::LayoutArgs;
use crate::draw::ratio;
use crate::out::{Fail, hex};
use crate::target::Targets;
use crate::{Ctx, entries, packs};

/// Bytes of a block's frame, of a file's header and of its footer: DESIGN.md, "SST files".
const FRAME_LEN: u64 = 16;
const HEADER_LEN: u64 = 52;
const FOOTER_LEN: u64 = 128;

pub(crate) fn run(ctx: &mut Ctx, args: &LayoutArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, &args.files)?;
    let items = targets.ssts_and_packs(ctx);
    ctx.fs.expect(items.iter().map(|item| item.size).sum());
    for item in items {
        if item.kind == FileKind::Pack {
            if let Some(archive) = packs::open(ctx, &targets, &item) {
                ctx.out.line(format_args!("{}", item.path.display()))?;
                pack::layout(ctx, &archive, args.verbose)?;
            }
            continue;
        }
        if let Some(sst) = entries::open(ctx, &targets, &item) {
            ctx.out.line(format_args!("{}", item.path.display()))?;
            draw(ctx, &sst, args.verbose)?;
        }
    }
    Ok(())
}

pub(crate) fn kind_name(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Key => "key block",
        BlockKind::Value => "value block",
        BlockKind::Medium => "medium value",
        BlockKind::Filter => "filter partition",
        BlockKind::Index => "index partition",
        BlockKind::References => "references",
    }
}

pub(crate) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Raw => "raw",
        Codec::Lz4 => "lz4",
    }
}

fn draw(ctx: &mut Ctx, sst: &Arc<Sst>, verbose: bool) -> Result<(), Fail> {
    part(ctx, sst, "header", 0, HEADER_LEN, false)?;
    let mut blocks = match sst.blocks() {
        Ok(blocks) => blocks,
        Err(error) => {
            ctx.out.problem(&error);
            Vec::new()
        }
    };
    blocks.sort_by_key(|block| block.offset);
    for block in &blocks {
        draw_block(ctx, sst, block, verbose)?;
    }
    for (name, offset, len) in sst.sections() {
        part(ctx, sst, name, offset, len.into(), false)?;
        if name == "index" && verbose {
            index(ctx, sst)?;
        }
    }
    let size = sst.summary().file_size;
    part(ctx, sst, "footer", size - FOOTER_LEN, FOOTER_LEN, true)
}

fn part(ctx: &mut Ctx, sst: &Sst, name: &str, offset: u64, length: u64, last: bool) -> Result<(), Fail> {
    let branch = if last { "└──" } else { "├──" };
    ctx.out.line(format_args!(
        " {branch} {name:<20}  offset: {offset:<10}  length: {length}"
    ))?;
    let object = json!({
        "file": sst.path().display().to_string(), "part": name, "offset": offset, "length": length,
    });
    Ok(ctx.out.record("layout", object)?)
}

fn draw_block(ctx: &mut Ctx, sst: &Arc<Sst>, info: &BlockInfo, verbose: bool) -> Result<(), Fail> {
    let name = format!("{} {}", kind_name(info.kind), info.number);
    let length = u64::from(info.stored_len) + FRAME_LEN;
    let codec = codec_name(info.codec);
    let found = SstBlock::read(sst, info.number);
    let len = found.as_ref().map(|block| block.bytes.len() as u64).ok();
    let share = len.map(|len| ratio(info.stored_len.into(), len));
    let told = match (share, info.codec) {
        (None, _) => "DAMAGED".to_owned(),
        (_, Codec::Raw) => codec.to_owned(),
        (Some(share), _) => format!("{codec}, {} uncompressed, {share:.3}", len.unwrap_or(0)),
    };
    ctx.out.line(format_args!(
        " ├── {name:<20}  offset: {:<10}  length: {length:<8}  {told}",
        info.offset
    ))?;
    let object = json!({
        "file": sst.path().display().to_string(), "part": kind_name(info.kind), "block": info.number,
        "offset": info.offset, "length": length, "codec": codec, "stored": info.stored_len, "uncompressed": len,
        "ratio": share, "damaged": len.is_none(),
    });
    ctx.out.record("layout", object)?;
    match found {
        Err(error) => ctx.out.problem(&error),
        Ok(block) if verbose && info.kind == BlockKind::References => {
            for id in block.bytes.chunks(16) {
                ctx.out.line(format_args!(" │    ├── object {}", hex(id)))?;
            }
        }
        Ok(block) if verbose => draw_entries(ctx, sst, &block)?,
        Ok(_) => {}
    }
    Ok(())
}

fn draw_entries(ctx: &mut Ctx, sst: &Arc<Sst>, block: &SstBlock) -> Result<(), Fail> {
    let layout = match block.layout(sst) {
        Ok(Some(layout)) => layout,
        Ok(None) => return Ok(()),
        Err(error) => {
            ctx.out.problem(&error);
            return Ok(());
        }
    };
    ctx.out.line(format_args!(
        " │    ├── {} entries, prefix of {} bytes; bytes an entry: hash {}, suffix end {}, kind {}, number {}, block {}, \
         offset {}, length {}",
        layout.count,
        layout.prefix_len,
        layout.hash_width,
        layout.end_width,
        layout.kind_width,
        layout.seq_width,
        layout.block_width,
        layout.offset_width,
        layout.len_width
    ))?;
    let (mut at, mut failed) = (0u32, None);
    let walked = block.entries(sst, &mut |key, seq, place| {
        let result = entry(ctx, sst, block, at, key, seq, place);
        at += 1;
        match result {
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
    failed.map_or(Ok(()), Err)
}

fn entry(
    ctx: &mut Ctx,
    sst: &Sst,
    block: &SstBlock,
    at: u32,
    key: &[u8],
    seq: u64,
    place: ValuePlace,
) -> Result<(), Fail> {
    let key = ctx.out.bytes(sst.order().key_of(key));
    let (kind, place, length) = describe(place);
    ctx.out
        .line(format_args!(" │    ├── {at:05}  '{key}' seq:{seq}  {place}"))?;
    let object: Value = json!({
        "file": sst.path().display().to_string(), "block": block.info.number, "index": at, "key": key, "seq": seq,
        "kind": kind, "value_len": length, "place": place,
    });
    Ok(ctx.out.record("layout_entry", object)?)
}

/// A place in words: kind, text, length of the value.
pub(crate) fn describe(place: ValuePlace) -> (&'static str, String, u64) {
    let len = entries::value_len(place);
    match place {
        ValuePlace::Tombstone => ("tombstone", "tombstone".to_owned(), 0),
        ValuePlace::Inline { .. } => ("inline", format!("inline value of {len} bytes"), len),
        ValuePlace::InKeyBlock { .. } => ("inline", format!("{len} bytes behind the key"), len),
        ValuePlace::Small { block, offset, .. } => (
            "small",
            format!("{len} bytes at {offset} of value block {block}"),
            len,
        ),
        ValuePlace::Medium { block, .. } => ("medium", format!("{len} bytes, medium value {block}"), len),
        ValuePlace::Object { offset, .. } => ("object", format!("reference of {len} bytes at {offset}"), len),
        ValuePlace::Memory { .. } | ValuePlace::MemoryObject { .. } => ("memory", String::new(), 0),
    }
}

fn index(ctx: &mut Ctx, sst: &Sst) -> Result<(), Fail> {
    let mut failed = None;
    let walked = sst.separators(&mut |separator, block| {
        // A hash, big endian, reads best in hex.
        let hash: Option<String> = sst
            .order()
            .is_hash()
            .then(|| separator.iter().map(|byte| format!("{byte:02x}")).collect());
        let key = hash.unwrap_or_else(|| ctx.out.bytes(separator));
        let told = ctx
            .out
            .line(format_args!(" │    ├── up to '{key}': key block {block}"));
        let object = json!({ "file": sst.path().display().to_string(), "separator": key, "block": block });
        match told.and_then(|()| ctx.out.record("separator", object)) {
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
