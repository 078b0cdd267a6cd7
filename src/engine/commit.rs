//! The write path: group commit.
//!
//! ```text
//!  writers ──> queue ──> one of them leads:  numbers and log offsets reserved in one step (`writes` locked)
//!                                            frames of the whole group: one write to the log
//!                                            entries into the memtables that were active at that step
//!                                            newest number published
//!              followers wake up  <────────  next leader appointed
//!  those that asked for Sync: wait for a log sync, which covers everything before it and is shared
//! ```
//!
//! Rules:
//! 1. An acknowledged write, and every write before it, is whole in the log. A failed log write fails its whole group, and
//!    its numbers are not used again.
//! 2. Numbers are published in order, after their entries are in the memtables: a reader sees all of a batch or nothing.
//! 3. A memtable is rotated between groups, after the group's numbers have been published: all numbers at or below
//!    the rotation's are in the old one, all others in the new one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::core::{Core, WriteState};
use super::queue::{Follower, Request, Slot};
use crate::env::Event;
use crate::memtable::SortedTable;
use crate::options::Durability;
use crate::planted::{self, Bug};
use crate::types::{EntryKind, KeyspaceId, MAX_SEQ, SeqNo};
use crate::wal::{Frame, LogPosition, Op, Ops};
use crate::{Error, Result};

/// A group takes no more requests past this many bytes: it bounds the time that its first writer waits.
const MAX_GROUP_BYTES: usize = 1 << 20;

/// Stands for a position that is not known yet.
const NOWHERE: LogPosition = LogPosition { number: 0, offset: 0 };

