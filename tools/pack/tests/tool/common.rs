//! A directory for a test, and the program run in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub(crate) struct Place(tempfile::TempDir);

/// What a run has given.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) err: String,
    pub(crate) status: i32,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        Ran {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code().unwrap(),
        }
    }
}

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and makes its directories.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        #[cfg(not(unix))]
        let _ = (name, mode);
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pack"));
        command.current_dir(self.0.path()).args(args.split_whitespace());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &str) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    pub(crate) fn run_with(&self, args: &str, input: &[u8]) -> Ran {
        let mut child = self.command(args).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    /// A run that goes well.
    pub(crate) fn good(&self, args: &str) -> Ran {
        let ran = self.run(args);
        assert_eq!((ran.err.as_str(), ran.status), ("", 0), "pack {args}");
        ran
    }

    /// The one object that a run prints, which goes well.
    pub(crate) fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.good(args).out).unwrap()
    }

    /// What is in the directory itself.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
    }
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Everything below a directory that an archive keeps: path, what it is, mode, time, content or target.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let content = if kind.is_dir() {
                todo.push(path.clone());
                "a directory".to_owned()
            } else if kind.is_symlink() {
                format!("a link to {:?}", fs::read_link(&path).unwrap())
            } else {
                format!("{:?}", packstone::pack::ObjectId::of(&fs::read(&path).unwrap()))
            };
            let (mode, time) = (mode_of(&metadata), metadata.modified().unwrap());
            let name = path.strip_prefix(dir).unwrap().to_owned();
            found.insert(name, format!("{content}, mode {mode:o}, {time:?}"));
        }
    }
    found
}

#[cfg(unix)]
fn mode_of(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata)
}

#[cfg(not(unix))]
fn mode_of(_: &fs::Metadata) -> u32 {
    0
}
