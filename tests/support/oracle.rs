//! [`Oracle`]: what a database should answer, kept in the simplest way: every version of every key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

/// When something was written, in writes since the beginning.
pub(crate) type Time = u64;
pub(crate) type Value = Rc<Vec<u8>>;
/// Ascending entries, as a range would give them.
pub(crate) type Entries = Vec<(Vec<u8>, Value)>;

/// One keyspace ever created.
pub(crate) struct Store {
    pub(crate) name: String,
    /// It is in hash order: ranges are refused.
    pub(crate) hash_order: bool,
    /// Of each key its versions, oldest first; `None` is a delete.
    versions: BTreeMap<Vec<u8>, Vec<(Time, Option<Value>)>>,
}

/// A range of keys, as a caller states it.
#[derive(Clone, Debug)]
pub(crate) enum Bounds {
    Keys(Bound<Vec<u8>>, Bound<Vec<u8>>),
    Prefix(Vec<u8>),
}

impl Bounds {
    fn holds(&self, key: &[u8]) -> bool {
        match self {
            Bounds::Prefix(prefix) => key.starts_with(prefix),
            Bounds::Keys(lower, upper) => {
                let above = match lower {
                    Bound::Included(lower) => key >= &lower[..],
                    Bound::Excluded(lower) => key > &lower[..],
                    Bound::Unbounded => true,
                };
                let below = match upper {
                    Bound::Included(upper) => key <= &upper[..],
                    Bound::Excluded(upper) => key < &upper[..],
                    Bound::Unbounded => true,
                };
                above && below
            }
        }
    }
}

impl Store {
    /// The value of a key at a time.
    pub(crate) fn get(&self, key: &[u8], time: Time) -> Option<Value> {
        visible(self.versions.get(key)?, time)
    }

    /// Every key that was ever written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.versions.keys()
    }

    /// All entries in bounds at a time.
    pub(crate) fn range(&self, bounds: &Bounds, time: Time) -> Entries {
        let inside = self.versions.iter().filter(|(key, _)| bounds.holds(key));
        inside
            .filter_map(|(key, versions)| Some((key.clone(), visible(versions, time)?)))
            .collect()
    }

    pub(crate) fn all(&self, time: Time) -> Entries {
        self.range(&Bounds::Keys(Bound::Unbounded, Bound::Unbounded), time)
    }
}

fn visible(versions: &[(Time, Option<Value>)], time: Time) -> Option<Value> {
    let seen = versions.partition_point(|(written, _)| *written <= time);
    versions[..seen].last()?.1.clone()
}

/// All keyspaces, those that were dropped as well: a snapshot may still see them.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) stores: Vec<Store>,
    /// Which store has a name now.
    pub(crate) live: BTreeMap<String, usize>,
    pub(crate) now: Time,
    /// Sequence numbers that drops of keyspaces have taken.
    pub(crate) drops: u64,
    drops_since_write: u64,
    /// Sequence numbers that the places of objects have taken.
    pub(crate) places: u64,
}

impl Oracle {
    pub(crate) fn create(&mut self, name: &str, hash_order: bool) -> usize {
        self.stores.push(Store {
            name: name.to_owned(),
            hash_order,
            versions: BTreeMap::new(),
        });
        let id = self.stores.len() - 1;
        self.live.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn drop_store(&mut self, name: &str) {
        self.live.remove(name);
        self.drops += 1;
        self.drops_since_write += 1;
    }

    /// Whether a database may show this sequence number after an opening: one for each write, each place of an object, and each drop. Those of drops
    /// behind the last write stand nowhere, and may be given again.
    pub(crate) fn reopened_at(&mut self, seq: u64) -> bool {
        let most = self.now + self.places + self.drops;
        let fits = (most - self.drops_since_write..=most).contains(&seq);
        self.drops = seq.saturating_sub(self.now + self.places);
        self.drops_since_write = 0;
        fits
    }

    pub(crate) fn write(&mut self, store: usize, key: &[u8], value: Option<Vec<u8>>) {
        self.now += 1;
        self.drops_since_write = 0;
        let versions = self.stores[store].versions.entry(key.to_vec()).or_default();
        versions.push((self.now, value.map(Rc::new)));
    }
}
