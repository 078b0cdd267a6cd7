//! The database that gets damaged.

use super::*;

struct Maker {
    seed: u64,
    db: Db,
    keyspaces: [Keyspace; 2],
    state: State,
    states: Vec<State>,
    keys: BTreeSet<Vec<u8>>,
}

impl Maker {
    fn put(&mut self, at: usize, key: &str, value: Vec<u8>, durability: Durability) {
        self.keyspaces[at].put_with(key, &value, durability).unwrap();
        self.state[at].insert(key.into(), value);
        self.wrote(key);
    }

    fn delete(&mut self, at: usize, key: &str, durability: Durability) {
        self.keyspaces[at].delete_with(key, durability).unwrap();
        self.state[at].remove(key.as_bytes());
        self.wrote(key);
    }

    fn batch(&mut self, key: &str, durability: Durability) {
        let mut batch = self.db.batch();
        for at in 0..2 {
            batch.put(&self.keyspaces[at], key, format!("both {at}"));
            self.state[at].insert(key.into(), format!("both {at}").into_bytes());
        }
        batch.commit(durability).unwrap();
        self.wrote(key);
    }

    fn wrote(&mut self, key: &str) {
        self.keys.insert(key.into());
        self.states.push(self.state.clone());
    }

    /// A layer of 40 entries, each `step`th key.
    fn layer(&mut self, at: usize, step: usize, round: u64) {
        for (i, n) in (0..40).map(|i| (i, i * step)) {
            let seed = mix(self.seed ^ mix(round * 1000 + n as u64));
            let len = match i % 20 {
                0 => 5,                    // inline
                1 if at == 1 => 4097 + 40, // medium
                _ => 30 + seed % 60,
            };
            // Half of a value compresses.
            let value = (0..len)
                .map(|i| {
                    if i % 2 == 0 {
                        b'.'
                    } else {
                        (seed >> (i % 8 * 8)) as u8
                    }
                })
                .collect();
            self.put(at, &format!("key {n:03}"), value, Durability::Buffered);
        }
    }
}

/// Builds the database: two levels or more, level 0 included, and a log.
pub(crate) fn sample(seed: u64, closed: bool) -> Sample {
    let sim = SimEnv::new(seed);
    let db = options(&sim).open(DIR).unwrap();
    // Several blocks of each kind in a file.
    let layout = KeyspaceOptions::new().key_block_size(600).value_block_size(600);
    let plain = layout.clone().compression(Compression::None);
    let keyspaces = [
        db.keyspace_with(KEYSPACES[0], plain).unwrap(),
        db.keyspace_with(KEYSPACES[1], layout).unwrap(),
    ];
    let mut maker = Maker {
        seed,
        db,
        keyspaces,
        state: State::default(),
        states: Vec::new(),
        keys: BTreeSet::from([b"absent".to_vec(), b"key 001a".to_vec(), b"zzz".to_vec()]),
    };
    for at in 0..2 {
        maker.layer(at, 4, 1);
        maker.keyspaces[at].compact_range::<&[u8], _>(..).unwrap();
        maker.layer(at, 3, 2);
        maker.delete(at, "key 008", Durability::Buffered);
    }
    maker.db.flush().unwrap();
    maker.db.wait_for_background().unwrap();
    // What nobody needs is deleted.
    sim.run_until_idle();
    let metrics = maker.db.metrics();
    let levels = metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
    let counted: u64 = levels.map(|level| level.files).sum();
    let ssts = files(&sim).into_keys().filter(|name| name.ends_with(".sst"));
    assert_eq!(
        ssts.count() as u64,
        counted,
        "every file that is damaged is one that is read"
    );
    for keyspace in &metrics.keyspaces {
        let levels = keyspace.levels.iter().filter(|level| level.files > 0).count();
        assert!(levels >= 2, "{metrics}");
    }
    // From here on it is in the log alone: in several files of it.
    maker.states = vec![maker.state.clone()];
    for n in 0..12 {
        let key = format!("key {:03}", n * 7);
        maker.put(n % 2, &key, vec![seed as u8; 500], Durability::Buffered);
        maker.batch(&format!("batch {n}"), Durability::Buffered);
    }
    maker.delete(1, "key 007", Durability::Sync);
    let mut synced = maker.states.len() - 1;
    for n in 0..8 {
        let key = format!("key {:03}", n * 5);
        maker.put(n % 2, &key, vec![n as u8; 150], Durability::Buffered);
        maker.batch(&format!("batch {n}"), Durability::Buffered);
        maker.delete(n % 2, "key 000", Durability::Buffered);
    }
    let Maker {
        db,
        keyspaces,
        states,
        keys,
        ..
    } = maker;
    if closed {
        db.close().unwrap();
        synced = states.len() - 1;
    } else {
        sim.power_off();
    }
    drop(keyspaces);
    sim.crash(CrashStyle::KeepAll);
    Sample {
        files: files(&sim),
        states,
        synced,
        keys,
        closed,
    }
}
