//! Scripts about large values, one for each thing that is done with packs. Values of up to three steps in a row that have the same length
//! are equal; of each four steps' values, those of every second four do not compress.

use packstone::LogMedium;

use super::Step::*;
use super::histories::{history, write};
use super::{History, Item, Step};

fn objects(name: &str, steps: Vec<Step>) -> History {
    History {
        objects: true,
        ..history(name, steps)
    }
}

/// Keys of "a" from this number on get values of these lengths.
fn values(from: u32, lens: &[usize]) -> Step {
    let item = |(key, len): (u32, &usize)| -> Item { ("a", key, Some(*len)) };
    Write((from..).zip(lens).map(item).collect(), false)
}

pub fn all() -> Vec<History> {
    vec![
        puts(),
        batches(),
        streams(),
        streams_that_come_to_nothing(),
        seals(),
        collections(),
        collections_of_long_records(),
        collections_beside_a_snapshot(),
        collections_unasked(),
        reopenings(),
        reopenings_of_full_packs(),
    ]
}

/// The first pack, and what goes on in it; values that are there already.
fn puts() -> History {
    objects(
        "puts",
        vec![
            Keyspace("a"),
            write(&[("a", 1, Some(700))], false),
            write(&[("a", 2, Some(900))], true),
            write(&[("a", 3, Some(700))], true),
            write(&[("a", 4, Some(800))], false),
            Sync,
            write(&[("a", 1, Some(500))], false),
        ],
    )
}

fn batches() -> History {
    let batch = |n: u32, sync| {
        write(
            &[
                ("a", n, Some(700)),
                ("b", n + 2, Some(700)),
                ("b", n, Some(10)),
                ("b", n + 1, Some(300)),
                ("a", n + 1, Some(30)),
                ("a", n - 1, None),
            ],
            sync,
        )
    };
    History {
        log_medium: LogMedium::Plain,
        ..objects(
            "batches",
            vec![
                Keyspace("a"),
                Keyspace("b"),
                batch(1, false),
                batch(2, true),
                batch(3, false),
                Flush,
                batch(2, false),
                Compact("b"),
                batch(4, true),
                batch(5, false),
            ],
        )
    }
}

/// Each longer than a pack, and so a pack of its own; of equal ones the second is dropped, unless its keyspace wants it.
fn streams() -> History {
    objects(
        "streams",
        vec![
            Keyspace("a"),
            Keyspace("c"),
            Stream("a", 1, 6000, true),
            PutReader("c", 1, 6000),
            Stream("a", 2, 6000, false),
            PutReader("a", 3, 700),
            PutReader("a", 1, 9000),
            Stream("c", 2, 30, true),
            Flush,
            Stream("a", 4, 5000, false),
        ],
    )
}

fn streams_that_come_to_nothing() -> History {
    objects(
        "streams that come to nothing",
        vec![
            Keyspace("a"),
            GiveUp("a", 1, 6000),
            write(&[("a", 1, Some(700))], false),
            FailingReader("a", 1, 9000),
            FailingReader("a", 2, 600),
            Stream("a", 2, 5000, false),
            GiveUp("a", 2, 5000),
            write(&[("a", 3, Some(800))], true),
            FailingReader("a", 3, 7000),
        ],
    )
}

fn seals() -> History {
    History {
        log_medium: LogMedium::Plain,
        ..objects(
            "seals",
            vec![
                Keyspace("a"),
                write(&[("a", 1, Some(1500)), ("a", 2, Some(1600))], false),
                write(&[("a", 3, Some(1700))], true),
                RunOne,
                values(4, &[2800, 2900, 3000]),
                values(8, &[1900, 1800, 2100, 2200]),
                RunIdle,
                write(&[("a", 1, Some(2700)), ("a", 2, None)], false),
                DropAndReopen,
                write(&[("a", 3, Some(3000))], true),
                Settle,
            ],
        )
    }
}

