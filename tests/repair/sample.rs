//! Databases to repair.

use super::*;

/// More numbers of keys than any sample has.
pub(crate) const KEYS: u64 = 200;

pub(crate) fn key(n: u64) -> Vec<u8> {
    format!("key {n:04}").into_bytes()
}

fn value(seed: u64, i: u64) -> Vec<u8> {
    let r = mix(seed ^ i);
    let len = match r % 12 {
        0 => 3,
        1 => 4200,
        _ => 20 + r % 90,
    };
    (0..len)
        .map(|at| {
            if at % 3 == 0 {
                b'.'
            } else {
                (r >> (at % 7 * 8)) as u8
            }
        })
        .collect()
}

/// Writes at random, flushes and compacts now and then.
pub(crate) struct Writer {
    pub(crate) sim: SimEnv,
    pub(crate) db: Db,
    state: State,
    seed: u64,
    count: u64,
}

impl Writer {
    pub(crate) fn new(seed: u64) -> Writer {
        Writer::in_order(seed, Order::Key)
    }

    /// Whose keyspace "packed" has this order.
    pub(crate) fn in_order(seed: u64, order: Order) -> Writer {
        let sim = SimEnv::new(seed);
        let opened = options(&sim);
        Writer::with(seed, sim, opened, order)
    }

    pub(crate) fn with(seed: u64, sim: SimEnv, options: Options, order: Order) -> Writer {
        let layout = KeyspaceOptions::new().key_block_size(500).value_block_size(500);
        Writer::of(seed, sim, options, layout, order)
    }

    fn of(seed: u64, sim: SimEnv, options: Options, layout: KeyspaceOptions, order: Order) -> Writer {
        let db = options.open(SOURCE).unwrap();
        db.keyspace_with("plain", layout.clone().compression(Compression::None))
            .unwrap();
        db.keyspace_with("packed", layout.order(order)).unwrap();
        let state = ["plain", "packed"]
            .map(|name| (name.to_owned(), Map::new()))
            .into();
        Writer {
            sim,
            db,
            state,
            seed,
            count: 0,
        }
    }

    pub(crate) fn write(&mut self, rounds: u64, keys: u64) {
        for _ in 0..rounds {
            self.count += 1;
            let r = mix(self.seed.wrapping_mul(31) ^ self.count);
            let name = ["plain", "packed"][(r % 2) as usize];
            let ks = self.db.keyspace(name).unwrap();
            let key = key((r >> 8) % keys);
            let map = self.state.get_mut(name).unwrap();
            if (r >> 40).is_multiple_of(4) {
                ks.delete(&key).unwrap();
                map.remove(&key);
            } else {
                let value = value(self.seed, self.count);
                ks.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
    }

    pub(crate) fn settle(&self) {
        self.db.flush().unwrap();
        self.db.wait_for_background().unwrap();
        // Files that nobody needs any more go in the background, too.
        self.sim.run_until_idle();
    }

    /// All of a keyspace.
    pub(crate) fn compact(&self, name: &str) {
        let keyspace = self.db.keyspace(name).unwrap();
        keyspace.compact_range::<&[u8], _>(..).unwrap();
    }

    fn ids(&self) -> BTreeMap<String, u32> {
        // In the order of their creation, from 1.
        ["plain", "packed"]
            .into_iter()
            .zip(1..)
            .map(|(name, id)| (name.to_owned(), id))
            .collect()
    }

    pub(crate) fn close(self) -> Sample {
        let ids = self.ids();
        self.db.close().unwrap();
        let files = files_of(&self.sim, SOURCE);
        let orders = ssts(&files).into_iter().map(|name| {
            let sst = open_sst(&self.sim, &name);
            (sst.properties().keyspace, sst.order())
        });
        Sample {
            orders: orders.collect(),
            files,
            state: self.state,
            ids,
        }
    }
}

fn open_sst(sim: &SimEnv, name: &str) -> Sst {
    let path = Path::new(SOURCE).join(name);
    let options = SstReadOptions {
        access: Access::Pread,
        cache: Arc::new(BlockCache::new(0)),
    };
    Sst::open(sim.env().fs.open(&path).unwrap(), &path, &options).unwrap()
}

/// Several levels, versions that a snapshot held, tombstones, a dropped keyspace, and writes that are in the log only.
pub(crate) fn sample(seed: u64) -> Sample {
    sample_in_order(seed, Order::Key)
}

/// With both keyspaces in key order, and with one of them in hash order.
pub(crate) fn samples(seed: u64) -> [Sample; 2] {
    [Order::Key, Order::Hash].map(|order| sample_in_order(seed, order))
}

fn sample_in_order(seed: u64, order: Order) -> Sample {
    let mut writer = Writer::in_order(seed, order);
    writer.write(150, 120);
    let gone = writer.db.keyspace("gone").unwrap();
    gone.put("a", "b").unwrap();
    writer.settle();
    for name in ["plain", "packed"] {
        writer.compact(name);
    }
    gone.put("in the log", "only").unwrap();
    let snapshot = writer.db.snapshot();
    writer.write(100, 120);
    writer.settle();
    writer.db.drop_keyspace("gone").unwrap();
    drop(gone);
    writer.write(60, 120);
    writer.settle();
    drop(snapshot);
    writer
        .db
        .keyspace("plain")
        .unwrap()
        .compact_range::<&[u8], _>(&b"key 0020"[..]..=&b"key 0060"[..])
        .unwrap();
    writer.write(50, 120);
    writer.settle();
    writer.write(40, 120);
    writer.close()
}

/// Like [`sample`], with most values in small packs, several of which are sealed.
pub(crate) fn packed(seed: u64, order: Order) -> Sample {
    in_packs(seed, order, false)
}

/// And with a value that came as a stream.
pub(crate) fn streamed(seed: u64, order: Order) -> Sample {
    in_packs(seed, order, true)
}

fn in_packs(seed: u64, order: Order, stream: bool) -> Sample {
    let sim = SimEnv::new(seed);
    let opened = options(&sim).pack_size(4 << 10);
    let layout = KeyspaceOptions::new().key_block_size(500).value_block_size(500);
    let mut writer = Writer::of(seed, sim, opened, layout.object_threshold(Some(60)), order);
    writer.write(100, 60);
    if stream {
        writer.stream("plain", &key(100));
    }
    writer.settle();
    for name in ["plain", "packed"] {
        writer.compact(name);
    }
    writer.write(100, 60);
    writer.settle();
    writer.write(40, 60);
    writer.close()
}

impl Writer {
    fn stream(&mut self, name: &str, key: &[u8]) {
        let value: Vec<u8> = (0..1_200_000u32)
            .map(|n| (mix(u64::from(n / 4)) >> (n % 4 * 8)) as u8 & 15)
            .collect();
        let keyspace = self.db.keyspace(name).unwrap();
        keyspace.put_reader(key, &value[..]).unwrap();
        self.state.get_mut(name).unwrap().insert(key.to_vec(), value);
    }
}
