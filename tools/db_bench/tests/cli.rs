//! Flags, files and wrong use.

mod support;

use std::fs;

use serde_json::Value;
use support::{Bench, MEASURED, line, read};

#[test]
fn unknown_benchmarks_are_reported_and_the_run_goes_on() {
    let output = Bench::new().ok("--benchmarks=nosuch,fillseq,neither --num=100");
    assert!(
        output.stderr.contains("unknown benchmark 'nosuch'")
            && output.stderr.contains("unknown benchmark 'neither'")
    );
    assert_eq!(line(&output.stdout, "fillseq").operations, 100);
}

#[test]
fn wrong_use_ends_with_status_2_before_anything_is_touched() {
    let bench = Bench::new();
    for (flags, message) in [
        ("--frobnicate=1", "frobnicate"),
        ("--num=abc", "--num=abc"),
        ("--num", "missing its value"),
        ("--num=0", "--num=0"),
        ("fillseq", "unexpected argument"),
        ("--benchmarks=fillseq[X", "fillseq[X"),
        ("--compression_type=gzip", "gzip"),
        ("--value_size=99999999999", "value_size"),
        ("--keys_per_prefix=10 --prefix_size=16", "prefix_size"),
        ("--readwritepercent=99 --deletepercent=2", "readwritepercent"),
        ("--value_size_min=10 --value_size_max=5", "value_size_min"),
        ("--mix_get_ratio=0", "mix_get_ratio"),
        ("--json --json_file=x", "--json"),
        ("--batch_size=1000000 --value_size=100000", "batch_size"),
    ] {
        let output = bench.run(flags);
        assert_eq!(output.status, 2, "{flags}\n{}", output.stderr);
        assert!(output.stderr.contains(message), "{flags}\n{}", output.stderr);
        assert!(!bench.db().exists(), "{flags}");
    }
}

#[test]
fn what_cannot_be_opened_or_written_ends_with_status_1() {
    let bench = Bench::new();
    for flags in [
        "--benchmarks=readrandom --readonly --num=10",
        "--benchmarks=fillseq --num=10 --json_file=no/such/dir/x.json",
        "--benchmarks=fillseq --num=10 --plot=no/such/dir/x.svg",
        "--benchmarks=fillseq --num=10 --report_interval_seconds=1 --report_file=no/such/dir/x.csv",
    ] {
        let output = bench.run(flags);
        assert_eq!(output.status, 1, "{flags}\n{}", output.stderr);
        assert!(output.stderr.contains("ERROR: "), "{flags}\n{}", output.stderr);
    }
    fs::write(bench.path("file"), "x").unwrap();
    let output = bench.run("--db=file --benchmarks=fillseq --num=10");
    assert_eq!(output.status, 1, "{}", output.stderr);
}

#[test]
fn flags_of_rocksdb_are_ignored_with_one_warning() {
    let output = Bench::new().ok(
        "--undefok=use_blob_cache,nosuch --nosuch=1 -benchmarks fillseq --num 100 --disable_wal --memtablerep=vector --nouse_fsync \
         --compression_type=zstd --verify_checksum=1",
    );
    let warnings: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains("are ignored"))
        .collect();
    assert_eq!(warnings.len(), 1);
    for name in ["disable_wal", "memtablerep", "nouse_fsync", "verify_checksum"] {
        assert!(warnings[0].contains(name), "{warnings:?}");
    }
    assert!(output.stderr.contains("no codec zstd; lz4 is used"));
}

