//! `sst-dump`: explains, checks and draws the files of a packstone database. It reads only, needs no lock, and works on a
//! database that is in use or damaged.
//!
//! One command a file, in `cmd`. Which files a command works on is decided in `target`; how it talks is in `out`; that it
//! can't change anything is seen to by `fs`. Exit status: 0 fine, 1 damage found, 2 wrong use.

mod args;
mod cmd;
mod dialect;
mod draw;
mod entries;
mod fs;
mod out;
mod target;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use out::{Fail, Out};

/// What every command gets: the files, and somewhere to talk to.
pub(crate) struct Ctx {
    pub(crate) fs: fs::Watched,
    pub(crate) out: Out,
}

fn main() -> ExitCode {
    let (words, ignored) = dialect::normalise(std::env::args_os().skip(1));
    let args = Args::parse_from(words);
    let mut out = Out::new(args.command.common());
    for flag in ignored {
        out.warn(&format!("{flag} has no meaning here and is ignored"));
    }
    let mut ctx = Ctx {
        fs: fs::Watched::new(),
        out,
    };
    let result = run(&mut ctx, &args.command);
    ctx.fs.finish();
    ctx.out.end(result)
}

fn run(ctx: &mut Ctx, command: &Command) -> Result<(), Fail> {
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
    }
}
