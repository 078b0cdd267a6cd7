//! What is asked of a database in a [`World`]: that readers, snapshots, files and logs are as the oracle and the metrics say.

use std::path::Path;

use packstone::{Db, Result};

use super::Step;
use super::oracle::{Content, Map, first_difference};
use super::world::{Checked, DIR, Stop, World};

impl World {
    /// All that readers see.
    pub fn content(&self) -> Result<Content> {
        let mut content = Content::new();
        for (name, keyspace) in &self.keyspaces {
            content.insert(name.clone(), read_all(keyspace.iter())?);
        }
        Ok(content)
    }

    /// Compares what readers see with the oracle.
    pub fn check_visible(&self) -> Result<(), Stop> {
        let found = self.content()?;
        let wanted = self.oracle.visible();
        compare("what readers see", &wanted, &found)?;
        for (name, map) in &wanted {
            let keyspace = self.keyspace(name);
            for (at, (key, value)) in map.iter().enumerate() {
                if at % 7 == 0 && keyspace.get(key)?.as_deref() != Some(&value[..]) {
                    return Err(Stop::Broken(format!(
                        "get of {} in {name:?} differs from the iterator",
                        key.escape_ascii()
                    )));
                }
            }
        }
        Ok(())
    }

    /// After the sync interval everything is synced: asking for it costs no I/O. But a collection may have told meanwhile where objects lie now;
    /// `places`: how often that had been done before.
    pub(super) fn check_background_sync(&mut self, ms: u64, places: u64) -> Result<(), Stop> {
        if self.history.sync_interval_ms.is_none_or(|interval| interval > ms) {
            return Ok(());
        }
        let moved = self.db().metrics().objects.places_written > places;
        let before = self.sim.io_count();
        self.db().sync()?;
        self.oracle.synced();
        if self.sim.io_count() == before || moved {
            Ok(())
        } else {
            Err(Stop::Broken(
                "the background sync has left something unsynced".to_owned(),
            ))
        }
    }

    pub(super) fn read_only(&self) -> Result<Content> {
        content_of(&self.options().open_read_only(DIR)?)
    }

    pub(super) fn check_snapshot(&mut self) -> Result<(), Stop> {
        let Some((snapshot, wanted)) = self.snapshots.pop_front() else {
            return Ok(());
        };
        for (name, wanted) in &wanted {
            // A keyspace that was dropped meanwhile has no handle here any more.
            let Some(keyspace) = self.keyspaces.get(name) else {
                continue;
            };
            let found = read_all(snapshot.iter(keyspace))?;
            if found != *wanted && !found.is_empty() {
                return Err(Stop::Broken(format!(
                    "a snapshot: {}",
                    first_difference(name, wanted, &found)
                )));
            }
        }
        Ok(())
    }

    /// Whether files and metrics agree: no leftover, nothing missing. REQUIRES: no snapshot is open.
    pub fn check_files(&mut self) -> Result<(), Stop> {
        self.snapshots.clear();
        self.db().wait_for_background()?;
        self.sim.run_until_idle();
        self.check_sealed()?;
        if self.sim.is_off() {
            return Ok(()); // nothing can be removed any more
        }
        let metrics = self.db().metrics();
        let counted: u64 = metrics
            .keyspaces
            .iter()
            .flat_map(|keyspace| &keyspace.levels)
            .map(|level| level.files)
            .sum();
        let names = self.names();
        let ending = |end: &str| names.iter().filter(|name| name.ends_with(end)).count() as u64;
        let manifests = names.iter().filter(|name| name.starts_with("MANIFEST-")).count() as u64;
        let known = ending(".sst") + ending(".log") + ending(".pack") + manifests + 2;
        let packs = metrics.objects.packs;
        let as_counted = ending(".sst") == counted && ending(".pack") == packs;
        if !as_counted || manifests != 1 || known != names.len() as u64 {
            return Err(Stop::Broken(format!(
                "{counted} SSTs and {packs} packs in the metrics, and these files: {names:?}"
            )));
        }
        Ok(())
    }

    /// The same; after failures, files that no edit has named may lie about until the next open.
    pub fn check_files_but_for(&mut self, leftovers: bool) -> Result<(), Stop> {
        if leftovers { Ok(()) } else { self.check_files() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let in_dir = |path: &Path| path.parent() == Some(Path::new(DIR));
        let paths = self.sim.list();
        let ours = paths.iter().filter(|path| in_dir(path));
        ours.filter_map(|path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned))
            .collect()
    }

    /// The database goes on: writes, flush, compaction, no leftovers, a clean close, and all is there again.
    pub fn exercise(&mut self) -> Result<(), Stop> {
        self.check_files()?;
        self.create("exercise")?;
        for name in self.oracle.live() {
            let name: &'static str = known_name(&name);
            self.write(
                &[(name, 3, Some(30)), (name, 900, Some(5000)), (name, 5, None)],
                false,
            )?;
        }
        self.check_visible()?;
        self.step(&Step::Flush)?;
        self.check_logs()?;
        self.check_visible()?;
        for name in self.oracle.live() {
            self.step(&Step::Compact(known_name(&name)))?;
        }
        self.check_visible()?;
        self.check_objects()?;
        self.write(&[("exercise", 1, Some(10))], true)?;
        self.step(&Step::Reopen)?;
        self.check_visible()?;
        self.check_files()
    }

    /// After everything was flushed, only the current log is left.
    fn check_logs(&self) -> Checked {
        let logs: Vec<String> = self
            .names()
            .into_iter()
            .filter(|name| name.ends_with(".log"))
            .collect();
        if logs.len() == 1 {
            Ok(())
        } else {
            Err(format!(
                "everything is flushed, and these logs are left: {logs:?}"
            ))
        }
    }
}

fn known_name(name: &str) -> &'static str {
    ["a", "b", "c", "exercise"]
        .into_iter()
        .find(|known| *known == name)
        .expect("histories use these names only")
}

/// All that a database holds.
pub fn content_of(db: &Db) -> Result<Content> {
    let mut content = Content::new();
    for name in db.keyspaces() {
        content.insert(name.clone(), read_all(db.open_keyspace(&name)?.iter())?);
    }
    Ok(content)
}

fn read_all(range: packstone::Range) -> Result<Map> {
    let mut map = Map::new();
    for entry in range {
        let (key, value) = entry?;
        map.insert(key.to_vec(), value.to_vec());
    }
    Ok(map)
}

pub fn compare(what: &str, wanted: &Content, found: &Content) -> Checked {
    if wanted == found {
        return Ok(());
    }
    for (name, wanted) in wanted {
        match found.get(name) {
            None => return Err(format!("{what}: keyspace {name:?} is missing")),
            Some(found) if found != wanted => {
                return Err(format!("{what}: {}", first_difference(name, wanted, found)));
            }
            _ => {}
        }
    }
    Err(format!("{what}: keyspaces {:?} are too many", found.keys()))
}