fn collections() -> History {
    objects(
        "collections",
        vec![
            Keyspace("a"),
            Keyspace("b"),
            write(
                &[("a", 1, Some(1200)), ("a", 2, Some(1300)), ("a", 3, Some(1400))],
                false,
            ),
            write(&[("b", 1, Some(1500)), ("a", 4, Some(1100))], true),
            write(&[("a", 5, Some(1600)), ("b", 2, Some(900))], false),
            write(
                &[
                    ("a", 6, Some(1700)),
                    ("a", 7, Some(1800)),
                    ("a", 8, Some(1900)),
                    ("b", 3, Some(2000)),
                ],
                false,
            ),
            Stream("a", 9, 6000, false),
            write(
                &[
                    ("a", 1, None),
                    ("a", 3, Some(20)),
                    ("a", 7, None),
                    ("b", 3, Some(10)),
                ],
                true,
            ),
            Collect,
            Look,
            write(&[("a", 9, None), ("a", 7, Some(1800))], false),
            Collect,
            write(&[("a", 10, Some(700))], true),
        ],
    )
}

/// Objects that are moved to packs of their own, and others beside them.
fn collections_of_long_records() -> History {
    History {
        pack_size: 256 << 10,
        ..objects(
            "collections of long records",
            vec![
                Keyspace("a"),
                write(&[("a", 1, Some(70_000)), ("a", 2, Some(900))], false),
                write(&[("a", 3, Some(72_000))], true),
                write(&[("a", 4, Some(800)), ("a", 3, None)], true),
                Collect,
                write(&[("a", 2, Some(10))], false),
                Collect,
            ],
        )
    }
}

fn collections_beside_a_snapshot() -> History {
    objects(
        "collections beside a snapshot",
        vec![
            Keyspace("a"),
            values(1, &[1900, 1800, 1700, 1600]),
            values(5, &[1500, 1400, 1300, 1200]),
            TakeSnapshot,
            write(&[("a", 1, None), ("a", 3, Some(30)), ("a", 5, Some(1100))], false),
            Collect,
            CheckSnapshot,
            Collect,
            write(&[("a", 1, Some(600))], false),
        ],
    )
}

/// Each step of a collection is a job, between which others run.
fn collections_unasked() -> History {
    let mut steps = vec![Keyspace("a")];
    for round in 0..6 {
        // Each pack has a value that stays.
        steps.push(values(10 + round, &[1100 + 100 * round as usize]));
        let longer = |len: usize| len + 100 * round as usize;
        steps.extend([values(1, &[1900, 1300, 1600].map(longer)), Flush, RunOne]);
    }
    steps.push(Compact("a"));
    steps.extend(std::iter::repeat_n(RunOne, 4));
    steps.push(write(&[("a", 1, Some(1900)), ("a", 2, None)], true));
    steps.extend([RunOne, RunOne, Settle]);
    objects("collections unasked", steps)
}

/// The active pack has a torn tail, or records that no sync has covered.
fn reopenings() -> History {
    objects(
        "reopenings",
        vec![
            Keyspace("a"),
            Keyspace("c"),
            write(&[("a", 1, Some(900))], true),
            write(&[("a", 2, Some(800)), ("c", 1, Some(700))], false),
            PowerLossRandom,
            write(&[("a", 3, Some(600))], true),
            write(&[("a", 4, Some(500))], false),
            Kill,
            write(&[("a", 5, Some(400))], false),
            PowerLossRandom,
            write(&[("c", 2, Some(300)), ("a", 1, None)], false),
            PowerLoss,
            Look,
        ],
    )
}

/// Packs that are full, and nobody has sealed them.
fn reopenings_of_full_packs() -> History {
    History {
        log_medium: LogMedium::Plain,
        ..objects(
            "reopenings of full packs",
            vec![
                Keyspace("a"),
                values(1, &[3000, 2900, 2800]),
                values(5, &[2000, 2100]),
                values(9, &[3500, 2600]),
                Kill,
                write(&[("a", 1, Some(1000))], true),
                values(2, &[3100, 2700]),
                PowerLossRandom,
                RunIdle,
                Look,
            ],
        )
    }
}
