//! The output of every benchmark is taken apart as RocksDB's `benchmark.sh` does it, and says what was done.

mod support;

use support::{Bench, MEASURED, count, fields, found, line};

#[test]
fn every_measured_benchmark_has_a_line_that_benchmark_sh_can_read() {
    let bench = Bench::new();
    for name in MEASURED {
        let list =
            format!("--benchmarks=fillseq,{name} --num=2000 --reads=300 --histogram --seed=1 --seek_nexts=5");
        let output = bench.ok(&list);
        let line = line(&output.stdout, name);
        assert!(line.micros_per_op > 0.0 && line.ops_per_second > 0, "{name}");
        let percentiles = output
            .stdout
            .lines()
            .rfind(|line| line.starts_with("Percentiles:"));
        let words: Vec<&str> = percentiles.unwrap().split_whitespace().collect();
        assert_eq!(
            [words[1], words[3], words[5], words[7], words[9]],
            ["P50:", "P75:", "P99:", "P99.9:", "P99.99:"]
        );
        let values: Vec<f64> = [2, 4, 6, 8, 10]
            .iter()
            .map(|at| words[*at].parse().unwrap())
            .collect();
        assert!(values.is_sorted(), "{name} {values:?}");
        let least = output
            .stdout
            .lines()
            .rfind(|line| line.starts_with("Min: "))
            .unwrap();
        let words: Vec<&str> = least.split_whitespace().collect();
        assert_eq!([words[0], words[2], words[4]], ["Min:", "Median:", "Max:"]);
        assert!(words[5].parse::<u64>().is_ok());
    }
}

#[test]
fn the_rates_fit_operations_and_time() {
    let output = Bench::new().ok("--benchmarks=fillseq,readrandom --num=20000 --threads=2 --seed=1");
    for name in ["fillseq", "readrandom"] {
        let line = line(&output.stdout, name);
        assert_eq!(line.operations, 40_000, "each thread does --num");
        let by_wall = line.operations as f64 / line.ops_per_second as f64;
        assert!((by_wall - line.seconds).abs() < 0.002, "{line:?}");
        // The mean latency is of the threads' time: at most the wall's, twice.
        assert!(
            line.micros_per_op <= 2.0 * line.seconds * 1e6 / line.operations as f64 + 0.1,
            "{line:?}"
        );
        let mb = line.ops_per_second as f64 * 116.0 / f64::from(1 << 20);
        let printed = line.mb_per_second.unwrap();
        assert!((printed - mb).abs() < 0.1 + mb / 1000.0, "{line:?} {mb}");
    }
}

#[test]
fn found_counts_are_those_of_the_data() {
    let output = Bench::new().ok(
        "--benchmarks=fillseq,readrandom,readmissing,readhot,multireadrandom,seekrandom,seekordered,deleteseq,readrandom,\
         readseq --num=3000 --deletes=3000 --batch_size=7 --seed=5",
    );
    for (name, hits) in [
        ("readmissing", 0),
        ("readhot", 3000),
        ("multireadrandom", 3000),
        ("seekrandom", 3000),
        ("seekordered", 3000),
    ] {
        assert_eq!(found(&line(&output.stdout, name)), (hits, 3000), "{name}");
    }
    let reads: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("readrandom "))
        .collect();
    assert!(
        reads[0].ends_with("(3000 of 3000 found)") && reads[1].ends_with("(0 of 3000 found)"),
        "{reads:?}"
    );
    // No operation is printed as one, as in RocksDB.
    assert_eq!(line(&output.stdout, "readseq").mb_per_second, None);
}

#[test]
fn scaled_fills_say_how_many_they_wrote() {
    let output = Bench::new().ok("--benchmarks=fillsync,fill100K,fillbatch --num=5000");
    let sync = line(&output.stdout, "fillsync");
    assert_eq!((sync.operations, sync.rest.ends_with("(5 ops)")), (5, true));
    let long = line(&output.stdout, "fill100K");
    assert_eq!((long.operations, long.rest.ends_with("(5 ops)")), (5, true));
    assert_eq!(line(&output.stdout, "fillbatch").operations, 5000);
}

