//! `identify`: what each file is, by its content, and which part it plays.

use serde_json::json;

use crate::Ctx;
use crate::args::FileArgs;
use crate::out::Fail;
use crate::target::{Targets, kind_name};

pub(crate) fn run(ctx: &mut Ctx, args: &FileArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, args)?;
    for item in &targets.items {
        let path = item.path.display();
        let (kind, role) = (kind_name(item.kind), item.role.describe());
        ctx.out
            .line(format_args!("{path}: {kind}, {} bytes; {role}", item.size))?;
        let object = json!({
            "file": path.to_string(), "kind": format!("{:?}", item.kind).to_lowercase(), "size": item.size, "role": role,
        });
        ctx.out.record("file", object)?;
    }
    Ok(())
}
