//! Names in archives: from a path, back to one, and as text.
//!
//! A name is a relative path: components with `/` between them, none of them empty, `.` or `..`. Its bytes are the file system's, of any
//! encoding; on systems whose paths are no bytes it is UTF-8. An archive may come from anywhere, so a name in one is believed to be
//! such a path only after [`components`] has said so.

use std::ffi::OsStr;
use std::path::{Component, Path};

use crate::platform;

/// The name of what lies at `path`: without `.` components and a leading `/`. Empty for the base directory itself.
pub(crate) fn of_path(path: &Path) -> Result<Vec<u8>, String> {
    let mut name = Vec::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::ParentDir => {
                return Err(format!(
                    "{}: a name in an archive can't have `..` in it; give the directory with -C and the path from there",
                    path.display()
                ));
            }
            Component::Normal(part) => {
                let part = platform::bytes_of(part).ok_or_else(|| {
                    format!("{}: a name in an archive has to be UTF-8 here", path.display())
                })?;
                push(&mut name, part);
            }
        }
    }
    Ok(name)
}

/// Appends a component.
pub(crate) fn push(name: &mut Vec<u8>, part: &[u8]) {
    if !name.is_empty() {
        name.push(b'/');
    }
    name.extend_from_slice(part);
}

/// The components of a name, if it is a path that stays below the directory that it starts from; otherwise why not.
pub(crate) fn components(name: &[u8]) -> Result<Vec<&OsStr>, &'static str> {
    if name.first() == Some(&b'/') {
        return Err("it is absolute");
    }
    let parts = name.split(|byte| *byte == b'/').map(|part| match part {
        b"" => Err("it has an empty component"),
        b"." | b".." => Err("it has a component `.` or `..`"),
        _ if part.contains(&0) => Err("it has a zero byte"),
        _ => platform::of_bytes(part)
            // What else a system takes for a separator, a drive or the parent.
            .filter(|part| Path::new(part).components().eq([Component::Normal(part)]))
            .ok_or("this system can't have it"),
    });
    parts.collect()
}

/// A name as text for a terminal: what is not printable is escaped, as are backslashes, so that the name can be told from the text.
/// Bytes that are not UTF-8 are `\xNN`.
pub(crate) fn escape(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                _ => push_printable(&mut text, c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The same for a sentence that has names in it: backslashes stay.
pub(crate) fn printable(sentence: &str) -> String {
    let mut text = String::new();
    sentence.chars().for_each(|c| push_printable(&mut text, c));
    text
}

fn push_printable(text: &mut String, c: char) {
    // `str::escape_debug` escapes what is not printable, among it what reverses the direction of writing, and at the begin of a
    // string also marks that combine with the character before, which are harmless.
    let is_plain = matches!(c, ' '..='~') || (!c.is_ascii() && format!("a{c}").escape_debug().count() == 2);
    match is_plain {
        true => text.push(c),
        false => text.extend(c.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_name() {
        for (path, name) in [
            ("a", "a"),
            ("./a//b/./c/", "a/b/c"),
            ("/etc/x", "etc/x"),
            (".", ""),
            ("/", ""),
            ("..a/...", "..a/..."),
        ] {
            assert_eq!(of_path(Path::new(path)), Ok(name.as_bytes().to_vec()), "{path}");
        }
        for path in ["..", "a/../b", "../a", "/.."] {
            assert!(
                of_path(Path::new(path)).is_err_and(|why| why.contains("`..`")),
                "{path}"
            );
        }
    }

    #[test]
    fn only_what_stays_below_is_a_path() {
        assert_eq!(
            components(b"a/b c").ok(),
            Some(vec![OsStr::new("a"), OsStr::new("b c")])
        );
        let wrong: [&[u8]; 10] = [
            b"", b"/", b"/a", b"a/", b"a//b", b".", b"a/.", b"../a", b"a/../b", b"a\0b",
        ];
        for name in wrong {
            assert!(components(name).is_err(), "{name:?}");
        }
        // Said by our own rule, not only found by the system's.
        assert!(components(b"a/../b").is_err_and(|why| why.contains("`..`")));
    }

    #[test]
    fn text_does_not_reach_the_terminal_s_controls() {
        assert_eq!(escape(b"plain 'name' \"x\""), "plain 'name' \"x\"");
        assert_eq!(escape("größe e\u{301} 文".as_bytes()), "größe e\u{301} 文");
        assert_eq!(
            escape(b"a\nb\x1b[2J\\\xff\x7f"),
            "a\\nb\\u{1b}[2J\\\\\\xff\\u{7f}"
        );
        // C1 controls, and what makes the rest of the line run backwards.
        assert_eq!(escape("\u{9b}2J\u{202e}x".as_bytes()), "\\u{9b}2J\\u{202e}x");
        assert_eq!(printable("a\\n\nb"), "a\\n\\nb");
    }
}