#[test]
fn messages_add_up() {
    let output = Bench::new().ok(
        "--benchmarks=filluniquerandom,readrandomwriterandom,updaterandom,randomwithverify,ycsba,ycsbd,ycsbe,ycsbf --num=2000 \
         --readwritepercent=80 --deletepercent=5 --threads=2 --seed=3",
    );
    let mixed = line(&output.stdout, "readrandomwriterandom");
    assert_eq!(
        [
            count(&mixed, "reads"),
            count(&mixed, "writes"),
            count(&mixed, "total")
        ],
        [3200, 800, 4000]
    );
    assert_eq!(count(&mixed, "found"), 3200, "every key is there");
    let updates = line(&output.stdout, "updaterandom");
    assert_eq!(
        [count(&updates, "updates"), count(&updates, "found")],
        [4000, 4000]
    );
    let verified = line(&output.stdout, "randomwithverify");
    assert_eq!(
        [
            count(&verified, "get"),
            count(&verified, "put"),
            count(&verified, "del")
        ],
        [3200, 600, 200]
    );
    for name in ["ycsba", "ycsbd", "ycsbe", "ycsbf"] {
        let line = line(&output.stdout, name);
        let all: u64 = ["reads", "updates", "inserts", "scans", "rmws"]
            .iter()
            .map(|count_of| count(&line, count_of))
            .sum();
        assert_eq!((all, line.operations), (4000, 4000), "{name}");
        let (hits, looks) = found(&line);
        assert!(hits == looks && looks > 0, "{name}: {line:?}");
    }
}

#[test]
fn mixgraph_mixes_as_asked_in_both_modes() {
    for mode in ["rocksdb", "paper"] {
        let output = Bench::new().ok(&format!(
            "--benchmarks=filluniquerandom,mixgraph --num=5000 --reads=5000 --mixgraph_mode={mode} --mix_get_ratio=0.8 \
             --mix_put_ratio=0.15 --mix_seek_ratio=0.05 --keyrange_num=30 --keyrange_dist_a=14.18 --keyrange_dist_b=-2.917 \
             --keyrange_dist_c=0.0164 --keyrange_dist_d=-0.08082 --key_dist_a=0.002312 --key_dist_b=0.3467 --key_size=48 \
             --mix_max_scan_len=50 --seed=4"
        ));
        let line = line(&output.stdout, "mixgraph");
        let (gets, puts, seeks) = (count(&line, "Gets"), count(&line, "Puts"), count(&line, "Seek"));
        assert_eq!(gets + puts + seeks, 5000);
        assert!(
            (3850..4150).contains(&gets) && (650..850).contains(&puts) && (180..320).contains(&seeks),
            "{line:?}"
        );
        assert!(
            line.rest
                .contains(&format!("reads {} in {} found", gets + seeks, gets + seeks)),
            "{line:?}"
        );
    }
}

#[test]
fn repeats_end_with_their_mean_and_median() {
    let output = Bench::new().ok("--benchmarks=fillseq,readrandom[X3-W1] --num=500");
    let runs = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("readrandom   :"))
        .count();
    assert_eq!(runs, 4);
    for (start, number) in [
        ("readrandom [AVG 2 runs] : ", 5),
        ("readrandom [AVG 3 runs] : ", 5),
        ("readrandom [AVG    3 runs] : ", 5),
        ("readrandom [MEDIAN 3 runs] : ", 5),
    ] {
        assert!(
            fields(&output.stdout, start)[number].parse::<u64>().unwrap() > 0,
            "{start}"
        );
    }
    let output = Bench::new().ok("--benchmarks=fillseq[X2] --num=500 --confidence_interval_only");
    assert!(output.stdout.contains("fillseq [CI95 2 runs] : ("));
    assert!(!output.stdout.contains("MEDIAN"));
}

