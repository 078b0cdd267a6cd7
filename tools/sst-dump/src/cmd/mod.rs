//! The commands, one a file.

pub(crate) mod check;
pub(crate) mod extract;
pub(crate) mod filter;
pub(crate) mod find;
pub(crate) mod histogram;
pub(crate) mod identify;
pub(crate) mod layout;
pub(crate) mod lsm;
mod lsm_html;
pub(crate) mod manifest;
pub(crate) mod objects;
pub(crate) mod pack;
pub(crate) mod properties;
pub(crate) mod raw;
pub(crate) mod recompress;
pub(crate) mod scan;
pub(crate) mod verify;
pub(crate) mod wal;
