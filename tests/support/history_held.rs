//! The operations of a [`History`] on what is held open for long, and on whole keyspaces.

use super::operations::{open_range, open_snapshot_range};
use super::*;

/// What is held for long.
impl History {
    pub(super) fn take_snapshot(&mut self, session: &mut Session) {
        if session.held.len() >= 6 {
            return;
        }
        trace!(self, "snapshot at {}", self.oracle.now);
        session.held.push(Held {
            snapshot: session.db.snapshot(),
            time: self.oracle.now,
            keyspaces: session.keyspaces.clone(),
        });
        self.coverage.snapshots += 1;
    }

    pub(super) fn check_snapshot(&mut self, session: &Session) {
        if session.held.is_empty() {
            return;
        }
        let at = self.rng.below(session.held.len() as u64) as usize;
        self.check_held(&session.held[at]);
    }

    pub(super) fn check_held(&mut self, held: &Held) {
        for (id, keyspace) in &held.keyspaces {
            let key = self.keys.near(&mut self.rng);
            let expected = self.oracle.stores[*id].get(&key, held.time);
            let found = held.snapshot.contains_key(keyspace, &key).expect("reads");
            assert_eq!(found, expected.is_some(), "{}", brief(&key));
            let reader = held.snapshot.open(keyspace, &key).expect("opens");
            self.read_stream(&key, reader, expected.as_ref());
            same_value(&key, held.snapshot.get(keyspace, &key).expect("reads"), expected);
            let bounds = self.bounds();
            let range = open_snapshot_range(&held.snapshot, keyspace, &bounds);
            let store = &self.oracle.stores[*id];
            if store.hash_order {
                assert_refused(range);
                let some = self.rng.between(1, 8) as usize;
                for key in store.keys().step_by(some) {
                    let found = held.snapshot.get(keyspace, key).expect("reads");
                    same_value(key, found, store.get(key, held.time));
                }
            } else {
                let expected = store.range(&bounds, held.time);
                self.read_through(range, expected);
            }
            if !self.oracle.live.values().any(|live| live == id) {
                self.coverage.reads_of_dropped += 1;
            }
        }
    }

    pub(super) fn drop_snapshot(&mut self, session: &mut Session) {
        if !session.held.is_empty() {
            let at = self.rng.below(session.held.len() as u64) as usize;
            trace!(self, "drop snapshot of {}", session.held[at].time);
            session.held.swap_remove(at);
        }
    }

    pub(super) fn begin_range(&mut self, session: &mut Session) {
        if session.running.len() >= 4 {
            return;
        }
        let bounds = self.bounds();
        let by_snapshot = self.rng.one_in(2) && !session.held.is_empty();
        let (range, expected) = if by_snapshot {
            let held = &session.held[self.rng.below(session.held.len() as u64) as usize];
            let Some((id, keyspace)) = held.keyspaces.first() else {
                return;
            };
            if self.oracle.stores[*id].hash_order {
                return;
            }
            let expected = self.oracle.stores[*id].range(&bounds, held.time);
            (open_snapshot_range(&held.snapshot, keyspace, &bounds), expected)
        } else {
            let (id, keyspace) = self.any_keyspace(session);
            if self.refuses(id, keyspace) {
                return;
            }
            let expected = self.oracle.stores[id].range(&bounds, self.oracle.now);
            (open_range(keyspace, &bounds), expected)
        };
        session.running.push(Running {
            range,
            left: expected.into(),
        });
    }

    pub(super) fn step_range(&mut self, session: &mut Session) {
        if session.running.is_empty() {
            return;
        }
        let at = self.rng.below(session.running.len() as u64) as usize;
        let mut running = session.running.swap_remove(at);
        for _ in 0..self.rng.between(1, 5) {
            self.coverage.steps_of_held_ranges += 1;
            if !self.step(&mut running) {
                return;
            }
        }
        session.running.push(running);
    }

    pub(super) fn drop_range(&mut self, session: &mut Session) {
        if !session.running.is_empty() {
            let at = self.rng.below(session.running.len() as u64) as usize;
            session.running.swap_remove(at);
        }
    }

    /// All that can be read, through everything that is open.
    pub(super) fn check_everything(&mut self, session: &Session) {
        for (id, keyspace) in &session.keyspaces {
            let all = self.oracle.stores[*id].all(self.oracle.now);
            for (key, value) in &all {
                same_value(key, keyspace.get(key).expect("reads"), Some(value.clone()));
            }
            compare_all(keyspace, &self.oracle.stores[*id], self.oracle.now);
        }
        for held in &session.held {
            self.check_held(held);
        }
    }
}

