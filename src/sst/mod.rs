//! SSTs. (format drawing and invariants go here)
