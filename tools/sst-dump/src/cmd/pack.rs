//! What `identify`, `properties`, `layout`, `raw`, `scan` and `check` have to say of packs.

use packstone::pack::{Archive, PackPart, PackPartKind, PackRecord};
use serde_json::{Value, json};

use crate::Ctx;
use crate::args::ScanArgs;
use crate::draw::ratio;
use crate::out::{Fail, hex};
use crate::packs::{self, Row};
use crate::target::{Item, Targets};

/// What it is called.
pub(crate) fn kind_of(archive: &Archive) -> &'static str {
    match archive.is_empty() {
        true => "pack",
        false => "archive",
    }
}

fn stored_bytes(archive: &Archive) -> u64 {
    let stored = |part: PackPart| match part.kind {
        PackPartKind::Records { stored_bytes, .. } => stored_bytes,
        _ => 0,
    };
    let parts = archive.pack().layout().into_iter();
    parts.map(stored).fold(0, u64::saturating_add)
}

/// For `identify`, behind the kind.
pub(crate) fn summary(archive: &Archive) -> String {
    let pack = archive.pack();
    let mut text = format!(
        ", format {}, identity {}, {} segments, {} objects of {} bytes",
        pack.format_version(),
        hex(&pack.identity()),
        pack.segments(),
        pack.objects(),
        pack.content_bytes()
    );
    if !archive.is_empty() {
        text += &format!(", {} names", archive.len());
    }
    if pack.torn_bytes() > 0 {
        text += &format!(", {} bytes torn", pack.torn_bytes());
    }
    text
}

/// The record of a pack as a whole.
pub(crate) fn record(ctx: &mut Ctx, archive: &Archive) -> Result<(), Fail> {
    let pack = archive.pack();
    let object = json!({
        "file": pack.path().display().to_string(), "kind": kind_of(archive), "format": pack.format_version(),
        "identity": hex(&pack.identity()), "size": pack.file_bytes(), "segments": pack.segments(),
        "objects": pack.objects(), "content_bytes": pack.content_bytes(), "stored_bytes": stored_bytes(archive),
        "names": archive.len(), "torn_bytes": pack.torn_bytes(),
    });
    Ok(ctx.out.record("pack", object)?)
}

pub(crate) fn properties(ctx: &mut Ctx, archive: &Archive) -> Result<(), Fail> {
    let pack = archive.pack();
    let stored = stored_bytes(archive);
    let lines = [
        ("kind", kind_of(archive).to_owned()),
        ("format", pack.format_version().to_string()),
        ("unique ID", hex(&pack.identity())),
        ("# segments", pack.segments().to_string()),
        ("# objects", pack.objects().to_string()),
        ("# names", archive.len().to_string()),
        ("raw content size", pack.content_bytes().to_string()),
        ("stored content size", stored.to_string()),
        ("ratio", format!("{:.3}", ratio(stored, pack.content_bytes()))),
        ("torn bytes", pack.torn_bytes().to_string()),
        ("pack size", pack.file_bytes().to_string()),
    ];
    ctx.out
        .line(format_args!("Pack Properties:\n------------------------------"))?;
    for (name, value) in lines {
        ctx.out.line(format_args!("  {name}: {value}"))?;
    }
    record(ctx, archive)
}