#[test]
fn sustained_prints_what_its_verdict_rests_on() {
    let output = Bench::new().run(
        "--benchmarks=fillrandom,sustained,stats --num=20000 --sustained_seconds=1 --write_buffer_size=262144 \
         --target_file_size_base=262144 --latencies",
    );
    // Times don't decide here: on a busy machine it may well be missed.
    let held = output.stdout.contains("verdict: held: ");
    assert_ne!(
        held,
        output.stdout.contains("verdict: missed: "),
        "{}",
        output.stdout
    );
    assert_eq!(output.status, i32::from(!held), "{}", output.stderr);
    for figure in [
        "phase 1, ",
        "sustained rate: ",
        "settled after ",
        "phase 2, at 70 % of it, ",
        "  accepted ",
        "  debt ",
        "  background ",
        "  write_buffered ",
        "  stall: memtables ",
        "  stall: level 0 ",
        "  stall: debt ",
        "  stall: memory ",
        "  new log file ",
        "  longest write ",
        "  machine: of ",
    ] {
        let lines = output.stdout.lines().filter(|line| line.starts_with(figure));
        let least = if figure.starts_with("  ") { 2 } else { 1 };
        assert!(lines.count() >= least, "{figure}\n{}", output.stdout);
    }
    // Both phases have written: the engine has timed it.
    for line in output
        .stdout
        .lines()
        .filter(|line| line.starts_with("  write_buffered "))
    {
        let count = line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        assert!(count > 0, "{line}");
    }
    // A run that ends with a verdict that is missed ends there.
    assert_eq!(held, output.stdout.contains("latency (us)"), "{}", output.stdout);
}

#[test]
fn help_names_every_benchmark_and_fits_its_width() {
    let output = Bench::new().ok("--help");
    for name in MEASURED.iter().chain(&[
        "sustained",
        "stats",
        "levelstats",
        "sstables",
        "--mixgraph_mode",
        "--json",
        "--durability",
    ]) {
        assert!(output.stdout.contains(&format!("  {name} ")), "{name}");
    }
    assert!(output.stdout.contains("Examples:"));
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 125, "{line}");
    }
}

#[test]
fn an_existing_database_is_kept_and_its_fills_are_skipped() {
    let bench = Bench::new();
    bench.ok("--benchmarks=fillseq --num=1000 --keyspaces=3");
    let output =
        bench.ok("--benchmarks=fillseq,readrandom,readseq --num=1000 --keyspaces=3 --use_existing_db=1");
    assert!(
        output
            .stdout
            .contains("fillseq      : skipped (--use_existing_db is true)\n")
    );
    assert!(
        line(&output.stdout, "readrandom")
            .rest
            .ends_with("(1000 of 1000 found)")
    );
    assert_eq!(line(&output.stdout, "readseq").operations, 1000);
    let output = bench.ok("--benchmarks=readrandom,readreverse --num=1000 --keyspaces=3 --readonly");
    assert_eq!(line(&output.stdout, "readreverse").operations, 1000);
    let output = bench.run("--benchmarks=overwrite --num=1000 --keyspaces=3 --readonly");
    assert_eq!(output.status, 1, "{}", output.stderr);
    assert!(output.stderr.contains("read-only"));
}

#[test]
fn a_fresh_run_removes_database_files_only() {
    let bench = Bench::new();
    bench.ok("--benchmarks=fillseq --num=1000");
    fs::write(bench.db().join("notes.txt"), "mine").unwrap();
    let output = bench.ok("--benchmarks=readrandom --num=1000");
    assert!(
        line(&output.stdout, "readrandom")
            .rest
            .ends_with("(0 of 1000 found)")
    );
    assert_eq!(read(&bench.db().join("notes.txt")), "mine");
}

#[test]
fn values_that_are_not_this_tools_are_noticed() {
    let bench = Bench::new();
    let db = packstone::Db::open(bench.db()).unwrap();
    let keyspace = db.keyspace("default").unwrap();
    keyspace
        .put([b"\0\0\0\0\0\0\0\x03".as_slice(), b"00000000"].concat(), [7; 100])
        .unwrap();
    drop(keyspace);
    db.close().unwrap();
    for name in [
        "readseq",
        "readreverse",
        "seekrandom",
        "readrandom",
        "multireadrandom",
    ] {
        let flags = format!("--benchmarks={name} --num=4 --reads=100 --seek_nexts=5 --use_existing_db");
        let output = bench.run(&flags);
        assert_eq!(output.status, 1, "{name}\n{}", output.stderr);
        assert!(
            output.stderr.contains(&format!("ERROR: {name}: wrong value")),
            "{}",
            output.stderr
        );
        bench.ok(&format!("{flags} --check_values=false"));
    }
}

