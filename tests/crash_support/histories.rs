//! The scripts. Each is short, because every I/O call of it is a place to crash at.

use packstone::LogMedium;

use super::Step::*;
use super::{Amidst, History, Item, Step};

pub(super) fn history(name: &str, steps: Vec<Step>) -> History {
    History {
        name: name.to_owned(),
        // The smallest piece of a memtable is 16 KiB: it is full with the second.
        write_buffer_size: 24 << 10,
        max_log_size: 1 << 20,
        max_file_size: 64 << 10,
        manifest_roll_size: 1 << 20,
        sync_interval_ms: None,
        read_calls: false,
        log_medium: LogMedium::Auto,
        objects: false,
        pack_size: 4 << 10,
        steps,
    }
}

pub(super) fn write(items: &[Item], sync: bool) -> Step {
    Write(items.to_vec(), sync)
}

pub(super) fn fill(keyspace: &'static str, from: u32, count: u32, len: usize) -> Step {
    Fill {
        keyspace,
        from,
        count,
        len,
    }
}

pub fn all() -> Vec<History> {
    vec![
        create_and_write(),
        batches_across_keyspaces(),
        drop_and_create_again(),
        log_rotation(),
        memtable_rotation(),
        flush_of_one_half(),
        compaction(),
        medium_values_and_deep_levels(),
        manifest_roll(),
        clean_reopen(),
        double_crash(),
        background_sync(),
        snapshot_held(),
        readers(),
        checkpoints(),
        readers_beside(),
        log_files_used_again(),
        replay_beyond_memory(),
        objects(),
        packs(),
    ]
}

fn create_and_write() -> History {
    history(
        "create and write",
        vec![
            Keyspace("a"),
            write(&[("a", 1, Some(10))], false),
            write(&[("a", 2, Some(200))], true),
            write(&[("a", 1, None)], false),
            Keyspace("b"),
            write(&[("b", 1, Some(0))], false),
            Sync,
            write(&[("b", 1, Some(700))], false),
            write(&[("a", 3, Some(3000))], false),
        ],
    )
}

fn batches_across_keyspaces() -> History {
    let batch = |n: u32, sync| {
        write(
            &[
                ("a", n, Some(20)),
                ("b", n, Some(600)),
                ("c", 7, Some(3)),
                ("a", n + 1, None),
            ],
            sync,
        )
    };
    history(
        "batches across keyspaces",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            Keyspace("c"),
            batch(1, false),
            batch(2, true),
            batch(3, false),
            Flush,
            batch(3, false),
            batch(1, false),
            Sync,
            batch(2, false),
            batch(4, false),
        ],
    )
}

fn drop_and_create_again() -> History {
    history(
        "drop and create again",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(&[("a", 1, Some(10)), ("b", 1, Some(10))], false),
            Flush,
            write(&[("a", 2, Some(10)), ("b", 2, Some(10))], false),
            Drop("a"),
            RunIdle,
            write(&[("b", 3, Some(10))], false),
            Keyspace("a"),
            write(&[("a", 4, Some(10)), ("b", 4, Some(10))], false),
            Flush,
            Drop("b"),
            write(&[("a", 5, Some(10))], false),
            Kill,
            write(&[("a", 6, Some(10))], false),
            Keyspace("b"),
            Drop("a"),
        ],
    )
}

fn log_rotation() -> History {
    let mut history = history(
        "log rotation",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(&[("b", 1, Some(10))], false),
            fill("a", 0, 6, 900),
            write(&[("a", 1, None), ("b", 2, Some(40))], true),
            fill("a", 4, 6, 900),
            // Larger than a log file.
            write(&[("a", 20, Some(6000)), ("b", 3, Some(10))], false),
            fill("a", 10, 6, 900),
            RunIdle,
            fill("a", 0, 8, 900),
            Flush,
            fill("a", 3, 3, 900),
        ],
    );
    history.max_log_size = 16 << 10;
    history
}

