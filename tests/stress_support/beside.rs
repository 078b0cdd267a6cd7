//! Steps beside the writer, with its background work going on in the middle of them: checkpoints and readers; and what the database says
//! of its health.

use std::path::{Path, PathBuf};

use packstone::{Error, Health};

use super::data::NAMES;
use super::explain::is_damage;
use super::oracle::Found;
use super::steps::Step;
use super::world::{Checked, DIR, World, found_in};
use crate::support::hooked;

/// A checkpoint that has been begun, and what it has to hold.
pub(crate) struct Kept {
    dir: PathBuf,
    wanted: Found,
    /// The call has returned.
    complete: bool,
}

impl World {
    /// Does `work` with a job of the writer's before each of its calls on a path under `under`.
    fn amid_jobs<T>(&self, under: &Path, work: impl FnOnce(&World) -> T) -> T {
        let sim = self.sim.clone();
        hooked::during(under, move |_| _ = sim.run_one(), || work(self))
    }

    fn wanted(&self) -> Found {
        let live = self.oracle.live();
        live.map(|id| (id, (*self.oracle.map(id)).clone())).collect()
    }

    pub(crate) fn checkpoint(&mut self, no_links: bool) -> Checked {
        self.made += 1;
        let dir = PathBuf::from(format!("/data/checkpoint-{}", self.made));
        let (wanted, since) = (self.wanted(), self.failures());
        let seq = self.db().as_of().seq;
        let made = self.amid_jobs(&dir, |world| {
            hooked::without_links(no_links, || world.db().checkpoint(&dir))
        });
        // It stays until the next one, or an opening after a crash: then it has to be there still.
        self.forget_checkpoint();
        let mut kept = Kept {
            dir,
            wanted,
            complete: made.is_ok(),
        };
        let outcome = match made {
            Ok(report) => {
                self.report.checkpoints += 1;
                // Collections write meanwhile.
                if report.seq < seq {
                    return Err(format!("a checkpoint at {} of a database at {seq}", report.seq));
                }
                self.look_at_checkpoint(&kept, Some(report.seq))
            }
            Err(error) => {
                self.note_poison(&error);
                kept.complete = false;
                let since = if matches!(error, Error::Poisoned { .. }) {
                    self.failures_at_open
                } else {
                    since
                };
                self.tolerate("checkpoint", &error, since)
            }
        };
        self.kept = Some(kept);
        outcome
    }

    /// What is left of the last checkpoint.
    pub(crate) fn look_at_kept(&mut self) -> Checked {
        let Some(kept) = self.kept.take() else {
            return Ok(());
        };
        let outcome = self.look_at_checkpoint(&kept, None);
        self.kept = Some(kept);
        if !self.sim.is_off() {
            self.forget_checkpoint();
        }
        outcome
    }

    fn look_at_checkpoint(&mut self, kept: &Kept, seq: Option<u64>) -> Checked {
        let since = self.failures();
        let opened = self.quietly(|world| {
            let db = world
                .options()
                .create_if_missing(false)
                .open_read_only(&kept.dir)?;
            Ok((
                world.found_beside(&db)?,
                db.as_of().seq,
                db.metrics().torn_log_bytes,
            ))
        });
        match opened {
            // Damage is linked along.
            Ok(_) if self.is_damaged() => Ok(()),
            Ok((found, at, torn)) => {
                if found != kept.wanted {
                    return Err(format!(
                        "the checkpoint {} is not what it was made of",
                        kept.dir.display()
                    ));
                }
                if seq.is_some_and(|seq| seq != at) || torn > 0 {
                    return Err(format!(
                        "a checkpoint at {seq:?} opens at {at}, with {torn} torn bytes"
                    ));
                }
                Ok(())
            }
            Err(Error::NotADatabase { .. }) if !kept.complete => Ok(()),
            Err(error) if is_damage(&error) && self.is_damaged() => Ok(()),
            Err(error) => self.tolerate("open a checkpoint", &error, since),
        }
    }

    fn forget_checkpoint(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        for path in self.sim.list().iter().filter(|path| path.starts_with(&kept.dir)) {
            self.sim.remove_file(path).expect("it is there");
        }
    }

    pub(crate) fn found_beside(&self, db: &packstone::Db) -> packstone::Result<Found> {
        let mut found = std::collections::BTreeMap::new();
        for name in db.keyspaces() {
            let id = NAMES.iter().position(|known| *known == name);
            let id = id.expect("histories create no others");
            found.insert(id as super::steps::Id, db.open_keyspace(&name)?);
        }
        found_in(&found, &self.all_keys)
    }

    /// A reader that opens the database while the writer's jobs run.
    pub(crate) fn beside(&mut self) -> Checked {
        let since = self.failures();
        let found = self.amid_jobs(Path::new(DIR), |world| {
            let db = world.options().open_read_only(DIR)?;
            world.found_beside(&db)
        });
        match found {
            Ok(found) => {
                self.report.readers += 1;
                let loss = self.loss_beside();
                let explained = self.oracle.explain(&found, loss).map(drop);
                explained.map_err(|what| format!("beside the writer: {what}"))
            }
            Err(error) => self.tolerate("open beside the writer", &error, since),
        }
    }

    /// What the database says of its health agrees with what the step's calls have returned.
    pub(crate) fn check_health(&mut self, step: &Step) -> Checked {
        let error = self.last_error.take();
        if !self.is_open() || self.sim.is_off() {
            return Ok(());
        }
        let health = self.db().health();
        match health {
            Health::Good => {}
            Health::Retrying { .. } => self.report.retrying += 1,
            Health::ReadOnly { .. } => self.report.read_only += 1,
            Health::Poisoned { .. } => self.report.poisoned += 1,
        }
        let poisoned = matches!(health, Health::Poisoned { .. });
        let agrees = match &error {
            Some(Error::Poisoned { .. }) => poisoned,
            Some(Error::Background { .. }) => !matches!(health, Health::Good),
            None if matches!(step, Step::Write(_, items) if !items.is_empty()) && self.wrote => {
                !poisoned && !matches!(health, Health::ReadOnly { .. })
            }
            _ => true,
        };
        if matches!(health, Health::ReadOnly { .. }) && !self.is_damaged() {
            return Err(format!("no damage was done, and: {health}"));
        }
        if agrees {
            return Ok(());
        }
        Err(format!("a call returned {error:?}, and the health is: {health}"))
    }

    /// The faults are over, and the database finds that out by itself.
    pub(crate) fn heals(&mut self) -> Checked {
        if !self.is_open() {
            return Ok(());
        }
        for _ in 0..8 {
            self.sim.advance(std::time::Duration::from_secs(11));
            self.sim.run_until_idle();
        }
        match self.db().health() {
            Health::Retrying { .. } => Err(format!("the faults are over, and: {}", self.db().health())),
            _ => Ok(()),
        }
    }
}
