//! What the kernel says of this process (/proc/self) and of the machine. Linux only: elsewhere it is an error, for a
//! comparison without these figures would not be one.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// Bytes that this process has passed to the kernel so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// To write calls; stores into mapped files are not among them.
    pub(crate) calls: u64,
    /// Pages made dirty that are to go to the disk, of mapped files too; one that is made dirty again before it was
    /// written counts once. None on tmpfs.
    pub(crate) pages: u64,
}

pub(crate) fn written() -> Result<Written> {
    let text = read("/proc/self/io")?;
    Ok(Written {
        calls: field(&text, "wchar:")?,
        pages: field(&text, "write_bytes:")?,
    })
}

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) anonymous: u64,
    /// Pages of files that are mapped: the page cache's, which the kernel takes back when it needs them.
    pub(super) file: u64,
}

pub(super) fn memory() -> Result<Memory> {
    let text = read("/proc/self/status")?;
    Ok(Memory {
        anonymous: field(&text, "RssAnon:")? * 1024,
        file: field(&text, "RssFile:")? * 1024,
    })
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}; Linux is needed").into())
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(number
        .ok_or_else(|| format!("the kernel does not tell {name}"))?
        .parse()?)
}

/// The machine, for a report's header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    /// Of the last minute: who else was at work.
    pub(crate) load: String,
}

pub(crate) fn machine() -> Machine {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = text("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name"));
    Machine {
        processor: model
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory: field(&text("/proc/meminfo"), "MemTotal:").unwrap_or(0) * 1024,
        kernel: format!("Linux {}", text("/proc/sys/kernel/osrelease").trim()),
        load: text("/proc/loadavg")
            .split_whitespace()
            .next()
            .unwrap_or("?")
            .to_owned(),
    }
}

/// The kind of the file system that a directory lies in: that of the longest mount point above it.
pub(crate) fn file_system(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let all = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        dir.starts_with(place).then_some((place.len(), kind))
    });
    all.max_by_key(|(len, _)| *len)
        .map_or_else(|| "unknown".into(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let text = "rchar: 5\nwchar: 17\ncancelled_write_bytes: 3\nwrite_bytes: 4096\n";
        assert_eq!(field(text, "wchar:").unwrap(), 17);
        assert_eq!(field(text, "write_bytes:").unwrap(), 4096);
        assert!(field(text, "absent:").is_err());
    }

    #[test]
    fn the_kernel_tells_what_is_asked() {
        assert!(memory().unwrap().anonymous > 0);
        assert!(written().is_ok());
        assert!(machine().memory > 0);
    }
}
