//! `sst-dump`: explains, checks and draws the files of a packstone database, and packs. It reads only, needs no lock, and works on a
//! database that is in use or damaged.
//!
//! One command a file, in `cmd`. Which files a command works on is decided in `target`; how it talks is in `out`; that it
//! can't change anything is seen to by `fs`. Exit status: 0 fine, 1 damage found, 2 wrong use.
//!
//! The tool is a library with one function, so that a test or a fuzzer can call it without a process, on a file system of
//! its own choice.

mod args;
mod cmd;
mod dialect;
mod draw;
mod entries;
mod fs;
mod out;
mod packs;
mod target;

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use clap::Parser;
use packstone::env::{Env, FileSystem};

use args::{Args, Command};
pub use dialect::COMMANDS;
use out::{Fail, Out};

/// Where a run of the tool takes place. (`--output` and `--html` create files on the machine's own file system, always.)
pub struct World {
    /// Where the files to look into are. It is only read.
    pub fs: Arc<dyn FileSystem>,
    /// Answers go here.
    pub out: Box<dyn Write>,
    /// Problems go here, unless they are answers too (`--json`).
    pub err: Box<dyn Write>,
}

impl World {
    /// The machine's files, the standard output and the standard error.
    pub fn real() -> World {
        World {
            fs: Env::real(1).fs,
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
        }
    }
}

/// What every command gets: the files, and somewhere to talk to.
pub(crate) struct Ctx {
    pub(crate) fs: fs::Watched,
    pub(crate) out: Out,
}

/// Runs the tool with these words (the program's name not among them); returns the exit status.
pub fn run(words: impl IntoIterator<Item = OsString>, mut world: World) -> u8 {
    let (words, ignored) = dialect::normalise(words.into_iter());
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(refusal) => {
            // Help and the version are refusals too, as clap sees it.
            let stream = if refusal.use_stderr() {
                &mut world.err
            } else {
                &mut world.out
            };
            // Whoever closed the stream does not want to know.
            let _ = write!(stream, "{}", refusal.render()).and_then(|()| stream.flush());
            return u8::try_from(refusal.exit_code()).unwrap_or(2);
        }
    };
    let mut out = Out::new(args.command.common(), world.out, world.err);
    for flag in ignored {
        out.warn(&format!("{flag} has no meaning here and is ignored"));
    }
    let mut ctx = Ctx {
        fs: fs::Watched::new(world.fs),
        out,
    };
    let result = command(&mut ctx, &args.command);
    ctx.fs.finish();
    ctx.out.end(result)
}

fn command(ctx: &mut Ctx, command: &Command) -> Result<(), Fail> {
    match command {
        Command::Check(args) => cmd::check::run(ctx, args),
        Command::Scan(args) => cmd::scan::run(ctx, args),
        Command::Raw(args) => cmd::raw::run(ctx, args),
        Command::Verify(args) => cmd::verify::run(ctx, args),
        Command::Recompress(args) => cmd::recompress::run(ctx, args),
        Command::Identify(args) => cmd::identify::run(ctx, args),
        Command::Layout(args) => cmd::layout::run(ctx, args),
        Command::Filter(args) => cmd::filter::run(ctx, args),
        Command::Histogram(args) => cmd::histogram::run(ctx, args),
        Command::Find(args) => cmd::find::run(ctx, args),
        Command::Manifest(args) => cmd::manifest::run(ctx, args),
        Command::Wal(args) => cmd::wal::run(ctx, args),
        Command::Lsm(args) => cmd::lsm::run(ctx, args),
        Command::Properties(args) => cmd::properties::run(ctx, args),
        Command::Extract(args) => cmd::extract::run(ctx, args),
    }
}
