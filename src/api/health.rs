//! [`Db::health`].

use super::db::Db;
use crate::engine::health::Health;

impl Db {
    /// Whether the database can do what it should, and if not, what it does about it. Cheap enough to be asked every second.
    ///
    /// A full disk, for one: writes and background work that meet it fail with an error at once
    /// ([`Error::is_out_of_space`](crate::Error::is_out_of_space)), the state is `Retrying`, and some seconds after there is room again
    /// it is `Good`, without any call.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use packstone::{Db, Health};
    ///
    /// let db = Db::open(dir.path())?;
    /// match db.health() {
    ///     Health::Good => {}
    ///     Health::Poisoned { .. } => { /* close it, look after the disk, open it again */ }
    ///     // Retrying, ReadOnly: the text says what, why, and what helps.
    ///     state => eprintln!("{state}"),
    /// }
    /// # db.close()
    /// # }
    /// ```
    pub fn health(&self) -> Health {
        self.core().health()
    }
}
