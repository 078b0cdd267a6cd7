//! The date and the time of day, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as "2026-11-21 04:05 UTC".
pub(super) fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(now.as_secs())
}

/// So many seconds after 1970 began.
fn format(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the leap day is the last (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let (hour, minute) = (time / 3600, time / 60 % 60);
    format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02} UTC", month + 1)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(format(0), "1970-01-01 00:00 UTC");
        assert_eq!(format(1_709_208_000), "2024-02-29 12:00 UTC");
        assert_eq!(format(4_107_542_399), "2100-02-28 23:59 UTC");
    }
}
