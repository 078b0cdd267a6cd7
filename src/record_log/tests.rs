//! Promises of record logs.