/// Files of 4 KiB: flushes free some, and the next ones are made of them.
fn log_files_used_again() -> History {
    let round = |from| {
        vec![
            fill("a", from, 9, 700),
            write(&[("a", from, None), ("a", from + 1, Some(30))], true),
            Flush,
            fill("a", from + 4, 9, 700),
            Settle,
        ]
    };
    let mut steps = vec![Keyspace("a")];
    steps.extend(round(0));
    steps.extend(round(3));
    // Shorter frames than those that lie behind them.
    steps.extend([
        fill("a", 5, 3, 20),
        Sync,
        fill("a", 6, 9, 500),
        Flush,
        fill("a", 1, 12, 600),
    ]);
    steps.push(PowerLossRandom);
    steps.extend([fill("a", 9, 2, 40), Reopen, fill("a", 2, 6, 900)]);
    let mut history = history("log files used again", steps);
    history.max_log_size = 16 << 10;
    history
}

fn memtable_rotation() -> History {
    let mut history = history(
        "memtable rotation",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            fill("a", 0, 5, 3900),
            write(&[("a", 2, None), ("b", 2, Some(30))], true),
            RunOne,
            fill("a", 3, 5, 3900),
            RunIdle,
            write(&[("b", 3, Some(30))], false),
            fill("a", 5, 3, 3900),
        ],
    );
    history.max_log_size = 64 << 10;
    history
}

fn flush_of_one_half() -> History {
    history(
        "flush of one half of a batch",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(&[("a", 1, Some(10)), ("b", 1, Some(10))], false),
            write(&[("a", 2, Some(10)), ("b", 2, Some(10))], false),
            Compact("a"),
            write(&[("a", 1, None), ("b", 3, Some(10))], false),
            write(&[("a", 3, Some(900)), ("b", 1, None)], false),
            Compact("b"),
            Kill,
            write(&[("a", 4, Some(10)), ("b", 4, Some(10))], false),
            Compact("a"),
            write(&[("a", 5, Some(10)), ("b", 5, Some(10))], false),
        ],
    )
}

fn compaction() -> History {
    let round = |n: u32| {
        vec![
            write(
                &[
                    ("a", n, Some(40)),
                    ("a", 50, Some(600)),
                    ("b", n, Some(10)),
                    ("a", n.wrapping_sub(1) % 50, None),
                ],
                false,
            ),
            Flush,
        ]
    };
    let mut steps = vec![Keyspace("a"), Keyspace("b")];
    (1..=4).for_each(|n| steps.extend(round(n)));
    steps.extend([RunOne, RunOne, RunOne, Settle]);
    steps.extend(round(9));
    steps.extend([write(&[("a", 50, None)], false), Compact("a"), Compact("b")]);
    history("compaction", steps)
}

fn medium_values_and_deep_levels() -> History {
    let mut history = history(
        "medium values and deep levels",
        vec![
            Keyspace("a"),
            write(
                &[("a", 1, Some(9000)), ("a", 2, Some(9000)), ("a", 3, Some(9000))],
                false,
            ),
            Compact("a"),
            write(
                &[("a", 4, Some(9000)), ("a", 5, Some(12_000)), ("a", 6, Some(100))],
                false,
            ),
            Compact("a"),
            write(
                &[("a", 2, None), ("a", 7, Some(40_000)), ("a", 8, Some(20_000))],
                true,
            ),
            Flush,
            write(&[("a", 9, Some(40_000)), ("a", 1, None)], false),
            Flush,
            write(&[("a", 10, Some(40_000)), ("a", 3, Some(10))], false),
            Flush,
            write(&[("a", 11, Some(40_000)), ("a", 4, None)], false),
            Flush,
            Settle,
            Compact("a"),
        ],
    );
    history.write_buffer_size = 48 << 10;
    history.max_file_size = 16 << 10;
    history
}

