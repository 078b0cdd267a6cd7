//! Promises of the write-ahead log.