/// Keyspaces, and what works on all of one.
impl History {
    pub(super) fn create(&mut self, session: &mut Session) {
        let name = self.rng.pick(&NAMES);
        let order = self.rng.pick(&[Order::Key, Order::Key, Order::Hash]);
        let options = KeyspaceOptions::new()
            .order(order)
            .compression(self.rng.pick(&[Compression::None, Compression::Lz4]))
            .filter(self.rng.one_in(2))
            .partition_size(self.rng.pick(&[64, 200, 1024, 32 << 10]))
            .key_block_size(self.rng.pick(&[64, 256, 1024, 16 << 10]))
            .value_block_size(self.rng.pick(&[64, 256, 4096, 8 << 10]))
            .object_threshold(match self.limits.objects {
                true => self.rng.pick(&[None, Some(32), Some(100), Some(4096)]),
                false => None,
            })
            .deduplicate(!self.rng.one_in(4));
        let keyspace = session.db.keyspace_with(name, options.clone()).expect("creates");
        if self.oracle.live.contains_key(name) {
            return; // it keeps the options that it was created with
        }
        trace!(self, "create {name} {options:?}");
        assert_eq!(*keyspace.options(), options);
        assert_eq!(keyspace.name(), name);
        assert!(keyspace.is_empty().expect("reads"), "a new keyspace is empty");
        let id = self.oracle.create(name, order == Order::Hash);
        session.keyspaces.push((id, keyspace));
        self.coverage.keyspaces += 1;
    }

    pub(super) fn drop_keyspace(&mut self, session: &mut Session) {
        let at = self.rng.below(session.keyspaces.len() as u64) as usize;
        let (id, keyspace) = session.keyspaces.remove(at);
        let name = self.oracle.stores[id].name.clone();
        trace!(self, "drop keyspace {name}");
        session.db.drop_keyspace(&name).expect("drops");
        self.oracle.drop_store(&name);
        self.dropped_in_session = true;
        let dropped = |error| matches!(error, Error::KeyspaceDropped { .. });
        assert!(dropped(keyspace.put("k", "v").unwrap_err()));
        assert!(dropped(keyspace.get("k").unwrap_err()));
        assert!(dropped(keyspace.iter().next().unwrap().unwrap_err()));
        self.coverage.keyspaces_dropped += 1;
    }

    pub(super) fn compact_all(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        trace!(self, "compact {id}");
        keyspace.compact_range::<&[u8], _>(..).expect("compacts");
        self.coverage.whole_compactions += 1;
        if !session.held.is_empty() || !session.running.is_empty() {
            return;
        }
        // Nobody sees old versions: what is left is what can be read, and no tombstone.
        let metrics = session.db.metrics();
        let of_keyspace = metrics.keyspaces.iter().find(|k| k.name == keyspace.name());
        let levels = &of_keyspace.expect("it has metrics").levels;
        let entries: u64 = levels.iter().map(|level| level.entries).sum();
        let tombstones: u64 = levels.iter().map(|level| level.tombstones).sum();
        let all = self.oracle.stores[id].all(self.oracle.now);
        assert_eq!((entries, tombstones), (all.len() as u64, 0));
        self.coverage.exact_compactions += 1;
    }

    pub(super) fn compact_part(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let (from, to) = (self.keys.near(&mut self.rng), self.keys.near(&mut self.rng));
        trace!(self, "compact {id} {}..{}", brief(&from), brief(&to));
        match self.rng.below(3) {
            0 => keyspace.compact_range(&from[..]..),
            1 => keyspace.compact_range(..&to[..]),
            _ => keyspace.compact_range(&from[..]..=&to[..]),
        }
        .expect("compacts");
    }

    pub(super) fn metrics(&mut self, session: &Session) {
        let metrics = session.db.metrics();
        assert_eq!(metrics.entries_written, self.oracle.now - session.opened_at);
        assert_eq!(metrics.background_failures, 0);
        assert_eq!(metrics.undeleted_files, 0);
        let open = session.held.len() + session.running.len();
        assert_eq!(metrics.open_snapshots, open as u64);
        let names = metrics.keyspaces.iter().map(|keyspace| &keyspace.name);
        // But for the directory of objects.
        let names = names.filter(|name| *name != "(objects)");
        assert!(names.eq(self.oracle.live.keys()));
        for level in metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels) {
            assert!(level.tombstones <= level.entries);
            assert_eq!(level.files == 0, level.entries == 0);
        }
        assert!(metrics.cache_bytes <= self.limits.cache_size.max(1));
        assert!(!metrics.to_string().is_empty());
    }

    /// A reader beside a writer that is quiet.
    pub(super) fn read_only_beside(&mut self, session: &Session) {
        if let World::Real(_) = self.world {
            session.db.wait_for_background().expect("settles");
            if self.limits.sync_interval.is_some() {
                return;
            }
        }
        self.read_only(false);
    }
}

pub(super) fn brief_bounds(bounds: &Bounds) -> String {
    let end = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Included(key) => format!("with {}", brief(key)),
        Bound::Excluded(key) => format!("without {}", brief(key)),
        Bound::Unbounded => "all".to_owned(),
    };
    match bounds {
        Bounds::Prefix(prefix) => format!("prefix {}", brief(prefix)),
        Bounds::Keys(lower, upper) => format!("{} to {}", end(lower), end(upper)),
    }
}
