//! Wrong use: clear messages and status 2, never a panic. And that the tool changes nothing.

use crate::support::{self, run};

#[test]
fn files_that_are_not_ours_are_refused_with_a_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..1u64 << 20)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let cases: [(&str, &[u8], &str); 3] = [
        ("random", &noise, "not a file of packstone"),
        ("empty", b"", "holds nothing"),
        ("notes.txt", b"dear diary,\n", "not a file of packstone"),
    ];
    let commands = [
        "check",
        "scan",
        "raw",
        "verify",
        "recompress",
        "identify",
        "layout",
        "filter",
        "histogram",
        "find key",
        "manifest",
        "wal",
        "lsm",
        "properties",
        "extract --name=n",
    ];
    for (name, bytes, message) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        for command in commands {
            let words = command.split(' ').chain([path.to_str().unwrap()]);
            let run = run(words);
            assert_eq!(run.status, 2, "{command} {name}: {}", run.stderr);
            assert!(run.stderr.contains(message), "{command} {name}: {}", run.stderr);
        }
    }
}

#[test]
fn a_directory_without_a_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "dear diary").unwrap();
    for command in ["check", "lsm", "wal"] {
        let run = run([command, dir.path().to_str().unwrap()]);
        assert_eq!(run.status, 2);
        assert!(run.stderr.contains("no database"), "{}", run.stderr);
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    let database = support::closed();
    for line in [
        "scan",
        "frobnicate-nothing",
        "scan @ --no_such_flag",
        "scan @ --from=a --prefix=b",
        "scan @ --read_num=many",
        "scan @ --from=xyz --input_key_hex",
        "recompress @ --compression_types=zstd",
        "verify @ --threads 0",
        "--command=explode @",
        "lsm @/CURRENT",
        "scan @/CURRENT",
        "wal @/000004.sst",
        "layout @/MANIFEST-000001",
        "scan @/nowhere",
        "raw @ --output @/CURRENT",
    ] {
        let run = database.run(line);
        assert_eq!(run.status, 2, "{line}: {}{}", run.stdout, run.stderr);
        assert!(!run.stderr.is_empty(), "{line}: no message");
    }
    assert_eq!(run::<&str>([]).status, 2);
}

#[test]
fn help_has_examples_everywhere() {
    let main = run(["--help"]);
    assert_eq!(main.status, 0);
    assert!(main.stdout.contains("Examples:") && main.stdout.contains("Exit status:"));
    let listed = main
        .stdout
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Arguments")
        .next()
        .unwrap();
    let commands: Vec<&str> = listed
        .lines()
        .take_while(|line| !line.starts_with("Options"))
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 14, "{commands:?}");
    for command in commands {
        let help = run([command, "--help"]);
        assert_eq!(help.status, 0);
        assert!(help.stdout.contains("Examples:"), "{command}");
    }
    assert_eq!(run(["--version"]).status, 0);
}

#[test]
fn flags_of_sst_dump_without_a_meaning_are_named_and_ignored() {
    let database = support::closed();
    let run = database.run("--command=check --file=@ --env_uri=x --compression_zstd_max_train_bytes=5");
    assert_eq!(run.status, 0, "{}", run.stderr);
    for flag in ["--env_uri", "--compression_zstd_max_train_bytes"] {
        assert!(
            run.stderr.contains(&format!("{flag} has no meaning here")),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn no_command_changes_a_file() {
    let database = support::closed();
    let look = || {
        let names = database.names();
        let read = |name: &String| std::fs::read(database.path().join(name)).unwrap();
        names
            .iter()
            .map(|name| (name.clone(), read(name)))
            .collect::<Vec<_>>()
    };
    let before = look();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    for line in [
        "check @".to_owned(),
        "verify @".to_owned(),
        "recompress @".to_owned(),
        "wal @".to_owned(),
        "manifest @".to_owned(),
        format!("raw @ --output {out}/raw.txt"),
        format!("lsm @ --html {out}/lsm.html"),
    ] {
        assert_eq!(database.run(&line).status, 0, "{line}");
    }
    assert!(look() == before, "a file has changed");
    assert!(
        std::fs::read_to_string(format!("{out}/raw.txt"))
            .unwrap()
            .contains("Footer Details")
    );
}

#[test]
fn the_page_is_whole_and_loads_nothing() {
    let database = support::closed();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("lsm.html");
    let line = format!("lsm @ --html {}", path.display());
    assert_eq!(database.run(&line).status, 0);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert_eq!(page.matches("<svg").count(), 2, "one picture a keyspace");
    assert_eq!(page.matches("class=\"sst\"").count(), 4, "one bar an SST");
    for outside in ["http", "src=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // The second time the file is there, and stays as it is.
    assert_eq!(database.run(&line).status, 2);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::process::{Command, Stdio};
    let database = support::closed();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sst-dump"))
        .args(["raw", database.path().to_str().unwrap(), "--output_hex"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
