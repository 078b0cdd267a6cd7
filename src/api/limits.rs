//! The limits of keys and values, checked before anything is written.

use crate::types::{MAX_KEY_LEN, MAX_VALUE_LEN};
use crate::{Error, Result};

pub(super) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > MAX_KEY_LEN {
        let (size, limit) = (key.len() as u64, MAX_KEY_LEN as u64);
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
