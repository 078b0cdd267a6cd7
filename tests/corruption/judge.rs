//! Opens a damaged database, reads all of it, and says what came of it.

use super::*;

impl Sample {
    pub(crate) fn names(&self, end: &str) -> Vec<String> {
        self.files
            .keys()
            .filter(|name| name.contains(end))
            .cloned()
            .collect()
    }

    /// What may be missing after damage to a byte of `name`.
    pub(crate) fn excuse(&self, name: &str) -> Excuse {
        if name.ends_with(".log") && !self.closed {
            Excuse::LostBehind(self.synced)
        } else {
            Excuse::None
        }
    }

    /// Opens, reads, goes on working, reads again.
    pub(crate) fn try_out(&self, sim: &SimEnv, culprits: &[&str], excuse: Excuse, way: Way) -> Outcome {
        let before = files(sim);
        let options = options(sim).access(way.access).recovery_mode(way.mode);
        let opened = if way.read_only {
            options.open_read_only(DIR)
        } else {
            options.open(DIR)
        };
        let db = match opened {
            Ok(db) => db,
            Err(error) => {
                check_error(&error, culprits);
                assert!(
                    files(sim) == before,
                    "a failed open changed the directory: {error}"
                );
                return Outcome::OpenRefused;
            }
        };
        let mut outcome = self.read(&db, culprits, excuse);
        if way.read_only {
            drop(db);
            assert!(files(sim) == before, "a read-only open changed the directory");
            return outcome;
        }
        if let Err(error) = db.wait_for_background() {
            check_error(&error, culprits);
            outcome = outcome.min(Outcome::ReadRefused);
        }
        if way.rewrite {
            for name in db.keyspaces() {
                let keyspace = db.keyspace(&name).unwrap();
                if let Err(error) = keyspace.compact_range::<&[u8], _>(..) {
                    check_error(&error, culprits);
                    assert_ne!(outcome, Outcome::Harmless, "reads see nothing of: {error}");
                }
            }
            outcome = outcome.min(self.read(&db, culprits, excuse));
        }
        outcome
    }

    /// Reads everything in every way: the right answers or errors that name the culprit.
    pub(crate) fn read(&self, db: &Db, culprits: &[&str], excuse: Excuse) -> Outcome {
        let mut seen = Seen::default();
        for (at, name) in KEYSPACES.into_iter().enumerate() {
            let keyspace = db.keyspace(name).unwrap();
            seen.look(at, &keyspace, &self.keys);
        }
        for error in &seen.errors {
            check_error(error, culprits);
        }
        let newest = self.states.len() - 1;
        let oldest = match excuse {
            Excuse::None => newest,
            Excuse::LostBehind(synced) => synced,
        };
        let in_force = (oldest..=newest)
            .rev()
            .find(|at| seen.difference(&self.states[*at]).is_none());
        match in_force {
            None => panic!("wrong answer: {}", seen.difference(&self.states[newest]).unwrap()),
            Some(_) if !seen.errors.is_empty() => Outcome::ReadRefused,
            Some(at) if at == newest => Outcome::Harmless,
            Some(_) => Outcome::SuffixLost,
        }
    }
}

/// All answers that reading a database gave.
#[derive(Default)]
pub(crate) struct Seen {
    /// By keyspace: what a scan gave, and whether it came to its end.
    forward: [(Vec<Entry>, bool); 2],
    backward: [(Vec<Vec<u8>>, bool); 2],
    gets: Vec<(usize, Vec<u8>, Option<Vec<u8>>)>,
    errors: Vec<Error>,
}

impl Seen {
    pub(crate) fn look(&mut self, at: usize, keyspace: &Keyspace, keys: &BTreeSet<Vec<u8>>) {
        let (found, whole) = &mut self.forward[at];
        *whole = true;
        for entry in keyspace.iter() {
            match entry {
                Ok((key, value)) => found.push((key.to_vec(), value.to_vec())),
                Err(error) => (*whole, _) = (false, self.errors.push(error)),
            }
        }
        let (found, whole) = &mut self.backward[at];
        *whole = true;
        for key in keyspace.iter().keys().rev() {
            match key {
                Ok(key) => found.push(key.to_vec()),
                Err(error) => (*whole, _) = (false, self.errors.push(error)),
            }
        }
        for key in keys {
            match keyspace.get(key) {
                Ok(value) => self
                    .gets
                    .push((at, key.clone(), value.map(|value| value.to_vec()))),
                Err(error) => self.errors.push(error),
            }
        }
    }

    /// The first answer that is not right in that state.
    pub(crate) fn difference(&self, state: &State) -> Option<String> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        for (at, map) in state.iter().enumerate() {
            let (found, whole) = &self.forward[at];
            if *whole && found.len() < map.len() {
                return Some(format!("{} of {} entries scanned", found.len(), map.len()));
            }
            let mut wanted = map.iter();
            for (key, value) in found {
                if wanted.next() != Some((key, value)) {
                    return Some(format!("{} is wrong in a scan", text(key)));
                }
            }
            let (found, whole) = &self.backward[at];
            if *whole && found.len() < map.len() {
                return Some(format!("{} of {} keys scanned back", found.len(), map.len()));
            }
            let mut wanted = map.keys().rev();
            for key in found {
                if wanted.next() != Some(key) {
                    return Some(format!("{} is wrong in a backward scan", text(key)));
                }
            }
        }
        let wrong = self
            .gets
            .iter()
            .find(|(at, key, value)| state[*at].get(key) != value.as_ref())?;
        Some(format!(
            "get of {} in keyspace {}: {:?}",
            text(&wrong.1),
            wrong.0,
            wrong.2
        ))
    }
}

/// An error about damage names one of the culprits, and where in it, in one readable line.
pub(crate) fn check_error(error: &Error, culprits: &[&str]) {
    let path = match error {
        Error::Corruption { path, .. }
        | Error::NewerFormat { path, .. }
        | Error::NotADatabase { path, .. }
        | Error::Io { path, .. } => path,
        Error::Background { cause } => return check_error(cause, culprits),
        _ => panic!("not an error about damage: {error:?}"),
    };
    let text = error.to_string();
    assert!(
        culprits.iter().any(|culprit| text.contains(culprit)),
        "expected one of {culprits:?} to be named: {text}"
    );
    assert!(path.starts_with(DIR) && !text.contains('\n'), "{text}");
}

/// Runs the cases, and reports all that fail by name.
pub(crate) struct Cases {
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    failed: Vec<String>,
}

impl Cases {
    pub(crate) fn new() -> Self {
        Cases {
            outcomes: BTreeMap::new(),
            failed: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, name: impl FnOnce() -> String, case: impl FnOnce() -> Outcome) {
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(outcome) => *self.outcomes.entry(outcome).or_default() += 1,
            Err(cause) => {
                let said = cause.downcast_ref::<String>().cloned();
                let said = said.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                self.failed
                    .push(format!("{}: {}", name(), said.unwrap_or_default()));
            }
        }
    }

    pub(crate) fn finish(self, title: &str) {
        println!("{title}: {:?}", self.outcomes);
        let first: Vec<_> = self.failed.iter().take(40).collect();
        assert!(
            first.is_empty(),
            "{title}: {} cases failed: {first:#?}",
            self.failed.len()
        );
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }
}