fn manifest_roll() -> History {
    let mut steps = vec![Keyspace("a")];
    for n in 0..7 {
        steps.extend([
            write(&[("a", n, Some(300)), ("a", 3, Some(10))], n % 3 == 0),
            Flush,
            RunOne,
        ]);
    }
    steps.extend([
        Keyspace("b"),
        Drop("a"),
        RunIdle,
        write(&[("b", 1, Some(1))], false),
    ]);
    let mut history = history("manifest roll", steps);
    history.manifest_roll_size = 1 << 10;
    history
}

fn clean_reopen() -> History {
    history(
        "clean close and reopen",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(&[("a", 1, Some(10)), ("b", 1, Some(10))], false),
            Reopen,
            write(&[("a", 2, Some(10)), ("b", 2, Some(10))], false),
            Flush,
            write(&[("a", 3, Some(10)), ("b", 3, Some(10))], false),
            Reopen,
            Reopen,
            write(&[("b", 3, None)], false),
            DropAndReopen,
            write(&[("a", 4, Some(1000))], true),
        ],
    )
}

fn double_crash() -> History {
    let mut history = history(
        "crash, recovery, crash again",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(&[("a", 1, Some(10)), ("b", 1, Some(10))], true),
            fill("a", 10, 6, 900),
            Kill,
            write(&[("a", 2, Some(10)), ("b", 2, Some(10))], false),
            Kill,
            fill("b", 10, 6, 900),
            write(&[("a", 3, Some(10))], true),
            write(&[("a", 4, Some(10))], false),
            PowerLoss,
            write(&[("a", 5, Some(10)), ("b", 4, Some(10))], false),
            PowerLossRandom,
            write(&[("a", 6, Some(10)), ("b", 4, None)], false),
            Compact("b"),
            write(&[("a", 7, Some(10)), ("b", 5, None)], false),
            Kill,
        ],
    );
    history.max_log_size = 16 << 10;
    history
}

fn background_sync() -> History {
    let mut history = history(
        "background sync",
        vec![
            Keyspace("a"),
            write(&[("a", 1, Some(10))], false),
            Advance(60),
            write(&[("a", 2, Some(10))], false),
            write(&[("a", 3, Some(2000))], false),
            Advance(60),
            Advance(60),
            write(&[("a", 4, Some(10))], true),
            write(&[("a", 5, Some(10))], false),
            Advance(60),
        ],
    );
    history.sync_interval_ms = Some(50);
    history
}

fn snapshot_held() -> History {
    history(
        "snapshot held",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(
                &[("a", 1, Some(10)), ("a", 2, Some(900)), ("b", 1, Some(5))],
                false,
            ),
            TakeSnapshot,
            write(&[("a", 1, None), ("a", 2, Some(10))], false),
            Flush,
            TakeSnapshot,
            write(&[("a", 1, Some(20)), ("a", 2, None), ("b", 1, None)], false),
            Compact("a"),
            CheckSnapshot,
            Compact("a"),
            write(&[("a", 2, Some(30))], false),
            CheckSnapshot,
            Compact("a"),
            Drop("b"),
        ],
    )
}

fn readers() -> History {
    let mut history = history(
        "readers, by read calls",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(
                &[
                    ("a", 1, Some(10)),
                    ("a", 2, Some(900)),
                    ("a", 3, Some(9000)),
                    ("b", 1, Some(300)),
                ],
                false,
            ),
            Flush,
            Look,
            TakeSnapshot,
            write(&[("a", 1, Some(700)), ("a", 2, None), ("b", 2, Some(30))], false),
            Compact("a"),
            Look,
            CheckSnapshot,
            Reopen,
            Look,
            write(&[("a", 4, Some(20)), ("a", 3, None)], true),
            Flush,
            DropAndReopen,
            Look,
        ],
    );
    history.read_calls = true;
    history
}

fn amidst(at: u64, items: &[Item]) -> Amidst {
    Amidst {
        at,
        items: items.to_vec(),
        drop: None,
        no_links: false,
    }
}

