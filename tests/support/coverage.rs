//! [`Coverage`]: proof that the histories reached what they are meant to reach.

use std::fmt;
use std::ops::AddAssign;

use packstone::Metrics;

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// How often things happened, over all histories.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Coverage {
            $(pub(crate) $name: u64,)*
            pub(crate) deepest_level: u64,
        }

        impl AddAssign for Coverage {
            fn add_assign(&mut self, other: Coverage) {
                $(self.$name += other.$name;)*
                self.deepest_level = self.deepest_level.max(other.deepest_level);
            }
        }

        impl fmt::Display for Coverage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} {}, ", stringify!($name).replace('_', " "), self.$name)?;)*
                write!(f, "deepest level {}", self.deepest_level)
            }
        }

        impl Coverage {
            /// The counts that are still zero.
            pub(crate) fn missing(&self) -> Vec<&'static str> {
                let counts = [$((stringify!($name), self.$name),)*];
                let zeros = counts.into_iter().filter(|(_, count)| *count == 0);
                zeros.map(|(name, _)| name).collect()
            }
        }
    };
}

counts!(
    histories,
    operations,
    jobs,
    writes,
    flushes,
    compactions,
    whole_compactions,
    exact_compactions,
    manifest_rolls,
    log_rotations,
    kills,
    read_only,
    replayed,
    snapshots,
    steps_of_held_ranges,
    reads_of_dropped,
    keyspaces,
    keyspaces_dropped,
    cache_hits,
    stalls,
    inline_values,
    small_values,
    medium_values,
    medium_values_carried_over,
    tombstones,
    numbers_zeroed,
    files_of_old_versions,
    files_in_mid_key,
    files_of_many_key_blocks,
    compressed_blocks,
    files_in_hash_order,
    refused_ranges,
    streams,
    readings,
    packs,
);

impl Coverage {
    /// Adds what a session did.
    pub(crate) fn note_session(&mut self, metrics: &Metrics) {
        self.writes += metrics.entries_written;
        self.flushes += metrics.flushes;
        self.compactions += metrics.compactions;
        self.replayed += metrics.replayed_entries;
        self.cache_hits += metrics.cache_hits;
        self.stalls += u64::from(metrics.stall_nanos > 0);
        for keyspace in &metrics.keyspaces {
            let deepest = (0..).zip(&keyspace.levels).filter(|(_, level)| level.files > 0);
            let deepest = deepest.map(|(number, _)| number).max().unwrap_or(0);
            self.deepest_level = self.deepest_level.max(deepest);
        }
    }
}
