//! Which errors the faults explain.

use std::path::Path;

use packstone::Error;

use super::world::{Checked, DIR, World};

/// What explains an error.
impl World {
    pub(crate) fn is_damaged(&self) -> bool {
        !self.flipped.is_empty()
    }

    /// Takes an error for what it may be: the effect of calls that have been made to fail after the first `since`, of the
    /// missing room, of the missing power, of flipped bits.
    pub(crate) fn tolerate(&mut self, what: &str, error: &Error, since: u64) -> Checked {
        self.report.errors += 1;
        self.last_error = Some(error.clone());
        self.report.damage_found += u64::from(is_damage(error));
        if self.explains(error, since) {
            return Ok(());
        }
        Err(format!("{what}: nothing explains this error: {error}"))
    }

    fn explains(&self, error: &Error, since: u64) -> bool {
        match error {
            Error::Io { source, .. } => {
                let full = source.kind() == std::io::ErrorKind::StorageFull && self.short_of_room;
                full || self.failures() > since || self.sim.is_off()
            }
            Error::Poisoned { cause } | Error::Background { cause } => {
                self.explains(cause, self.failures_at_open)
            }
            Error::Corruption { path, .. }
            | Error::NewerFormat { path, .. }
            | Error::NotADatabase { path, .. } => {
                // Whatever notices it, the pack is named.
                let packs = self.flipped.iter().all(|part| part == ".pack");
                let named = !packs || error.to_string().contains(".pack");
                self.is_damaged() && path.starts_with(Path::new(DIR)) && named
            }
            _ => false,
        }
    }
}

/// Whether it says that bytes are not what was written.
pub(crate) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corruption { .. } | Error::NewerFormat { .. } | Error::NotADatabase { .. } => true,
        Error::Poisoned { cause } | Error::Background { cause } => is_damage(cause),
        _ => false,
    }
}