#[test]
fn damage_is_found_by_verifychecksum() {
    let bench = Bench::new();
    bench.ok("--benchmarks=fillseq,flush --num=1000");
    let sst = fs::read_dir(bench.db())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .unwrap();
    let mut bytes = fs::read(&sst).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&sst, bytes).unwrap();
    let output = bench.run("--benchmarks=verifychecksum --use_existing_db");
    assert_eq!(output.status, 1, "{}", output.stderr);
    assert!(
        output.stderr.contains("is damaged at offset"),
        "{}",
        output.stderr
    );
}

#[test]
fn the_report_file_has_a_row_for_every_interval() {
    let bench = Bench::new();
    bench.ok(
        "--benchmarks=readrandom --num=1000 --duration=2 --report_interval_seconds=1 --report_file=r.csv",
    );
    let csv = read(&bench.path("r.csv"));
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[0], "secs_elapsed,interval_qps");
    let of_reads: Vec<(u64, f64)> = rows[1..]
        .iter()
        .map(|row| {
            let (seconds, qps) = row.split_once(',').unwrap();
            (seconds.parse().unwrap(), qps.parse().unwrap())
        })
        .collect();
    assert!(
        of_reads.len() >= 2 && of_reads[0].0 == 1 && of_reads[1].0 == 2,
        "{csv}"
    );
    assert!(of_reads[0].1 > 0.0);
}

#[test]
fn intervals_are_told_in_rocksdbs_form() {
    let bench = Bench::new();
    let output = bench.ok("--benchmarks=fillseq --num=1000 --stats_interval=400 --stats_per_interval=1");
    let lines: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains(" ... thread 0: ("))
        .collect();
    assert_eq!(lines.len(), 2, "{}", output.stderr);
    assert!(lines[0].contains("thread 0: (400,400) ops and (") && lines[1].contains("(400,800) ops and ("));
    let date = lines[0].split_whitespace().next().unwrap();
    assert_eq!((date.len(), &date[4..5], &date[10..11]), (19, "/", "-"), "{date}");
    assert!(lines[1].contains(" ops/second in (") && lines[1].ends_with(") seconds"));
    assert!(output.stderr.contains("** Compaction Stats [default] **"));
    let output = bench.ok(
        "--benchmarks=fillrandom --num=1000 --duration=2 --stats_interval_seconds=1 --noprogress_reports",
    );
    assert!(!output.stderr.contains("... thread"), "progress is off");
}

#[test]
fn a_write_rate_is_kept() {
    let output = Bench::new().ok("--benchmarks=fillseq --num=1000 --benchmark_write_rate_limit=116000");
    let line = line(&output.stdout, "fillseq");
    // 116,000 bytes at as many a second: no busy machine makes that faster, for the rate counts from the first write.
    assert!(line.seconds >= 0.99, "{line:?}");
}

#[test]
fn value_sizes_vary_as_asked() {
    for distribution in ["uniform", "normal"] {
        let output = Bench::new().ok(&format!(
            "--benchmarks=fillseq,readseq --num=2000 --value_size_distribution_type={distribution} --value_size_min=50 \
             --value_size_max=250 --json"
        ));
        let object: Value = serde_json::from_str(output.stdout.lines().nth(1).unwrap()).unwrap();
        let mean = object["bytes"].as_u64().unwrap() / 2000 - 16;
        assert!((145..155).contains(&mean), "{distribution} {mean}");
    }
}

#[test]
fn the_plot_shows_every_benchmark() {
    let bench = Bench::new();
    bench.ok("--benchmarks=fillrandom,readrandom --num=5000 --plot=out.svg");
    let svg = read(&bench.path("out.svg"));
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in [
        "throughput",
        "p99 latency",
        "level-0 files",
        "pending compaction",
        "fillrandom",
        "readrandom",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}
