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

use super::core::{Core, WriteState};
use super::keyspace::Sought;
use super::latency::Timed;
use super::objects::Stored;
use super::queue::{Failure, Follower, Outcome, Request, Slot};
use crate::env::Event;
use crate::memtable::SortedTable;
use crate::options::Durability;
use crate::planted::{self, Bug};
use crate::sst::SortKeyBuffer;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
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
        let begun = self.begin_timing();
        let result = self.write(request, durability);
        let kind = match durability {
            Durability::Buffered => Timed::WriteBuffered,
            Durability::Sync => Timed::WriteSync,
        };
        self.note_time(kind, begun);
        result
    }

    #[inline]
    fn write(self: &Arc<Self>, request: Request, durability: Durability) -> Result<()> {
        self.check_open()?;
        let wal = self.wal()?;
        self.check_writable()?;
        if request.payload.is_empty() {
            return match durability {
                Durability::Buffered => Ok(()),
                Durability::Sync => self.sync_log_to(wal, wal.end()),
            };
        }
        let mut request = request;
        let has_written = request.objects.iter().any(Stored::is_new);
        let end = loop {
            if request.keyspaces.iter().any(|keyspace| keyspace.is_refusing()) {
                self.settle_drops()?;
            }
            self.throttle(request.payload.byte_size() as u64)?;
            match self.commit_in_group(request) {
                Ok(end) => break end,
                Err(Failure::Error(error)) => return Err(error),
                // A drop began behind the look above: only its end tells whether this write is refused.
                Err(Failure::Undecided(again)) => request = again,
            }
        };
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Sync => {
                if planted::is(Bug::DedupHitUnsynced) && has_written {
                    self.sync_objects()?;
                }
                self.sync_log_to(wal, end)
            }
        }
    }

    /// Writes a request of the engine's own. It is not slowed down: what it waits for may be waiting for its thread.
    pub(crate) fn commit_own(self: &Arc<Self>, request: Request) -> Result<()> {
        self.check_writable()?;
        match self.commit_in_group(request) {
            Ok(_) => Ok(()),
            Err(Failure::Error(error)) => Err(error),
            // The engine's own keyspaces are not dropped.
            Err(Failure::Undecided(_)) => Err(Error::Closed),
        }
    }

    fn commit_in_group(self: &Arc<Self>, request: Request) -> Outcome {
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
            Slot::Done(outcome) => outcome,
            Slot::Leads(request) => self.lead(request),
            Slot::Waiting(_) | Slot::Taken | Slot::Gone => Err(Failure::Error(Error::Closed)),
        }
    }

    /// Commits `own` together with what waits, and appoints the next leader.
    fn lead(self: &Arc<Self>, own: Request) -> Outcome {
        let (followers, mut group) = self.gather(own);
        let mut leader = Leader {
            core: self,
            followers,
            done: false,
        };
        let checks = self.write_group(&mut group);
        let mut outcomes = group.into_iter().zip(checks).map(|(request, check)| match check {
            Ok(Checked::Accepted(end)) => Ok(end),
            Ok(Checked::Undecided) => Err(Failure::Undecided(request)),
            Err(error) => Err(Failure::Error(error)),
        });
        let own_outcome = outcomes.next().unwrap_or(Err(Failure::Error(Error::Closed)));
        for (follower, outcome) in leader.followers.drain(..).zip(outcomes) {
            follower.tell(outcome);
        }
        leader.done = true;
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
    fn write_group(self: &Arc<Self>, group: &mut [Request]) -> Vec<Result<Checked>> {
        let mut writes = self.writes.lock();
        let first_of_group = writes.next_seq;
        let mut outcomes = Vec::with_capacity(group.len());
        let mut frames = Vec::with_capacity(group.len());
        for request in group.iter_mut() {
            let numbers = self.number(&mut writes, request);
            outcomes.push(numbers.map(|numbers| {
                let Some((first_seq, last_seq)) = numbers else {
                    return Checked::Undecided;
                };
                frames.push(Frame {
                    first_seq,
                    last_seq,
                    payload: request.payload.as_bytes(),
                });
                Checked::Accepted(NOWHERE)
            }));
        }
        if frames.is_empty() {
            return outcomes;
        }
        let begun = self.begin_timing();
        let appended = self.wal().and_then(|wal| wal.append(&frames));
        let began_file = matches!(&appended, Ok(end) if end.number != writes.log_number);
        let kind = if began_file {
            Timed::LogFile
        } else {
            Timed::LogAppend
        };
        self.note_time(kind, begun);
        self.note_log(&appended);
        let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        let frame_count = frames.len();
        drop(frames);
        let is_accepted = |outcome: &Result<Checked>| matches!(outcome, Ok(Checked::Accepted(_)));
        let accepted = group
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| is_accepted(outcome));
        let freezes_early = planted::is(Bug::WriteInNextMemtable);
        let written = appended.and_then(|end| {
            if freezes_early {
                self.rotate_full(&mut writes, group, end);
            }
            self.apply(&mut writes, accepted.map(|(request, _)| request))
                .map(|()| end)
        });
        for outcome in outcomes.iter_mut().filter(|outcome| is_accepted(outcome)) {
            *outcome = written.clone().map(Checked::Accepted);
        }
        if let Ok(end) = &written {
            let last = writes.next_seq - 1;
            self.snapshots.publish(last);
            let accepted = group
                .iter_mut()
                .zip(&outcomes)
                .filter(|(_, outcome)| is_accepted(outcome));
            let mut own = 0;
            for (request, _) in accepted {
                own += request.own;
                request.objects.iter_mut().for_each(Stored::keep);
            }
            self.count_group(last + 1 - first_of_group - own, bytes, frame_count);
            if own > 0 {
                self.objects.counters.places.fetch_add(own, Ordering::Relaxed);
            }
            if !freezes_early {
                self.rotate_full(&mut writes, group, *end);
            }
        }
        outcomes
    }

    /// REQUIRES: `writes` is locked. Nobody else changes these counters, so load and store suffice: on the way of every
    /// write that saves four locked instructions.
    fn count_group(&self, entries: u64, bytes: usize, commits: usize) {
        let add = |counter: &AtomicU64, n: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed)
        };
        add(&self.counters.entries_written, entries);
        add(&self.counters.log_bytes, bytes as u64);
        add(&self.counters.commits, commits as u64);
        add(&self.counters.commit_groups, 1);
    }

    /// Gives the request its numbers, if it can be written; none while it is undecided whether it can.
    fn number(&self, writes: &mut WriteState, request: &mut Request) -> Result<Option<(SeqNo, SeqNo)>> {
        for keyspace in &request.keyspaces {
            if !writes.active.contains_key(&keyspace.id) {
                let dropped = Error::KeyspaceDropped {
                    name: keyspace.name.to_string(),
                };
                return Err(self.poisoned().unwrap_or(dropped));
            }
            if keyspace.is_refusing() {
                return Ok(None);
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
        Ok(Some((first, next - 1)))
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
                let (bytes, referenced) = writes.note_bytes(keyspace.id);
                if bytes >= self.options.write_buffer_size
                    || referenced > 0 && referenced >= self.objects.flush_after()
                {
                    self.rotate(writes, keyspace.id, last);
                }
            }
        }
        if self.memory.note_active(writes.active_bytes) {
            self.update_pressure();
        }
        while writes.active_bytes > self.memory.being_filled()
            && let Some(id) = writes.largest()
        {
            self.rotate(writes, id, last);
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
        writes.active_bytes -= std::mem::take(&mut active.noted_bytes);
        active.referenced_bytes = 0;
        let keyspace = active.keyspace.clone();
        self.update_pressure_of(&keyspace);
        self.schedule_flush(&keyspace);
    }
}

