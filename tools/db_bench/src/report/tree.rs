//! The state of the tree in words: `stats` as RocksDB's `rocksdb.stats` (with the columns from before `WPreComp(GB)`, which
//! scripts rely on), `levelstats`, `sstables`.

use std::fmt::Write;
use std::time::{Duration, Instant};

use packstone::{Keyspace, LevelMetrics, Metrics};

const KIB: f64 = 1024.0;
const MIB: f64 = KIB * 1024.0;
const GIB: f64 = MIB * 1024.0;
/// Level-0 SSTs that start a compaction, which the score of level 0 counts in.
const COMPACT_L0: f64 = 4.0;

/// Since when, and what had been done when the last such text was printed.
#[derive(Clone, Debug)]
pub(crate) struct Uptime {
    opened: Instant,
    last: (Instant, Metrics),
}

impl Uptime {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Uptime {
            opened: now,
            last: (now, Metrics::default()),
        }
    }

    /// The state of the tree, and what has been done since the last such text.
    pub(crate) fn tell(&mut self, metrics: &Metrics) -> String {
        let text = tree_text(metrics, Some(self));
        self.last = (Instant::now(), metrics.clone());
        text
    }
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        bytes if bytes >= 10.0 * GIB => format!("{:.2} GB", bytes / GIB),
        bytes if bytes >= 10.0 * MIB => format!("{:.2} MB", bytes / MIB),
        _ => format!("{:.2} KB", bytes / KIB),
    }
}

/// RocksDB's: K from ten thousand, M from ten million, G from ten thousand million.
fn human(n: u64) -> String {
    match n {
        10_000_000_000.. => format!("{}G", n / 1_000_000_000),
        10_000_000.. => format!("{}M", n / 1_000_000),
        10_000.. => format!("{}K", n / 1000),
        _ => n.to_string(),
    }
}

/// One row: of a level, or of their sum.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    files: u64,
    bytes: u64,
    score: f64,
    /// Read from levels above this one.
    from_above: u64,
    /// Read from this level.
    from_level: u64,
    written: u64,
    entries_in: u64,
    entries_out: u64,
    /// What the write amplification is relative to.
    came_in: u64,
    nanos: u64,
    jobs: u64,
}

impl Row {
    fn of(number: usize, level: &LevelMetrics) -> Row {
        let score = match level.target_bytes {
            0 if number == 0 => level.files as f64 / COMPACT_L0,
            0 => 0.0,
            target => level.bytes as f64 / target as f64,
        };
        Row {
            files: level.files,
            bytes: level.bytes,
            score,
            from_above: level.bytes_read_from_above,
            from_level: level.bytes_read - level.bytes_read_from_above,
            written: level.bytes_written,
            entries_in: level.entries_in,
            entries_out: level.entries_out,
            came_in: if number == 0 {
                level.bytes_written
            } else {
                level.bytes_read_from_above
            },
            nanos: level.nanos,
            jobs: level.jobs,
        }
    }

    fn add(&mut self, other: &Row) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.from_above += other.from_above;
        self.from_level += other.from_level;
        self.written += other.written;
        self.entries_in += other.entries_in;
        self.entries_out += other.entries_out;
        self.nanos += other.nanos;
        self.jobs += other.jobs;
    }

    fn minus(&self, other: &Row) -> Row {
        Row {
            from_above: self.from_above.saturating_sub(other.from_above),
            from_level: self.from_level.saturating_sub(other.from_level),
            written: self.written.saturating_sub(other.written),
            entries_in: self.entries_in.saturating_sub(other.entries_in),
            entries_out: self.entries_out.saturating_sub(other.entries_out),
            came_in: self.came_in.saturating_sub(other.came_in),
            nanos: self.nanos.saturating_sub(other.nanos),
            jobs: self.jobs.saturating_sub(other.jobs),
            ..Row::default()
        }
    }

    fn write(&self, text: &mut String, name: &str) {
        let seconds = self.nanos as f64 / 1e9;
        let rate = |bytes: u64| {
            if seconds > 0.0 {
                bytes as f64 / MIB / seconds
            } else {
                0.0
            }
        };
        let amplification = if self.came_in > 0 {
            self.written as f64 / self.came_in as f64
        } else {
            0.0
        };
        let _ = writeln!(
            text,
            "{name:>4} {:>6}/{:<3} {:>10} {:>5.1} {:>8.1} {:>7.1} {:>8.1} {:>9.1} {:>8.1} {:>9.1} {:>5.1} {:>8.1} {:>8.1} \
             {:>9.2} {:>17.2} {:>9} {:>8.3} {:>6} {:>6} {:>8.1} {:>8.1}",
            self.files,
            0,
            size(self.bytes),
            self.score,
            (self.from_above + self.from_level) as f64 / GIB,
            self.from_above as f64 / GIB,
            self.from_level as f64 / GIB,
            self.written as f64 / GIB,
            // Bytes that the level gained, below zero where a compaction shrank it.
            (self.written as f64 - self.from_level as f64) / GIB,
            0.0,
            amplification,
            rate(self.from_above + self.from_level),
            rate(self.written),
            seconds,
            seconds,
            self.jobs,
            seconds / self.jobs.max(1) as f64,
            human(self.entries_in),
            human(self.entries_in.saturating_sub(self.entries_out)),
            0.0,
            0.0,
        );
    }
}