/// Every part in the order of the file; `verbose` adds the records.
pub(crate) fn layout(ctx: &mut Ctx, archive: &Archive, verbose: bool) -> Result<(), Fail> {
    let pack = archive.pack();
    let file = pack.path().display().to_string();
    let parts = pack.layout();
    let mut records = pack.records().peekable();
    for (at, part) in parts.iter().enumerate() {
        let branch = if at + 1 == parts.len() {
            "└──"
        } else {
            "├──"
        };
        let (name, told) = describe(part);
        let PackPart { offset, len, .. } = *part;
        ctx.out.line(format_args!(
            " {branch} {name:<20}  offset: {offset:<10}  length: {len:<8}  {told}"
        ))?;
        let mut object = json!({
            "file": file, "part": name, "offset": offset, "length": len, "segment": part.segment, "what": told,
        });
        if part.segment.is_none()
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("segment");
        }
        ctx.out.record("layout", object)?;
        if !verbose || !matches!(part.kind, PackPartKind::Records { .. }) {
            continue;
        }
        // Records come segment by segment, an error as the last of its segment.
        while let Some(found) = records.next_if(|found| match found {
            Ok(record) => Some(record.segment) == part.segment,
            Err(error) => lies_in(error, part),
        }) {
            match found {
                Ok(found) => show_record(ctx, &file, &found)?,
                Err(error) => ctx.out.problem(&error),
            }
        }
    }
    // What can't be read has no place in the drawing.
    for error in records.filter_map(Result::err) {
        ctx.out.problem(&error);
    }
    Ok(())
}

fn lies_in(error: &packstone::Error, part: &PackPart) -> bool {
    match error {
        packstone::Error::Corruption { offset, .. } => (part.offset..part.offset + part.len).contains(offset),
        _ => false,
    }
}

/// A part's name, and what else there is to say.
fn describe(part: &PackPart) -> (&'static str, String) {
    let index = |rows: u64, live: bool| match live {
        true => format!("{rows} rows"),
        false => format!("{rows} rows, which a later segment has too"),
    };
    let segment = part.segment.unwrap_or_default();
    match part.kind {
        PackPartKind::Header => ("header", String::new()),
        PackPartKind::Records {
            objects,
            content_bytes,
            stored_bytes,
        } => (
            "records",
            format!("segment {segment}: {objects} objects, {content_bytes} bytes, stored as {stored_bytes}"),
        ),
        PackPartKind::Ids { rows, live } => ("ids", index(rows, live)),
        PackPartKind::Names { rows, live } => ("names", index(rows, live)),
        PackPartKind::SectionTable { sections } => ("section table", format!("{sections} sections")),
        PackPartKind::Footer {
            covers,
            names,
            digest,
        } => (
            "footer",
            format!("segment {segment}: {names} names, digest {digest:016x}, covers {covers} segments"),
        ),
        PackPartKind::Torn => (
            "torn",
            "behind the last footer: the next append removes it".to_owned(),
        ),
        _ => ("part", String::new()),
    }
}

fn show_record(ctx: &mut Ctx, file: &str, found: &PackRecord) -> Result<(), Fail> {
    let salted = if found.salted { ", salted" } else { "" };
    ctx.out.line(format_args!(
        " │    ├── {}  offset: {:<10}  length: {:<8}  {} bytes in {} chunks of {}, stored as {}{salted}",
        found.id,
        found.offset,
        found.len,
        found.content_len,
        found.chunks,
        found.chunk_size,
        found.stored_len
    ))?;
    let object = json!({
        "file": file, "segment": found.segment, "offset": found.offset, "length": found.len,
        "id": found.id.to_string(), "len": found.content_len, "stored": found.stored_len,
        "chunk_size": found.chunk_size, "chunks": found.chunks, "salted": found.salted,
    });
    Ok(ctx.out.record("pack_record", object)?)
}

/// For `raw`: all of it.
pub(crate) fn dump(ctx: &mut Ctx, archive: &Archive) -> Result<(), Fail> {
    properties(ctx, archive)?;
    layout(ctx, archive, true)?;
    let file = archive.pack().path().display().to_string();
    packs::each(ctx, archive, &Default::default(), &mut |ctx, row| {
        show(ctx, &file, row)
    })
    .map(drop)
}

pub(crate) fn scan(ctx: &mut Ctx, targets: &Targets, item: &Item, args: &ScanArgs) -> Result<(), Fail> {
    let Some(archive) = packs::open(ctx, targets, item) else {
        return Ok(());
    };
    let range = packs::range_of(&archive, args)?;
    let file = item.path.display().to_string();
    packs::each(ctx, &archive, &range, &mut |ctx, row| show(ctx, &file, row))?;
    also(ctx, &archive, args)
}

