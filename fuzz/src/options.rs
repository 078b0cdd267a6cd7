//! Everything that stands for options: there are no option files, so it is the options that the manifest stores with a
//! keyspace, and the command line of `db_bench`, which is how options are written by people.
//!
//! Stored options that decode are options that a keyspace can have: they encode to what decodes to them again, a keyspace is
//! created with them, keeps its data, and has them after the next open. A command line ends in settings that the engine
//! takes, or in a refusal.

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::fuzzing::{encode_keyspace_options, keyspace_options};
use packstone::{Compression, KeyspaceOptions, Options, Order};

use crate::flags;
use crate::support::{Input, put_varint};

const DIR: &str = "/db";

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 4 {
        0 => stored(input.rest(), false),
        1 => written(&mut input),
        2 => stored(&fields(&mut input), true),
        _ => command_line(&mut input),
    }
}

/// Tags and numbers as the input says, mostly such that a release could have written them.
fn fields(input: &mut Input<'_>) -> Vec<u8> {
    let count = input.u8() % 8;
    let mut out = vec![count];
    for n in 0..count {
        let how = input.u8();
        put_varint(
            &mut out,
            if how & 7 == 7 {
                input.u64()
            } else {
                u64::from(how & 7) + u64::from(n & 1)
            },
        );
        let value = match how >> 3 & 7 {
            0 => 0,
            1 => 1,
            2 => 63 + u64::from(input.u8() % 3),
            3 => (1 << 20) - 1 + u64::from(input.u8() % 3),
            4 => input.u64(),
            _ => u64::from(input.u16()),
        };
        put_varint(&mut out, value);
    }
    out.extend_from_slice(input.rest());
    out
}

fn stored(bytes: &[u8], use_them: bool) {
    let Some((options, len)) = keyspace_options(bytes) else {
        return;
    };
    let encoded = encode_keyspace_options(&options);
    assert_eq!(keyspace_options(&encoded), Some((options.clone(), encoded.len())));
    // What is left out has its default; but nothing can be said in two ways.
    assert!(len <= encoded.len());
    assert!(len < encoded.len() || bytes[..len] == encoded[..], "{bytes:?}");
    for cut in 0..len {
        assert_eq!(keyspace_options(&bytes[..cut]), None);
    }
    if use_them {
        live(&options);
    }
}

/// Options by the builder: those that are allowed are stored and found again.
fn written(input: &mut Input<'_>) {
    let how = input.u8();
    let options = KeyspaceOptions::new()
        .compression(if how & 1 != 0 {
            Compression::Lz4
        } else {
            Compression::None
        })
        .order(if how & 128 != 0 { Order::Hash } else { Order::Key })
        .filter(how & 2 != 0)
        .value_block_size(input.u64() as u32 >> (how >> 2 & 31))
        .key_block_size(input.u64() as u32 >> (how >> 2 & 31))
        .partition_size(input.u64() as u32 >> (how >> 2 & 31));
    let encoded = encode_keyspace_options(&options);
    if let Some((found, len)) = keyspace_options(&encoded) {
        assert_eq!((&found, len), (&options, encoded.len()));
        live(&options);
    } else {
        let (sim, db) = open();
        assert!(db.keyspace_with("k", options).is_err());
        drop(db);
        sim.crash(CrashStyle::KeepAll);
    }
}

fn open() -> (SimEnv, packstone::Db) {
    let sim = SimEnv::new(1);
    let db = Options::new().env(sim.env()).open(DIR).unwrap();
    (sim, db)
}

/// A keyspace lives with these options.
fn live(options: &KeyspaceOptions) {
    let (sim, db) = open();
    let keyspace = db.keyspace_with("k", options.clone()).unwrap();
    for n in 0..30u8 {
        keyspace.put([n], vec![n; usize::from(n) * 7]).unwrap();
    }
    db.flush().unwrap();
    drop(keyspace);
    db.close().unwrap();
    let db = Options::new().env(sim.env()).open(DIR).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    assert_eq!(keyspace.options(), options);
    for n in 0..30u8 {
        assert_eq!(keyspace.get([n]).unwrap().unwrap(), vec![n; usize::from(n) * 7]);
    }
    drop((keyspace, db));
    // Queued jobs hold the machine, and the machine holds them.
    sim.crash(CrashStyle::KeepAll);
}

/// Words between line feeds. A number in front of a word stands for a flag that there is, so that the fuzzer need not guess
/// their names.
fn command_line(input: &mut Input<'_>) {
    let known: Vec<&str> = flags::table::GROUPS
        .iter()
        .flat_map(|group| group.flags)
        .map(|flag| flag.name)
        .collect();
    let words: Vec<String> = input
        .rest()
        .split(|byte| *byte == b'\n')
        .map(|word| match word.split_first() {
            Some((n @ 128.., rest)) => {
                let name = known[usize::from(n - 128) % known.len()];
                format!("--{name}{}", String::from_utf8_lossy(rest))
            }
            _ => String::from_utf8_lossy(word).into_owned(),
        })
        .collect();
    let Ok(line) = flags::dialect::split(&words) else {
        return;
    };
    for (flag, value) in &line.set {
        // A value in its plain form is a value.
        let word = format!("--{}={value}", flag.name);
        let again = flags::dialect::split(&[word]).unwrap();
        assert!(
            again
                .set
                .iter()
                .all(|(other, plain)| other.name == flag.name && plain == value)
        );
    }
    let Ok(config) = flags::config::Config::new(line) else {
        return;
    };
    if config.readonly {
        return;
    }
    let sim = SimEnv::new(1);
    let db = config.options().env(sim.env()).open(DIR).unwrap();
    db.keyspace_with("k", config.keyspace_options()).unwrap();
    drop(db);
    sim.crash(CrashStyle::KeepAll);
}
