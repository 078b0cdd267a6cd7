//! The write-ahead log. (protocol and invariants go here)