fn checkpoints() -> History {
    let mut history = history(
        "checkpoints",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(
                &[("a", 1, Some(10)), ("a", 2, Some(900)), ("b", 1, Some(300))],
                false,
            ),
            Flush,
            fill("a", 10, 6, 900),
            Checkpoint(amidst(6, &[("a", 1, None), ("b", 2, Some(10))])),
            Kill,
            write(&[("a", 3, Some(10)), ("b", 1, None)], true),
            write(&[("a", 4, Some(10))], false),
            Checkpoint(Amidst {
                no_links: true,
                ..amidst(9, &[("a", 5, Some(900)), ("b", 3, Some(10))])
            }),
            write(&[("b", 4, Some(10))], false),
            PowerLoss,
            Checkpoint(amidst(100, &[("a", 1, Some(10))])),
            Reopen,
        ],
    );
    history.max_log_size = 16 << 10;
    history
}

fn readers_beside() -> History {
    let mut history = history(
        "readers beside the writer",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            Keyspace("c"),
            write(
                &[("a", 1, Some(10)), ("b", 1, Some(300)), ("c", 1, Some(10))],
                false,
            ),
            Flush,
            fill("a", 10, 5, 900),
            Beside(amidst(4, &[("a", 1, None), ("b", 2, Some(10))])),
            write(&[("a", 2, Some(10)), ("b", 2, None)], false),
            Beside(Amidst {
                drop: Some("c"),
                ..amidst(9, &[("a", 5, Some(900)), ("c", 3, Some(10))])
            }),
            write(&[("b", 4, Some(10))], false),
            Beside(amidst(15, &[("a", 4, Some(900)), ("b", 4, Some(10))])),
            Beside(amidst(21, &[("a", 1, Some(10))])),
        ],
    );
    history.max_log_size = 16 << 10;
    history
}

/// The log holds more than a replay keeps: recovery flushes in the middle, and is crashed there, too.
fn replay_beyond_memory() -> History {
    history(
        "replay beyond memory",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(&[("a", 1, Some(10)), ("b", 1, Some(10))], true),
            // Three memtables are full, and one is not.
            fill("a", 0, 30, 900),
            write(&[("a", 3, None), ("b", 2, Some(300))], true),
            fill("a", 15, 30, 900),
            write(&[("a", 1, None), ("b", 3, Some(300))], false),
            Kill,
            write(&[("a", 2, None), ("b", 1, None)], false),
            PowerLoss,
            Look,
            write(&[("a", 4, Some(10)), ("b", 4, Some(10))], false),
        ],
    )
}

/// Large values beside small ones, equal ones among them; a pack that is continued.
fn objects() -> History {
    let mut history = history(
        "objects",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(
                &[("a", 1, Some(700)), ("b", 1, Some(10)), ("a", 2, Some(30))],
                false,
            ),
            // A value that is there already: its object may not be durable.
            write(&[("b", 2, Some(700))], true),
            write(&[("a", 3, Some(900))], false),
            Sync,
            write(&[("b", 3, Some(300))], false),
            Kill,
            write(&[("a", 1, Some(700)), ("a", 4, Some(500))], false),
            Compact("a"),
            write(&[("a", 5, Some(600)), ("b", 1, None)], false),
            PowerLossRandom,
            write(&[("a", 6, Some(400))], true),
            write(&[("b", 4, Some(400))], false),
        ],
    );
    history.objects = true;
    history
}

/// Packs are full and get sealed; streams write packs of their own.
fn packs() -> History {
    let mut history = history(
        "packs",
        vec![
            Keyspace("a"),
            Keyspace("c"),
            write(&[("a", 1, Some(2800)), ("c", 1, Some(2800))], false),
            RunIdle,
            Stream("a", 2, 6000, true),
            Stream("c", 2, 6000, false),
            write(&[("a", 3, Some(2900))], true),
            Kill,
            write(&[("c", 3, Some(2700)), ("c", 4, Some(1500))], false),
            Flush,
            Checkpoint(amidst(7, &[("a", 4, Some(900)), ("c", 5, Some(2000))])),
            Stream("c", 6, 900, true),
        ],
    );
    history.log_medium = LogMedium::Plain;
    history.objects = true;
    history
}