#[test]
fn the_header_is_split_over_both_streams() {
    let output = Bench::new().ok("--benchmarks=fillseq --num=1000");
    for start in [
        "Keys:       16 bytes each (+ 0 bytes user-defined timestamp)",
        "Values:     100 bytes each (50 bytes after",
        "Entries:    1000",
        "RawSize:    0.1 MB (estimated)",
        "Compression: LZ4",
        "DB path: [",
    ] {
        assert!(
            output.stdout.lines().any(|line| line.starts_with(start)),
            "{start}"
        );
    }
    assert!(output.stdout.contains(&format!("\n{}\n", "-".repeat(48))));
    let date = fields(&output.stderr, "Date:");
    assert_eq!(date.len(), 6, "benchmark.sh takes $3, $4, $5 and $6");
    assert!(output.stderr.contains("Packstone:  version ") && output.stderr.contains("CPU:        "));
    assert!(output.stderr.contains("... finished 1000 ops"));
}

#[test]
fn the_state_of_the_tree_has_the_fields_that_benchmark_sh_takes() {
    let output = Bench::new().ok(
        "--benchmarks=fillrandom,waitforcompaction,stats,levelstats,sstables --num=60000 --write_buffer_size=200000 --seed=2",
    );
    let text = &output.stdout;
    assert!(text.contains("** Compaction Stats [default] **\nLevel    Files   Size     Score Read(GB)"));
    assert!(!text.contains("WPreComp"), "the columns from before it was added");
    let sum = fields(text, " Sum");
    assert_eq!(sum.len(), 22);
    for at in [2, 14, 15, 20, 21] {
        assert!(sum[at].parse::<f64>().is_ok(), "${} of {sum:?}", at + 1);
    }
    assert!(["KB", "MB", "GB"].contains(&sum[3]));
    assert!(
        sum[2].parse::<f64>().unwrap() > 0.0 && sum[11].parse::<f64>().unwrap() >= 1.0,
        "{sum:?}"
    );
    let writes = fields(text, "Cumulative writes:");
    let ingest = writes.iter().position(|word| *word == "ingest:").unwrap();
    assert!(writes[ingest + 1].parse::<f64>().is_ok() && writes[ingest + 2] == "GB,");
    assert_eq!(writes[2], "60K");
    let compaction = fields(text, "Cumulative compaction:");
    assert!([2, 5].iter().all(|at| compaction[*at].parse::<f64>().is_ok()) && compaction[3] == "GB");
    assert!(
        fields(text, "Flush(GB):")[2]
            .trim_end_matches(',')
            .parse::<f64>()
            .is_ok()
    );
    assert!(fields(text, "Uptime(secs):")[1].parse::<f64>().is_ok());
    assert!(fields(text, "Cumulative stall:")[4].parse::<f64>().is_ok());
    assert_eq!(fields(text, "Blob file count:")[6], "0.0");
    assert!(text.contains("** DB Stats **") && text.contains("Estimated pending compaction bytes: 0\n"));

    let levels = text
        .split("Level Files Size(MB)\n--------------------\n")
        .nth(1)
        .unwrap();
    let files: u64 = levels
        .lines()
        .take(7)
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    let listed = text
        .lines()
        .filter(|line| line.contains("['") && line.ends_with("tombstones"))
        .count();
    assert_eq!(files, listed as u64);
    assert!(files > 0 && sum[1] == format!("{files}/0"));
}

#[test]
fn statistics_have_rocksdbs_form() {
    let output = Bench::new().ok("--benchmarks=fillseq,flush,readrandom --num=1000 --statistics");
    assert!(output.stdout.contains("STATISTICS:\n"));
    assert_eq!(fields(&output.stdout, "rocksdb.number.keys.written")[3], "1000");
    let get = fields(&output.stdout, "rocksdb.db.get.micros");
    assert_eq!(
        [get[1], get[4], get[7], get[10], get[13], get[15]],
        ["P50", "P95", "P99", "P100", "COUNT", "1000"]
    );
}