/// The sum of a keyspace's levels, its write amplification relative to what flushes wrote.
fn sum(levels: &[LevelMetrics]) -> Row {
    let mut sum = Row::default();
    for (number, level) in levels.iter().enumerate() {
        sum.add(&Row::of(number, level));
    }
    sum.came_in = levels.first().map_or(0, |level| level.bytes_written);
    sum
}

/// RocksDB's `rocksdb.stats`. `uptime` knows since when; without it the times are left out.
pub(crate) fn tree_text(metrics: &Metrics, uptime: Option<&Uptime>) -> String {
    let mut text = String::new();
    for keyspace in &metrics.keyspaces {
        let before = uptime.and_then(|uptime| {
            uptime
                .last
                .1
                .keyspaces
                .iter()
                .find(|before| before.name == keyspace.name)
                .map(|k| sum(&k.levels))
        });
        let _ = writeln!(text, "\n** Compaction Stats [{}] **", keyspace.name);
        text.push_str(
            "Level    Files   Size     Score Read(GB)  Rn(GB) Rnp1(GB) Write(GB) Wnew(GB) Moved(GB) W-Amp Rd(MB/s) Wr(MB/s) \
             Comp(sec) CompMergeCPU(sec) Comp(cnt) Avg(sec) KeyIn KeyDrop Rblob(GB) Wblob(GB)\n",
        );
        let _ = writeln!(text, "{}", "-".repeat(180));
        for (number, level) in keyspace.levels.iter().enumerate() {
            if level.files > 0 || level.jobs > 0 {
                Row::of(number, level).write(&mut text, &format!("L{number}"));
            }
        }
        let whole = sum(&keyspace.levels);
        whole.write(&mut text, "Sum");
        whole.minus(&before.unwrap_or_default()).write(&mut text, "Int");
    }
    totals(&mut text, metrics, uptime);
    text
}

fn totals(text: &mut String, metrics: &Metrics, uptime: Option<&Uptime>) {
    let empty = Metrics::default();
    let before = uptime.map_or(&empty, |uptime| &uptime.last.1);
    let all = uptime.map_or(Duration::ZERO, |uptime| uptime.opened.elapsed());
    let interval = uptime.map_or(Duration::ZERO, |uptime| uptime.last.0.elapsed());
    let (all, interval) = (all.as_secs_f64(), interval.as_secs_f64());
    let gib = |bytes: u64| bytes as f64 / GIB;
    let rate = |bytes: u64, seconds: f64| {
        if seconds > 0.0 {
            bytes as f64 / MIB / seconds
        } else {
            0.0
        }
    };

    let _ = writeln!(
        text,
        "\nBlob file count: 0, total size: 0.0 GB, garbage size: 0.0 GB, space amp: 0.0\n\n\
         Uptime(secs): {all:.1} total, {interval:.1} interval\n\
         Flush(GB): cumulative {:.3}, interval {:.3}",
        gib(metrics.flush_bytes),
        gib(metrics.flush_bytes - before.flush_bytes.min(metrics.flush_bytes)),
    );
    text.push_str("AddFile(GB): cumulative 0.000, interval 0.000\n");
    let works = |metrics: &Metrics| {
        let nanos = metrics
            .keyspaces
            .iter()
            .flat_map(|k| &k.levels)
            .map(|level| level.nanos)
            .sum::<u64>();
        [
            metrics.flush_bytes + metrics.compaction_bytes_written,
            metrics.compaction_bytes_read,
            nanos,
        ]
    };
    let (now, then) = (works(metrics), works(before));
    let since = [0, 1, 2].map(|i| now[i].saturating_sub(then[i]));
    for (name, [written, read, nanos], seconds) in [("Cumulative", now, all), ("Interval", since, interval)] {
        let _ = writeln!(
            text,
            "{name} compaction: {:.2} GB write, {:.2} MB/s write, {:.2} GB read, {:.2} MB/s read, {:.1} seconds",
            gib(written),
            rate(written, seconds),
            gib(read),
            rate(read, seconds),
            nanos as f64 / 1e9,
        );
    }
    let pending: u64 = metrics
        .keyspaces
        .iter()
        .map(|keyspace| keyspace.pending_compaction_bytes)
        .sum();
    let _ = writeln!(text, "Estimated pending compaction bytes: {pending}");
    text.push_str("\n** DB Stats **\n");
    let _ = writeln!(text, "Uptime(secs): {all:.1} total, {interval:.1} interval");
    for (name, since, seconds) in [("Cumulative", &empty, all), ("Interval", before, interval)] {
        writes(text, name, metrics, since, seconds);
    }
}