/// One row: the name, where it has one, the object, where it lies.
fn show(ctx: &mut Ctx, file: &str, row: &Row) -> Result<(), Fail> {
    let entry = &row.entry;
    let name = row.named.as_ref().map(|named| ctx.out.bytes(&named.name));
    let meta = row.named.as_ref().map(|named| ctx.out.bytes(&named.meta));
    let key = name
        .as_ref()
        .map_or(String::new(), |name| format!("'{name}' => "));
    let told = match &row.named {
        Some(named) if !named.meta.is_empty() => {
            format!(", meta '{}'", meta.as_deref().unwrap_or_default())
        }
        _ => String::new(),
    };
    ctx.out.line(format_args!(
        "{key}{} {} bytes, {} stored at {}{told}",
        entry.id, entry.len, entry.stored, entry.offset
    ))?;
    let object: Value = json!({
        "file": file, "id": entry.id.to_string(), "name": name, "len": entry.len, "stored": entry.stored,
        "offset": entry.offset, "meta": meta,
    });
    Ok(ctx.out.record("object", object)?)
}

/// What the flags of `scan` and `check` ask for besides.
fn also(ctx: &mut Ctx, archive: &Archive, args: &ScanArgs) -> Result<(), Fail> {
    if args.verify_checksum {
        for error in archive.pack().verify().damage {
            ctx.out.problem(&error);
        }
    }
    match args.show_properties {
        true => properties(ctx, archive),
        false => Ok(()),
    }
}

/// Reads every object once, or those that the range names.
pub(crate) fn check(
    ctx: &mut Ctx,
    targets: &Targets,
    item: &Item,
    args: &ScanArgs,
) -> Result<Option<String>, Fail> {
    let Some(archive) = packs::open(ctx, targets, item) else {
        return Ok(None);
    };
    let range = packs::range_of(&archive, args)?;
    let (mut objects, mut bytes) = (0u64, 0u64);
    let mut read = |ctx: &mut Ctx, row: &Row| {
        let copied = match row.open(&archive) {
            Ok(Some(mut object)) => packs::copy(&mut object, &mut std::io::sink()),
            Ok(None) => return,
            Err(error) => Err(packs::CopyError::Read(error)),
        };
        match copied {
            Ok(len) => {
                objects += 1;
                bytes += len;
            }
            Err(packs::CopyError::Read(error)) => ctx.out.problem(&error),
            Err(packs::CopyError::Write(_)) => {} // nobody is there
        }
    };
    let whole = range.is_all();
    let before = ctx.out.problems();
    if whole {
        // By id, because a name more costs no reading.
        for entry in archive.pack().entries(&Default::default()) {
            match entry {
                Ok(entry) => read(ctx, &Row { entry, named: None }),
                Err(error) => ctx.out.problem(&error),
            }
        }
    }
    let rows = packs::each(ctx, &archive, &range, &mut |ctx, row| {
        if !whole {
            read(ctx, row);
        }
        Ok(())
    })?;
    if whole && !archive.is_empty() && rows != archive.len() && ctx.out.problems() == before {
        let what = format!("expected {} names, found {rows}", archive.len());
        ctx.out.damaged(&item.path, 0, what);
    }
    also(ctx, &archive, args)?;
    let names = match archive.is_empty() {
        true => String::new(),
        false => format!("{rows} names, "),
    };
    let torn = torn(&archive);
    Ok(Some(format!("{names}{objects} objects, {bytes} bytes{torn}")))
}

/// What is told of a torn end: it is no damage.
pub(crate) fn torn(archive: &Archive) -> String {
    match archive.pack().torn_bytes() {
        0 => String::new(),
        bytes => format!(", {bytes} bytes of an unfinished append at the end"),
    }
}
