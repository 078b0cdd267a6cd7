//! [`Names`]: the directories of the simulated disk, as programs see them and as a power cut may leave them.
//!
//! Invariants:
//! 1. Every change of a name is one pending change, in order, until a sync of a directory that it touches makes it
//!    durable. A rename is one change, also between two directories: it survives as a whole or not at all.
//! 2. A sync of a directory takes along the earlier changes of other directories that its own ones build on.
//! 3. A change that survives a crash alone applies only where it still makes sense; in particular it never
//!    hides a file that nobody removed or replaced.
//! 4. After a failed sync the changes that it was for are lossy: later syncs report success and do nothing for them.
//!
//! Files hang here by counted references, and may have several names (hard links): one that has lost its names lives on in open handles and in changes that
//! are not durable yet.
//!
//! Callers: the disk, under its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::inode::Inode;
use super::rng::Rng;
use crate::sync::Mutex;

/// A file: its number, and what is in it.
pub(super) struct FileNode {
    pub(super) id: u64,
    pub(super) inode: Mutex<Inode>,
    /// One more than the boot in which it was removed; 0: it was not.
    pub(super) removed_in: AtomicU64,
}

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Node {
    File(Arc<FileNode>),
    Dir(u64),
}

impl Node {
    fn id(&self) -> u64 {
        match self {
            Node::File(file) => file.id,
            Node::Dir(id) => *id,
        }
    }
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: u64,
    pub(super) name: String,
}

#[derive(Default)]
struct Dir {
    current: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

enum Change {
    Create {
        at: Place,
        node: Node,
    },
    Remove {
        at: Place,
        id: u64,
    },
    Rename {
        from: Place,
        to: Place,
        node: Node,
        replaced: Option<u64>,
    },
}

impl Change {
    fn dirs(&self) -> [u64; 2] {
        match self {
            Change::Create { at, .. } | Change::Remove { at, .. } => [at.dir, at.dir],
            Change::Rename { from, to, .. } => [from.dir, to.dir],
        }
    }

    /// The name that the change takes away, and from which file.
    fn unmakes(&self) -> Option<(&Place, u64)> {
        match self {
            Change::Create { .. } => None,
            Change::Remove { at, id } => Some((at, *id)),
            Change::Rename { from, node, .. } => Some((from, node.id())),
        }
    }

    /// The name that the change gives, and to which file.
    fn makes(&self) -> Option<(&Place, u64)> {
        match self {
            Change::Create { at, node } | Change::Rename { to: at, node, .. } => Some((at, node.id())),
            Change::Remove { .. } => None,
        }
    }
}

struct Pending {
    change: Change,
    lossy: bool,
}

/// The root directory's number.
const ROOT: u64 = 0;

pub(super) struct Names {
    dirs: BTreeMap<u64, Dir>,
    pending: Vec<Pending>,
    next_id: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        Names {
            dirs: BTreeMap::from([(ROOT, Dir::default())]),
            pending: Vec::new(),
            next_id: ROOT + 1,
        }
    }

    pub(super) fn get(&self, at: &Place) -> Option<&Node> {
        self.dirs.get(&at.dir)?.current.get(&at.name)
    }

    /// The directory that `path` names.
    pub(super) fn dir(&self, path: &Path) -> io::Result<u64> {
        components(path)?
            .iter()
            .try_fold(ROOT, |dir, name| self.subdir(dir, name))
    }

