//! The command line: what is refused, with which status, and what is listed.

use std::process::{Command, Output};

fn peers(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_use_ends_with_status_2_and_says_what_is_wrong() {
    for (args, word) in [
        (["--engines", "leveldb"], "leveldb"),
        (["--workloads", "readrandm"], "readrandm"),
        (["--num", "many"], "many"),
        (["--settings", "good"], "good"),
        (["--value-size", "7"], "8"),
        (["--no-such-flag", "1"], "--no-such-flag"),
    ] {
        let output = peers(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            text(&output.stderr).contains(word),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_engine_that_is_not_built_in_is_refused_with_the_way_to_build_it() {
    if cfg!(feature = "rocksdb") {
        return;
    }
    let output = peers(&["--engines", "packstone,rocksdb"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--features rocksdb"));
}

#[test]
fn help_has_examples_and_the_list_has_everything() {
    let help = text(&peers(&["--help"]).stdout);
    assert!(help.contains("Examples:") && help.contains("--set standard"));
    let list = text(&peers(&["--list"]).stdout);
    for name in [
        "readwhilewriting",
        "ycsb-f",
        "quick",
        "standard",
        "full",
        "packstone",
        "redb",
    ] {
        assert!(list.contains(name), "{name}");
    }
}

#[test]
fn a_report_is_made_again_of_its_json() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/report");
    let output = peers(&["--from", &format!("{golden}.json")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        std::fs::read_to_string(format!("{golden}.md")).unwrap()
    );
}

#[test]
fn a_file_that_is_no_report_is_named() {
    let output = peers(&["--from", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Cargo.toml"));
}
