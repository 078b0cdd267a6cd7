//! [`Failure`]: why a benchmark ended early.

use std::fmt;
use std::path::Path;

pub(crate) type Outcome<T> = Result<T, Failure>;

/// A message for the user.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn io(operation: &str, path: &Path, error: &std::io::Error) -> Self {
        Failure(format!("cannot {operation} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<packstone::Error> for Failure {
    fn from(error: packstone::Error) -> Self {
        Failure(error.to_string())
    }
}
