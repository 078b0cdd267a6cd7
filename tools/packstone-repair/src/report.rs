//! The report in words, and as JSON, one object a line (`SCHEMA.md`).

use std::io::{self, Write};

use packstone::Slice;
use packstone::repair::{Loss, RepairReport, Undecided};
use serde_json::{Value, json};

pub(crate) fn print(report: &RepairReport, dry_run: bool, as_json: bool, status: u8) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        for object in objects(report, dry_run, status) {
            serde_json::to_writer(&mut out, &object)?;
            out.write_all(b"\n")?;
        }
        return out.flush();
    }
    for file in &report.files {
        let fate = fate(file);
        writeln!(out, "{}: {fate}: {}", file.path.display(), file.what)?;
    }
    for keyspace in &report.keyspaces {
        let known = if keyspace.name_known {
            ""
        } else {
            ", a made-up name"
        };
        writeln!(
            out,
            "keyspace {} {:?}{known}: {} SSTs copied, {} written, {} entries, {} of them from the logs",
            keyspace.id,
            keyspace.name,
            keyspace.copied,
            keyspace.written,
            keyspace.entries,
            keyspace.from_logs
        )?;
    }
    if report.torn_log_bytes > 0 {
        let bytes = report.torn_log_bytes;
        writeln!(
            out,
            "the log ends in {bytes} bytes of unfinished writes, as after any crash"
        )?;
    }
    for loss in &report.lost {
        writeln!(out, "LOST: {}", lost(loss))?;
    }
    for undecided in &report.undecided {
        writeln!(out, "UNDECIDED: {}", open(undecided))?;
    }
    let basis = match &report.manifest {
        Some(path) => format!("by {}", path.display()),
        None => "from the files alone".to_owned(),
    };
    let done = match (report.written, dry_run) {
        (true, _) => "a new database has been written",
        (false, true) => "nothing was written (dry run)",
        (false, false) => "nothing was written; see --undecided",
    };
    writeln!(
        out,
        "{basis}: {} lost, {} undecided; {done}",
        report.lost.len(),
        report.undecided.len()
    )?;
    out.flush()
}

fn fate(file: &packstone::repair::RepairedFile) -> String {
    // The names of the enum, in the words of a sentence.
    let name = format!("{:?}", file.fate);
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.extend(c.to_lowercase());
    }
    words
}

fn lost(loss: &Loss) -> String {
    let mut text = format!("{} at offset {}", loss.path.display(), loss.offset);
    if loss.len > 0 {
        text += &format!(", {} bytes", loss.len);
    }
    if let Some(id) = loss.keyspace {
        text += &format!(", keyspace {id}");
    }
    match (&loss.from_key, &loss.to_key) {
        (None, None) => text += ", any key",
        (Some(from), None) => text += &format!(", keys from '{}' on", readable(from)),
        (None, Some(to)) => text += &format!(", keys up to '{}'", readable(to)),
        (Some(from), Some(to)) => text += &format!(", keys from '{}' to '{}'", readable(from), readable(to)),
    }
    if let Some(entries) = loss.entries {
        text += &format!(", {entries} entries");
    }
    match loss.numbers {
        Some((before, Some(after))) => {
            text += &format!(", sequence numbers between {before} and {after}");
        }
        Some((before, None)) => text += &format!(", sequence numbers above {before}"),
        None => {}
    }
    format!("{text}: {}", loss.what)
}

fn open(undecided: &Undecided) -> String {
    let mut parts: Vec<String> = undecided
        .paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if let Some(key) = &undecided.key {
        parts.push(format!("key '{}'", readable(key)));
    }
    match parts.is_empty() {
        true => undecided.what.clone(),
        false => format!("{}: {}", parts.join(", "), undecided.what),
    }
}

fn readable(key: &Slice) -> String {
    key.escape_ascii().to_string()
}

fn objects(report: &RepairReport, dry_run: bool, status: u8) -> Vec<Value> {
    let path = |path: &std::path::Path| path.display().to_string();
    let files = report.files.iter().map(
        |file| json!({ "record": "file", "file": path(&file.path), "fate": fate(file), "what": file.what }),
    );
    let keyspaces = report.keyspaces.iter().map(|keyspace| {
        json!({
            "record": "keyspace", "id": keyspace.id, "name": keyspace.name, "name_known": keyspace.name_known,
            "copied": keyspace.copied, "written": keyspace.written, "entries": keyspace.entries,
            "from_logs": keyspace.from_logs,
        })
    });
    let lost = report.lost.iter().map(|loss| {
        json!({
            "record": "lost", "file": path(&loss.path), "offset": loss.offset, "len": loss.len,
            "keyspace": loss.keyspace,
            "from_key": loss.from_key.as_ref().map(readable), "to_key": loss.to_key.as_ref().map(readable),
            "entries": loss.entries,
            "after_number": loss.numbers.map(|(before, _)| before),
            "before_number": loss.numbers.and_then(|(_, after)| after),
            "what": loss.what,
        })
    });
    let undecided = report.undecided.iter().map(|undecided| {
        let files: Vec<String> = undecided.paths.iter().map(|file| path(file)).collect();
        json!({
            "record": "undecided", "files": files, "keyspace": undecided.keyspace,
            "key": undecided.key.as_ref().map(readable), "what": undecided.what,
        })
    });
    let result = json!({
        "record": "result", "status": status, "manifest": report.manifest.as_deref().map(path),
        "lost": report.lost.len(), "undecided": report.undecided.len(),
        "torn_log_bytes": report.torn_log_bytes, "dry_run": dry_run, "written": report.written,
    });
    files
        .chain(keyspaces)
        .chain(lost)
        .chain(undecided)
        .chain([result])
        .collect()
}