fn writes(text: &mut String, name: &str, metrics: &Metrics, since: &Metrics, seconds: f64) {
    let entries = metrics.entries_written.saturating_sub(since.entries_written);
    let log = metrics.log_bytes_written.saturating_sub(since.log_bytes_written);
    let stall = metrics.stall_nanos.saturating_sub(since.stall_nanos) as f64 / 1e9;
    let rate = if seconds > 0.0 {
        log as f64 / MIB / seconds
    } else {
        0.0
    };
    // Cumulative amounts in GB, those of an interval in MB, as RocksDB has it.
    let (unit, bytes) = if name == "Interval" {
        ("MB", log as f64 / MIB)
    } else {
        ("GB", log as f64 / GIB)
    };
    let commits = metrics.commits.saturating_sub(since.commits);
    let groups = metrics.commit_groups.saturating_sub(since.commit_groups);
    let syncs = metrics.log_syncs.saturating_sub(since.log_syncs);
    let _ = writeln!(
        text,
        "{name} writes: {} writes, {} keys, {} commit groups, {:.1} writes per commit group, ingest: {bytes:.2} {unit}, \
         {rate:.2} MB/s",
        human(commits),
        human(entries),
        human(groups),
        commits as f64 / groups.max(1) as f64,
    );
    // RocksDB divides by one where there was no sync.
    let _ = writeln!(
        text,
        "{name} WAL: {} writes, {} syncs, {:.2} writes per sync, written: {bytes:.2} {unit}, {rate:.2} MB/s",
        human(commits),
        human(syncs),
        commits as f64 / syncs.max(1) as f64,
    );
    let (hours, minutes) = ((stall / 3600.0) as u64, (stall / 60.0) as u64 % 60);
    let _ = writeln!(
        text,
        "{name} stall: {hours:02}:{minutes:02}:{:.3} H:M:S, {:.1} percent",
        stall % 60.0,
        if seconds > 0.0 {
            100.0 * stall / seconds
        } else {
            0.0
        }
    );
}

/// RocksDB's `rocksdb.levelstats`, all keyspaces together.
pub(crate) fn levels_text(metrics: &Metrics) -> String {
    let mut text = "Level Files Size(MB)\n--------------------\n".to_string();
    let levels = metrics
        .keyspaces
        .iter()
        .map(|keyspace| keyspace.levels.len())
        .max()
        .unwrap_or(0);
    for number in 0..levels {
        let of_number = || {
            metrics
                .keyspaces
                .iter()
                .filter_map(|keyspace| keyspace.levels.get(number))
        };
        let files: u64 = of_number().map(|level| level.files).sum();
        let bytes: u64 = of_number().map(|level| level.bytes).sum();
        let _ = writeln!(text, "{number:>3} {files:>8} {:>8.0}", bytes as f64 / MIB);
    }
    text
}

/// Every SST: LevelDB's `leveldb.sstables`, with what else is known.
pub(crate) fn files_text(keyspaces: &[Keyspace]) -> String {
    let mut text = String::new();
    for keyspace in keyspaces {
        if keyspaces.len() > 1 {
            let _ = writeln!(text, "== keyspace {} ==", keyspace.name());
        }
        let mut level = None;
        for file in keyspace.files() {
            if level != Some(file.level) {
                let _ = writeln!(text, "--- level {} ---", file.level);
                level = Some(file.level);
            }
            let name = file
                .path
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let _ = writeln!(
                text,
                " {name}:{}['{}' .. '{}'] {} entries, {} tombstones",
                file.bytes,
                file.min_key.escape_ascii(),
                file.max_key.escape_ascii(),
                file.entries,
                file.tombstones
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_written_rocksdbs_way() {
        assert_eq!(
            [human(9999), human(10_000), human(242_000_000)],
            ["9999", "10K", "242M"]
        );
        assert_eq!(
            [size(1024), size(20 << 20), size(20 << 30)],
            ["1.00 KB", "20.00 MB", "20.00 GB"]
        );
    }

    #[test]
    fn the_sum_row_has_the_fields_that_benchmark_sh_takes() {
        let levels = [LevelMetrics::default(), LevelMetrics::default()];
        let mut text = String::new();
        let row = Row {
            files: 3,
            bytes: 20 << 20,
            nanos: 2_500_000_000,
            written: 2 << 30,
            came_in: 1 << 30,
            ..sum(&levels)
        };
        row.write(&mut text, "Sum");
        let fields: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(fields.len(), 22);
        assert!(text.starts_with(" Sum "));
        assert_eq!([fields[1], fields[2], fields[3]], ["3/0", "20.00", "MB"]);
        assert_eq!(
            [fields[8], fields[11], fields[14], fields[15]],
            ["2.0", "2.0", "2.50", "2.50"]
        );
        assert_eq!([fields[20], fields[21]], ["0.0", "0.0"]);
    }
}
