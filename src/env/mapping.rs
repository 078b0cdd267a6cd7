//! [`Mapping`]: the bytes of a whole file, for reading, without a copy where the operating system can do that.
//!
//! Invariants:
//! 1. The bytes never change while a `Mapping` lives, wherever it came from.
//! 2. Clones share the bytes. They stay readable after the file has been removed or its handle closed.
//!
//! Callers: implementations of [`super::File::map`] make them; readers of SSTs and packs use them.
//!
//! The one thing that a mapping can't promise: when another process truncates the file, or the medium fails to deliver
//! a page, touching that page raises SIGBUS and the process dies. Whoever can't live with that reads with
//! [`super::File::read_at`] (the engine's pread mode), where the same mishaps are ordinary errors.
#![allow(unsafe_code)] // memmap2's constructor is unsafe; see the SAFETY argument at its only call.

use std::fmt;
use std::fs;
use std::io;
use std::sync::Arc;

use memmap2::Mmap;

/// The contents of a file, mapped or held in memory. Cheap to clone.
///
/// ```
/// let m = packstone::env::Mapping::from(b"contents".to_vec());
/// assert_eq!(&m[..4], b"cont");
/// ```
#[derive(Clone)]
pub struct Mapping(Repr);

#[derive(Clone)]
enum Repr {
    Mapped(Arc<Mmap>),
    Owned(Arc<[u8]>),
}

impl Mapping {
    /// Maps all of `file`, with the length that it has now. An empty file gives an empty slice.
    ///
    /// REQUIRES: nobody writes to the file or changes its length while the mapping lives.
    pub(super) fn of_file(file: &fs::File) -> io::Result<Mapping> {
        if file.metadata()?.len() == 0 {
            return Ok(Mapping::default()); // an empty mapping is an error on some systems
        }
        // SAFETY: the slice that is later made of these pages is sound as long as the bytes behind it don't change.
        // `File::map` demands that of its caller, and the engine keeps it: it maps SSTs and sealed packs only, which are
        // never written to, cut or grown after they were finished; their names are only ever removed, which leaves the
        // pages alone. A foreign process that writes to a database's files is outside of what can be defended against
        // here: overwritten bytes are found by checksums at best, a truncation raises SIGBUS. pread mode exists for
        // those who must survive that.
        let mmap = unsafe { Mmap::map(file)? };
        Ok(Mapping(Repr::Mapped(Arc::new(mmap))))
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Mapped(mmap) => mmap,
            Repr::Owned(bytes) => bytes,
        }
    }

    /// Tells the operating system that reads will be scattered, so that it does not read ahead. Only advice: where it
    /// means nothing or fails, nothing happens.
    pub fn advise_random(&self) {
        #[cfg(unix)]
        if let Repr::Mapped(mmap) = &self.0 {
            let _ = mmap.advise(memmap2::Advice::Random);
        }
    }
}

impl Default for Mapping {
    fn default() -> Self {
        Mapping(Repr::Owned(Arc::from(&[][..])))
    }
}

impl From<Arc<[u8]>> for Mapping {
    fn from(bytes: Arc<[u8]>) -> Self {
        Mapping(Repr::Owned(bytes))
    }
}

impl From<Vec<u8>> for Mapping {
    fn from(bytes: Vec<u8>) -> Self {
        Mapping(Repr::Owned(Arc::from(bytes)))
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.as_bytes().len())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // tests of the real thing need real files
mod tests {
    use super::*;

    #[test]
    fn mapping_outlives_handle_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"stays readable").unwrap();
        let mapping = Mapping::of_file(&fs::File::open(&path).unwrap()).unwrap();
        let clone = mapping.clone();
        drop(mapping);
        #[cfg(unix)]
        fs::remove_file(&path).unwrap();
        clone.advise_random();
        assert_eq!(clone.as_bytes(), b"stays readable");
    }

    #[test]
    fn empty_file_maps_to_empty_slice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"").unwrap();
        let mapping = Mapping::of_file(&fs::File::open(&path).unwrap()).unwrap();
        assert!(mapping.is_empty());
    }

    #[test]
    fn clones_share_owned_bytes() {
        let a = Mapping::from(vec![1, 2, 3]);
        let b = a.clone();
        assert!(std::ptr::eq(a.as_bytes(), b.as_bytes()));
    }
}
