//! Small drawings and numbers that several commands share.

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A share as a bar of `#`, at most `width` of them; what is not nothing gets at least one.
pub(crate) fn bar(part: u64, whole: u64, width: u64) -> String {
    let len = match whole {
        0 => 0,
        _ => (u128::from(part) * u128::from(width)).div_ceil(u128::from(whole)) as usize,
    };
    "#".repeat(len)
}

/// A quotient as text; nothing divided by nothing is one.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_bars_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
        assert_eq!(bar(1, 1000, 10), "#");
        assert_eq!(bar(1000, 1000, 10), "##########");
        assert_eq!(bar(0, 0, 10), "");
    }
}
