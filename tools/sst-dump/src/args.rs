//! The command line, as clap knows it: a subcommand and its flags. `dialect` brings other spellings into this form.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  sst-dump my.db                                    check a database
  sst-dump scan my.db/000012.sst --from=a --to=b    entries of an SST
  sst-dump --file=my.db/000012.sst --command=scan   the same tool in sst_dump's words
  sst-dump layout -v my.db/000012.sst               every block, with its entries
  sst-dump find alice my.db                         where a key is mentioned, newest first
  sst-dump lsm my.db --html lsm.html                a picture of the tree
  sst-dump scan letters.pack --prefix=a/            names of an archive, or ids of a pack
  sst-dump verify my.db --json                      for a program (see SCHEMA.md)

Exit status: 0 fine, 1 damage found, 2 wrong use.";

/// Explains, checks and draws the files of a packstone database, and packs. Changes nothing; works on a live or damaged one.
#[derive(Debug, Parser)]
#[command(name = "sst-dump", version, after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read everything once and compare it with what the manifest says (the default command)
    #[command(
        after_help = "Examples:\n  sst-dump check my.db\n  sst-dump --command=check my.db/000012.sst --verify_checksum"
    )]
    Check(ScanArgs),
    /// Print entries: 'key' seq:N, type:T => value (type 1 is a value, 0 a delete); of packs ids or names with lengths
    #[command(
        after_help = "Examples:\n  sst-dump scan my.db/000012.sst --from=a --to=b --read_num=10\n  sst-dump scan my.db/000003.log --output_hex"
    )]
    Scan(ScanArgs),
    /// Print all parts of SSTs: footer, properties, filter, index, blocks; of packs: records and rows
    #[command(
        after_help = "Examples:\n  sst-dump raw my.db/000012.sst\n  sst-dump raw my.db/000012.sst --output dump.txt"
    )]
    Raw(RawArgs),
    /// Check every byte, with all cores: checksums, order, references, filters, counts
    #[command(after_help = "Examples:\n  sst-dump verify my.db\n  sst-dump verify my.db --threads 4 --json")]
    Verify(VerifyArgs),
    /// Tell how large SSTs would be with other compression and block sizes
    #[command(
        after_help = "Examples:\n  sst-dump recompress my.db/000012.sst\n  sst-dump recompress my.db --compression_types=none,lz4 --block_size=16384"
    )]
    Recompress(RecompressArgs),
    /// Tell what each file is, by its content
    #[command(after_help = "Examples:\n  sst-dump identify my.db\n  sst-dump identify some-file")]
    Identify(FileArgs),
    /// Draw every block of SSTs with offset, length, codec and ratio, every part of packs; -v shows entries and records
    #[command(
        after_help = "Examples:\n  sst-dump layout my.db/000012.sst\n  sst-dump layout -v my.db/000012.sst"
    )]
    Layout(LayoutArgs),
    /// Tell what filters cost (bits a key) and how good they are (measured false-positive rate)
    #[command(
        after_help = "Examples:\n  sst-dump filter my.db\n  sst-dump filter my.db/000012.sst --probes 1000000"
    )]
    Filter(FilterArgs),
    /// Show the distribution of key and value sizes, kinds of entries, and compression by kind of block
    #[command(
        after_help = "Examples:\n  sst-dump histogram my.db\n  sst-dump histogram my.db/000012.sst --json"
    )]
    Histogram(FileArgs),
    /// Find all mentions of a key in logs, manifest and SSTs, newest first
    #[command(
        after_help = "Examples:\n  sst-dump find alice my.db\n  sst-dump find 0x616c --input_key_hex my.db"
    )]
    Find(FindArgs),
    /// Print a manifest, edit by edit, and the state that it adds up to
    #[command(after_help = "Examples:\n  sst-dump manifest my.db\n  sst-dump manifest my.db/MANIFEST-000004")]
    Manifest(FileArgs),
    /// Print logs, frame by frame
    #[command(after_help = "Examples:\n  sst-dump wal my.db\n  sst-dump wal my.db/000003.log --json")]
    Wal(FileArgs),
    /// Show the shape of the tree
    #[command(after_help = "Examples:\n  sst-dump lsm my.db\n  sst-dump lsm my.db --html lsm.html")]
    Lsm(LsmArgs),
    /// Print what SSTs and packs say of themselves
    #[command(after_help = "Examples:\n  sst-dump properties my.db/000012.sst")]
    Properties(FileArgs),
    /// Write one object of a pack to the standard output, or to a file
    #[command(
        after_help = "Examples:\n  sst-dump extract letters.pack --name=a/alpha > alpha\n  sst-dump extract objects.pack --id=2d5eeac0d81dd836409937cfc56d5319 --output hello"
    )]
    Extract(ExtractArgs),
}

