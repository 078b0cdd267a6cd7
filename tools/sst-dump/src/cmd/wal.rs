//! `wal`: logs, frame by frame, oldest first, with what lies behind the last whole frame.

use std::ops::ControlFlow;

use packstone::inspect::{self, Frame, FrameContent, LogHeader, LogReport, Tail};
use serde_json::json;

use crate::Ctx;
use crate::args::FileArgs;
use crate::out::{Fail, hex};
use crate::target::{Item, Targets};

pub(crate) fn run(ctx: &mut Ctx, args: &FileArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, args)?;
    let items = targets.of_kind(ctx, inspect::FileKind::Log);
    ctx.fs.expect(items.iter().map(|item| item.size).sum());
    for item in &items {
        ctx.out
            .line(format_args!("{} ({})", item.path.display(), item.role.describe()))?;
        dump(ctx, &targets, item)?;
    }
    Ok(())
}

fn dump(ctx: &mut Ctx, targets: &Targets, item: &Item) -> Result<(), Fail> {
    let (mut failed, fs) = (None, ctx.fs.clone());
    let file = item.path.display().to_string();
    let limits = targets.log_limits(ctx, item);
    let found = inspect::walk_log(
        &fs,
        &item.path,
        &limits,
        &mut |frame| match show(ctx, &file, &frame) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        },
    );
    if let Some(error) = failed {
        return Err(error);
    }
    match found {
        Err(error) => {
            targets.failed(ctx, item, &error);
            Ok(())
        }
        Ok(report) => {
            if let (Tail::Damaged(error), true) = (&report.tail, item.role.counts()) {
                ctx.out.problem(error);
            }
            end(ctx, &file, &report)
        }
    }
}

fn show(ctx: &mut Ctx, file: &str, frame: &Frame<'_>) -> Result<(), Fail> {
    let offset = frame.offset;
    match frame.content {
        FrameContent::Batch(batch) => {
            ctx.out.line(format_args!(
                "--- offset {offset}; sequence {} to {}; {} operations, {} bytes",
                batch.first_seq, batch.last_seq, batch.count, frame.len
            ))?;
            let object = json!({
                "file": file, "offset": offset, "length": frame.len, "kind": "batch",
                "first_seq": batch.first_seq, "last_seq": batch.last_seq,
            });
            ctx.out.record("frame", object)?;
            for op in batch.operations() {
                match op {
                    Ok(op) => operation(ctx, file, offset, &op)?,
                    Err(error) => ctx.out.problem(&error),
                }
            }
        }
        FrameContent::Marker { number, offset: to } => mark(ctx, file, frame, "marker", number, to)?,
        FrameContent::Seal { number, offset: to } => mark(ctx, file, frame, "seal", number, to)?,
        _ => {}
    }
    Ok(())
}

pub(crate) fn mark(
    ctx: &mut Ctx,
    file: &str,
    frame: &Frame<'_>,
    kind: &str,
    number: u64,
    to: u64,
) -> Result<(), Fail> {
    let what = match kind {
        "seal" => "closed in order".to_owned(),
        _ => format!("everything up to offset {to} of file {number} was synced"),
    };
    ctx.out
        .line(format_args!("--- offset {}; {kind}: {what}", frame.offset))?;
    let object = json!({
        "file": file, "offset": frame.offset, "length": frame.len, "kind": kind, "number": number, "synced_to": to,
    });
    Ok(ctx.out.record("frame", object)?)
}

fn operation(ctx: &mut Ctx, file: &str, offset: u64, op: &inspect::Operation<'_>) -> Result<(), Fail> {
    let key = ctx.out.bytes(op.key);
    let value = match (op.value, op.object) {
        (Some(value), _) => Some(ctx.out.bytes(value)),
        (None, Some(object)) => Some(format!(
            "object {} of {} bytes",
            packstone::pack::ObjectId(object.id),
            object.len
        )),
        (None, None) => None,
    };
    let (seq, keyspace) = (op.seq, op.keyspace);
    match &value {
        Some(value) => ctx.out.line(format_args!(
            "  put '{key}' seq:{seq} keyspace:{keyspace} => {value}"
        ))?,
        None => ctx
            .out
            .line(format_args!("  del '{key}' seq:{seq} keyspace:{keyspace}"))?,
    }
    let object = json!({
        "file": file, "offset": offset, "seq": seq, "keyspace": keyspace, "key": key,
        "type": if value.is_some() { "put" } else { "delete" }, "value": value,
    });
    Ok(ctx.out.record("operation", object)?)
}

/// The header, said at the end because the walk gives it there, and how the log ends.
pub(crate) fn end(ctx: &mut Ctx, file: &str, report: &LogReport) -> Result<(), Fail> {
    let LogHeader {
        number,
        identity,
        predecessor,
        reserved,
    } = &report.header;
    let before = match predecessor {
        Some(end) => format!(
            "continues {} at offset {}, number {}",
            end.number, end.offset, end.last_seq
        ),
        None => "continues none".to_owned(),
    };
    let (kind, tail) = match &report.tail {
        Tail::Clean if report.sealed => ("sealed", "closed in order".to_owned()),
        Tail::Clean if report.end < report.file_len && *reserved => {
            let what = "what lies behind is reserved room, or was cut off by a later log or recovery";
            ("clean", what.to_owned())
        }
        Tail::Clean if report.end < report.file_len => {
            let what = "what lies behind was cut off by a later log or recovery";
            ("clean", what.to_owned())
        }
        Tail::Clean => ("clean", "ends with its last frame".to_owned()),
        Tail::Torn { bytes, what } => (
            "torn",
            format!("then {bytes} bytes that are no whole frame: {what}"),
        ),
        Tail::Damaged(error) => ("damaged", format!("then damage: {error}")),
        _ => ("unknown", "not read to its end".to_owned()),
    };
    ctx.out.line(format_args!(
        "=== number {number}, identity {}, {before}; whole up to offset {} of {}; {tail}",
        hex(identity),
        report.end,
        report.file_len
    ))?;
    let object = json!({
        "file": file, "number": number, "identity": hex(identity), "end": report.end, "size": report.file_len,
        "reserved": reserved, "tail": kind, "predecessor": predecessor.as_ref().map(|end| end.number),
    });
    Ok(ctx.out.record("log", object)?)
}
