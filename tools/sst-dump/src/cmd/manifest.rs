//! `manifest`: a manifest's edits, change by change, and the state that they add up to. Of a database, the one in force.

use std::ops::ControlFlow;

use packstone::inspect::{
    self, Change, FileKind, Frame, FrameContent, ManifestFrame, PackInfo, SstInfo, State, Tail,
};
use serde_json::{Value, json};

use super::wal;
use crate::Ctx;
use crate::args::FileArgs;
use crate::out::{Fail, Out, hex, printable};
use crate::target::{Item, Targets};

pub(crate) fn run(ctx: &mut Ctx, args: &FileArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, args)?;
    let items = targets.of_kind(ctx, FileKind::Manifest);
    for item in items.iter().filter(|item| item.role.counts()) {
        ctx.out.line(format_args!("{}", item.path.display()))?;
        dump(ctx, &targets, item)?;
    }
    Ok(())
}

fn dump(ctx: &mut Ctx, targets: &Targets, item: &Item) -> Result<(), Fail> {
    let (mut failed, fs) = (None, ctx.fs.clone());
    let file = item.path.display().to_string();
    let found = inspect::walk_manifest(&fs, &item.path, &mut |offset, len, frame| {
        let result = match frame {
            ManifestFrame::Edit(changes) => edit(ctx, &file, offset, len, changes),
            ManifestFrame::Mark(content) => mark(ctx, &file, Frame { offset, len, content }),
            _ => Ok(()),
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    match found {
        Err(error) => targets.failed(ctx, item, &error),
        Ok(report) => {
            if let Tail::Damaged(error) = &report.log.tail {
                ctx.out.problem(error);
            }
            wal::end(ctx, &file, &report.log)?;
            if let Some(now) = &report.state {
                state(ctx, &file, now)?;
            }
        }
    }
    Ok(())
}

fn mark(ctx: &mut Ctx, file: &str, frame: Frame<'_>) -> Result<(), Fail> {
    match frame.content {
        FrameContent::Marker { number, offset } => wal::mark(ctx, file, &frame, "marker", number, offset),
        FrameContent::Seal { number, offset } => wal::mark(ctx, file, &frame, "seal", number, offset),
        _ => Ok(()),
    }
}

fn edit(ctx: &mut Ctx, file: &str, offset: u64, len: u64, changes: &[Change]) -> Result<(), Fail> {
    ctx.out.line(format_args!(
        "--- offset {offset}; edit of {} changes, {len} bytes",
        changes.len()
    ))?;
    let object = json!({
        "file": file, "offset": offset, "length": len, "kind": "edit", "changes": changes.len(),
    });
    ctx.out.record("frame", object)?;
    for change in changes {
        let (name, text, mut object) = describe(&ctx.out, change);
        ctx.out.line(format_args!("  {name}: {text}"))?;
        if let Some(fields) = object.as_object_mut() {
            fields.insert("file".into(), file.into());
            fields.insert("offset".into(), offset.into());
            fields.insert("change".into(), name.into());
        }
        ctx.out.record("change", object)?;
    }
    Ok(())
}

fn describe(out: &Out, change: &Change) -> (&'static str, String, Value) {
    let plain = |name, value: u64| (name, value.to_string(), json!({ "value": value }));
    match change {
        Change::Identity(identity) => ("identity", hex(identity), json!({ "identity": hex(identity) })),
        Change::CreateKeyspace { id, name, settings } => (
            "create keyspace",
            format!(
                "{id} '{}', compression {:?}, key blocks {}, value blocks {}, filter {}, partitions {}",
                printable(name),
                settings.compression,
                settings.key_block_size,
                settings.value_block_size,
                settings.filter,
                settings.partition_size
            ),
            json!({
                "keyspace": id, "name": name, "compression": format!("{:?}", settings.compression).to_lowercase(),
                "key_block_size": settings.key_block_size, "value_block_size": settings.value_block_size,
                "filter": settings.filter, "partition_size": settings.partition_size,
            }),
        ),
        Change::DropKeyspace { id } => ("drop keyspace", id.to_string(), json!({ "keyspace": id })),
        Change::AddSst { keyspace, level, sst } => (
            "add SST",
            format!("level {level} of keyspace {keyspace}: {}", sst_text(out, sst)),
            json!({ "keyspace": keyspace, "level": level, "sst": sst_json(out, sst) }),
        ),
        Change::RemoveSst {
            keyspace,
            level,
            number,
        } => (
            "remove SST",
            format!("{number} from level {level} of keyspace {keyspace}"),
            json!({ "keyspace": keyspace, "level": level, "number": number }),
        ),
        Change::Flushed { keyspace, upto } => (
            "flushed",
            format!("keyspace {keyspace} up to sequence number {upto}"),
            json!({ "keyspace": keyspace, "value": upto }),
        ),
        Change::NextFileNumber(number) => plain("next file number", *number),
        Change::NextKeyspaceId(id) => plain("next keyspace id", (*id).into()),
        Change::LogFloor(number) => plain("log floor", *number),
        Change::LogKnown(number) => plain("newest log", *number),
        Change::LogEnd(end) => (
            "log end",
            format!(
                "log {} at offset {}, sequence number {}",
                end.number, end.offset, end.last_seq
            ),
            json!({ "number": end.number, "end": end.offset, "last_seq": end.last_seq }),
        ),
        Change::LastSeq(seq) => plain("last sequence number", *seq),
        Change::Pack(pack) => ("pack", pack_text(pack), pack_json(pack)),
        Change::RemovePack { number } => plain("remove pack", *number),
        _ => ("unknown", String::new(), json!({})),
    }
}

fn pack_text(pack: &PackInfo) -> String {
    let state = if pack.sealed { "sealed" } else { "active" };
    format!(
        "{} {state} with {} bytes, {} of them known to be dead",
        pack.number, pack.len, pack.dead
    )
}

fn pack_json(pack: &PackInfo) -> Value {
    json!({
        "number": pack.number, "identity": hex(&pack.identity), "sealed": pack.sealed, "bytes": pack.len,
        "dead": pack.dead,
    })
}

fn sst_text(out: &Out, sst: &SstInfo) -> String {
    let objects = match sst.referenced_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} bytes of objects"),
    };
    format!(
        "{} with {} bytes, {} entries, {} tombstones, '{}' .. '{}', seq {}..{}{objects}",
        sst.number,
        sst.size,
        sst.entries,
        sst.tombstones,
        out.bytes(&sst.min_key),
        out.bytes(&sst.max_key),
        sst.min_seq,
        sst.max_seq
    )
}

pub(crate) fn sst_json(out: &Out, sst: &SstInfo) -> Value {
    json!({
        "number": sst.number, "size": sst.size, "identity": hex(&sst.identity), "entries": sst.entries,
        "tombstones": sst.tombstones, "min_key": out.bytes(&sst.min_key), "max_key": out.bytes(&sst.max_key),
        "min_seq": sst.min_seq, "max_seq": sst.max_seq, "referenced_bytes": sst.referenced_bytes,
    })
}

fn state(ctx: &mut Ctx, file: &str, state: &State) -> Result<(), Fail> {
    ctx.out.line(format_args!(
        "--------------- the state that this adds up to ---------------"
    ))?;
    ctx.out.line(format_args!("identity {}", hex(&state.identity)))?;
    ctx.out.line(format_args!(
        "next file number {}, next keyspace id {}, logs from {} to {}, last sequence number {}",
        state.next_file_number, state.next_keyspace_id, state.log_floor, state.log_known, state.last_seq
    ))?;
    let mut keyspaces = Vec::new();
    for keyspace in &state.keyspaces {
        ctx.out.line(format_args!(
            "keyspace {} '{}', flushed up to {}",
            keyspace.id,
            printable(&keyspace.name),
            keyspace.flushed
        ))?;
        let mut levels = Vec::new();
        for (level, files) in keyspace.levels.iter().enumerate() {
            for sst in files {
                let text = sst_text(&ctx.out, sst);
                ctx.out.line(format_args!("  level {level}: {text}"))?;
            }
            levels.push(
                files
                    .iter()
                    .map(|sst| sst_json(&ctx.out, sst))
                    .collect::<Vec<_>>(),
            );
        }
        keyspaces.push(json!({
            "id": keyspace.id, "name": keyspace.name, "flushed": keyspace.flushed, "levels": levels,
        }));
    }
    for pack in &state.packs {
        ctx.out.line(format_args!("pack {}", pack_text(pack)))?;
    }
    let packs: Vec<Value> = state.packs.iter().map(pack_json).collect();
    let object = json!({
        "file": file, "identity": hex(&state.identity), "next_file_number": state.next_file_number,
        "next_keyspace_id": state.next_keyspace_id, "log_floor": state.log_floor, "log_known": state.log_known,
        "last_seq": state.last_seq, "keyspaces": keyspaces, "packs": packs,
    });
    Ok(ctx.out.record("state", object)?)
}
