//! The gflags dialect: one or two dashes, `--flag=value` or `--flag value`, `--noflag`, `--undefok=a,b`.
//!
//! This module knows how flags are spelled, not which there are: `table` says that.

use std::fmt;

use super::ignored;
use super::table::{self, Flag, Kind};

/// A command line, split into what was set, what is ignored, and what else was asked.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Flags and their values, in order; later ones win.
    pub(crate) set: Vec<(&'static Flag, String)>,
    /// RocksDB's flags that mean nothing here, each once.
    pub(crate) ignored: Vec<String>,
    pub(crate) help: bool,
    pub(crate) version: bool,
}

/// Why a command line is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits a command line (without the program's name).
pub(crate) fn split(args: &[String]) -> Result<Line, Misuse> {
    let undefined_ok = undefined_ok(args);
    let mut line = Line::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(body) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return Err(Misuse(format!(
                "unexpected argument {arg:?}; benchmarks are named with --benchmarks=..."
            )));
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (body, None),
        };
        match name {
            "help" | "h" => line.help = true,
            "version" => line.version = true,
            "undefok" => {
                if value.is_none() {
                    rest.next();
                }
            }
            _ => one(&mut line, name, value, &mut rest, &undefined_ok)?,
        }
    }
    Ok(line)
}

/// The names that may be unknown, wherever on the line `--undefok` stands.
fn undefined_ok(args: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(list) = arg.trim_start_matches('-').strip_prefix("undefok") else {
            continue;
        };
        let list = match list.strip_prefix('=') {
            Some(list) => Some(list.to_string()),
            None if list.is_empty() => rest.next().cloned(),
            None => None,
        };
        names.extend(list.iter().flat_map(|list| list.split(',')).map(str::to_string));
    }
    names
}

fn one(
    line: &mut Line,
    name: &str,
    value: Option<String>,
    rest: &mut std::slice::Iter<'_, String>,
    undefined_ok: &[String],
) -> Result<(), Misuse> {
    if let Some(flag) = table::find(name) {
        let value = match value {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".to_string(),
            None => rest.next().cloned().ok_or_else(|| missing(name))?,
        };
        line.set.push((flag, checked(flag, &value)?));
        return Ok(());
    }
    if let Some(flag) = name
        .strip_prefix("no")
        .and_then(table::find)
        .filter(|flag| flag.kind == Kind::Bool)
    {
        if value.is_some() {
            return Err(Misuse(format!("--{name} takes no value")));
        }
        line.set.push((flag, "false".to_string()));
        return Ok(());
    }
    if let Some(takes_value) = ignored::takes_value(name) {
        if takes_value && value.is_none() {
            rest.next().ok_or_else(|| missing(name))?;
        }
        if !line.ignored.iter().any(|known| known == name) {
            line.ignored.push(name.to_string());
        }
        return Ok(());
    }
    if undefined_ok.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Misuse(format!("unknown command line flag '{name}'")))
}

fn missing(name: &str) -> Misuse {
    Misuse(format!("flag --{name} is missing its value"))
}

/// The value in its plain form, if it is one that the flag can have.
fn checked(flag: &Flag, value: &str) -> Result<String, Misuse> {
    let refused = |wanted: String| Misuse(format!("--{}={value}: {wanted}", flag.name));
    match flag.kind {
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "y" | "yes" => Ok("true".into()),
            "0" | "f" | "false" | "n" | "no" => Ok("false".into()),
            _ => Err(refused("expected true or false".into())),
        },
        Kind::Int(least, most) => match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
            _ => Err(refused(format!("expected a whole number from {least} to {most}"))),
        },
        Kind::Float => match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(value.to_string()),
            _ => Err(refused("expected a number".into())),
        },
        Kind::Word(words) if !words.contains(&value) => {
            Err(refused(format!("expected one of {}", words.join(", "))))
        }
        Kind::Word(_) | Kind::Text => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Vec<(String, String)>, String> {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let line = split(&args).map_err(|misuse| misuse.0)?;
        Ok(line
            .set
            .into_iter()
            .map(|(flag, value)| (flag.name.to_string(), value))
            .collect())
    }

    fn one_flag(args: &[&str]) -> (String, String) {
        let mut set = parse(args).unwrap();
        assert_eq!(set.len(), 1, "{args:?}");
        set.remove(0)
    }

    #[test]
    fn all_spellings_of_a_value_mean_the_same() {
        for args in [&["--num=5"][..], &["-num=5"], &["--num", "5"], &["-num", "5"]] {
            assert_eq!(one_flag(args), ("num".into(), "5".into()));
        }
    }

    #[test]
    fn all_spellings_of_a_switch_mean_the_same() {
        for args in [
            &["--sync"][..],
            &["-sync"],
            &["--sync=1"],
            &["--sync=true"],
            &["--sync=YES"],
            &["--sync=t"],
        ] {
            assert_eq!(one_flag(args), ("sync".into(), "true".into()));
        }
        for args in [
            &["--nosync"][..],
            &["-nosync"],
            &["--sync=0"],
            &["--sync=False"],
            &["--sync=n"],
        ] {
            assert_eq!(one_flag(args), ("sync".into(), "false".into()));
        }
    }

    #[test]
    fn a_switch_takes_no_following_word() {
        assert!(
            parse(&["--sync", "false"])
                .unwrap_err()
                .contains("unexpected argument")
        );
    }

    #[test]
    fn a_negative_number_can_follow_a_space() {
        assert_eq!(one_flag(&["--reads", "-1"]), ("reads".into(), "-1".into()));
    }

    #[test]
    fn flags_of_rocksdb_without_meaning_here_are_named_once_with_or_without_their_value() {
        let args = [
            "--memtablerep",
            "vector",
            "--disable_wal",
            "--disable_wal=1",
            "--noverify_checksum",
        ];
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let line = split(&args).unwrap();
        assert!(line.set.is_empty());
        assert_eq!(line.ignored, ["memtablerep", "disable_wal", "noverify_checksum"]);
    }

    #[test]
    fn unknown_flags_are_errors_unless_declared() {
        assert!(parse(&["--frobnicate=1"]).unwrap_err().contains("frobnicate"));
        assert!(
            parse(&["--undefok=frobnicate", "--frobnicate=1"])
                .unwrap()
                .is_empty()
        );
        assert!(
            parse(&["--frobnicate=1", "--undefok", "other,frobnicate"])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn values_that_a_flag_cannot_have_are_refused() {
        for args in [
            "--num=many",
            "--num=-1",
            "--sync=maybe",
            "--compression_ratio=half",
            "--compression_type=gzip",
            "--nosync=1",
            "--num=99999999999999999999",
            "--sine_d=nan",
            "--nonum",
        ] {
            assert!(parse(&[args]).is_err(), "{args}");
        }
        assert!(parse(&["--num"]).unwrap_err().contains("missing its value"));
    }
}
