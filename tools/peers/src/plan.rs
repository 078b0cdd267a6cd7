//! [`Plan`]: everything that one measuring process needs to know. It gets it as JSON on its command line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::catalogue::{Scenario, scenario};
use crate::data::{KeyKind, Keys, Text, ValueKind, Values};
use crate::engines::Config;

/// What the process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Run the scenario's workloads.
    Measure,
    /// Load the database, say so, and wait to be killed.
    Victim,
    /// Open what the victim has left.
    Survivor,
}

/// Text for values: where from, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TextSource {
    pub(crate) dir: PathBuf,
    pub(crate) limit: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) role: Role,
    pub(crate) engine: String,
    pub(crate) scenario: String,
    /// The workloads that are asked for, by name.
    pub(crate) workloads: Vec<String>,
    /// An empty directory of its own.
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) entries: u64,
    /// Operations of each workload of point reads, overwriting or YCSB.
    pub(crate) operations: u64,
    /// Seeks, and scans of YCSB E.
    pub(crate) seeks: u64,
    pub(crate) threads: usize,
    pub(crate) keys: KeyKind,
    pub(crate) values: ValueKind,
    pub(crate) value_size: usize,
    pub(crate) text: Option<TextSource>,
    /// Seconds after which a load, or any other workload, ends; 0 for never.
    pub(crate) load_seconds: u64,
    pub(crate) step_seconds: u64,
    /// Seconds of reading beside a writer, and the writer's writes a second.
    pub(crate) mixed_seconds: u64,
    pub(crate) writer_rate: u64,
    /// Bytes of page cache that are filled and given back before each load.
    pub(crate) touch: u64,
}

impl Plan {
    pub(crate) fn scenario(&self) -> Result<&'static Scenario> {
        scenario(&self.scenario).ok_or_else(|| format!("there is no scenario {}", self.scenario).into())
    }

    pub(crate) fn keys(&self) -> Keys {
        let keys = Keys::new(self.keys);
        // Only the scenario that is about it loads in ascending order.
        if self.scenario == "seq" {
            keys
        } else {
            keys.shuffled(self.entries)
        }
    }

    pub(crate) fn values(&self) -> Result<Values> {
        let text = match &self.text {
            Some(source) if self.values == ValueKind::Text => {
                Some(Text::collect(&source.dir, source.limit)?.bytes)
            }
            _ => None,
        };
        Values::new(self.values, self.value_size, text)
    }
}
