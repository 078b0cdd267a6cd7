//! [`Pace`]: how fast compactions may write, where a limit is set.
//!
//! A clock for bytes: each job takes the time that its bytes are worth from a common time line, and waits until that time has
//! come. So jobs side by side share the limit, nobody saves up, and each wait has the length that the bytes ask for.

use std::time::Duration;

use crate::engine::core::Core;
use crate::sync::Mutex;

/// Bytes that are paid for at once: a megabyte a second then waits sixteen times a second.
pub(crate) const PORTION: u64 = 64 << 10;

/// The longest wait before a job looks whether the database is being closed.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// The time up to which all bytes are paid for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    paid: Mutex<Duration>,
}

impl Core {
    /// Waits as long as writing `bytes` may take at least.
    pub(crate) fn keep_pace(&self, bytes: u64) {
        let Some(limit) = self.options.compaction_rate_limit else {
            return;
        };
        let due = {
            let mut paid = self.pace.paid.lock();
            let worth = Duration::from_secs_f64(bytes as f64 / limit.max(1) as f64);
            *paid = self.env.clock.now().max(*paid).saturating_add(worth);
            *paid
        };
        while !self.is_closed() {
            let left = due.saturating_sub(self.env.clock.now());
            if left.is_zero() {
                return;
            }
            self.env.clock.sleep(left.min(LONGEST_WAIT));
            self.env.scheduler.breathe();
        }
    }
}
