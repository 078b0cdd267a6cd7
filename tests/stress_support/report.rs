//! [`Report`]: what histories did, summed up.

use std::fmt;
use std::ops::AddAssign;

use packstone::Metrics;

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Report {
            $(pub(crate) $name: u64,)*
        }

        impl AddAssign for Report {
            fn add_assign(&mut self, other: Report) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Report {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let counts = [$((stringify!($name), self.$name),)*];
                for (at, (name, count)) in counts.into_iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{} {count}", name.replace('_', " "))?;
                }
                Ok(())
            }
        }

        impl Report {
            /// The counts that are still zero.
            pub(crate) fn missing(&self) -> Vec<&'static str> {
                let counts = [$((stringify!($name), self.$name),)*];
                counts.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

counts!(
    histories,
    steps,
    operations,
    writes,
    crashes,
    failures,
    hiccups,
    flips,
    damage_found,
    calls,
    opens,
    failed_opens,
    errors,
    checks,
    flushes,
    compactions,
    replayed,
    stalls,
    checkpoints,
    readers,
    retrying,
    read_only,
    poisoned,
    streams,
    readings,
    packs,
    sealed_packs,
);

impl Report {
    pub(crate) fn note_session(&mut self, metrics: &Metrics) {
        self.flushes += metrics.flushes;
        self.compactions += metrics.compactions;
        self.replayed += metrics.replayed_entries;
        self.stalls += u64::from(metrics.stall_nanos > 0);
    }
}
