//! What comes before the first benchmark.

use std::fmt::Write;

use packstone::Compression;

use crate::data::ValueSizes;
use crate::flags::Config;
use crate::measure::process;

/// Version and machine, for stderr.
pub(crate) fn process_header() -> String {
    let (count, model, cache) = process::processor();
    format!(
        "Packstone:  version {}\nDate:       {}\nCPU:        {count} * {model}\nCPUCache:   {cache}\n",
        env!("CARGO_PKG_VERSION"),
        process::date(),
    )
}

/// Parameters, for stdout.
pub(crate) fn run_header(config: &Config) -> String {
    let mut text = String::new();
    let value = ValueSizes::new(config).typical();
    let compressed = (value as f64 * config.compression_ratio + 0.5) as u64;
    let raw = (config.key_size + value) as f64 * config.num as f64;
    let stored = (config.key_size as f64 + value as f64 * config.compression_ratio) * config.num as f64;
    const MIB: f64 = (1 << 20) as f64;
    let _ = writeln!(
        text,
        "Keys:       {} bytes each (+ 0 bytes user-defined timestamp)",
        config.key_size
    );
    let _ = writeln!(
        text,
        "Values:     {value} bytes each ({compressed} bytes after compression)"
    );
    let _ = writeln!(text, "Entries:    {}", config.num);
    let _ = writeln!(text, "Prefix:    {} bytes", config.prefix_size);
    let _ = writeln!(text, "Keys per prefix:    {}", config.keys_per_prefix);
    let _ = writeln!(text, "RawSize:    {:.1} MB (estimated)", raw / MIB);
    let _ = writeln!(text, "FileSize:   {:.1} MB (estimated)", stored / MIB);
    let _ = writeln!(text, "Write rate: {} bytes/second", config.write_rate);
    let _ = writeln!(text, "Read rate: {} ops/second", config.read_rate);
    let compression = match config.compression {
        Compression::None => "NoCompression",
        _ => "LZ4",
    };
    let _ = writeln!(text, "Compression: {compression}");
    if config.order == packstone::Order::Hash {
        let _ = writeln!(text, "Order: hash");
    }
    let _ = writeln!(text, "Compression sampling rate: 0");
    let _ = writeln!(text, "Memtablerep: RadixTree");
    let _ = writeln!(text, "Perf Level: 1");
    if cfg!(debug_assertions) {
        let _ = writeln!(
            text,
            "WARNING: Assertions are enabled; benchmarks unnecessarily slow"
        );
    }
    let _ = writeln!(text, "{}", "-".repeat(48));
    text
}
