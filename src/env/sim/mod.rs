//! A deterministic machine in memory.
