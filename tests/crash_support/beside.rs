//! What happens beside the database: checkpoints of it and readers next to it, each with writes, a drop and compactions in the middle.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use packstone::{Batch, Db, Durability, Error, Health, Keyspace, Result};

use super::checks::{compare, content_of};
use super::oracle::{Content, Op};
use super::world::{DIR, Stop, World};
use super::{Amidst, Step};
use crate::support::hooked;

/// A checkpoint that has been begun.
pub struct Kept {
    dir: PathBuf,
    /// What it may hold.
    contents: Vec<Content>,
    /// The call has returned: it has to be there, whatever happens to the machine.
    complete: bool,
}

/// What a writer does in the middle of something.
struct Work {
    db: Db,
    first: (Batch, Vec<Op>),
    drop: Option<&'static str>,
    second: (Batch, Vec<Op>),
    compacted: Vec<Keyspace>,
}

/// What has become of it, in order.
enum Done {
    Commit(Vec<Op>, bool),
    Drop(&'static str, bool),
    /// The newest number, behind what was done before.
    At(u64),
}

impl Work {
    fn run(self, done: &RefCell<Vec<Done>>) {
        let note = |what| {
            let mut done = done.borrow_mut();
            done.push(what);
            done.push(Done::At(self.db.snapshot().seq()));
        };
        let (batch, ops) = self.first;
        note(Done::Commit(ops, batch.commit(Durability::Buffered).is_ok()));
        if let Some(name) = self.drop {
            note(Done::Drop(name, self.db.drop_keyspace(name).is_ok()));
        }
        let (batch, ops) = self.second;
        note(Done::Commit(ops, batch.commit(Durability::Buffered).is_ok()));
        for keyspace in self.compacted {
            // A failure here shows itself elsewhere.
            let _ = keyspace.compact_range::<&[u8], _>(..);
        }
    }
}

impl World {
    fn work(&mut self, amidst: &Amidst) -> Work {
        // Tried again after a failure, a drop may have happened already.
        let is_there = |name: &str| self.keyspaces.contains_key(name);
        let items: Vec<_> = amidst
            .items
            .iter()
            .filter(|(name, ..)| is_there(name))
            .cloned()
            .collect();
        let drop = amidst.drop.filter(|name| is_there(name));
        let first = self.batch(&items);
        // Behind the drop something is written that the dropped keyspace has no part in.
        let rest: Vec<_> = items
            .iter()
            .filter(|(name, ..)| Some(*name) != drop)
            .cloned()
            .collect();
        let second = self.batch(&rest);
        let names = rest.iter().map(|(name, ..)| self.keyspace(name).clone());
        Work {
            compacted: names.collect(),
            db: self.db().clone(),
            first,
            drop,
            second,
        }
    }

    /// Does `work`, and in the middle of it, before the so-manieth call on a path under `under`, what a writer does. Returns with
    /// each state that there was meanwhile the numbers from which to which it was the newest.
    fn amidst<T>(
        &mut self,
        amidst: &Amidst,
        under: &Path,
        work: impl FnOnce(&World) -> T,
    ) -> (T, Vec<(u64, Content)>) {
        let mut states = vec![(self.db().snapshot().seq(), self.oracle.visible())];
        let done = Rc::new(RefCell::new(Vec::new()));
        let (mut writer, noted, at) = (Some(self.work(amidst)), done.clone(), amidst.at);
        let (sim, world) = (self.sim.clone(), &*self);
        let hook = move |call: u64| {
            if call >= at
                && let Some(writer) = writer.take()
            {
                writer.run(&noted);
                sim.run_until_idle();
            }
        };
        let result = hooked::during(under, hook, || work(world));
        for done in done.take() {
            match done {
                Done::Commit(ops, acknowledged) => self.oracle.commit(ops, acknowledged, false),
                Done::Drop(name, true) => {
                    self.oracle.dropped(name);
                    self.keyspaces.remove(name);
                }
                Done::Drop(name, false) => self.oracle.drop_failed(name),
                Done::At(seq) => states.push((seq, self.oracle.visible())),
            }
        }
        (result, states)
    }

