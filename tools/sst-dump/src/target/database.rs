//! A database's state, read from its manifest, and the part that each of its files plays in it.

use std::path::{Path, PathBuf};

use packstone::KeyspaceId;
use packstone::env::FileSystem;
use packstone::inspect::{self, FileName, ManifestReport, SstInfo, State, Tail};

use super::{Item, LOOKS, Role, name_of, ours};
use crate::{Ctx, out};

/// A directory with a database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) dir: PathBuf,
    /// The manifest that the state is from.
    pub(crate) manifest: PathBuf,
    pub(crate) state: State,
}

impl Database {
    /// Reads the state: from the manifest that `CURRENT` names or, where that fails, from the newest that can be read.
    pub(super) fn load(ctx: &mut Ctx, dir: &Path, named: &[(String, FileName)]) -> Option<Database> {
        let mut manifests: Vec<(u64, PathBuf)> = Vec::new();
        for (name, parsed) in named {
            if let FileName::Manifest(number) = parsed {
                manifests.push((*number, dir.join(name)));
            }
        }
        manifests.sort();
        let mut candidates: Vec<PathBuf> = manifests.into_iter().rev().map(|(_, path)| path).collect();
        // A manifest can be replaced between reading CURRENT and opening it.
        for look in 0..LOOKS {
            match inspect::read_current(&ctx.fs, dir) {
                Ok(Some(path)) => match inspect::load_state(&ctx.fs, &path) {
                    Err(error) if out::is_gone(&error) && look + 1 < LOOKS => continue,
                    Err(error) if out::is_gone(&error) => {
                        ctx.out.damaged(
                            &path,
                            0,
                            "expected this file, because CURRENT names it; it is missing",
                        );
                    }
                    found => {
                        if let Some(database) = Self::accept(ctx, dir, &path, found) {
                            return Some(database);
                        }
                        candidates.retain(|other| *other != path);
                    }
                },
                Ok(None) if candidates.is_empty() && named.is_empty() => return None,
                Ok(None) if candidates.is_empty() => {
                    ctx.out.warn(&format!(
                        "{}: no CURRENT and no manifest; each file is taken alone",
                        dir.display()
                    ));
                    return None;
                }
                Ok(None) => ctx
                    .out
                    .damaged(&dir.join("CURRENT"), 0, "expected this file; it is missing"),
                Err(error) => ctx.out.problem(&error),
            }
            break;
        }
        for path in candidates {
            if let Ok(ManifestReport {
                state: Some(state), ..
            }) = inspect::load_state(&ctx.fs, &path)
            {
                let name = path.display().to_string();
                ctx.out.warn(&format!(
                    "going on with {name}, which may not be the newest state"
                ));
                return Some(Database {
                    dir: dir.to_owned(),
                    manifest: path,
                    state,
                });
            }
        }
        None
    }

    fn accept(
        ctx: &mut Ctx,
        dir: &Path,
        path: &Path,
        found: packstone::Result<ManifestReport>,
    ) -> Option<Database> {
        let report = found.map_err(|error| ctx.out.problem(&error)).ok()?;
        if let Tail::Damaged(error) = &report.log.tail {
            ctx.out.problem(error);
        }
        let Some(state) = report.state else {
            ctx.out
                .damaged(path, report.log.end, "no state in it, and at least one expected");
            return None;
        };
        Some(Database {
            dir: dir.to_owned(),
            manifest: path.to_owned(),
            state,
        })
    }

    pub(crate) fn reload(&self, fs: &dyn FileSystem) -> Option<State> {
        let path = inspect::read_current(fs, &self.dir).ok()??;
        inspect::load_state(fs, &path).ok()?.state
    }

    /// SSTs and packs that the manifest names and the directory does not have.
    pub(super) fn missing(&self, names: &[(String, FileName)]) -> Vec<(PathBuf, String)> {
        let has = |wanted: FileName| names.iter().any(|(_, name)| *name == wanted);
        let mut missing = Vec::new();
        for (keyspace, level, sst) in self.ssts() {
            if !has(FileName::Sst(sst.number)) {
                let what = format!(
                    "expected this file, because it is in level {level} of keyspace '{}'; it is missing",
                    self.keyspace_name(keyspace)
                );
                missing.push((inspect::sst_path(&self.dir, sst.number), what));
            }
        }
        for pack in &self.state.packs {
            if !has(FileName::Pack(pack.number)) {
                let what = "expected this file, because the manifest names it; it is missing".to_owned();
                missing.push((inspect::pack_path(&self.dir, pack.number), what));
            }
        }
        missing
    }

    /// All SSTs of the tree, with keyspace and level.
    pub(crate) fn ssts(&self) -> impl Iterator<Item = (KeyspaceId, usize, &SstInfo)> {
        self.state.keyspaces.iter().flat_map(|keyspace| {
            let levels = keyspace.levels.iter().enumerate();
            levels.flat_map(move |(level, files)| files.iter().map(move |file| (keyspace.id, level, file)))
        })
    }

    pub(crate) fn keyspace_name(&self, id: KeyspaceId) -> String {
        let found = self.state.keyspaces.iter().find(|keyspace| keyspace.id == id);
        found.map_or_else(
            || format!("#{id}, dropped"),
            |keyspace| out::printable(&keyspace.name),
        )
    }

    pub(super) fn role(&self, name: FileName, path: &Path) -> Role {
        match name {
            FileName::Sst(number) => match self.ssts().find(|(_, _, sst)| sst.number == number) {
                Some((keyspace, level, info)) => Role::Live {
                    name: self.keyspace_name(keyspace),
                    level,
                    info: info.clone(),
                },
                None => Role::Unnamed,
            },
            FileName::Pack(number) => {
                let known = self.state.packs.iter().find(|pack| pack.number == number);
                known.map_or(Role::Unnamed, |pack| Role::Pack(*pack))
            }
            FileName::Log(number) if number >= self.state.log_floor => Role::Needed,
            FileName::Manifest(_) if path == self.manifest => Role::InForce,
            FileName::Current => Role::InForce,
            _ => Role::Unnamed,
        }
    }

    pub(super) fn still_names(&self, ctx: &Ctx, item: &Item) -> bool {
        let Some(state) = self.reload(&ctx.fs) else {
            return true;
        };
        let now = Database {
            dir: self.dir.clone(),
            manifest: self.manifest.clone(),
            state,
        };
        let name = name_of(&item.path);
        // A manifest or a log that is gone was replaced; SSTs are what the state lists.
        matches!(
            name.map(|name| now.role(name, &item.path)),
            Some(Role::Live { .. } | Role::Pack(_) | Role::Needed)
        )
    }
}

/// Our files in a directory, by name.
pub(super) fn list(ctx: &mut Ctx, dir: &Path) -> Vec<(String, FileName)> {
    let entries = ctx.fs.list(dir).unwrap_or_default().into_iter();
    let files: Vec<String> = entries
        .filter(|entry| entry.is_file)
        .map(|entry| entry.name)
        .collect();
    ours(&files)
}
