//! The operations of a [`History`] that read and write.

use std::io::{Read, Seek, SeekFrom};

use packstone::ValueReader;

use super::held::brief_bounds;
use super::*;

/// One operation after the other.
impl History {
    pub(super) fn operate(&mut self, mut session: Open) -> Open {
        if session.keyspaces.is_empty() {
            self.create(&mut session);
        }
        match self.rng.below(1000) {
            0..230 => self.put(&session, Durability::Buffered),
            230..250 => self.put(&session, Durability::Sync),
            250..310 => self.delete(&session),
            310..320 => self.delete_run(&session),
            320..390 => self.batch(&session),
            390..480 => self.get(&session),
            480..510 => self.ends(&session),
            510..560 => self.range(&session),
            560..580 => self.keys(&session),
            580..600 => self.take_snapshot(&mut session),
            600..640 => self.check_snapshot(&session),
            640..652 => self.drop_snapshot(&mut session),
            652..672 => self.begin_range(&mut session),
            672..740 => self.step_range(&mut session),
            740..750 => self.drop_range(&mut session),
            750..756 => self.create(&mut session),
            756..760 => self.drop_keyspace(&mut session),
            760..775 => session.db.flush().expect("flushes"),
            775..781 => self.compact_all(&session),
            781..790 => self.compact_part(&session),
            790..796 => session.db.sync().expect("syncs"),
            796..800 => session.db.wait_for_background().expect("settles"),
            800..815 => self.metrics(&session),
            815..819 => {
                self.end(session, true);
                return self.open();
            }
            819..822 => {
                self.end(session, false);
                return self.open();
            }
            822..827 => return self.kill(session),
            827..830 => self.read_only_beside(&session),
            830..832 => {
                self.end(session, true);
                self.read_only(true);
                return self.open();
            }
            _ => self.background(),
        }
        session
    }

    pub(super) fn background(&mut self) {
        if let World::Sim(sim) = &self.world {
            for _ in 0..self.rng.between(1, 3) {
                if sim.run_one() {
                    self.coverage.jobs += 1;
                }
            }
            if self.rng.one_in(8) {
                sim.advance(Duration::from_millis(self.rng.between(1, 100)));
            }
        }
    }

