//! The fuzz targets as plain functions: each takes the fuzzer's bytes, and panics if something does not hold.
//!
//! `fuzz_targets/` hands them to libFuzzer; `tests/replay.rs` runs them on their seeds. What a target does and asserts is at
//! the top of its module.
#![allow(missing_docs)]

pub mod batch;
pub mod filter_and_footer;
pub mod log_replay;
pub mod manifest_replay;
pub mod model;
pub mod open_database;
pub mod options;
pub mod pack_archive;
pub mod pack_reader;
pub mod pack_reopen;
pub mod packs;
pub mod sst_dump;
pub mod sst_reader;
pub mod support;

/// The part of `db_bench` that reads its command line, without the rest of it.
#[allow(dead_code, unused_imports)]
#[path = "../../tools/db_bench/src/flags"]
mod flags {
    pub(crate) mod config;
    pub(crate) mod dialect;
    mod ignored;
    pub(crate) mod table;
}

/// All targets by name.
pub const TARGETS: [(&str, fn(&[u8])); 12] = [
    ("batch", batch::run),
    ("filter_and_footer", filter_and_footer::run),
    ("log_replay", log_replay::run),
    ("manifest_replay", manifest_replay::run),
    ("model", model::run),
    ("open_database", open_database::run),
    ("options", options::run),
    ("pack_archive", pack_archive::run),
    ("pack_reader", pack_reader::run),
    ("pack_reopen", pack_reopen::run),
    ("sst_dump", sst_dump::run),
    ("sst_reader", sst_reader::run),
];
