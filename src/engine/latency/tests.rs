//! Places of histograms, and what threads count apart.

use super::*;

#[test]
fn every_kind_has_a_place_of_its_own() {
    let kinds = [
        Timed::Get,
        Timed::MultiGet,
        Timed::WriteBuffered,
        Timed::WriteSync,
        Timed::Seek,
        Timed::Next,
        Timed::Flush,
        Timed::Compaction,
        Timed::LogSync,
        Timed::LogFile,
        Timed::LogAppend,
    ];
    let all = kinds.into_iter().chain(Cause::ALL.map(Timed::Stall));
    let places: Vec<usize> = all.flat_map(Timed::places).collect();
    assert_eq!(places, (0..SHARED * PARTS + SINGLE).collect::<Vec<_>>());
}

#[test]
fn what_threads_count_apart_is_read_together_and_switching_on_begins_anew() {
    let latencies = Latencies::new(false);
    latencies.record(Timed::Get, Duration::from_nanos(1));
    assert_eq!(latencies.metrics(), LatencyMetrics::default());
    latencies.set(true);
    std::thread::scope(|scope| {
        let record = |nanos| {
            let latencies = &latencies;
            scope.spawn(move || latencies.record(Timed::Get, Duration::from_nanos(nanos)))
        };
        let threads: Vec<_> = (1..=20).map(record).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let get = latencies.metrics().get;
    assert_eq!((get.count, get.mean, get.max, get.p50), (20, 10, 20, 10));
    latencies.set(false);
    assert_eq!(latencies.metrics().get, get, "they stay to be read");
    latencies.set(true);
    assert_eq!(latencies.metrics(), LatencyMetrics::default());
}
