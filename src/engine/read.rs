//! Point look-ups. Ranges and cursors are in `run`.

use std::sync::Arc;

use super::core::Core;
use super::keyspace::{KeyspaceCore, Located, View};
use super::latency::Timed;
use crate::pack::Content;
use crate::planted::{self, Bug, Moment};
use crate::sst::SortOrder;
use crate::sync::Pinned;
use crate::types::{ObjectRef, SeqNo};
use crate::{Result, Slice};

impl Core {
    /// Whether `key` has a value, as a snapshot at `snapshot` sees it, or now.
    pub(crate) fn contains_key(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
    ) -> Result<bool> {
        let begun = self.begin_timing();
        let found = self.locate(keyspace, key, snapshot, |found| Ok(found.is_some()));
        self.note_time(Timed::Get, begun);
        found
    }

    /// The value of `key`, as a snapshot at `snapshot` sees it, or as it is now.
    pub(crate) fn get(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
    ) -> Result<Option<Slice>> {
        let begun = self.begin_timing();
        let mut object = None;
        let value = self.locate(keyspace, key, snapshot, |found| match found {
            Some(Located::Object(reference)) => {
                object = Some(reference);
                Ok(None)
            }
            found => found.map(|found| found.load()).transpose(),
        });
        let value = match object {
            Some(object) => {
                let mut value: Arc<[u8]> = Arc::default();
                let found = self.get_object(keyspace, key, snapshot, object, &mut value);
                found.map(|found| found.then(|| Slice::from(value)))
            }
            None => value,
        };
        self.note_time(Timed::Get, begun);
        value
    }

    /// The same into the caller's buffer; whether there is a value. Without one the buffer stays as it is.
    pub(crate) fn get_into(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let begun = self.begin_timing();
        let mut object = None;
        let found = self.locate(keyspace, key, snapshot, |found| match found {
            Some(Located::Object(reference)) => {
                object = Some(reference);
                Ok(false)
            }
            Some(found) => found.load_into(out).map(|()| true),
            None => Ok(false),
        });
        let found = match object {
            Some(object) => self.get_object(keyspace, key, snapshot, object, out),
            None => found,
        };
        self.note_time(Timed::Get, begun);
        found
    }

    /// The object that the value of `key` is, as a snapshot sees it, or as it is now; `None` if it has none, or one that is no object.
    pub(crate) fn find_reference(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
    ) -> Result<Option<ObjectRef>> {
        self.locate(keyspace, key, snapshot, |found| match found {
            Some(Located::Object(reference)) => Ok(Some(reference)),
            _ => Ok(None),
        })
    }

    /// Reads the object that `key` was found to be.
    #[cold]
    fn get_object(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
        mut object: ObjectRef,
        out: &mut impl Content,
    ) -> Result<bool> {
        while !self.read_object(&object, out)? {
            // Nothing protects what a read of the present has found: the key may have been written again, and the object collected.
            let missing = |object| Err(self.missing(&object));
            let again = self.locate(keyspace, key, snapshot, |found| match found {
                Some(Located::Object(now)) if now == object => missing(now),
                Some(Located::Object(now)) => {
                    object = now;
                    Ok(None)
                }
                Some(found) => out.gather(|out| found.load_into(out)).map(|()| Some(true)),
                None => Ok(Some(false)),
            })?;
            if let Some(found) = again {
                return Ok(found);
            }
        }
        Ok(true)
    }

    /// Finds where the value of a key lies, and gives that to `take`.
    #[inline]
    fn locate<T>(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
        take: impl FnOnce(Option<Located<'_>>) -> Result<T>,
    ) -> Result<T> {
        let (view, seq) = self.pin(keyspace, snapshot)?;
        take(view.find(key, keyspace.order(), seq, self.latencies.filters())?)
    }

    /// The values of several keys at one moment, in the order of the keys given. They are looked up in the order in
    /// which files have them, so that those of one block are found together. REQUIRES: `seq` is registered.
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: &KeyspaceCore,
        keys: &[K],
        seq: SeqNo,
    ) -> Result<Vec<Option<Slice>>> {
        let begun = self.begin_timing();
        let values = self.get_each(keyspace, keys, seq);
        self.note_time(Timed::MultiGet, begun);
        values
    }

    fn get_each<K: AsRef<[u8]>>(
        &self,
        keyspace: &KeyspaceCore,
        keys: &[K],
        seq: SeqNo,
    ) -> Result<Vec<Option<Slice>>> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        let key = |i: usize| keys.get(i).map_or(&[][..], AsRef::as_ref);
        match keyspace.order() {
            SortOrder::Key => order.sort_unstable_by(|a, b| key(*a).cmp(key(*b))),
            hashed => order.sort_by_cached_key(|i| hashed.hash(key(*i))),
        }
        let (view, filters) = (keyspace.view(), self.latencies.filters());
        let mut values = vec![None; keys.len()];
        for i in order {
            let found = view.find(key(i), keyspace.order(), seq, filters)?;
            if let (Some(found), Some(value)) = (found, values.get_mut(i)) {
                *value = Some(match found {
                    Located::Object(object) => self.load_object(&object)?,
                    found => found.load()?,
                });
            }
        }
        Ok(values)
    }

    /// What a point read reads, and as of which number.
    #[inline]
    fn pin(&self, keyspace: &KeyspaceCore, snapshot: Option<SeqNo>) -> Result<(Pinned<View>, SeqNo)> {
        self.check_open()?;
        if snapshot.is_none() {
            keyspace.check_alive()?;
        }
        // Files and memtables first, the number after: so whatever a flush or compaction drops, it drops for numbers that
        // this read does not use. A snapshot's number is registered, which protects it as well.
        let early = planted::is(Bug::PinnedAfterNumber).then(|| self.snapshots.published());
        planted::pause(Moment::PointRead);
        let view = keyspace.pin();
        planted::pause(Moment::PointRead);
        let seq = snapshot.or(early).unwrap_or_else(|| self.snapshots.published());
        Ok((view, seq))
    }
}