    /// The name that `path` ends in, which need not exist, in its directory, which must.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let mut names = components(path)?;
        let name = names.pop().ok_or(io::ErrorKind::IsADirectory)?;
        let dir = names.iter().try_fold(ROOT, |dir, name| self.subdir(dir, name))?;
        Ok(Place { dir, name })
    }

    /// The file that `path` names.
    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<FileNode>> {
        self.file_at(&self.place(path)?)
    }

    pub(super) fn file_at(&self, at: &Place) -> io::Result<Arc<FileNode>> {
        match self.get(at) {
            Some(Node::File(file)) => Ok(Arc::clone(file)),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn subdir(&self, dir: u64, name: &str) -> io::Result<u64> {
        match self.dirs.get(&dir).and_then(|dir| dir.current.get(name)) {
            Some(Node::Dir(id)) => Ok(*id),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The names in a directory and whether they are files, in order.
    pub(super) fn list(&self, dir: u64) -> Vec<(String, bool)> {
        let entries = self
            .dirs
            .get(&dir)
            .map(|dir| dir.current.iter())
            .into_iter()
            .flatten();
        entries
            .map(|(name, node)| (name.clone(), matches!(node, Node::File(_))))
            .collect()
    }

    /// All files that have a name, by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, Arc<FileNode>)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = open.pop() {
            let Some(dir) = self.dirs.get(&dir) else { continue };
            for (name, node) in &dir.current {
                match node {
                    Node::File(file) => found.push((path.join(name), Arc::clone(file))),
                    Node::Dir(id) => open.push((path.join(name), *id)),
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// All files that have a name, each once.
    pub(super) fn distinct_files(&self) -> Vec<Arc<FileNode>> {
        let mut seen = BTreeSet::new();
        let files = self.files().into_iter().map(|(_, file)| file);
        files.filter(|file| seen.insert(file.id)).collect()
    }

    /// Whether a file has a name.
    pub(super) fn is_named(&self, id: u64) -> bool {
        let mut nodes = self.dirs.values().flat_map(|dir| dir.current.values());
        nodes.any(|node| node.id() == id)
    }

    /// Gives a name to a new, empty file.
    pub(super) fn create_file(&mut self, at: Place) -> Arc<FileNode> {
        let file = Arc::new(FileNode {
            id: self.take_id(),
            inode: Mutex::default(),
            removed_in: AtomicU64::new(0),
        });
        self.create(at, Node::File(Arc::clone(&file)));
        file
    }

    /// Gives another name to a file. Each name is durable or lost on its own.
    pub(super) fn link(&mut self, at: Place, file: Arc<FileNode>) {
        self.create(at, Node::File(file));
    }

    /// Gives a name to a new, empty directory.
    pub(super) fn create_dir(&mut self, at: Place) -> u64 {
        let id = self.take_id();
        self.dirs.insert(id, Dir::default());
        self.create(at, Node::Dir(id));
        id
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn create(&mut self, at: Place, node: Node) {
        set(&mut self.current(at.dir), &at.name, Some(node.clone()));
        self.push(Change::Create { at, node });
    }

    /// Takes a file's name away.
    pub(super) fn remove(&mut self, at: Place, id: u64) {
        set(&mut self.current(at.dir), &at.name, None);
        self.push(Change::Remove { at, id });
    }

    /// Takes an empty directory's name away.
    pub(super) fn remove_dir(&mut self, at: Place) {
        let Some(Node::Dir(id)) = self.get(&at) else {
            return;
        };
        let id = *id;
        if self.dirs.get(&id).is_some_and(|dir| dir.current.is_empty()) {
            self.remove(at, id);
        }
    }

    /// Moves a file to another name, replacing the file there.
    pub(super) fn rename(&mut self, from: Place, to: Place, file: Arc<FileNode>) {
        // Two names of one file: POSIX leaves both.
        if from == to || self.get(&to).map(Node::id) == Some(file.id) {
            return;
        }
        let replaced = self.get(&to).map(Node::id);
        let node = Node::File(file);
        set(&mut self.current(from.dir), &from.name, None);
        set(&mut self.current(to.dir), &to.name, Some(node.clone()));
        self.push(Change::Rename {
            from,
            to,
            node,
            replaced,
        });
    }

    fn current(&mut self, dir: u64) -> Option<&mut BTreeMap<String, Node>> {
        self.dirs.get_mut(&dir).map(|dir| &mut dir.current)
    }

    fn push(&mut self, change: Change) {
        self.pending.push(Pending { change, lossy: false });
    }

    /// Makes a directory's changes durable, and those that they build on.
    pub(super) fn sync_dir(&mut self, dir: u64) {
        let wanted = self.wanted_for(dir);
        for (i, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if !wanted.contains(&i) {
                self.pending.push(pending);
                continue;
            }
            self.apply(&pending.change, true);
            if let Some(gone) = pending.change.unmakes() {
                self.pending
                    .retain(|earlier| !(earlier.lossy && earlier.change.makes() == Some(gone)));
            }
        }
    }

    /// A sync of a directory that fails, after it got some of the way if there is an `rng` to say how far.
    pub(super) fn fail_sync_dir(&mut self, dir: u64, mut rng: Option<&mut Rng>) {
        let wanted = self.wanted_for(dir);
        for (i, mut pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if wanted.contains(&i) {
                if rng.as_mut().is_some_and(|rng| rng.chance(1, 2)) {
                    self.apply(&pending.change, false);
                    continue;
                }
                pending.lossy = true;
            }
            self.pending.push(pending);
        }
    }

    /// Which pending changes a sync of `dir` is for: walking back, all that touch it or a directory that a later
    /// one of them touches.
    fn wanted_for(&self, dir: u64) -> BTreeSet<usize> {
        let mut dirs = BTreeSet::from([dir]);
        let mut wanted = BTreeSet::new();
        for (i, pending) in self.pending.iter().enumerate().rev() {
            let touched = pending.change.dirs();
            if !pending.lossy && touched.iter().any(|dir| dirs.contains(dir)) {
                dirs.extend(touched);
                wanted.insert(i);
            }
        }
        wanted
    }

    /// Does a change to the durable names: come what may if `force`, otherwise only where it still makes sense.
    fn apply(&mut self, change: &Change, force: bool) {
        if let Some((at, id)) = change.makes() {
            let there = self
                .durable(at.dir)
                .and_then(|names| names.get(&at.name))
                .map(Node::id);
            let free = match change {
                Change::Rename { replaced, .. } => there.is_none() || there == *replaced || there == Some(id),
                _ => there.is_none(),
            };
            if !force && !free {
                return;
            }
        }
        if let Some((at, id)) = change.unmakes() {
            let mut names = self.durable(at.dir);
            if names.as_ref().and_then(|names| names.get(&at.name)).map(Node::id) == Some(id) {
                set(&mut names, &at.name, None);
            }
        }
        if let Change::Create { at, node } | Change::Rename { to: at, node, .. } = change {
            set(&mut self.durable(at.dir), &at.name, Some(node.clone()));
        }
    }

    fn durable(&mut self, dir: u64) -> Option<&mut BTreeMap<String, Node>> {
        self.dirs.get_mut(&dir).map(|dir| &mut dir.durable)
    }

    /// The power goes. Each pending change survives in `kept` of 16 cases if there is an `rng`, otherwise never.
    pub(super) fn crash(&mut self, mut rng: Option<&mut Rng>, kept: u64) {
        for pending in std::mem::take(&mut self.pending) {
            if rng.as_mut().is_some_and(|rng| rng.chance(kept, 16)) {
                self.apply(&pending.change, false);
            }
        }
        for dir in self.dirs.values_mut() {
            dir.current = dir.durable.clone();
        }
        let mut reachable = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(dir) = open.pop() {
            for node in self
                .dirs
                .get(&dir)
                .into_iter()
                .flat_map(|dir| dir.current.values())
            {
                if let Node::Dir(id) = node {
                    reachable.insert(*id);
                    open.push(*id);
                }
            }
        }
        self.dirs.retain(|id, _| reachable.contains(id));
    }

    /// Gives `path` to a file with all directories on the way, durably: the file that is there, or a new one.
    pub(super) fn plant_file(&mut self, path: &Path) -> io::Result<Arc<FileNode>> {
        let mut names = components(path)?;
        let name = names.pop().ok_or(io::ErrorKind::IsADirectory)?;
        let mut dir = ROOT;
        for name in names {
            let at = Place { dir, name };
            dir = match self.get(&at) {
                Some(Node::Dir(id)) => *id,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => self.create_dir(at.clone()),
            };
            self.make_durable(&at);
        }
        let at = Place { dir, name };
        let file = match self.file_at(&at) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.create_file(at.clone()),
            found => found?,
        };
        self.make_durable(&at);
        Ok(file)
    }

    /// Takes a file's name away, durably.
    pub(super) fn uproot_file(&mut self, path: &Path) -> io::Result<()> {
        let at = self.place(path)?;
        self.file_at(&at)?;
        set(&mut self.current(at.dir), &at.name, None);
        self.make_durable(&at);
        Ok(())
    }

    /// Makes what `at` is now durable, and forgets the changes that led there.
    fn make_durable(&mut self, at: &Place) {
        let node = self.get(at).cloned();
        set(&mut self.durable(at.dir), &at.name, node);
        self.pending.retain(|pending| {
            let at_place = |changed: Option<(&Place, u64)>| changed.is_some_and(|(place, _)| place == at);
            !at_place(pending.change.makes()) && !at_place(pending.change.unmakes())
        });
    }
}

fn set(names: &mut Option<&mut BTreeMap<String, Node>>, name: &str, node: Option<Node>) {
    if let Some(names) = names {
        match node {
            Some(node) => names.insert(name.to_owned(), node),
            None => names.remove(name),
        };
    }
}

/// The names on the way to `path`; relative paths start at the root.
fn components(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::ParentDir => drop(names.pop()),
            Component::Normal(name) => match name.to_str() {
                Some(name) => names.push(name.to_owned()),
                None => return Err(io::ErrorKind::InvalidFilename.into()),
            },
        }
    }
    Ok(names)
}
