//! What the kernel says of this process and machine.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory of the process, in bytes; 0 where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The most that was resident, mapped files counted.
    pub(crate) peak: u64,
    /// Resident now, without mapped files.
    pub(crate) anonymous: u64,
    /// Resident now, of mapped files.
    pub(crate) file: u64,
}

pub(crate) fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    };
    Memory {
        peak: kib("VmHWM"),
        anonymous: kib("RssAnon"),
        file: kib("RssFile"),
    }
}

/// Lets the peak begin anew at what is resident now; where that is refused, it goes on from before.
pub(crate) fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Number and name of the processors, and their cache.
pub(crate) fn processor() -> (usize, String, String) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_string()))
    };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (
        count,
        field("model name").unwrap_or_else(|| "unknown".into()),
        field("cache size").unwrap_or_else(|| "unknown".into()),
    )
}

/// The time now in the form of C's `ctime`, in UTC.
pub(crate) fn date() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ctime(now.as_secs())
}

fn ctime(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the leap day is the last (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    format!(
        "{} {} {day:>2} {:02}:{:02}:{:02} {year}",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// The time of day now, as RocksDB puts it before its interval lines.
pub(crate) fn timestamp() -> String {
    date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(ctime(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(ctime(1_659_416_156), "Tue Aug  2 04:55:56 2022");
        assert_eq!(ctime(1_709_208_000), "Thu Feb 29 12:00:00 2024");
        assert_eq!(ctime(4_107_542_399), "Sun Feb 28 23:59:59 2100");
    }

    #[test]
    fn memory_is_known_on_linux() {
        if cfg!(target_os = "linux") {
            let memory = memory();
            assert!(memory.peak > 0 && memory.anonymous > 0);
        }
    }
}
