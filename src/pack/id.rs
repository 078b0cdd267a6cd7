//! [`ObjectId`]: what names an object, computed from its content.
//!
//! ```text
//! hash = BLAKE3 in key derivation mode, with the context [`CONTEXT`], of the content, behind it
//!        0  content length u64 | 8  salt, 16 bytes (zeros: none) | 24  version of this rule u32 (1)
//! id   = its first 16 bytes
//! ```
//!
//! The design is that of spec/ecs.md (content hash, canonical header, domain separation, truncation), with the header behind the content,
//! because the length of a stream is known at its end. BLAKE3: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020.
//!
//! A salt makes equal contents different objects, where somebody does not want it known that they are equal.
//!
//! Callers: everything in this module; programs.

use std::fmt;
use std::str::FromStr;

/// What separates these hashes from all other uses of BLAKE3. It never changes.
const CONTEXT: &str = "packstone 2026-11-22 object id v1";
const RULE_VERSION: u32 = 1;

/// What names an object: 16 bytes that follow from its content. Equal contents have equal ids; that two different ones have is as
/// likely as a collision of 128 random bits.
///
/// ```
/// use packstone::pack::ObjectId;
/// let id = ObjectId::of(b"hello");
/// assert_eq!(id.to_string().len(), 32);
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 16]);

/// Random bytes that go into an id; zeros for none.
pub(crate) type Salt = [u8; 16];

impl ObjectId {
    /// The id of these bytes.
    pub fn of(content: &[u8]) -> ObjectId {
        Self::salted(content, &Salt::default())
    }

    /// The id of these bytes with a salt.
    pub(crate) fn salted(content: &[u8], salt: &Salt) -> ObjectId {
        let mut hasher = IdHasher::default();
        hasher.update(content);
        hasher.finish(salt)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// What is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object id is 32 hexadecimal digits")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAnId);
        }
        let id = u128::from_str_radix(text, 16).map_err(|_| NotAnId)?;
        Ok(ObjectId(id.to_be_bytes()))
    }
}

/// Computes an id from content that comes in parts.
pub(crate) struct IdHasher {
    hasher: blake3::Hasher,
    len: u64,
}

impl Default for IdHasher {
    fn default() -> Self {
        IdHasher {
            hasher: blake3::Hasher::new_derive_key(CONTEXT),
            len: 0,
        }
    }
}

impl IdHasher {
    pub(crate) fn update(&mut self, content: &[u8]) {
        self.hasher.update(content);
        self.len += content.len() as u64;
    }

    pub(crate) fn finish(mut self, salt: &Salt) -> ObjectId {
        self.hasher.update(&self.len.to_le_bytes());
        self.hasher.update(salt);
        self.hasher.update(&RULE_VERSION.to_le_bytes());
        let mut id = [0; 16];
        self.hasher.finalize_xof().fill(&mut id);
        ObjectId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_content_alone() {
        let whole = ObjectId::of(b"one two three");
        let mut parts = IdHasher::default();
        parts.update(b"one ");
        parts.update(b"");
        parts.update(b"two three");
        assert_eq!(parts.finish(&[0; 16]), whole);
        let distinct = [&b""[..], b"a", b"b", b"\0", b"\0\0", b"one two thre"].map(ObjectId::of);
        for (i, id) in distinct.iter().enumerate() {
            assert!(!distinct[..i].contains(id) && *id != whole);
        }
    }

    /// A content that ends like the header of a shorter one is another object.
    #[test]
    fn the_header_can_not_be_forged_by_the_content() {
        let short = b"short".to_vec();
        let mut long = short.clone();
        long.extend_from_slice(&5u64.to_le_bytes());
        long.extend_from_slice(&[0; 16]);
        long.extend_from_slice(&RULE_VERSION.to_le_bytes());
        assert_ne!(ObjectId::of(&short), ObjectId::of(&long));
    }

    #[test]
    fn a_salt_makes_another_object() {
        let salted = |salt| {
            let mut hasher = IdHasher::default();
            hasher.update(b"content");
            hasher.finish(&salt)
        };
        assert_eq!(salted([0; 16]), ObjectId::of(b"content"));
        assert_ne!(salted([1; 16]), ObjectId::of(b"content"));
        assert_ne!(salted([1; 16]), salted([2; 16]));
    }

    /// The rule is part of the format: these ids never change.
    #[test]
    fn ids_are_pinned() {
        assert_eq!(ObjectId::of(b"").to_string(), "56bdf8230059a2fcc2fa77472568f913");
        assert_eq!(
            ObjectId::of(b"hello").to_string(),
            "2d5eeac0d81dd836409937cfc56d5319"
        );
    }

    #[test]
    fn hex_is_read_back_and_nothing_else_is() {
        let id = ObjectId([0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0]);
        assert_eq!(id.to_string(), "0f0000000000000000000000000000a0");
        assert_eq!("0F0000000000000000000000000000A0".parse(), Ok(id));
        for wrong in [
            "",
            "0f",
            "0f0000000000000000000000000000a",
            "0f0000000000000000000000000000a00",
            "+f0000000000000000000000000000a0",
            "gf0000000000000000000000000000a0",
        ] {
            assert_eq!(wrong.parse::<ObjectId>(), Err(NotAnId), "{wrong}");
        }
    }
}
