//! The tool `sst-dump`, in this process, on the simulated disk: every command, on a database whose files were changed and on
//! files of any bytes, with flags and words that the input chooses.
//!
//! It ends, with 0, 1 or 2, and in JSON with a last line that says so too. It changes nothing. Where `verify` finds nothing
//! wrong with a database, the database opens and can be read to the end.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::{Options, Order};
use sst_dump::{COMMANDS, World};

use crate::open_database::{Files, sample};
use crate::packs;
use crate::support::{Input, repair};

const DIR: &str = "/db";
/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    match flags & 3 {
        0 => any_file(&mut input, flags),
        1 => any_words(&mut input),
        _ => database(&mut input, flags),
    }
}

/// What a run of the tool gave.
struct Said {
    status: u8,
    out: Vec<u8>,
}

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dump(sim: &SimEnv, words: &[String]) -> Said {
    let (out, err) = (Sink::default(), Sink::default());
    let world = World {
        fs: sim.env().fs,
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
    };
    let status = sst_dump::run(words.iter().map(OsString::from), world);
    assert!(status <= 2, "{words:?}: {status}");
    let out = out.0.take();
    // The content of an object is anything.
    let is_content = words.first().is_some_and(|word| word == "extract");
    let text = match std::str::from_utf8(&out) {
        Err(_) if is_content => "",
        text => text.expect("text"),
    };
    // An answer, or a complaint, or both.
    assert!(
        status == 0 || !out.is_empty() || !err.0.take().is_empty(),
        "{words:?}: silent {status}"
    );
    if words.iter().any(|word| word == "--json") && text.ends_with("\"record\":\"result\"}\n") {
        assert!(
            text.contains(&format!("{{\"status\":{status},")),
            "{words:?}: {text}"
        );
    }
    Said { status, out }
}

/// A command with flags that the input chooses.
fn words(input: &mut Input<'_>, paths: &[String]) -> Vec<String> {
    let (command, flags) = (input.u8(), input.u16());
    let command = COMMANDS[usize::from(command) % (COMMANDS.len() - 1)];
    let key = |input: &mut Input<'_>| match input.u8() {
        0 => String::new(),
        n => format!("key {:03}", n % 64),
    };
    let mut words = vec![command.to_owned()];
    if command == "find" {
        words.push(key(input));
    }
    words.extend_from_slice(paths);
    let mut flag = |bit: u16, word: String| {
        if flags >> bit & 1 != 0 {
            words.push(word);
        }
    };
    flag(0, "--json".to_owned());
    flag(1, "--output_hex".to_owned());
    match command {
        "scan" | "check" => {
            flag(2, "--show_properties".to_owned());
            flag(3, "--verify_checksum".to_owned());
            flag(4, format!("--read_num={}", flags >> 12));
            flag(5, format!("--to={}", key(input)));
            match flags >> 6 & 3 {
                1 => words.push(format!("--from={}", key(input))),
                2 => words.push(format!("--prefix={}", key(input))),
                3 => words.extend(["--input_key_hex".to_owned(), format!("--from={flags:x}")]),
                _ => {}
            }
        }
        "verify" => words.push(format!("--threads={}", 1 + (flags >> 2 & 1))),
        // The default asks a hundred thousand times.
        "filter" => words.push(format!("--probes={}", flags >> 2 & 255)),
        "layout" => flag(2, "-v".to_owned()),
        "recompress" => {
            flag(2, "--compression_types=kLZ4Compression".to_owned());
            flag(3, format!("--block_size={}", 64 + (flags >> 4)));
        }
        "extract" => words.push(format!("--name={}", key(input))),
        "find" => flag(2, format!("--read_num={}", flags >> 8)),
        _ => {}
    }
    words
}

/// A file of any bytes under a name that says something, or nothing.
fn any_file(input: &mut Input<'_>, flags: u8) {
    const NAMES: [&str; 7] = [
        "f",
        "000001.sst",
        "000001.log",
        "MANIFEST-000001",
        "CURRENT",
        "LOCK",
        "f.pack",
    ];
    let name = format!("{DIR}/{}", NAMES[usize::from(flags >> 2 & 7) % NAMES.len()]);
    let target = if flags & 32 != 0 {
        DIR.to_owned()
    } else {
        name.clone()
    };
    let words = words(input, &[target]);
    let bytes = match flags & 128 {
        0 => {
            let mut bytes = input.rest().to_vec();
            if flags & 64 != 0 {
                repair(&name, &mut bytes);
            }
            bytes
        }
        _ => archive(input, flags),
    };
    let sim = SimEnv::new(1);
    sim.write_file(&name, &bytes).unwrap();
    dump(&sim, &words);
    assert_eq!(sim.read_file(&name).unwrap(), bytes);
}

