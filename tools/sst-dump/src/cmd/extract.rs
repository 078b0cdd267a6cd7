//! `extract`: one object of a pack, by id or by name, as it was put in.

use std::path::Path;

use packstone::inspect::FileKind;
use packstone::pack::{Archive, ObjectId, ObjectReader};
use serde_json::json;

use crate::Ctx;
use crate::args::ExtractArgs;
use crate::entries::parse_key;
use crate::out::Fail;
use crate::packs::{self, CopyError};
use crate::target::Targets;

/// What is looked for.
enum Wanted {
    Id(ObjectId),
    Name(Vec<u8>),
}

pub(crate) fn run(ctx: &mut Ctx, args: &ExtractArgs) -> Result<(), Fail> {
    let wanted = wanted(args)?;
    if ctx.out.is_json() && args.output.is_none() {
        let what = "give --output: the content of an object does not go with --json";
        return Err(Fail::Usage(what.to_owned()));
    }
    let targets = Targets::find(ctx, &args.files)?;
    let items = targets.of_kind(ctx, FileKind::Pack);
    for item in items.iter().filter(|item| item.role.counts()) {
        let Some(archive) = packs::open(ctx, &targets, item) else {
            continue;
        };
        match find(&archive, &wanted) {
            Ok(Some(object)) => return write(ctx, &item.path, object, &wanted, args.output.as_deref()),
            Ok(None) => {}
            Err(error) => targets.failed(ctx, item, &error),
        }
    }
    // Damage is told already, and may be the reason.
    if ctx.out.problems() == 0 {
        let what = match &wanted {
            Wanted::Id(id) => format!("there is no object {id}"),
            Wanted::Name(name) => format!("there is no object of the name '{}'", ctx.out.bytes(name)),
        };
        return Err(Fail::Usage(what));
    }
    Ok(())
}

fn wanted(args: &ExtractArgs) -> Result<Wanted, Fail> {
    match (&args.id, &args.name) {
        (Some(id), _) => id
            .parse()
            .map(Wanted::Id)
            .map_err(|why| Fail::Usage(format!("{id:?}: {why}"))),
        (None, Some(name)) => parse_key(name, args.input_key_hex).map(Wanted::Name),
        (None, None) => Err(Fail::Usage("give --id or --name".to_owned())),
    }
}

fn find(archive: &Archive, wanted: &Wanted) -> packstone::Result<Option<ObjectReader>> {
    match wanted {
        Wanted::Id(id) => archive.pack().open_object(id),
        Wanted::Name(name) => match archive.get(name)? {
            Some(entry) => archive.open_entry(&entry).map(Some),
            None => Ok(None),
        },
    }
}

fn write(
    ctx: &mut Ctx,
    file: &Path,
    mut object: ObjectReader,
    wanted: &Wanted,
    output: Option<&Path>,
) -> Result<(), Fail> {
    let Some(output) = output else {
        return match packs::copy(&mut object, ctx.out.bytes_out()) {
            Ok(_) => Ok(()),
            Err(CopyError::Read(error)) => {
                ctx.out.problem(&error);
                Ok(())
            }
            Err(CopyError::Write(error)) => Err(Fail::Output(error)),
        };
    };
    let mut to = std::fs::File::create_new(output)
        .map_err(|error| Fail::Usage(format!("cannot create {}: {error}", output.display())))?;
    let copied = packs::copy(&mut object, &mut to);
    if copied.is_err() {
        // A file of that name is a whole object.
        let _ = std::fs::remove_file(output);
    }
    let len = match copied {
        Ok(len) => len,
        Err(CopyError::Read(error)) => {
            ctx.out.problem(&error);
            return Ok(());
        }
        Err(CopyError::Write(error)) => return Err(Fail::Output(error)),
    };
    ctx.out
        .line(format_args!("wrote {len} bytes to {}", output.display()))?;
    let name = match wanted {
        Wanted::Name(name) => Some(ctx.out.bytes(name)),
        Wanted::Id(_) => None,
    };
    let object = json!({
        "file": file.display().to_string(), "id": object.id().to_string(), "name": name, "len": len,
        "output": output.display().to_string(),
    });
    Ok(ctx.out.record("extracted", object)?)
}