    /// `Step::Checkpoint`.
    pub fn checkpoint(&mut self, amidst: &Amidst) -> Result<(), Stop> {
        self.made += 1;
        let dir = PathBuf::from(format!("/checkpoint-{}", self.made));
        let failures = self.sim.failures();
        let poisoned = matches!(self.db().health(), Health::Poisoned { .. });
        let (report, states) = self.amidst(amidst, &dir, |world| {
            hooked::without_links(amidst.no_links, || world.db().checkpoint(&dir))
        });
        let is_off = self.sim.is_off();
        match report {
            Ok(report) => {
                let wanted = state_at(&states, report.seq);
                self.kept.push_back(Kept {
                    dir,
                    contents: vec![wanted.clone()],
                    complete: true,
                });
                // A pack that grows is copied.
                let copied = report.copied_files > 0 && !self.history.objects;
                if copied && !amidst.no_links || report.linked_files > 0 && amidst.no_links {
                    return Err(Stop::Broken(format!("links and copies: {report:?}")));
                }
                if is_off {
                    return Ok(());
                }
                let kept = self.kept.back().expect("just pushed");
                self.check_kept(kept, Some(report.seq))?;
                while self.kept.len() > 1 {
                    self.forget_oldest();
                }
                Ok(())
            }
            Err(error) => {
                // A full disk, and a sync that failed before the call, are none of those that are counted: the one that is may
                // have been of the cleaning up.
                let once = self.sim.failures() == failures + 1 && !error.is_out_of_space() && !poisoned;
                let left = self.files_in(&dir);
                let kept = Kept {
                    dir,
                    contents: states.into_iter().map(|(_, content)| content).collect(),
                    complete: false,
                };
                // What fails removes what it has made; that may fail as well.
                if once && !is_off && !left.is_empty() {
                    return Err(Stop::Broken(format!(
                        "a checkpoint that failed ({error}) has left {left:?}"
                    )));
                }
                if !is_off && !once {
                    self.check_kept(&kept, None)?;
                }
                self.kept.push_back(kept);
                Err(error.into())
            }
        }
    }

    /// Looks at all checkpoints after an opening, and removes them.
    pub fn check_checkpoints(&mut self) -> Result<(), Stop> {
        while let Some(kept) = self.kept.front() {
            self.check_kept(kept, None)?;
            self.forget_oldest();
        }
        Ok(())
    }

    fn check_kept(&self, kept: &Kept, seq: Option<u64>) -> Result<(), Stop> {
        let what = format!("the checkpoint {}", kept.dir.display());
        let opened = self.options().create_if_missing(false).open_read_only(&kept.dir);
        let db = match opened {
            Ok(db) => db,
            Err(Error::NotADatabase { .. }) if !kept.complete => return Ok(()),
            Err(error @ Error::Io { .. }) => return Err(error.into()),
            Err(error) => return Err(Stop::Broken(format!("{what}: {error}"))),
        };
        let found = content_of(&db)?;
        let metrics = db.metrics();
        if metrics.torn_log_bytes > 0 || seq.is_some_and(|seq| db.snapshot().seq() != seq) {
            return Err(Stop::Broken(format!(
                "{what}: {seq:?}, opened at {}, {metrics:?}",
                db.snapshot().seq()
            )));
        }
        same_as_one_of(&what, &kept.contents, &found)
    }

    fn forget_oldest(&mut self) {
        let Some(kept) = self.kept.pop_front() else { return };
        for path in self.files_in(&kept.dir) {
            self.sim.remove_file(&path).expect("it is there");
        }
    }

    fn files_in(&self, dir: &Path) -> Vec<PathBuf> {
        let mut paths = self.sim.list();
        paths.retain(|path| path.parent() == Some(dir));
        paths
    }

    /// `Step::Beside`.
    pub fn beside(&mut self, amidst: &Amidst) -> Result<(), Stop> {
        // On a disk whose removed files are gone for those who have them open, no reader can do without the writer's help.
        self.sim.set_forgets_removed(false);
        let (found, states) = self.amidst(amidst, Path::new(DIR), |world| {
            let db = world.options().open_read_only(DIR)?;
            // Twice: what it sees does not change.
            Ok((content_of(&db)?, content_of(&db)?, db.snapshot().seq()))
        });
        self.sim.set_forgets_removed(true);
        let (first, second, seq) = found.map_err(|error: Error| Stop::Error(error))?;
        compare("a reader that reads again", &first, &second)?;
        let mut contents: Vec<Content> = states.iter().map(|(_, content)| content.clone()).collect();
        contents.extend(self.oracle.with_maybes());
        same_as_one_of(
            &format!("a reader beside the writer, at {seq}"),
            &contents,
            &first,
        )
    }
}

/// The state that a number shows.
fn state_at(states: &[(u64, Content)], seq: u64) -> &Content {
    let shown = states.iter().rev().find(|(from, _)| *from <= seq);
    &shown.unwrap_or(&states[0]).1
}

fn same_as_one_of(what: &str, contents: &[Content], found: &Content) -> Result<(), Stop> {
    if contents.contains(found) {
        return Ok(());
    }
    let nearest = contents.last().expect("at least one");
    compare(
        &format!("{what}, none of {} states", contents.len()),
        nearest,
        found,
    )?;
    Ok(())
}

impl Step {
    /// What happens in the middle of it.
    pub fn amidst(&self) -> Option<&Amidst> {
        match self {
            Step::Checkpoint(amidst) | Step::Beside(amidst) => Some(amidst),
            _ => None,
        }
    }
}
