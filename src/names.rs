//! The names of a database's files. What does not match exactly is not ours, and is left alone.

use std::path::{Path, PathBuf};

/// The file that names the manifest in force.
pub(crate) const CURRENT: &str = "CURRENT";
/// The new contents of [`CURRENT`], before the rename.
pub(crate) const CURRENT_TMP: &str = "CURRENT.tmp";
/// The log file that takes what a recovery writes anew, until it is whole. What is found under this name is a leftover.
pub(crate) const UNFINISHED_LOG: &str = "packstone-unfinished.log";
/// Says that the directory is to become a checkpoint and is none yet. Beside a [`CURRENT`] it is a leftover.
pub(crate) const UNFINISHED_CHECKPOINT: &str = "packstone-unfinished.checkpoint";
/// The file whose lock is the right to write.
pub(crate) const LOCK: &str = "LOCK";

/// No file has a greater number: a stranger's file with an absurd one, or an absurd one in a manifest, must not use up
/// all that follow. A thousand files a second reach it after thirty thousand years.
pub(crate) const MAX_NUMBER: u64 = 1_000_000_000_000_000;

/// A file with a name above this is a stranger's, so that four billion numbers are left above whatever is found.
const MAX_FOUND: u64 = MAX_NUMBER - (1 << 32);

/// What a name in the directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Sst(u64),
    Log(u64),
    Manifest(u64),
    Pack(u64),
}

pub(crate) fn sst(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.sst"))
}

pub(crate) fn pack(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.pack"))
}

pub(crate) fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

pub(crate) fn manifest(dir: &Path, number: u64) -> PathBuf {
    dir.join(manifest_name(number))
}

/// Reads a name back. Only the one spelling that the functions above give is accepted.
pub(crate) fn parse(name: &str) -> Option<FileKind> {
    if let Some(digits) = name.strip_prefix("MANIFEST-") {
        return number(digits).map(FileKind::Manifest);
    }
    let (digits, kind) = name.split_once('.')?;
    match kind {
        "sst" => number(digits).map(FileKind::Sst),
        "log" => number(digits).map(FileKind::Log),
        "pack" => number(digits).map(FileKind::Pack),
        _ => None,
    }
}

fn number(digits: &str) -> Option<u64> {
    let number = digits.parse().ok().filter(|number| *number <= MAX_FOUND)?;
    (format!("{number:06}") == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_spelling_is_ours() {
        assert_eq!(parse("000012.sst"), Some(FileKind::Sst(12)));
        assert_eq!(parse("1234567.log"), Some(FileKind::Log(1_234_567)));
        assert_eq!(parse("MANIFEST-000003"), Some(FileKind::Manifest(3)));
        assert_eq!(parse("000007.pack"), Some(FileKind::Pack(7)));
        for foreign in [
            "12.sst",
            "0000012.sst",
            "+00012.sst",
            "000012.sst.bak",
            "notes.sst",
            "notes.pack",
            "7.pack",
            "18446744073709551615.sst",
            "MANIFEST-3",
            "CURRENT",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