impl Command {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Command::Check(args) | Command::Scan(args) => &args.files.common,
            Command::Raw(args) => &args.files.common,
            Command::Verify(args) => &args.files.common,
            Command::Recompress(args) => &args.files.common,
            Command::Layout(args) => &args.files.common,
            Command::Filter(args) => &args.files.common,
            Command::Find(args) => &args.files.common,
            Command::Lsm(args) => &args.files.common,
            Command::Extract(args) => &args.files.common,
            Command::Identify(args)
            | Command::Histogram(args)
            | Command::Manifest(args)
            | Command::Wal(args)
            | Command::Properties(args) => &args.common,
        }
    }
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Common {
    /// Print JSON, one object a line; SCHEMA.md says which
    #[arg(long)]
    pub(crate) json: bool,
    /// Print keys and values in hex
    #[arg(long = "output_hex")]
    pub(crate) output_hex: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FileArgs {
    /// Files, or the directory of a database or of packs
    #[arg(value_name = "FILES OR DIRECTORY")]
    paths: Vec<PathBuf>,
    /// Another file or directory
    #[arg(long = "file", value_name = "PATH")]
    file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl FileArgs {
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter().chain(&self.file)
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// The first key
    #[arg(long, value_name = "KEY")]
    pub(crate) from: Option<String>,
    /// The key before which to stop
    #[arg(long, value_name = "KEY")]
    pub(crate) to: Option<String>,
    /// Only keys that begin so; excludes --from
    #[arg(long, value_name = "KEY", conflicts_with = "from")]
    pub(crate) prefix: Option<String>,
    /// At most so many entries of each file
    #[arg(long = "read_num", value_name = "N")]
    pub(crate) read_num: Option<u64>,
    /// Keys on the command line are hex, with or without 0x
    #[arg(long = "input_key_hex")]
    pub(crate) input_key_hex: bool,
    /// Print the properties of each SST as well
    #[arg(long = "show_properties")]
    pub(crate) show_properties: bool,
    /// Print the values that references of a database lead to, in place of the references
    #[arg(long)]
    pub(crate) values: bool,
    /// Check every byte of each SST as well, as verify does (blocks that are read are always checked)
    #[arg(long = "verify_checksum")]
    pub(crate) verify_checksum: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RawArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Write to this file, which must not exist yet, instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Files checked at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RecompressArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Which codecs to try: none, lz4 (sst_dump's kNoCompression and kLZ4Compression too)
    #[arg(
        long = "compression_types",
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "none,lz4"
    )]
    pub(crate) compression_types: Vec<String>,
    /// Bytes of small values that share a block
    #[arg(long = "block_size", alias = "set_block_size", value_name = "BYTES", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    pub(crate) block_size: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LayoutArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Show entries and separators
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FilterArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// How many absent keys to ask each filter for
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) probes: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FindArgs {
    /// The key
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// The key is hex, with or without 0x
    #[arg(long = "input_key_hex")]
    pub(crate) input_key_hex: bool,
    /// At most so many mentions, the newest
    #[arg(long = "read_num", value_name = "N", default_value_t = 1000)]
    pub(crate) read_num: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LsmArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Also write a page with pictures to this file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// The object's id: 32 hexadecimal digits
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "name",
        conflicts_with = "name"
    )]
    pub(crate) id: Option<String>,
    /// The object's name in an archive
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The name is hex, with or without 0x
    #[arg(long = "input_key_hex")]
    pub(crate) input_key_hex: bool,
    /// Write to this file, which must not exist yet, instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
