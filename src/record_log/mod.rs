//! Record logs: the common form of the write-ahead log's files and of the manifest.
//! (format drawing and invariants go here)
