//! Adoption of packs: see [`Keyspace::adopt_archive`].

use std::path::Path;

use super::keyspace::Keyspace;
use super::limits::check_key;
use crate::Result;
use crate::engine::objects::adopt::{AdoptHow, AdoptReport};
use crate::pack::ObjectId;

/// What becomes of the file that is adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdoptMode {
    /// It stays as it is; what the database does not have already is copied.
    #[default]
    Copy,
    /// The database takes it over, and its name goes. If it can't be taken over as it is, it is copied and then removed: where the database lies in another file system, where bytes lie
    /// behind its last seal, above 262,144 objects, and when an earlier adoption of it was cut off. Archives that were taken over refuse appends, by whatever name.
    Move,
}

/// How a pack is adopted. See [`Keyspace::adopt_archive`].
///
/// ```
/// use packstone::{AdoptMode, AdoptOptions};
/// let options = AdoptOptions::new().mode(AdoptMode::Move).verify(true);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AdoptOptions {
    mode: AdoptMode,
    verify: bool,
}

impl AdoptOptions {
    /// Copies, and does not read everything before.
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of the file. Default: [`AdoptMode::Copy`].
    #[must_use]
    pub fn mode(mut self, mode: AdoptMode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether every byte of the file is checked before anything is adopted, contents against ids too. Without it the
    /// index and the ends of the records are, and the stored bytes of what is copied; of what is moved when they are read. Default: false.
    #[must_use]
    pub fn verify(mut self, yes: bool) -> Self {
        self.verify = yes;
        self
    }

    fn how(&self) -> AdoptHow {
        AdoptHow {
            moves: self.mode == AdoptMode::Move,
            verifies: self.verify,
        }
    }
}

impl Keyspace {
    /// Makes the names of an archive keys of this keyspace, and its objects their values, as puts would, in batches of up to 1,000 keys. Contents are neither
    /// decompressed nor hashed. Objects that the database has already are not stored again. Values below
    /// [`object_threshold`](crate::KeyspaceOptions::object_threshold) go into the tree. Meta data of names is left out. All of it is durable when this returns.
    ///
    /// Each batch is atomic, the whole is not: after an error, or a crash, some keys have their values, the file is still there, and the adoption can be repeated. In the middle
    /// of an [`AdoptMode::Move`] an archive may have become one that can't be appended to.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use packstone::pack::{ArchiveWriter, PackOptions};
    /// use packstone::{AdoptMode, AdoptOptions, Db};
    ///
    /// let path = dir.path().join("images.pack");
    /// let mut writer = ArchiveWriter::create(&path, &PackOptions::default())?;
    /// writer.add(b"a.png", b"", &[7; 100_000])?;
    /// writer.add(b"b.png", b"", &[8; 100_000])?;
    /// writer.finish()?;
    ///
    /// let db = Db::open(dir.path().join("db"))?;
    /// let images = db.keyspace("images")?;
    /// let report = images.adopt_archive(&path, &AdoptOptions::new().mode(AdoptMode::Move))?;
    /// assert_eq!((report.keys, report.objects_moved), (2, 2));
    /// assert_eq!(images.get("b.png")?.as_deref(), Some(&[8; 100_000][..]));
    /// assert!(!path.exists());
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// The file is no sealed pack, is damaged or can't be read: [`Error::Corruption`](crate::Error::Corruption) names file and offset. It has no names, the keyspace does not
    /// [deduplicate](crate::KeyspaceOptions::deduplicate), or the pack of another database is to be moved: [`Error::InvalidOption`](crate::Error::InvalidOption). A writer has a file open that
    /// is to be moved: [`Error::Locked`](crate::Error::Locked); one that is copied is read as of its last seal. A name is too long for a key. As [`Keyspace::put`].
    pub fn adopt_archive(&self, path: impl AsRef<Path>, options: &AdoptOptions) -> Result<AdoptReport> {
        let adoption = self.handle.core.adopt(&self.core, path.as_ref(), options.how())?;
        adoption.by_names(|key| check_key(key, self.core.order()))
    }

    /// Gives objects of a pack, or an archive, to keys of this keyspace; otherwise as [`Keyspace::adopt_archive`]. Objects that no key gets are not adopted: after
    /// an [`AdoptMode::Move`] they are garbage, to be collected.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use packstone::pack::{PackBuilder, PackOptions};
    /// use packstone::{AdoptOptions, Db};
    ///
    /// let path = dir.path().join("objects.pack");
    /// let mut builder = PackBuilder::create(&path, &PackOptions::default())?;
    /// let id = builder.add(&[7; 100_000])?.id;
    /// builder.finish()?;
    ///
    /// let db = Db::open(dir.path().join("db"))?;
    /// let images = db.keyspace("images")?;
    /// images.adopt_pack(&path, [("a.png", id), ("b.png", id)], &AdoptOptions::new())?;
    /// assert_eq!(images.get("b.png")?.as_deref(), Some(&[7; 100_000][..]));
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Keyspace::adopt_archive`], but that names are not needed. An object is not in the pack, or with [`AdoptMode::Move`] there are no keys: [`Error::InvalidOption`](crate::Error::InvalidOption).
    pub fn adopt_pack<K: AsRef<[u8]>>(
        &self,
        path: impl AsRef<Path>,
        keys: impl IntoIterator<Item = (K, ObjectId)>,
        options: &AdoptOptions,
    ) -> Result<AdoptReport> {
        let adoption = self.handle.core.adopt(&self.core, path.as_ref(), options.how())?;
        adoption.by_keys(keys.into_iter(), |key| check_key(key, self.core.order()))
    }
}
