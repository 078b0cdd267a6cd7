//! How much memory the machine, or the container that the process runs in, has.
//!
//! Sources: `/proc/meminfo` (proc_meminfo(5)); control groups v2 `memory.max` and v1 `memory.limit_in_bytes`, of the process's
//! own group and of all above it (cgroups(7)). Anything that can't be read or understood limits nothing.
//!
//! Callers: [`Env::real`](super::Env::real).
#![allow(clippy::disallowed_methods)] // asks the operating system, once

use std::fs;
use std::path::Path;

/// What is assumed where nothing can be found out, in bytes: a small machine of today.
const UNKNOWN: u64 = 2 << 30;

/// Bytes of memory for this process at the most: the machine's, or the least limit of a control group.
pub(super) fn available() -> u64 {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total_of(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limit = limit_files(&groups)
        .iter()
        .filter_map(|path| limit_of(&read(Path::new(path))?))
        .min();
    machine.unwrap_or(UNKNOWN).min(limit.unwrap_or(u64::MAX))
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A limit file's number; `None`: no limit.
fn limit_of(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The files that may hold a limit, for the groups that /proc/self/cgroup names. In a container the named group may be
/// mounted as the root, which is why the root is asked as well.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = group.trim_end_matches('/');
        loop {
            files.push(format!("{mount}{group}/{file}"));
            match group.rfind('/') {
                Some(at) => group = group.get(..at).unwrap_or_default(),
                None => break,
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(
            total_of("MemFree: 1 kB\nMemTotal:       24613420 kB\nx"),
            Some(24_613_420 << 10)
        );
        assert_eq!(total_of("MemTotal: many"), None);
        assert_eq!(total_of(""), None);
    }

    #[test]
    fn limits_of_both_versions_are_found_up_to_the_root() {
        assert_eq!(
            limit_files("0::/user.slice/one.scope\n"),
            [
                "/sys/fs/cgroup/user.slice/one.scope/memory.max",
                "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            limit_files("9:cpu,cpuacct:/a\n5:memory:/docker/77\nnonsense"),
            [
                "/sys/fs/cgroup/memory/docker/77/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(limit_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            (limit_of("max\n"), limit_of("268435456\n")),
            (None, Some(256 << 20))
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available() > 16 << 20);
    }
}
