//! sst_dump's spelling of the command line, turned into the form that clap knows before clap looks: `--command=scan`
//! becomes the subcommand, one dash counts as two, `read-num` as `read_num`; flags that mean nothing here are taken out
//! and named in a warning.

use std::ffi::OsString;

/// The subcommands' names, for telling them from files. `help`, which is clap's, is the last.
pub const COMMANDS: [&str; 16] = [
    "check",
    "scan",
    "raw",
    "verify",
    "recompress",
    "identify",
    "layout",
    "filter",
    "histogram",
    "find",
    "manifest",
    "wal",
    "lsm",
    "properties",
    "extract",
    "help",
];

/// Flags that take a value, which may be the next word.
const VALUED: [&str; 16] = [
    "command",
    "file",
    "from",
    "to",
    "prefix",
    "read_num",
    "output",
    "threads",
    "compression_types",
    "block_size",
    "set_block_size",
    "probes",
    "html",
    "key",
    "id",
    "name",
];

/// sst_dump's flags that have no meaning here: other file systems, blob files, codecs and dictionaries we don't have.
const IGNORED: [&str; 22] = [
    "env_uri",
    "fs_uri",
    "decode_blob_index",
    "show_sequence_number_type",
    "show_summary",
    "readahead_size",
    "compression_manager",
    "enable_index_compression",
    "verify_compression",
    "compression_level",
    "compression_level_from",
    "compression_level_to",
    "compression_max_dict_bytes",
    "compression_zstd_max_train_bytes",
    "compression_max_dict_buffer_bytes",
    "compression_use_zstd_finalize_dict",
    "compression_parallel_threads",
    "list_meta_blocks",
    "require_property_regex",
    "exclude_property_regex",
    "noshow_summary",
    "nodecode_blob_index",
];

/// Brings the words into clap's form: program, subcommand, then everything else. Also returns the flags left out.
pub(crate) fn normalise(words: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let (mut rest, mut ignored, mut command) = (Vec::new(), Vec::new(), None);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word);
            rest.extend(words);
            break;
        }
        let Some((name, value)) = word.to_str().and_then(flag) else {
            let is_command = word.to_str().is_some_and(|word| COMMANDS.contains(&word));
            match command {
                None if is_command && rest.iter().all(|word: &OsString| is_flag(word)) => {
                    command = Some(word)
                }
                _ => rest.push(word),
            }
            continue;
        };
        if IGNORED.contains(&name.as_str()) {
            ignored.push(format!("--{name}"));
            continue;
        }
        if name == "command" {
            command = value.map(OsString::from).or_else(|| words.next());
            continue;
        }
        // A value in a word of its own stays with its flag, so that it is not taken for a command.
        let value = match value {
            None if VALUED.contains(&name.as_str()) => words.next().map(|value| (OsString::from("="), value)),
            value => value.map(|value| (OsString::from("="), OsString::from(value))),
        };
        let mut joined = OsString::from(format!("--{name}"));
        if let Some((equals, value)) = value {
            joined.push(equals);
            joined.push(value);
        }
        rest.push(joined);
    }
    let mut out = vec![OsString::from("sst-dump")];
    let top_level = rest.len() == 1 && rest.iter().any(|word| word == "--help" || word == "--version");
    match command {
        Some(command) => out.push(command),
        None if top_level || rest.is_empty() => {}
        None => out.push("check".into()),
    }
    out.extend(rest);
    (out, ignored)
}

fn is_flag(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| word.starts_with('-'))
}

/// The name of a flag, with underscores, and its value.
fn flag(word: &str) -> Option<(String, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    let name = match name {
        "h" => "help",
        "V" => "version",
        "v" => "verbose",
        name => name,
    };
    (!name.is_empty()).then(|| (name.replace('-', "_"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> String {
        let (words, ignored) = normalise(line.split(' ').map(OsString::from));
        let mut out: Vec<_> = words
            .iter()
            .skip(1)
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        out.extend(ignored.iter().map(|flag| format!("!{flag}")));
        out.join(" ")
    }

    #[test]
    fn sst_dumps_spelling_is_understood() {
        for (line, expected) in [
            ("db", "check db"),
            ("scan db", "scan db"),
            ("--command=scan db", "scan db"),
            ("-command=scan -file=x -output_hex", "scan --file=x --output_hex"),
            ("--file=x --command scan", "scan --file=x"),
            ("--from scan db", "check --from=scan db"),
            ("--read-num=3 --json scan x", "scan --read_num=3 --json x"),
            ("--env_uri=posix: db", "check db !--env_uri"),
            ("-h", "--help"),
            ("layout -v x", "layout --verbose x"),
            ("db scan", "check db scan"),
            ("-- scan", "check -- scan"),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        crate::args::Args::command().debug_assert();
    }
}