/// An archive with changes.
fn archive(input: &mut Input<'_>, flags: u8) -> Vec<u8> {
    let mut bytes = packs::sample().to_vec();
    while !input.is_empty() {
        input.patch(&mut bytes);
    }
    if flags & 64 != 0 {
        packs::repair_pack(&mut bytes);
    }
    bytes
}

/// Words of the input's choice, one a line, on an unchanged database.
fn any_words(input: &mut Input<'_>) {
    let sim = restore(&sample(false, false, false).files);
    let words: Vec<String> = input
        .rest()
        .split(|byte| *byte == b'\n')
        .map(|word| String::from_utf8_lossy(word).replace('@', DIR))
        // These two create files on the machine; and a filter can be asked for a very long time.
        .filter(|word| !word.contains("output") && !word.contains("html") && !word.contains("probes"))
        .collect();
    if words.iter().any(|word| word.contains("filter")) {
        return;
    }
    let said = dump(&sim, &words);
    assert!(said.status != 1, "{words:?}: damage in a whole database");
    sim.crash(CrashStyle::KeepAll);
}

fn restore(files: &Files) -> SimEnv {
    let sim = SimEnv::new(1);
    for (name, bytes) in files {
        sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
    }
    sim
}

fn database(input: &mut Input<'_>, flags: u8) {
    let sample = sample(flags & 4 != 0, flags & 32 != 0, flags & 64 != 0);
    let repaired = flags & 8 != 0;
    let names: Vec<String> = sample.files.keys().cloned().collect();
    let target = match flags & 16 != 0 {
        true => DIR.to_owned(),
        false => format!("{DIR}/{}", names[usize::from(input.u8()) % names.len()]),
    };
    let words = words(input, &[target]);
    let mut files = sample.files.clone();
    while !input.is_empty() {
        let name = &names[usize::from(input.u8()) % names.len()];
        if input.0.first() == Some(&0xff) {
            files.remove(name);
            input.u8();
            continue;
        }
        let Some(bytes) = files.get_mut(name) else {
            continue;
        };
        input.patch(bytes);
        if repaired {
            repair(name, bytes);
        }
    }
    let sim = restore(&files);
    let said = dump(&sim, &words);
    assert!(
        files != sample.files || said.status != 1,
        "{words:?}: damage in a whole database: {}",
        String::from_utf8_lossy(&said.out)
    );
    let verified = dump(
        &sim,
        &["verify".to_owned(), "--threads=1".to_owned(), DIR.to_owned()],
    );
    let now: usize = files
        .iter()
        .filter(|(name, bytes)| sim.read_file(Path::new(DIR).join(name)).unwrap() == **bytes)
        .count();
    assert!(
        now == files.len() && sim.list().len() == now,
        "the tool has changed something"
    );
    // Without CURRENT and without a manifest it is no database, and each file has been taken alone.
    let is_database = |name: &String| name == "CURRENT" || name.starts_with("MANIFEST");
    if verified.status == 0 && files.keys().any(is_database) {
        read_all(&sim);
    }
    sim.crash(CrashStyle::KeepAll);
}

/// The engine finds nothing wrong either.
fn read_all(sim: &SimEnv) {
    let db = Options::new().env(sim.env()).open_read_only(DIR);
    let db = db.unwrap_or_else(|error| panic!("verified, and does not open: {error}"));
    for name in db.keyspaces() {
        let keyspace = db.keyspace(&name).unwrap();
        let refuse = |error| panic!("verified, and can't be read: {error}");
        if keyspace.options().get_order() == Order::Hash {
            // The sample's keys: there is no other way to them.
            for n in 0..60 {
                keyspace.get(format!("key {n:03}")).unwrap_or_else(refuse);
            }
            continue;
        }
        for entry in keyspace.iter() {
            entry.unwrap_or_else(|error| panic!("verified, and can't be read: {error}"));
        }
    }
}
