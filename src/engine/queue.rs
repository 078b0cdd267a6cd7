//! The queue of the write path: requests, and the writers that wait for one of them to lead (see `commit`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::keyspace::KeyspaceCore;
use super::objects::Stored;
use crate::Error;
use crate::env::Event;
use crate::sync::Mutex;
use crate::types::SeqNo;
use crate::wal::{LogPosition, PayloadBuilder};

/// Writers that wait for their turn.
#[derive(Default)]
pub(crate) struct CommitQueue {
    pub(super) state: Mutex<Queue>,
}

#[derive(Default)]
pub(super) struct Queue {
    /// Somebody leads a group.
    pub(super) led: bool,
    pub(super) waiting: VecDeque<Arc<Follower>>,
}

/// One write: the operations of a put, a delete or a batch.
pub(crate) struct Request {
    pub(crate) payload: PayloadBuilder,
    /// The keyspaces written to, each once.
    pub(crate) keyspaces: Vec<Arc<KeyspaceCore>>,
    /// The objects that it refers to.
    pub(super) objects: Vec<Stored>,
    /// How many of the operations are the engine's own, and not counted as anybody's.
    pub(super) own: u64,
    /// Given by the leader.
    pub(super) first_seq: SeqNo,
}

impl Request {
    pub(crate) fn new(payload: PayloadBuilder, keyspaces: Vec<Arc<KeyspaceCore>>) -> Self {
        Request {
            payload,
            keyspaces,
            objects: Vec::new(),
            own: 0,
            first_seq: 0,
        }
    }

    /// A request of the engine's own.
    pub(crate) fn own(payload: PayloadBuilder, keyspace: Arc<KeyspaceCore>) -> Self {
        let own = u64::from(payload.count());
        Request {
            own,
            ..Request::new(payload, vec![keyspace])
        }
    }

    /// The same, which refers to these objects.
    pub(crate) fn with_objects(mut self, objects: Vec<Stored>) -> Self {
        self.own = objects.iter().filter(|object| object.is_placed()).count() as u64;
        self.objects = objects;
        self
    }
}

/// What has become of a request: the log's end behind it, or why it was not written.
pub(super) type Outcome = Result<LogPosition, Failure>;

pub(super) enum Failure {
    Error(Error),
    /// A keyspace is being dropped, and it is not known yet how that ends. The request comes back to its writer.
    Undecided(Request),
}

/// A request whose writer waits.
pub(super) struct Follower {
    pub(super) slot: Mutex<Slot>,
    pub(super) event: Event,
}

impl Follower {
    pub(super) fn tell(&self, outcome: Outcome) {
        *self.slot.lock() = Slot::Done(outcome);
        self.event.notify();
    }
}

pub(super) enum Slot {
    Waiting(Request),
    /// Taken by a leader.
    Taken,
    Done(Outcome),
    /// It is this writer's turn to lead.
    Leads(Request),
    Gone,
}