impl Core {
    /// Writes a request and returns when it is as safe as asked.
    pub(crate) fn commit(self: &Arc<Self>, request: Request, durability: Durability) -> Result<()> {
        self.check_open()?;
        let wal = self.wal()?;
        if request.payload.is_empty() {
            return match durability {
                Durability::Buffered => Ok(()),
                Durability::Sync => wal.sync(wal.end()),
            };
        }
        if request.keyspaces.iter().any(|keyspace| keyspace.is_refusing()) {
            self.settle_drops()?;
        }
        self.throttle(request.payload.byte_size() as u64)?;
        let end = self.commit_in_group(request)?;
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Sync => wal.sync(end),
        }
    }

    fn commit_in_group(self: &Arc<Self>, request: Request) -> Result<LogPosition> {
        let follower = {
            let mut queue = self.commits.state.lock();
            if !queue.led {
                queue.led = true;
                drop(queue);
                return self.lead(request);
            }
            let follower = Arc::new(Follower {
                slot: Mutex::new(Slot::Waiting(request)),
                event: Event::default(),
            });
            queue.waiting.push_back(follower.clone());
            follower
        };
        self.env.scheduler.wait(&follower.event, &mut || {
            matches!(*follower.slot.lock(), Slot::Done(_) | Slot::Leads(_))
        });
        let slot = std::mem::replace(&mut *follower.slot.lock(), Slot::Gone);
        match slot {
            Slot::Done(result) => result,
            Slot::Leads(request) => self.lead(request),
            Slot::Waiting(_) | Slot::Taken | Slot::Gone => Err(Error::Closed),
        }
    }

    /// Commits `own` together with what waits, and appoints the next leader.
    fn lead(self: &Arc<Self>, own: Request) -> Result<LogPosition> {
        let (followers, mut group) = self.gather(own);
        let mut outcomes = self.write_group(&mut group);
        let own_outcome = if outcomes.is_empty() {
            Err(Error::Closed)
        } else {
            outcomes.remove(0)
        };
        for (follower, outcome) in followers.iter().zip(outcomes) {
            *follower.slot.lock() = Slot::Done(outcome);
            follower.event.notify();
        }
        self.hand_over();
        own_outcome
    }

    /// The requests of one group: the leader's first.
    fn gather(&self, own: Request) -> (Vec<Arc<Follower>>, Vec<Request>) {
        let mut bytes = own.payload.byte_size();
        let (mut followers, mut group) = (Vec::new(), vec![own]);
        let mut queue = self.commits.state.lock();
        while bytes < MAX_GROUP_BYTES {
            let Some(follower) = queue.waiting.pop_front() else {
                break;
            };
            let slot = std::mem::replace(&mut *follower.slot.lock(), Slot::Taken);
            if let Slot::Waiting(request) = slot {
                bytes += request.payload.byte_size();
                group.push(request);
                followers.push(follower);
            }
        }
        (followers, group)
    }

    fn hand_over(&self) {
        let mut queue = self.commits.state.lock();
        while let Some(next) = queue.waiting.pop_front() {
            let mut slot = next.slot.lock();
            if let Slot::Waiting(request) = std::mem::replace(&mut *slot, Slot::Gone) {
                *slot = Slot::Leads(request);
                drop(slot);
                next.event.notify();
                return;
            }
        }
        queue.led = false;
    }

    /// One outcome for each request.
    fn write_group(self: &Arc<Self>, group: &mut [Request]) -> Vec<Result<LogPosition>> {
        let mut writes = self.writes.lock();
        let first_of_group = writes.next_seq;
        let mut outcomes: Vec<Result<LogPosition>> = Vec::with_capacity(group.len());
        let mut frames = Vec::with_capacity(group.len());
        for request in group.iter_mut() {
            let checked = self.number(&mut writes, request);
            outcomes.push(match checked {
                Ok((first_seq, last_seq)) => {
                    frames.push(Frame {
                        first_seq,
                        last_seq,
                        payload: request.payload.as_bytes(),
                    });
                    Ok(NOWHERE)
                }
                Err(e) => Err(e),
            });
        }
        if frames.is_empty() {
            return outcomes;
        }
        let appended = self.wal().and_then(|wal| wal.append(&frames));
        let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        drop(frames);
        let accepted = group.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let freezes_early = planted::is(Bug::WriteInNextMemtable);
        let written = appended.and_then(|end| {
            if freezes_early {
                self.rotate_full(&mut writes, group, end);
            }
            self.apply(&mut writes, accepted.map(|(request, _)| request))
                .map(|()| end)
        });
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            outcome.clone_from(&written);
        }
        if let Ok(end) = &written {
            let last = writes.next_seq - 1;
            self.snapshots.publish(last);
            self.counters
                .entries_written
                .fetch_add(last + 1 - first_of_group, Ordering::Relaxed);
            self.counters.log_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if !freezes_early {
                self.rotate_full(&mut writes, group, *end);
            }
        }
        outcomes
    }

    /// Gives the request its numbers, if it can be written.
    fn number(&self, writes: &mut WriteState, request: &mut Request) -> Result<(SeqNo, SeqNo)> {
        for keyspace in &request.keyspaces {
            if keyspace.is_refusing() || !writes.active.contains_key(&keyspace.id) {
                let dropped = Error::KeyspaceDropped {
                    name: keyspace.name.to_string(),
                };
                return Err(self.poisoned().unwrap_or(dropped));
            }
        }
        let first = writes.next_seq;
        let next = first.saturating_add(u64::from(request.payload.count()));
        if next > MAX_SEQ {
            return Err(Error::LimitExceeded {
                what: "sequence number",
                size: next,
                limit: MAX_SEQ,
            });
        }
        request.first_seq = first;
        request.payload.set_first_seq(first);
        writes.next_seq = next;
        Ok((first, next - 1))
    }

    /// Puts written requests' entries into the memtables. If one of them finds no room there, the log holds a write that
    /// memory lacks: nothing of the group is published, and nothing more is written until the log has been replayed.
    fn apply<'r>(
        &self,
        writes: &mut WriteState,
        mut requests: impl Iterator<Item = &'r Request>,
    ) -> Result<()> {
        requests
            .try_for_each(|request| apply_ops(writes, request.first_seq, request.payload.ops(), |_, _| true))
            .map_err(|error| self.poison(error))
    }

    /// Rotates the memtables that are full, and those that pin too much log.
    fn rotate_full(self: &Arc<Self>, writes: &mut WriteState, group: &[Request], end: LogPosition) {
        let last = writes.next_seq - 1;
        for request in group {
            for keyspace in &request.keyspaces {
                let full = writes.active.get(&keyspace.id).is_some_and(|active| {
                    active.table.memory_usage() as u64 >= self.options.write_buffer_size
                });
                if full {
                    self.rotate(writes, keyspace.id, last);
                }
            }
        }
        if end.number != writes.log_number {
            writes.log_number = end.number;
            self.rotate_pinning(writes, last);
        }
    }

    /// A keyspace that is written to seldom must not keep old logs alive for ever: when the logs have grown past their
    /// limit, whoever has unflushed entries in the oldest one is flushed.
    fn rotate_pinning(self: &Arc<Self>, writes: &mut WriteState, last: SeqNo) {
        let Some(wal) = &self.wal else { return };
        if wal.total_bytes() <= self.options.max_log_size {
            return;
        }
        let (_, oldest_last_seq) = wal.oldest();
        let pinning: Vec<KeyspaceId> = writes
            .active
            .iter()
            .filter(|(_, active)| active.min_seq.is_some_and(|seq| seq <= oldest_last_seq))
            .map(|(id, _)| *id)
            .collect();
        for id in pinning {
            self.rotate(writes, id, last);
        }
    }

    /// Freezes a keyspace's active memtable, if it holds anything, and sees that it gets flushed.
    pub(crate) fn rotate(self: &Arc<Self>, writes: &mut WriteState, id: KeyspaceId, upto: SeqNo) {
        let Some(active) = writes.active.get_mut(&id) else {
            return;
        };
        let Some(min_seq) = active.min_seq.take() else {
            return;
        };
        active.table = active.keyspace.rotate(min_seq, upto);
        let keyspace = active.keyspace.clone();
        self.update_pressure_of(&keyspace);
        self.schedule_flush(&keyspace);
    }
}

/// Puts operations, numbered from `first_seq` on, into the active memtables, as far as `wanted` (keyspace, number) says so.
pub(crate) fn apply_ops(
    writes: &mut WriteState,
    first_seq: SeqNo,
    ops: Ops<'_>,
    mut wanted: impl FnMut(KeyspaceId, SeqNo) -> bool,
) -> Result<()> {
    for (seq, op) in (first_seq..).zip(ops) {
        let (keyspace, key, kind, value) = match op? {
            Op::Put { keyspace, key, value } => (keyspace, key, EntryKind::Put, value),
            Op::Delete { keyspace, key } => (keyspace, key, EntryKind::Tombstone, &[][..]),
        };
        if wanted(keyspace, seq)
            && let Some(active) = writes.active.get_mut(&keyspace)
        {
            active.table.insert(key, seq, kind, value)?;
            active.min_seq.get_or_insert(seq);
        }
    }
    Ok(())
}