/// What a leader found when it gave out numbers, and later where the accepted ones end.
enum Checked {
    Accepted(LogPosition),
    /// See [`Failure::Undecided`].
    Undecided,
}

/// Leadership, given on when dropped. A leader that panics has found a bug: how far its group has come is unknown, so nothing
/// more is written, and those who wait for it hear of that.
struct Leader<'c> {
    core: &'c Arc<Core>,
    /// Those who have not heard yet.
    followers: Vec<Arc<Follower>>,
    done: bool,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if !self.done {
            let what = std::io::Error::other("a writer panicked; this is a bug in packstone");
            let poisoned = self.core.poison(Error::io("write to", &self.core.dir, what));
            for follower in self.followers.drain(..) {
                follower.tell(Err(Failure::Error(poisoned.clone())));
            }
        }
        self.core.hand_over();
    }
}

/// Puts operations, numbered from `first_seq` on, into the active memtables, as far as `wanted` (keyspace, number) says so.
pub(crate) fn apply_ops(
    writes: &mut WriteState,
    first_seq: SeqNo,
    ops: Ops<'_>,
    mut wanted: impl FnMut(KeyspaceId, SeqNo) -> bool,
) -> Result<()> {
    let mut room = SortKeyBuffer::default();
    for (seq, op) in (first_seq..).zip(ops) {
        let reference;
        let (keyspace, key, kind, value, referenced) = match op? {
            Op::Put { keyspace, key, value } => (keyspace, key, EntryKind::Put, value, 0),
            Op::PutObject {
                keyspace,
                key,
                object,
            } => {
                reference = object.to_bytes();
                (keyspace, key, EntryKind::Object, &reference[..], object.len)
            }
            Op::Delete { keyspace, key } => (keyspace, key, EntryKind::Tombstone, &[][..], 0),
        };
        if wanted(keyspace, seq)
            && let Some(active) = writes.active.get_mut(&keyspace)
        {
            let sought = Sought::new(key, active.keyspace.order(), &mut room);
            active.table.insert(sought.sort_key, seq, kind, value)?;
            active.min_seq.get_or_insert(seq);
            active.referenced_bytes = active.referenced_bytes.saturating_add(referenced);
        }
    }
    Ok(())
}
