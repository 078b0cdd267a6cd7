//! [`Text`]: real text that anybody can find again: the Rust sources below a directory, in the order of their paths, up
//! to a number of bytes. The report says where they came from, how many they were, and their hash.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::Result;

/// What a report says of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TextInfo {
    pub(crate) from: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// XXH3 of all bytes.
    pub(crate) hash: String,
}

impl TextInfo {
    pub(crate) fn describe(&self) -> String {
        let TextInfo {
            from,
            files,
            bytes,
            hash,
        } = self;
        format!(
            "{bytes} bytes of {files} Rust sources below {from}, in the order of their paths (XXH3 {hash})"
        )
    }
}

/// Text and where it came from.
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    pub(crate) info: TextInfo,
}

impl Text {
    /// The first `limit` bytes of the sources below a directory.
    pub(crate) fn collect(dir: &Path, limit: usize) -> Result<Self> {
        let mut text = Text {
            bytes: Vec::new(),
            info: TextInfo::default(),
        };
        text.take(dir, limit)
            .map_err(|e| format!("cannot read the text below {}: {e}", dir.display()))?;
        text.info.from = name(dir);
        text.info.bytes = text.bytes.len() as u64;
        text.info.hash = format!("{:016x}", xxh3_64(&text.bytes));
        Ok(text)
    }

    fn take(&mut self, dir: &Path, limit: usize) -> std::io::Result<()> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // Links are left out: they could lead in circles.
            let kind = entry.file_type()?;
            if kind.is_dir() || kind.is_file() {
                paths.push((entry.path(), kind.is_dir()));
            }
        }
        paths.sort_unstable();
        for (path, is_dir) in paths {
            if self.bytes.len() >= limit {
                break;
            }
            if is_dir
                && path
                    .file_name()
                    .is_none_or(|name| name != "target" && name != ".git")
            {
                self.take(&path, limit)?;
            } else if !is_dir && path.extension().is_some_and(|extension| extension == "rs") {
                let contents = fs::read(&path)?;
                let room = limit - self.bytes.len();
                self.bytes
                    .extend_from_slice(&contents[..contents.len().min(room)]);
                self.info.files += 1;
            }
        }
        Ok(())
    }
}

/// Where text is taken from if nobody says: the sources of the crates that cargo has downloaded, else this repository.
pub(crate) fn default_dir() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.map(|home| home.join("registry").join("src"))
        .filter(|dir| dir.is_dir())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
}

/// A name for a directory that does not tell of somebody's home.
fn name(dir: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home.as_deref().and_then(|home| dir.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => dir.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_every_time_and_ends_at_its_limit() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (first, again) = (
            Text::collect(&sources, 10_000).unwrap(),
            Text::collect(&sources, 10_000).unwrap(),
        );
        assert!(first.bytes == again.bytes && first.info == again.info);
        assert_eq!(first.bytes.len(), 10_000);
        assert!(first.info.files >= 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Text::collect(Path::new("/nowhere/at/all"), 10).err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all"));
    }
}
