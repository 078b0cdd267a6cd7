//! What the machine promises, through the traits that the engine uses.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Hands on at most three bytes at a time and is interrupted every other time.
struct Stingy(Arc<dyn File>, AtomicUsize);

impl Stingy {
    fn interrupted(&self) -> io::Result<()> {
        if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

impl File for Stingy {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupted()?;
        let n = buf.len().min(3);
        self.0.read_at(offset, &mut buf[..n])
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.interrupted()?;
        self.0.write_at(offset, &data[..data.len().min(3)])
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn map(&self) -> io::Result<Mapping> {
        self.0.map()
    }
}

#[test]
fn what_was_written_is_read_back_through_short_and_interrupted_calls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let stingy: Arc<dyn File> = Arc::new(Stingy(
        RealFs::default().create(&path).unwrap(),
        AtomicUsize::new(0),
    ));
    stingy.write_all_at(5, b"hello world").unwrap();
    stingy.sync().unwrap();
    assert_eq!(stingy.len().unwrap(), 16);
    let mut buf = [1; 16];
    stingy.read_exact_at(0, &mut buf).unwrap();
    assert_eq!(&buf, b"\0\0\0\0\0hello world");
    let past_end = stingy.read_exact_at(1, &mut buf).unwrap_err();
    assert_eq!(past_end.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(
        RealFs::default().open(&path).unwrap().map().unwrap().as_bytes(),
        b"\0\0\0\0\0hello world"
    );
}

/// By one call, by the default's one call for each, through short and interrupted ones, and on the simulator.
#[test]
fn buffers_one_behind_the_other_are_filled_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let real = RealFs::default().create(&dir.path().join("f")).unwrap();
    let sim = crate::env::sim::SimEnv::new(1);
    sim.set_flaky(Some(3));
    let simulated = sim.env().fs.create(std::path::Path::new("/f")).unwrap();
    let stingy: Arc<dyn File> = Arc::new(Stingy(Arc::clone(&real), AtomicUsize::new(0)));
    for file in [real, simulated, stingy] {
        file.write_all_at(0, b"hello world").unwrap();
        let (mut a, mut b, mut c) = ([0; 2], [0; 0], [0; 6]);
        let mut parts = [&mut a[..], &mut b[..], &mut c[..]].map(io::IoSliceMut::new);
        file.read_exact_vectored_at(1, &mut parts).unwrap();
        assert_eq!((&a, &c), (b"el", b"lo wor"));
        let mut parts = [&mut a[..], &mut c[..]].map(io::IoSliceMut::new);
        let past_end = file.read_exact_vectored_at(4, &mut parts).unwrap_err();
        assert_eq!(past_end.kind(), io::ErrorKind::UnexpectedEof);
        file.read_exact_vectored_at(100, &mut []).unwrap();
    }
}

/// The same ways, for writing.
#[test]
fn buffers_are_written_one_behind_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let real = RealFs::default().create(&dir.path().join("f")).unwrap();
    let sim = crate::env::sim::SimEnv::new(1);
    sim.set_flaky(Some(3));
    let simulated = sim.env().fs.create(std::path::Path::new("/f")).unwrap();
    let other = RealFs::default().create(&dir.path().join("g")).unwrap();
    let stingy: Arc<dyn File> = Arc::new(Stingy(other, AtomicUsize::new(0)));
    let slices = || [&b"he"[..], b"", b"llo wor", b"", b"ld"].map(io::IoSlice::new);
    for file in [&real, &simulated, &stingy] {
        file.write_all_vectored_at(0, &mut []).unwrap();
        assert_eq!(file.len().unwrap(), 0);
        file.write_all_vectored_at(3, &mut slices()).unwrap();
        file.write_all_vectored_at(14, &mut [io::IoSlice::new(b"!"), io::IoSlice::new(b"")])
            .unwrap();
        assert_eq!(file.len().unwrap(), 15);
        let mut buf = [1; 15];
        file.read_exact_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"\0\0\0hello world!");
    }
    // What one call has written it says, also where that is more than one buffer.
    assert_eq!(real.write_vectored_at(0, &slices()).unwrap(), 11);
    let readable = RealFs::default().open(&dir.path().join("f")).unwrap();
    assert!(readable.write_vectored_at(0, &slices()).is_err());
}

#[test]
fn set_len_cuts_and_grows_with_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealFs::default().create(&dir.path().join("f")).unwrap();
    file.write_all_at(0, b"abcdef").unwrap();
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(file.map().unwrap().as_bytes(), b"ab\0\0");
}

#[test]
fn create_refuses_an_existing_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    RealFs::default().create(&path).unwrap();
    assert_eq!(
        RealFs::default().create(&path).err().unwrap().kind(),
        io::ErrorKind::AlreadyExists
    );
}

#[test]
fn a_file_opened_for_reading_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    RealFs::default().create(&path).unwrap();
    assert!(RealFs::default().open(&path).unwrap().write_at(0, b"x").is_err());
}

