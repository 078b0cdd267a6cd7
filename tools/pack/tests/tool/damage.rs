//! Damaged archives: what is said, and what is saved.

use std::fs;

use packstone::pack::{ObjectId, PackBuilder, PackOptions};
use serde_json::Value;

use crate::common::{Place, noise, snapshot};

/// Files a, b, c of noise; the archive is damaged in the middle of b's content. Returns the damaged byte's offset.
fn damaged() -> (Place, u64) {
    let place = Place::new();
    let content = noise(3 * 200_000);
    for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
        place.write(&format!("t/{name}"), &content[i * 200_000..][..200_000]);
    }
    place.good("create x.pack -C t .");
    let mut bytes = fs::read(place.path("x.pack")).unwrap();
    let part = &content[300_000..300_100];
    let at = bytes.windows(100).position(|window| window == part).unwrap();
    bytes[at] ^= 1;
    fs::write(place.path("x.pack"), bytes).unwrap();
    (place, at as u64)
}

#[test]
fn verify_names_the_place() {
    let (place, at) = damaged();
    let ran = place.run("verify x.pack");
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    assert!(
        ran.out.starts_with("DAMAGED: x.pack is damaged at offset "),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("damaged    1\n") && ran.out.contains("whole      2 objects"),
        "{}",
        ran.out
    );
    let ran = place.run("verify x.pack --json");
    let lines: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((lines.len(), ran.status), (2, 1));
    let offset = lines[0]["offset"].as_u64().unwrap();
    assert!(
        (at - (64 << 10)..=at).contains(&offset),
        "the chunk's offset: {offset}, {at}"
    );
    assert_eq!(
        (&lines[1]["whole"], &lines[1]["damages"]),
        (&false.into(), &1.into())
    );
}

#[test]
fn what_is_whole_is_extracted_and_nothing_else() {
    let (place, _) = damaged();
    let ran = place.run("extract x.pack out");
    assert_eq!(ran.status, 1);
    assert!(
        ran.err
            .starts_with("pack: b is skipped: x.pack is damaged at offset "),
        "{}",
        ran.err
    );
    let names: Vec<_> = snapshot(&place.path("out")).into_keys().collect();
    assert_eq!(names, ["a", "c"].map(std::path::PathBuf::from));
    // The old file stays if the new one is not whole.
    place.write("out/b", b"old");
    assert_eq!(place.run("extract x.pack out --overwrite").status, 1);
    assert_eq!(fs::read(place.path("out/b")).unwrap(), b"old");
    assert_eq!(snapshot(&place.path("out")).len(), 3);
    let ran = place.run("cat x.pack b");
    assert_eq!(ran.status, 1);
    assert!(
        ran.bytes.len() < 200_000 && ran.err.contains("is damaged at offset"),
        "{}",
        ran.err
    );
}

#[test]
fn recover_saves_the_rest() {
    let (place, _) = damaged();
    let ran = place.run("recover x.pack new.pack");
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    assert!(ran.out.contains("LOST: the content of b\n"), "{}", ran.out);
    assert!(
        ran.out.contains("saved      2 objects of 400000 bytes, 2 names"),
        "{}",
        ran.out
    );
    assert_eq!(place.good("list new.pack").out, "a\nc\n");
    place.good("verify new.pack");
    place.good("extract new.pack out");
    // Meta data has come along.
    let [was, is] = ["t", "out"].map(|dir| snapshot(&place.path(dir)));
    assert_eq!(
        (&was[std::path::Path::new("c")], was.len()),
        (&is[std::path::Path::new("c")], is.len() + 1)
    );
    // Of a whole one everything is saved.
    let ran = place.good("recover new.pack again.pack");
    assert!(
        ran.out
            .ends_with("lost       0 objects, 0 names whose objects are lost\n"),
        "{}",
        ran.out
    );
    // Sources are not changed, and targets not replaced.
    assert_eq!(place.run("recover x.pack again.pack").status, 2);
}

