//! Packs: files of objects that are named by their content, and archives, which are packs whose objects have names.
//!
//! ```text
//! file      header | segment | segment | ...
//! segment   record, record, ... | sections: ids, names | section table | footer
//! record    header | group, group, ... | top | trailer
//! group     chunk, chunk, ... (up to 1,024, back to back) | chunk table
//! ```
//!
//! | part | what | drawn in |
//! | --- | --- | --- |
//! | header, footer, section table, record's header, tables and trailer | lengths, places, checksums | `format.rs` |
//! | chunk | up to `PackOptions::chunk_size` bytes of content, by themselves compressed (an LZ4 block) or raw | |
//! | section | sorted rows: an SST | `section.rs` |
//! | id | a hash of the content | `id.rs` |
//!
//! A pack has one segment; an archive has one for each time it was sealed. The bytes of chunks that do not compress lie one behind the
//! other, so that content is contiguous up to 64 MiB; the tables that describe them follow, because a stream's length is known at
//! its end. A record's header gets the record's length then, so that packs can be scanned without an index.
//!
//! Invariants:
//! 1. Every byte of a sealed file is covered by a checksum that depends on the file's identity and the byte's place.
//! 2. Nothing before a footer changes once the footer is written, but for the sealed length in the file's header, and for a copy of the last footer that
//!    is not right. What is appended lies behind it.
//! 3. A footer is written when everything that it refers to is durable, twice. So whatever footer is found tells the truth. The sealed length is
//!    written when the footer is durable. So a file that is shorter, or has no footer there, is damaged, and is not written to.
//! 4. Records, sections and footers tile the file.
//! 5. Memory depends on options only, neither on the number of objects nor on their lengths (8 bytes for each 64 MiB of an object, 20
//!    for each 31,130 rows of an index, some 200 for each seal apart). `recover` holds names and ids, and tells all that is lost.
//! 6. Nothing read from a file is trusted for memory or time, also after verification.
//!
//! Sources: spec/pack-builder.md (streaming builder, external sort), spec/segments.md (sealed files, scans), spec/archive-append.md (growing
//! archives), spec/ecs.md (ids). What differs and why is in DESIGN.md.
//!
//! `shared` has the packs of a database, which are appended to before they are sealed.
//!
//! Callers: programs, the tools, the engine. This module knows `sst` and `env`, and nothing of the engine.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod adopt;
mod archive;
mod builder;
pub(crate) mod format;
mod id;
mod layout;
mod merge;
mod object;
mod opening;
mod options;
mod output;
mod reader;
mod record;
mod record_file;
mod recover;
pub(crate) mod salvage;
mod scan;
mod section;
mod segment;
pub(crate) mod shared;
mod sort;
#[cfg(test)]
mod tests;
mod verify;
mod whole;

pub(crate) use adopt::Adoptable;
pub use archive::{Archive, ArchiveEntry, ArchiveWriter, Entries, MAX_META_LEN, SealReport};
pub use builder::{PackBuilder, PackReport};
pub(crate) use id::Salt;
pub use id::{NotAnId, ObjectId};
pub use layout::{PackEntries, PackEntry, PackPart, PackPartKind, PackRecord, Records};
pub use object::ObjectReader;
pub(crate) use object::RecordPlace;
pub use options::PackOptions;
pub use reader::{Ids, Pack};
pub(crate) use record::RecordOptions;
pub use recover::{RecoverReport, recover};
pub use segment::Added;
pub use verify::{PackVerification, PackVerifyReport};
pub(crate) use whole::Content;