/// A child process has a copy of every open file between fork and exec: locks seemed to be held for that long.
#[cfg(unix)]
#[test]
fn a_lock_ends_with_the_value_although_its_file_is_open_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let held = RealLock(open_locked(&path).unwrap());
    let copy = held.0.try_clone().unwrap();
    assert!(open_locked(&path).is_err());
    drop(held);
    open_locked(&path).unwrap();
    drop(copy);
}

#[test]
fn locks_conflict_within_a_process_and_end_with_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let held = RealFs::default().lock(&path).unwrap();
    assert_eq!(
        RealFs::default().lock(&path).err().unwrap().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(held);
    RealFs::default().lock(&path).unwrap();
}

#[test]
fn listing_is_sorted_and_tells_files_from_directories() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["c", "a"] {
        RealFs::default().create(&dir.path().join(name)).unwrap();
    }
    RealFs::default()
        .create_dir_all(&dir.path().join("b/deep/er"))
        .unwrap();
    RealFs::default()
        .create_dir_all(&dir.path().join("b/deep/er"))
        .unwrap();
    let entries = RealFs::default().list(dir.path()).unwrap();
    let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_file)).collect();
    assert_eq!(found, [("a", true), ("b", false), ("c", true)]);
    RealFs::default().sync_dir(dir.path()).unwrap();
}

#[test]
#[cfg(unix)]
fn a_pipe_or_a_directory_in_a_files_place_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (pipe, below) = (dir.path().join("pipe"), dir.path().join("below"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    std::fs::create_dir(&below).unwrap();
    let fs = RealFs::default();
    assert_eq!(fs.open(&pipe).err().unwrap().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(fs.open(&below).err().unwrap().kind(), io::ErrorKind::IsADirectory);
    assert!(fs.lock(&pipe).is_err());
}

#[test]
#[cfg(unix)]
fn a_directory_that_took_anothers_place_is_the_one_that_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let fs = RealFs::default();
    fs.create_dir_all(&one).unwrap();
    fs.sync_dir(&one).unwrap();
    let first = fs.last_dir.lock().clone().unwrap().1;
    fs.sync_dir(&one).unwrap();
    assert!(Arc::ptr_eq(&first, &fs.last_dir.lock().clone().unwrap().1));
    fs.rename(&one, &two).unwrap();
    assert_eq!(fs.sync_dir(&one).err().unwrap().kind(), io::ErrorKind::NotFound);
    fs.create_dir_all(&one).unwrap();
    fs.sync_dir(&one).unwrap();
    assert!(!Arc::ptr_eq(&first, &fs.last_dir.lock().clone().unwrap().1));
}

#[test]
#[cfg(target_os = "linux")]
fn listing_leaves_out_names_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    RealFs::default()
        .create(&dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")))
        .unwrap();
    RealFs::default().create(&dir.path().join("good")).unwrap();
    let entries = RealFs::default().list(dir.path()).unwrap();
    assert_eq!(
        entries,
        [DirEntry {
            name: "good".into(),
            is_file: true
        }]
    );
}

#[test]
fn a_directory_below_a_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    RealFs::default().create(&dir.path().join("f")).unwrap();
    assert!(
        RealFs::default()
            .create_dir_all(&dir.path().join("f/sub"))
            .is_err()
    );
    assert!(RealFs::default().create_dir_all(&dir.path().join("f")).is_err());
}

#[test]
fn a_directory_without_a_name_is_an_error() {
    assert!(RealFs::default().create_dir_all(Path::new("")).is_err());
}

#[test]
fn rename_replaces_the_target() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    RealFs::default()
        .create(&a)
        .unwrap()
        .write_all_at(0, b"new")
        .unwrap();
    RealFs::default()
        .create(&b)
        .unwrap()
        .write_all_at(0, b"old")
        .unwrap();
    RealFs::default().rename(&a, &b).unwrap();
    assert_eq!(
        RealFs::default().open(&b).unwrap().map().unwrap().as_bytes(),
        b"new"
    );
    assert_eq!(
        RealFs::default().open(&a).err().unwrap().kind(),
        io::ErrorKind::NotFound
    );
    RealFs::default().remove(&b).unwrap();
    assert!(RealFs::default().list(dir.path()).unwrap().is_empty());
}

#[test]
fn identities_differ_and_time_does_not_go_back() {
    let env = Env::real(1);
    assert_ne!(env.entropy.identity().unwrap(), env.entropy.identity().unwrap());
    let before = env.clock.now();
    env.clock.sleep(Duration::from_millis(1));
    assert!(env.clock.now() >= before + Duration::from_millis(1));
}

#[test]
fn a_linked_file_has_two_names_that_are_removed_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let fs = RealFs::default();
    fs.create(&a).unwrap().write_all_at(0, b"same").unwrap();
    fs.hard_link(&a, &b).unwrap();
    assert_eq!(
        fs.hard_link(&a, &b).unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
    fs.remove(&a).unwrap();
    assert_eq!(fs.open(&b).unwrap().map().unwrap().as_bytes(), b"same");
    let missing = fs.hard_link(&a, &dir.path().join("c")).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(!crate::env::is_unlinkable(&missing));
}
