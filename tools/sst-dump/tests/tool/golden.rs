//! What the commands print, word by word. After a wanted change: `UPDATE_GOLDENS=1 cargo test -p sst-dump`.

use std::path::Path;

use crate::support::{self, Database};

/// Runs each line on the fixed database and compares all that is printed with `tests/golden/<name>.txt`.
fn check(name: &str, lines: &[&str]) {
    check_in(&support::closed(), name, lines);
}

fn check_in(database: &Database, name: &str, lines: &[&str]) {
    let mut text = String::new();
    for line in lines {
        let run = database.run(line);
        text += &format!("$ sst-dump {}\n", line.replace('@', "<dir>"));
        text += &database.steady(&run.stdout);
        text += &database.steady(&run.stderr);
        text += &format!("[status {}]\n\n", run.status);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == golden,
        "{} is another now; if that is wanted: UPDATE_GOLDENS=1 cargo test -p sst-dump\n{text}",
        path.display()
    );
}

#[test]
fn check_prints_a_line_for_each_file() {
    check("check", &["@", "--command=check --file=@"]);
}

#[test]
fn scan_prints_entries_in_sst_dumps_shape() {
    let lines = [
        "scan @ --read_num=4",
        "--command=scan @ --from=user-005 --to=user-009",
        "-command=scan -prefix=user-00 -read_num=2 @",
        "scan @ --from=0x66 --input_key_hex --output_hex --read_num=2",
    ];
    check("scan", &lines);
}

#[test]
fn raw_prints_all_parts() {
    check("raw", &["raw @/000004.sst", "raw @/000002.sst --output_hex"]);
}

#[test]
fn verify_uses_sst_dumps_words() {
    check("verify", &["verify @", "verify @ --threads 1"]);
}

#[test]
fn recompress_prints_sizes() {
    check(
        "recompress",
        &[
            "recompress @",
            "recompress @ --compression_types=lz4 --block_size=16384",
        ],
    );
}

#[test]
fn identify_goes_by_content() {
    check("identify", &["identify @"]);
}

#[test]
fn layout_draws_trees() {
    check("layout", &["layout @", "layout -v @"]);
}

#[test]
fn filter_tells_bits_and_rate() {
    check("filter", &["filter @", "filter @ --probes 1000 --json"]);
}

#[test]
fn histogram_shows_sizes_and_kinds() {
    check("histogram", &["histogram @"]);
}

#[test]
fn find_lists_mentions_newest_first() {
    let lines = [
        "find user-007 @",
        "find user-003 @",
        "find 0x636174 --input_key_hex @",
        "find nobody @",
        "find user-007 @ --read_num 1",
    ];
    check("find", &lines);
}

#[test]
fn manifest_prints_edits_and_state() {
    check("manifest", &["manifest @"]);
}

#[test]
fn wal_prints_frames_and_operations() {
    check("wal", &["wal @"]);
}

#[test]
fn lsm_draws_the_tree() {
    check("lsm", &["lsm @"]);
}

#[test]
fn properties_come_in_sst_dumps_order() {
    check("properties", &["properties @"]);
}

#[test]
fn packs_of_a_database_are_checked_with_what_refers_to_them() {
    let lines = [
        "verify @",
        "check @",
        "identify @",
        "manifest @",
        "properties @",
        "scan @",
    ];
    check_in(&support::large(), "database_packs", &lines);
}

#[test]
fn references_are_shown_as_objects() {
    let lines = [
        "scan @",
        "scan @/000001.sst --json",
        "find film @",
        "find film @ --json",
        "properties @/000001.sst",
        "layout -v @",
        "raw @/000002.sst",
        "raw @/000001.sst --json",
        "verify @",
        "histogram @",
        "recompress @/000001.sst",
    ];
    check_in(&support::objects(), "objects", &lines);
}

#[test]
fn packs_and_archives_are_told_listed_and_checked() {
    let lines = [
        "identify @",
        "check @",
        "verify @",
        "properties @/letters.pack",
        "scan @/objects.pack",
        "scan @/objects.pack --from=4 --read_num=2",
        "scan @/letters.pack",
        "scan @/letters.pack --prefix=b --output_hex",
        "scan @/letters.pack --from=b --to=c --json",
        "extract @/letters.pack --name=c/gamma",
        "extract @/letters.pack --name=nobody",
        "histogram @/letters.pack",
    ];
    check_in(&support::packs(), "packs", &lines);
}

#[test]
fn layout_draws_packs() {
    let lines = [
        "layout @",
        "layout -v @/objects.pack",
        "layout @/torn.pack --json",
        "raw @/letters.pack",
    ];
    check_in(&support::packs(), "pack_layout", &lines);
}
