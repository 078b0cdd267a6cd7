//! The program from outside: what it prints, its exit status, what it leaves on the disk.
#![allow(clippy::unwrap_used)] // a failure fails the test

#[path = "tool/common.rs"]
mod common;
#[path = "tool/damage.rs"]
mod damage;
#[path = "tool/extracting.rs"]
mod extracting;
#[path = "tool/interrupted.rs"]
mod interrupted;

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use common::{Place, Ran, noise};
use serde_json::Value;

#[test]
fn an_append_adds_names_and_replaces_those_that_are_there() {
    let place = Place::new();
    place.write("t/a", b"first");
    place.write("t/b", b"second");
    let made = place.json("create x.pack t --json");
    assert_eq!(made["names_added"], 3);
    assert_eq!(made["objects_stored"], 3, "the directory is the empty object");
    place.write("t/a", b"another first");
    place.write("t/c", b"second");
    let grown = place.json("append x.pack t/a t/c --json");
    assert_eq!(
        (
            &grown["names_before"],
            &grown["names_added"],
            &grown["names_replaced"]
        ),
        (&3.into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&grown["objects_stored"], &grown["duplicates"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        grown["added_at"], made["sealed_bytes"],
        "old bytes stay where they are"
    );
    let len = fs::metadata(place.path("x.pack")).unwrap().len();
    assert_eq!(grown["sealed_bytes"], len);
    assert_eq!(place.good("list x.pack").out, "t\nt/a\nt/b\nt/c\n");
    assert_eq!(place.good("cat x.pack t/a").out, "another first");
    assert_eq!(place.good("list x.pack t/b").out, "t/b\n");
    let text = place.good("append x.pack t/b").out;
    assert!(text.contains("4 before, 0 added, 1 replaced"), "{text}");
    let info = place.json("info x.pack --json");
    assert_eq!(
        (&info["names"], &info["segments"], &info["torn_bytes"]),
        (&4.into(), &3.into(), &0.into())
    );
    place.good("verify x.pack");
}

#[test]
fn equal_files_with_one_identity_give_equal_bytes() {
    let place = Place::new();
    let identity = "000102030405060708090a0b0c0d0e0f";
    for tree in ["one", "two"] {
        for i in 0..30 {
            place.write(
                &format!("{tree}/dir/{i}"),
                format!("content of {i} ").repeat(i).as_bytes(),
            );
        }
        let archive = format!("create {tree}.pack -C {tree} . --mtime -5 --identity {identity}");
        place.good(&archive);
    }
    let [one, two] = ["one.pack", "two.pack"].map(|name| fs::read(place.path(name)).unwrap());
    assert!(one == two);
    assert!(place.good("info one.pack").out.contains(identity));
    assert_eq!(place.json("list one.pack dir/7 --json")["mtime"], -5);
    // Another time is another archive.
    place.good(&format!(
        "create three.pack -C one . --mtime 5 --identity {identity}"
    ));
    assert!(fs::read(place.path("three.pack")).unwrap() != one);
}

#[test]
fn compression_is_a_choice() {
    let place = Place::new();
    place.write("zeros", &vec![0; 1 << 20]);
    let compressed = place.json("create a.pack zeros --json --chunk-size 1M");
    let raw = place.json("create b.pack zeros --json --no-compression");
    assert!(compressed["sealed_bytes"].as_u64().unwrap() < 100_000);
    assert!(raw["sealed_bytes"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn standard_input_is_one_object() {
    let place = Place::new();
    let content = noise(300_000);
    let ran = place.run_with("create x.pack - --name ./dumps/db.sql", &content);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert_eq!(place.good("list x.pack").out, "dumps/db.sql\n");
    assert_eq!(place.good("cat x.pack dumps/db.sql").bytes, content);
    let long = place.good("list -l x.pack").out;
    assert!(long.starts_with("-rw-r--r--       300000 20"), "{long}");
}

#[test]
fn an_archive_does_not_hold_itself() {
    let place = Place::new();
    place.write("t/a", b"x");
    place.write("t/x.pack.not", b"y");
    place.good("create t/x.pack t");
    assert_eq!(place.good("list t/x.pack").out, "t\nt/a\nt/x.pack.not\n");
    fs::hard_link(place.path("t/x.pack"), place.path("t/link")).unwrap();
    place.good("append t/x.pack t t/x.pack");
    assert_eq!(place.good("list t/x.pack").out, "t\nt/a\nt/x.pack.not\n");
}

#[test]
fn meta_data_is_listed() {
    let place = Place::new();
    place.write("a", b"12345");
    let time = UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 7);
    let file = fs::File::options().write(true).open(place.path("a")).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    place.set_mode("a", 0o640);
    place.good("create x.pack a");
    let id = packstone::pack::ObjectId::of(b"12345").to_string();
    let long = place.good("list --long x.pack").out;
    let object = place.json("list --json x.pack");
    assert_eq!(
        (&object["name"], &object["len"], &object["id"]),
        (&"a".into(), &5.into(), &id.as_str().into())
    );
    assert_eq!(object["kind"], "file");
    assert_eq!(
        (&object["mtime"], &object["mtime_ns"]),
        (&1_000_000_000.into(), &7.into())
    );
    if cfg!(unix) {
        assert_eq!(
            long,
            format!("-rw-r-----            5 2001-09-09T01:46:40Z {id} a\n")
        );
        assert_eq!(object["mode"], "0640");
    }
}

#[test]
#[cfg(target_os = "linux")] // elsewhere file systems refuse some of these
fn odd_names_are_kept_and_harm_no_terminal() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let names: [&[u8]; 5] = [
        b"sp ace",
        b"new\nline",
        b"\xff\xfe",
        b"\x1b[2J",
        "gr\u{fc}n\u{202e}".as_bytes(),
    ];
    fs::create_dir(place.path("t")).unwrap();
    for name in names {
        fs::write(place.path("t").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    place.good("create x.pack -C t .");
    let list = place.good("list x.pack").out;
    assert_eq!(
        list,
        "\\u{1b}[2J\ngr\u{fc}n\\u{202e}\nnew\\nline\nsp ace\n\\xff\\xfe\n"
    );
    let json = place.good("list x.pack --json").out;
    assert!(
        json.bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "{json}"
    );
    let objects: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[1]["name"], "gr\u{fc}n\u{202e}");
    assert_eq!(
        (&objects[4]["name"], &objects[4]["name_hex"]),
        (&Value::Null, &"fffe".into())
    );
    assert_eq!(objects[0]["name_hex"], Value::Null);
    place.good("extract x.pack out");
    for name in names {
        let path = place.path("out").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(path).unwrap(), name);
    }
}

#[test]
#[cfg(unix)]
fn what_is_no_file_is_skipped_and_said() {
    let place = Place::new();
    place.write("t/a", b"x");
    let _socket = std::os::unix::net::UnixListener::bind(place.path("t/b")).unwrap();
    let ran = place.run("create x.pack t");
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        "pack: t/b is skipped: it is a pipe, a socket or a device\n"
    );
    assert_eq!(place.good("list x.pack").out, "t\nt/a\n");
}

#[test]
fn a_database_s_files_are_left_alone() {
    let place = Place::new();
    place.write("a", b"x");
    place.write("db/CURRENT", b"MANIFEST-000001\n");
    place.good("create x.pack a");
    fs::copy(place.path("x.pack"), place.path("db/000007.pack")).unwrap();
    for args in [
        "create db/new.pack a",
        "append db/000007.pack a",
        "recover x.pack db/new.pack",
    ] {
        let ran = place.run(args);
        assert_eq!(ran.status, 2, "{args}");
        assert!(ran.err.contains("database's directory"), "{args}: {}", ran.err);
    }
    assert_eq!(fs::read_dir(place.path("db")).unwrap().count(), 2);
    assert_eq!(
        fs::read(place.path("x.pack")).unwrap(),
        fs::read(place.path("db/000007.pack")).unwrap()
    );
    // What is in it may be looked at.
    place.good("verify db/000007.pack");
}

#[test]
fn wrong_use_has_status_2_and_writes_nothing() {
    let place = Place::new();
    place.write("a", b"x");
    fs::create_dir(place.path("dir.pack")).unwrap();
    place.good("create x.pack a");
    let before = place.names();
    for (args, says) in [
        ("", "Usage"),
        ("create new.pack", "required"),
        ("create x.pack a", "x.pack is not written: it exists already"),
        ("create dir.pack a", "it exists already"),
        ("create missing/new.pack a", "missing/new.pack"),
        ("create new.pack missing", "missing: No such file"),
        ("create new.pack a/../a", "can't have `..`"),
        ("create new.pack ../x", "-C"),
        ("create new.pack -C missing a", "missing/a"),
        ("create new.pack -", "--name"),
        ("create new.pack - - --name x", "once only"),
        ("create new.pack a --name x", "--name"),
        ("create new.pack - --name ../x", "`..`"),
        ("create new.pack a --identity 12", "32 hexadecimal digits"),
        ("create new.pack a --chunk-size 5000", "chunk_size"),
        ("create new.pack a --chunk-size 5G", "invalid"),
        ("append missing.pack a", "missing.pack"),
        (
            "append x.pack a --identity 00000000000000000000000000000000",
            "unexpected argument",
        ),
        ("list missing.pack", "cannot open missing.pack: No such file"),
        ("cat x.pack b", "x.pack has no name b"),
        ("cat x.pack --id 12", "32 hexadecimal digits"),
        ("cat x.pack --id 00000000000000000000000000000000", "no object"),
        ("extract x.pack out b", "no name that begins with b"),
        ("extract x.pack a", "a"),
        ("verify missing.pack", "missing.pack"),
        ("recover missing.pack new.pack", "missing.pack"),
        ("recover x.pack a", "a is not written: it exists already"),
    ] {
        let Ran { out, err, status, .. } = place.run(args);
        assert_eq!((out.as_str(), status), ("", 2), "{args}: {err}");
        assert!(err.contains(says), "{args}: {err}");
        assert_eq!(place.names(), before, "{args}");
    }
}

#[test]
fn help_has_examples() {
    let out = Place::new().good("--help").out;
    assert!(out.contains("Examples:") && out.contains("Exit status"), "{out}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::Read;
    let place = Place::new();
    place.write("a", &noise(4 << 20));
    place.good("create x.pack a");
    let mut child = place.command("cat x.pack a").spawn().unwrap();
    let mut some = [0; 1000];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap(); // and closes it
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    assert!(Path::new(&place.path("x.pack")).exists());
}

#[test]
fn a_pack_of_a_database_is_read_and_not_changed() {
    let place = Place::new();
    let db = packstone::Db::open(place.path("db")).unwrap();
    let files = db.keyspace("files").unwrap();
    files.put_reader("large", &noise(1 << 21)[..]).unwrap();
    drop(files);
    db.close().unwrap();
    let entries = fs::read_dir(place.path("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let pack = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "pack"))
        .max_by_key(|path| fs::metadata(path).unwrap().len());
    let pack = pack.unwrap();
    let bytes = fs::read(&pack).unwrap();
    place.write("t/a", b"contents");
    // Beside the database, and elsewhere: its header has a number.
    fs::copy(&pack, place.path("copy.pack")).unwrap();
    let beside = format!("db/{}", pack.file_name().unwrap().to_str().unwrap());
    for name in [&beside[..], "copy.pack"] {
        place.good(&format!("verify {name}"));
        place.good(&format!("info {name}"));
        let refused = Ran::of(place.command(&format!("append {name} t")).output().unwrap());
        assert_ne!(refused.status, 0, "{name}");
        assert!(refused.err.contains("database"), "{}", refused.err);
    }
    assert_eq!(fs::read(&pack).unwrap(), bytes);
    assert_eq!(fs::read(place.path("copy.pack")).unwrap(), bytes);
}
