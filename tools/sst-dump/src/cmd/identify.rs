//! `identify`: what each file is, by its content, and which part it plays.

use packstone::inspect::{self, FileKind};
use packstone::pack::Archive;
use serde_json::json;

use super::pack;
use crate::Ctx;
use crate::args::FileArgs;
use crate::out::Fail;
use crate::target::{Targets, kind_name};

pub(crate) fn run(ctx: &mut Ctx, args: &FileArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, args)?;
    for item in &targets.items {
        let path = item.path.display();
        let (mut kind, role) = (kind_name(item.kind), item.role.describe());
        // What is wrong with one that can't be opened `verify` says.
        let order = match item.kind {
            FileKind::Sst => inspect::open_sst(&ctx.fs, &item.path).ok().map(|sst| sst.order()),
            _ => None,
        };
        let order = order.map(|order| if order.is_hash() { "hash" } else { "key" });
        let mut more = order.map_or(String::new(), |order| format!(", {order} order"));
        let archive = match item.kind {
            FileKind::Pack => inspect::open_pack(&ctx.fs, &item.path).ok().map(Archive::from),
            _ => None,
        };
        if let Some(archive) = &archive {
            kind = if archive.is_empty() {
                "a pack"
            } else {
                "an archive"
            };
            more = pack::summary(archive);
        }
        ctx.out
            .line(format_args!("{path}: {kind}{more}, {} bytes; {role}", item.size))?;
        let object = json!({
            "file": path.to_string(), "kind": format!("{:?}", item.kind).to_lowercase(), "size": item.size, "role": role, "order": order,
        });
        ctx.out.record("file", object)?;
        if let Some(archive) = &archive {
            pack::record(ctx, archive)?;
        }
    }
    Ok(())
}
