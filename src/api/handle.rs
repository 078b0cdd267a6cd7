//! [`Handle`]: what keeps a database open.

use std::sync::Arc;

use crate::engine::core::Core;
use crate::engine::recovery::RecoveryReport;

/// What all handles share; the last one closes the database.
pub(super) struct Handle {
    pub(super) core: Arc<Core>,
    pub(super) report: RecoveryReport,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Who wants to know calls `close`.
        let _ = self.core.close();
    }
}