#[test]
fn what_does_not_open_is_damaged() {
    let place = Place::new();
    place.write(
        "x.pack",
        b"this is no archive, and never was one; it is only a text",
    );
    let ran = place.run("verify x.pack");
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.starts_with("DAMAGED: x.pack is damaged at offset 0"),
        "{}",
        ran.out
    );
    for args in [
        "list x.pack",
        "info x.pack",
        "cat x.pack a",
        "extract x.pack out",
        "append x.pack x.pack",
    ] {
        let ran = place.run(args);
        assert_eq!((ran.out.as_str(), ran.status), ("", 1), "{args}");
        assert!(
            ran.err.starts_with("pack: x.pack is damaged at offset 0"),
            "{args}: {}",
            ran.err
        );
    }
    assert_eq!(place.names(), [place.path("x.pack")]);
}

/// One copy of the last footer is enough, and a check tells of the other one. With both damaged nothing is read, and nothing is written over.
#[test]
fn a_damaged_seal_is_told() {
    let place = Place::new();
    place.write("a", b"first");
    place.good("create x.pack a");
    place.write("b", b"second");
    place.good("append x.pack b");
    let mut bytes = fs::read(place.path("x.pack")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(place.path("x.pack"), &bytes).unwrap();
    assert_eq!(place.good("list x.pack").out, "a\nb\n");
    let ran = place.run("verify x.pack");
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("copies of the footer"), "{}", ran.out);

    bytes[last - 128] ^= 1;
    fs::write(place.path("x.pack"), &bytes).unwrap();
    let ran = place.run("verify x.pack");
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.starts_with("DAMAGED: x.pack is damaged at offset"),
        "{}",
        ran.out
    );
    for args in ["list x.pack", "append x.pack a"] {
        let ran = place.run(args);
        assert_eq!((ran.out.as_str(), ran.status), ("", 1), "{args}");
        assert!(
            ran.err.starts_with("pack: x.pack is damaged at offset"),
            "{args}: {}",
            ran.err
        );
    }
    assert!(fs::read(place.path("x.pack")).unwrap() == bytes);
    let ran = place.run("recover x.pack new.pack");
    assert_eq!(ran.status, 1, "{}", ran.err);
    let lost = format!("lost/{}", ObjectId::of(b"second"));
    assert_eq!(place.good("list new.pack").out, format!("a\n{lost}\n"));
    assert_eq!(place.good(&format!("cat new.pack {lost}")).out, "second");
}

/// What lies behind the last seal may be an append that was cut off, and a check does not pass over it in silence.
#[test]
fn bytes_behind_the_end_are_told() {
    let place = Place::new();
    place.write("a", b"first");
    place.good("create x.pack a");
    let mut bytes = fs::read(place.path("x.pack")).unwrap();
    bytes.extend([7; 10]);
    fs::write(place.path("x.pack"), bytes).unwrap();
    assert_eq!(place.good("list x.pack").out, "a\n");
    let ran = place.run("verify x.pack");
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.starts_with("UNDECIDED: ") && ran.out.contains("damaged    0"),
        "{}",
        ran.out
    );
    assert_eq!(place.json("info x.pack --json")["torn_bytes"], 10);
}

#[test]
fn objects_without_names_are_found_by_id() {
    let place = Place::new();
    let mut builder = PackBuilder::create(place.path("x.pack"), &PackOptions::default()).unwrap();
    let id = builder.add(b"hello").unwrap().id;
    builder.finish().unwrap();
    assert_eq!(place.good("list x.pack").out, "");
    assert_eq!(place.good("list x.pack --ids").out, format!("{id}\n"));
    assert_eq!(place.good(&format!("cat x.pack --id {id}")).out, "hello");
    assert_eq!(place.json("info x.pack --json")["names"], 0);
    place.good("verify x.pack");
}
