//! `CURRENT`: the file that names the manifest in force.
//!
//! ```text
//! packstone 1 MANIFEST-000007 5d0f1c2b\n
//! ```
//!
//! The format's version, the manifest's name, and the CRC32 of all that stands before it, in hex. There is exactly one
//! spelling for each number, so any changed byte is noticed. It is replaced by a rename, which is the point of no return
//! of every change of manifests.

use std::path::Path;

use crate::env::FileSystem;
use crate::names;
use crate::{Error, Result};

/// The version of this file's format and of the directory's layout.
const VERSION: u32 = 1;

/// No `CURRENT` is longer; what is longer is damaged.
const MAX_LEN: u64 = 128;

fn render(number: u64) -> String {
    let text = format!("packstone {VERSION} {} ", names::manifest_name(number));
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text}{crc:08x}\n")
}

/// The number of the manifest in force, or `None` where there is no `CURRENT`.
pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<u64>> {
    let path = dir.join(names::CURRENT);
    let file = match fs.open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &path, e)),
    };
    let len = file.len().map_err(|e| Error::io("read", &path, e))?;
    if len > MAX_LEN {
        return Err(Error::corruption(
            &path,
            MAX_LEN,
            format!("{len} bytes, and at most {MAX_LEN} expected"),
        ));
    }
    let mut text = vec![0; len as usize];
    file.read_exact_at(0, &mut text)
        .map_err(|e| Error::io("read", &path, e))?;
    parse(&path, &text).map(Some)
}

fn parse(path: &Path, text: &[u8]) -> Result<u64> {
    let damaged = |what: &str| {
        Error::corruption(
            path,
            0,
            format!("{what}; expected \"packstone {VERSION} MANIFEST-<number> <checksum>\""),
        )
    };
    let line = std::str::from_utf8(text).map_err(|_| damaged("not text"))?;
    let mut words = line.split(' ');
    let (magic, version, name) = (words.next(), words.next(), words.next());
    if magic != Some("packstone") {
        return Err(damaged("unknown first word"));
    }
    let Some(names::FileKind::Manifest(number)) = name.and_then(names::parse) else {
        return Err(damaged("no manifest named"));
    };
    if line == render(number) {
        return Ok(number);
    }
    match version.and_then(|version| version.parse::<u32>().ok()) {
        Some(version) if version > VERSION && crc_matches(line) => Err(Error::NewerFormat {
            path: path.to_owned(),
            what: format!("the directory's format is {version}, and this release knows up to {VERSION}"),
        }),
        _ => Err(damaged("checksum mismatch")),
    }
}

/// Whether the line ends in the checksum of what stands before it: then another version is news and not damage.
fn crc_matches(line: &str) -> bool {
    let Some(at) = line.rfind(' ').map(|at| at + 1) else {
        return false;
    };
    let (text, crc) = line.split_at(at);
    crc == format!("{:08x}\n", crc32fast::hash(text.as_bytes()))
}

/// Makes `number` the manifest in force. The manifest itself is durable, with its name, before this is called.
pub(crate) fn write(fs: &dyn FileSystem, dir: &Path, number: u64) -> Result<(), WriteError> {
    let tmp = dir.join(names::CURRENT_TMP);
    let current = dir.join(names::CURRENT);
    match fs.remove(&tmp) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(WriteError::Unchanged(Error::io("remove", &tmp, e)));
        }
        _ => {}
    }
    let write = || {
        let file = fs.create(&tmp)?;
        file.write_all_at(0, render(number).as_bytes())?;
        file.sync()
    };
    write().map_err(|e| WriteError::Unchanged(Error::io("write", &tmp, e)))?;
    fs.rename(&tmp, &current)
        .map_err(|e| WriteError::Unchanged(Error::io("rename", &current, e)))?;
    fs.sync_dir(dir)
        .map_err(|e| WriteError::Unknown(Error::io("sync", dir, e)))
}

/// How far a failed replacement of `CURRENT` got.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The old manifest is still in force.
    Unchanged(Error),
    /// The rename was done and its durability is unknown.
    Unknown(Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_an_error() {
        let text = render(7).into_bytes();
        assert_eq!(parse(Path::new("CURRENT"), &text).unwrap(), 7);
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    parse(Path::new("CURRENT"), &damaged).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
        for len in 0..text.len() {
            assert!(parse(Path::new("CURRENT"), &text[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn another_version_is_damage_if_it_is_not_newer_or_its_checksum_is_wrong() {
        let with_sum = |text: &str| format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()));
        for line in [
            with_sum("packstone 0 MANIFEST-000007 "),
            with_sum("packstone 01 MANIFEST-000007 "),
            with_sum("packstone 1 MANIFEST-000007 ").replace(" 1 ", " 3 "),
        ] {
            let error = parse(Path::new("CURRENT"), line.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Corruption { .. }), "{line}");
        }
    }

    #[test]
    fn a_newer_version_is_news_not_damage() {
        let text = "packstone 2 MANIFEST-000007 ";
        let line = format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()));
        assert!(matches!(
            parse(Path::new("CURRENT"), line.as_bytes()),
            Err(Error::NewerFormat { .. })
        ));
    }

    #[test]
    fn what_can_not_be_opened_is_not_taken_for_missing_and_what_is_too_long_is_not_read() {
        use crate::env::sim::{Effect, Op, SimEnv};
        let sim = SimEnv::new(1);
        let (env, dir) = (sim.env(), Path::new("/db"));
        env.fs.create_dir_all(dir).unwrap();
        assert_eq!(read(&*env.fs, dir).unwrap(), None);
        write(&*env.fs, dir, 3).unwrap();
        let kind = std::io::ErrorKind::PermissionDenied;
        sim.fail_matching(Some(Op::Open), "CURRENT", 1, kind, Effect::Nothing);
        assert!(matches!(read(&*env.fs, dir), Err(Error::Io { .. })));
        assert_eq!(read(&*env.fs, dir).unwrap(), Some(3));

        for (len, reads) in [(128, 1), (129, 0)] {
            sim.write_file("/db/CURRENT", &vec![b' '; len]).unwrap();
            let before = sim.stats().count(Op::Read);
            assert!(matches!(read(&*env.fs, dir), Err(Error::Corruption { .. })));
            assert_eq!(sim.stats().count(Op::Read), before + reads);
        }
    }
}
