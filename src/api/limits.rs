//! The limits of keys and values, checked before anything is written.

use crate::sst::SortOrder;
use crate::types::MAX_VALUE_LEN;
use crate::{Error, Result};

pub(super) fn check_key(key: &[u8], order: SortOrder) -> Result<()> {
    let limit = order.max_key_len();
    if key.len() > limit {
        let (size, limit) = (key.len() as u64, limit as u64);
        return Err(Error::LimitExceeded {
            what: "key",
            size,
            limit,
        });
    }
    Ok(())
}

pub(super) fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > MAX_VALUE_LEN {
        let (size, limit) = (value.len() as u64, MAX_VALUE_LEN as u64);
        return Err(Error::LimitExceeded {
            what: "value",
            size,
            limit,
        });
    }
    Ok(())
}
