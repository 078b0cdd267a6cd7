//! `list`, `info` and `cat`: what is in an archive.

use packstone::Error;
use packstone::pack::{Archive, ArchiveEntry, ObjectId, ObjectReader, Pack};
use serde_json::{Value, json};

use crate::args;
use crate::console::Report;
use crate::meta::Meta;
use crate::names::escape;
use crate::{Failure, Outcome, platform};

/// Bytes of an object that are read at once.
pub(crate) const READ_AT_ONCE: usize = 256 << 10;

pub(crate) fn list(args: &args::List) -> Outcome {
    let archive = Archive::open(&args.archive)?;
    let mut report = Report::new();
    if args.ids {
        for id in archive.pack().ids() {
            report.line(&id?.to_string())?;
        }
        report.end()?;
        return Ok(true);
    }
    let prefix = args.prefix.as_deref().map_or(Some(&[][..]), platform::bytes_of);
    let prefix = prefix.ok_or_else(|| Failure::Refused("the prefix has to be UTF-8 here".to_owned()))?;
    for entry in archive.prefix(prefix) {
        let entry = entry?;
        match (args.long, args.json) {
            (_, true) => report.json(&object(&entry))?,
            (true, _) => report.line(&long(&entry))?,
            _ => report.line(&escape(&entry.name))?,
        }
    }
    report.end()?;
    Ok(true)
}

fn long(entry: &ArchiveEntry) -> String {
    let (mode, time) = match Meta::decode(&entry.meta) {
        Some(meta) => (meta.mode_text(), meta.time_text()),
        None => ("?---------".to_owned(), "-".to_owned()),
    };
    let (name, len, id) = (escape(&entry.name), entry.len, entry.id);
    format!("{mode} {len:>12} {time:>20} {id} {name}")
}

fn object(entry: &ArchiveEntry) -> Value {
    let meta = Meta::decode(&entry.meta);
    let name = str::from_utf8(&entry.name).ok();
    let hex = || -> String { entry.name.iter().map(|byte| format!("{byte:02x}")).collect() };
    json!({
        "name": name, "name_hex": name.is_none().then(hex),
        "kind": meta.map(|meta| meta.kind.name()), "mode": meta.map(|meta| format!("{:04o}", meta.mode)),
        "mtime": meta.map(|meta| meta.seconds), "mtime_ns": meta.map(|meta| meta.nanoseconds),
        "len": entry.len, "id": entry.id.to_string(),
    })
}

pub(crate) fn info(args: &args::Info) -> Outcome {
    let archive = Archive::open(&args.archive)?;
    let pack = archive.pack();
    let identity: String = pack.identity().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut report = Report::new();
    if args.json {
        report.json(&json!({
            "archive": args.archive.to_string_lossy(), "identity": identity, "segments": pack.segments(),
            "names": archive.len(), "objects": pack.objects(), "content_bytes": pack.content_bytes(),
            "file_bytes": pack.file_bytes(), "torn_bytes": pack.torn_bytes(),
        }))?;
    } else {
        report.line(&format!("identity  {identity}"))?;
        report.line(&format!(
            "segments  {}, one for each time it was sealed",
            pack.segments()
        ))?;
        report.line(&format!("names     {}", archive.len()))?;
        report.line(&format!(
            "objects   {}, {} bytes together",
            pack.objects(),
            pack.content_bytes()
        ))?;
        report.line(&format!("file      {} bytes", pack.file_bytes()))?;
        report.line(&format!(
            "torn      {} bytes behind the archive's end",
            pack.torn_bytes()
        ))?;
    }
    report.end()?;
    Ok(true)
}

pub(crate) fn cat(args: &args::Cat) -> Outcome {
    let archive = Archive::open(&args.archive)?;
    let mut object = open(&archive, args)?;
    let mut report = Report::new();
    let mut buffer = vec![0; READ_AT_ONCE];
    loop {
        match object.read_some(&mut buffer) {
            Ok(0) => break,
            Ok(n) => report.bytes(&buffer[..n])?,
            Err(e) => {
                report.end()?;
                return Err(e.into());
            }
        }
    }
    report.end()?;
    Ok(true)
}

fn open(archive: &Archive, args: &args::Cat) -> Result<ObjectReader, Failure> {
    let missing = |what: &str| {
        let name = args.name.to_string_lossy();
        Failure::Refused(format!("{} has no {what} {name}", args.archive.display()))
    };
    if args.id {
        let id = args.name.to_string_lossy().parse::<ObjectId>();
        let id = id.map_err(|e| Failure::Refused(e.to_string()))?;
        return find(archive.pack(), &id)?.ok_or_else(|| missing("object"));
    }
    let name = platform::bytes_of(&args.name).ok_or_else(|| missing("name"))?;
    let entry = archive.get(name)?.ok_or_else(|| missing("name"))?;
    Ok(archive.open_entry(&entry)?)
}

fn find(pack: &Pack, id: &ObjectId) -> Result<Option<ObjectReader>, Error> {
    pack.open_object(id)
}