    pub(super) fn any_keyspace<'a>(&mut self, session: &'a Session) -> (usize, &'a Keyspace) {
        // The first gets most of the writes, so that it grows deep.
        let upto = 1 + self.rng.below(session.keyspaces.len() as u64);
        let (id, keyspace) = &session.keyspaces[self.rng.below(upto) as usize];
        (*id, keyspace)
    }

    /// Keys of hash order are shorter by a hash.
    fn fit(&self, id: usize, mut key: Vec<u8>) -> Vec<u8> {
        if self.oracle.stores[id].hash_order {
            key.truncate(packstone::MAX_KEY_LEN - 8);
        }
        key
    }

    /// Whether ranges over this keyspace are refused, as they must be in hash order only.
    pub(super) fn refuses(&mut self, id: usize, keyspace: &Keyspace) -> bool {
        let hash_order = self.oracle.stores[id].hash_order;
        if hash_order {
            let bounds = self.bounds();
            assert_refused(open_range(keyspace, &bounds));
            self.coverage.refused_ranges += 1;
        }
        hash_order
    }

    pub(super) fn put(&mut self, session: &Session, durability: Durability) {
        let (id, keyspace) = self.any_keyspace(session);
        let (key, value) = (self.keys.any(&mut self.rng), self.value());
        let key = self.fit(id, key);
        trace!(
            self,
            "{} put {id} {} {}",
            self.oracle.now + 1,
            brief(&key),
            brief(&value)
        );
        match (self.rng.below(8), durability) {
            (0, Durability::Buffered) => {
                self.coverage.streams += 1;
                let len = keyspace.put_reader(&key, &value[..]).expect("writes");
                assert_eq!(len, value.len() as u64);
            }
            (0 | 1, _) => self.stream(keyspace, &key, &value, durability),
            _ => keyspace.put_with(&key, &value, durability).expect("writes"),
        }
        self.oracle.write(id, &key, Some(value));
    }

    /// A value, often a long one that has been written before.
    fn value(&mut self) -> Vec<u8> {
        if self.rng.one_in(6) && !self.lately.is_empty() {
            let at = self.rng.below(self.lately.len() as u64) as usize;
            return self.lately[at].clone();
        }
        let value = self.values.any(&mut self.rng);
        if value.len() > 32 {
            self.lately.push(value.clone());
            if self.lately.len() > 6 {
                self.lately.remove(0);
            }
        }
        value
    }

    /// Writes a value piece by piece; or gives it up, before it is written as a whole.
    fn stream(&mut self, keyspace: &Keyspace, key: &[u8], value: &[u8], durability: Durability) {
        self.coverage.streams += 1;
        let piece = self.rng.between(1, 5000) as usize;
        let gives_up = self.rng.one_in(4);
        let mut writer = keyspace.writer(key).expect("begins");
        for piece in value.chunks(piece) {
            writer.push(piece).expect("writes");
        }
        if gives_up {
            writer.abort();
            return keyspace.put_with(key, value, durability).expect("writes");
        }
        writer.commit(durability).expect("commits");
    }

    /// Reads a part of a value as a stream.
    pub(super) fn read_stream(&mut self, key: &[u8], reader: Option<ValueReader>, expected: Option<&Value>) {
        let (mut reader, expected) = match (reader, expected) {
            (Some(reader), Some(expected)) => (reader, expected),
            (reader, expected) => {
                assert_eq!(reader.is_some(), expected.is_some(), "{}", brief(key));
                return;
            }
        };
        self.coverage.readings += 1;
        assert_eq!(reader.len(), expected.len() as u64);
        for _ in 0..2 {
            let from = self.rng.below(expected.len() as u64 + 1);
            assert_eq!(reader.seek(SeekFrom::Start(from)).expect("seeks"), from);
            let len = self.rng.below(expected.len() as u64 - from + 1);
            let mut piece = vec![0; len as usize];
            reader.read_exact(&mut piece).expect("reads");
            let (from, to) = (from as usize, (from + len) as usize);
            assert!(piece == expected[from..to], "{} from {from} to {to}", brief(key));
        }
    }

    pub(super) fn delete(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let key = self.keys.near(&mut self.rng);
        let key = self.fit(id, key);
        trace!(self, "{} delete {id} {}", self.oracle.now + 1, brief(&key));
        keyspace.delete(&key).expect("deletes");
        self.oracle.write(id, &key, None);
    }

    /// Deletes what a range gives, while the range is open.
    pub(super) fn delete_run(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let from = self.keys.near(&mut self.rng);
        let most = self.rng.between(1, 40) as usize;
        trace!(
            self,
            "{} delete run {id} from {}",
            self.oracle.now + 1,
            brief(&from)
        );
        if self.refuses(id, keyspace) {
            return;
        }
        for key in keyspace.range(&from[..]..).keys().take(most) {
            let key = key.expect("reads");
            keyspace.delete(&key).expect("deletes");
            self.oracle.write(id, &key, None);
        }
    }

    pub(super) fn batch(&mut self, session: &Session) {
        let mut batch = session.db.batch();
        let mut writes: Vec<(usize, Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        for _ in 0..self.rng.below(12) {
            let (id, keyspace) = self.any_keyspace(session);
            let again = writes.last().filter(|(last, ..)| *last == id);
            let key = match again {
                Some((_, key, _)) if self.rng.one_in(3) => key.clone(),
                _ => self.keys.any(&mut self.rng),
            };
            let key = self.fit(id, key);
            if self.rng.one_in(4) {
                batch.delete(keyspace, &key);
                writes.push((id, key, None));
            } else {
                let value = self.value();
                batch.put(keyspace, &key, &value);
                writes.push((id, key, Some(value)));
            }
        }
        trace!(self, "{} batch of {}", self.oracle.now + 1, writes.len());
        // Where an object lies is a write as well.
        assert!((writes.len()..=2 * writes.len()).contains(&batch.len()));
        if self.rng.one_in(10) {
            return drop(batch); // which writes nothing
        }
        let durability = self
            .rng
            .pick(&[Durability::Buffered, Durability::Buffered, Durability::Sync]);
        batch.commit(durability).expect("commits");
        for (id, key, value) in writes {
            trace!(
                self,
                "  {} {id} {} {:?}",
                self.oracle.now + 1,
                brief(&key),
                value.as_ref().map(|value| brief(value))
            );
            self.oracle.write(id, &key, value);
        }
    }

    pub(super) fn get(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let key = self.keys.near(&mut self.rng);
        let expected = self.oracle.stores[id].get(&key, self.oracle.now);
        assert_eq!(
            keyspace.contains_key(&key).expect("reads"),
            expected.is_some(),
            "{}",
            brief(&key)
        );
        if self.rng.one_in(4) {
            self.read_stream(&key, keyspace.open(&key).expect("opens"), expected.as_ref());
        }
        same_value(&key, keyspace.get(&key).expect("reads"), expected);
    }

    pub(super) fn ends(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        if self.refuses(id, keyspace) {
            assert!(matches!(keyspace.first(), Err(Error::HashOrder { .. })));
            assert!(matches!(keyspace.last(), Err(Error::HashOrder { .. })));
            return;
        }
        let all = self.oracle.stores[id].all(self.oracle.now);
        same_entry(keyspace.first().expect("reads"), all.first().cloned());
        same_entry(keyspace.last().expect("reads"), all.last().cloned());
    }

    pub(super) fn bounds(&mut self) -> Bounds {
        if self.rng.one_in(4) {
            let mut prefix = self.keys.near(&mut self.rng);
            prefix.truncate(self.rng.below(prefix.len() as u64 + 1) as usize);
            return Bounds::Prefix(prefix);
        }
        let mut bound = || match self.rng.below(3) {
            0 => Bound::Included(self.keys.near(&mut self.rng)),
            1 => Bound::Excluded(self.keys.near(&mut self.rng)),
            _ => Bound::Unbounded,
        };
        Bounds::Keys(bound(), bound())
    }

    pub(super) fn range(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let bounds = self.bounds();
        let expected = self.oracle.stores[id].range(&bounds, self.oracle.now);
        trace!(self, "range {id} {}", brief_bounds(&bounds));
        if self.refuses(id, keyspace) {
            return;
        }
        let range = open_range(keyspace, &bounds);
        self.read_through(range, expected);
    }

    /// Reads a range from one end, from the other, or from both until they meet.
    pub(super) fn read_through(&mut self, range: Range, expected: Entries) {
        match self.rng.below(4) {
            0 => compare(range, expected),
            1 => {
                let mut expected = expected.into_iter().rev();
                for entry in range.rev() {
                    same_entry(Some(entry.expect("reads")), expected.next());
                }
                same_entry(None, expected.next());
            }
            _ => {
                let mut running = Running {
                    range,
                    left: expected.into(),
                };
                while self.step(&mut running) {}
                assert!(running.range.next().is_none());
                assert!(running.range.next_back().is_none(), "the end is final");
            }
        }
    }

    /// One step at either end; false at the end.
    pub(super) fn step(&mut self, running: &mut Running) -> bool {
        let (got, expected) = if self.rng.one_in(2) {
            (running.range.next(), running.left.pop_front())
        } else {
            (running.range.next_back(), running.left.pop_back())
        };
        let more = expected.is_some();
        same_entry(got.map(|entry| entry.expect("reads")), expected);
        more
    }

    pub(super) fn keys(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let bounds = self.bounds();
        let expected = self.oracle.stores[id].range(&bounds, self.oracle.now);
        if self.refuses(id, keyspace) {
            return;
        }
        let mut left: VecDeque<Vec<u8>> = expected.into_iter().map(|(key, _)| key).collect();
        let mut keys = open_range(keyspace, &bounds).keys();
        loop {
            let (got, expected) = match self.rng.below(3) {
                0 => (keys.next_back(), left.pop_back()),
                _ => (keys.next(), left.pop_front()),
            };
            let got = got.map(|key| key.expect("reads").to_vec());
            assert!(got == expected, "keys differ");
            if expected.is_none() {
                return;
            }
        }
    }
}

pub(super) fn open_range(keyspace: &Keyspace, bounds: &Bounds) -> Range {
    match bounds {
        Bounds::Prefix(prefix) => keyspace.prefix(prefix),
        Bounds::Keys(lower, upper) => keyspace.range::<Vec<u8>, _>((lower.clone(), upper.clone())),
    }
}

pub(super) fn open_snapshot_range(snapshot: &Snapshot, keyspace: &Keyspace, bounds: &Bounds) -> Range {
    match bounds {
        Bounds::Prefix(prefix) => snapshot.prefix(keyspace, prefix),
        Bounds::Keys(lower, upper) => snapshot.range::<Vec<u8>, _>(keyspace, (lower.clone(), upper.clone())),
    }
}
