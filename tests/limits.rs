//! What a process runs into on a real machine: too few file descriptors, a limit of file sizes, a full file system, another
//! process with the same database.
//!
//! In each case: a clear error that names the file and what to do, no acknowledged write lost, and the database goes on when
//! the cause is gone. Each test starts itself again as a child, so that limits and mounts concern nobody else. The child
//! notes on its standard output what it has found; assertions fail in the child as in the parent.
#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the promise is about processes and limits that the engine does not own"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use packstone::{Access, Db, Durability, Error, Keyspace, LogMedium, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const DIR_VARIABLE: &str = "PACKSTONE_LIMITS_DIR";
const MODE_VARIABLE: &str = "PACKSTONE_LIMITS_MODE";
/// Nothing here takes that long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const SIGXFSZ: i32 = 25;

// ---- the data ----

fn options(access: Access) -> Options {
    // Small: many SSTs, many logs.
    Options::new()
        .write_buffer_size(16 << 10)
        .max_file_size(4 << 10)
        .max_log_size(64 << 10)
        .cache_size(64 << 10)
        .access(access)
}

fn key(n: u64) -> Vec<u8> {
    format!("key {:08}", n.wrapping_mul(0x9e37_79b9) % (1 << 26)).into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    // Nothing that compression makes small.
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..100 + n % 200).map(|_| next()).collect()
}

fn put(keyspace: &Keyspace, n: u64) -> packstone::Result<()> {
    let durability = if n % 50 == 7 {
        Durability::Sync
    } else {
        Durability::Buffered
    };
    keyspace.put_with(key(n), value(n), durability)
}

/// Writes until something fails; returns the number of writes that were acknowledged.
fn write_until_error(keyspace: &Keyspace) -> (u64, Error) {
    for n in 0..200_000 {
        if let Err(error) = put(keyspace, n) {
            return (n, error);
        }
    }
    panic!("the limit is never reached");
}

/// All of the first `count` writes, by key and in a scan; one more may be there.
#[track_caller]
fn check(keyspace: &Keyspace, count: u64) {
    for n in 0..count {
        let found = keyspace.get(key(n)).unwrap();
        assert_eq!(found.as_deref(), Some(&value(n)[..]), "write {n} of {count}");
    }
    let scanned = keyspace.iter().map(Result::unwrap).count() as u64;
    assert!(
        scanned == count || scanned == count + 1,
        "{scanned} scanned, {count} written"
    );
}

/// Writes again what failed, until it goes through.
fn go_on(keyspace: &Keyspace, n: u64) {
    let start = Instant::now();
    while let Err(error) = put(keyspace, n) {
        assert!(start.elapsed() < PATIENCE, "still: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One line that names a file of the directory and what to do.
#[track_caller]
fn check_text(error: &Error, dir: &Path, parts: &[&str]) {
    let text = error.to_string();
    for part in parts.iter().chain([&dir.to_str().unwrap()]) {
        assert!(
            text.to_lowercase().contains(&part.to_lowercase()),
            "expected {part:?} in: {text}"
        );
    }
    assert!(!text.contains('\n') && text.len() < 400, "{text}");
}

fn limit(resource: Resource, current: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(current.min(maximum.unwrap_or(u64::MAX)));
    setrlimit(resource, Rlimit { current, maximum }).unwrap();
}

/// The limit as high as this process may have it.
fn lift(resource: Resource) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(
        resource,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
}

// ---- the parent's part ----

fn this_test(mode: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_under_a_limit", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .env(MODE_VARIABLE, mode);
    command
}

/// The same behind a shell that prepares the process.
fn this_test_behind(script: &str, mode: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{script} exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_under_a_limit", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .env(MODE_VARIABLE, mode);
    command
}

fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}\n{err}")
}

/// Runs the child to its end; returns the number after `acknowledged: `.
#[track_caller]
fn acknowledged(mut command: Command) -> u64 {
    let output = command.output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    println!(
        "{}",
        text.lines()
            .filter(|line| line.contains(": "))
            .collect::<Vec<_>>()
            .join("\n")
    );
    number_in(&text)
}

#[track_caller]
fn number_in(text: &str) -> u64 {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("acknowledged: "));
    line.unwrap_or_else(|| panic!("no number in: {text}"))
        .parse()
        .unwrap()
}

fn check_in(dir: &Path, count: u64) {
    let db = options(Access::Pread).open(dir).unwrap();
    check(&db.keyspace("k").unwrap(), count);
    db.verify().unwrap();
    db.close().unwrap();
}

// ---- the child's part ----

/// Does nothing unless a test below starts it.
#[test]
fn child_under_a_limit() {
    let (Some(dir), Ok(mode)) = (std::env::var_os(DIR_VARIABLE), std::env::var(MODE_VARIABLE)) else {
        return;
    };
    let dir = PathBuf::from(dir);
    match mode.as_str() {
        "few files, mapped" => few_files(&dir, Access::Mapped),
        "few files, pread" => few_files(&dir, Access::Pread),
        "one descriptor left" => one_descriptor_left(&dir),
        "open with few files" => open_with_few_files(&dir),
        "small files" => small_files(&dir),
        "small files, killed" => small_files_killed(&dir),
        "small disk" => small_disk(&dir),
        "holder" => holder(&dir),
        other => panic!("{other}"),
    }
}

/// Enough for the process and some SSTs.
const FEW_FILES: u64 = 40;

fn few_files(dir: &Path, access: Access) {
    limit(Resource::Nofile, FEW_FILES);
    let db = options(access).open(dir).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    let (count, error) = write_until_error(&keyspace);
    println!("error: {error}");
    check_text(&error, dir, &["too many open files", "ulimit -n"]);
    assert!(!matches!(error, Error::Poisoned { .. }), "{error}");
    check(&keyspace, count);
    // Descriptors come and go with compactions, so either may go well at this moment.
    for error in [db.flush(), db.wait_for_background()]
        .into_iter()
        .filter_map(Result::err)
    {
        check_text(&error, dir, &["too many open files", "ulimit -n"]);
    }
    // No second try makes it worse, and reads go on.
    for _ in 0..5 {
        let _ = put(&keyspace, count);
    }
    check(&keyspace, count);
    lift(Resource::Nofile);
    go_on(&keyspace, count);
    db.sync().unwrap();
    let start = Instant::now();
    while let Err(error) = db.flush().and_then(|()| db.wait_for_background()) {
        assert!(start.elapsed() < PATIENCE, "still: {error}");
    }
    check(&keyspace, count + 1);
    db.verify().unwrap();
    println!("acknowledged: {}", count + 1);
}

/// A new log file takes the last descriptor, and nothing is left for syncing the directory: a sync that fails would be final.
fn one_descriptor_left(dir: &Path) {
    limit(Resource::Nofile, FEW_FILES);
    let db = options(Access::Pread)
        .write_buffer_size(64 << 20)
        .max_log_size(16 << 10)
        .open(dir)
        .unwrap();
    let keyspace = db.keyspace("k").unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    hoard.pop().unwrap();
    let (count, error) = write_until_error(&keyspace);
    println!("error: {error}");
    check_text(&error, dir, &[".log", "too many open files", "ulimit -n"]);
    assert!(!matches!(error, Error::Poisoned { .. }), "{error}");
    drop(hoard);
    go_on(&keyspace, count);
    check(&keyspace, count + 1);
    println!("acknowledged: {}", count + 1);
}

fn open_with_few_files(dir: &Path) {
    limit(Resource::Nofile, FEW_FILES);
    for (what, opened) in [
        (".sst", options(Access::Mapped).open(dir)),
        (".sst", options(Access::Pread).open(dir)),
        // It looks a second time, with what it has opened still open.
        ("cannot ", options(Access::Pread).open_read_only(dir)),
    ] {
        let error = opened.map(drop).unwrap_err();
        println!("error: {error}");
        check_text(&error, dir, &[what, "too many open files", "ulimit -n"]);
    }
    lift(Resource::Nofile);
    options(Access::Mapped).open(dir).unwrap().close().unwrap();
    println!("acknowledged: 0");
}

/// Bytes that no file may pass.
const SMALL_FILE: u64 = 48 << 10;

/// Files that would be larger than that.
fn large_files() -> Options {
    options(Access::Pread)
        .max_log_size(8 << 20)
        .log_medium(LogMedium::Plain) // no file of a mapped log would grow that far: the log would go on in many small ones
        .write_buffer_size(1 << 20)
        .max_file_size(1 << 20)
}

fn small_files(dir: &Path) {
    limit(Resource::Fsize, SMALL_FILE);
    let db = large_files().open(dir).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    let (mut count, error) = write_until_error(&keyspace);
    println!("error: {error}");
    check_text(&error, dir, &[".log", "too large", "ulimit -f", "max_log_size"]);
    check(&keyspace, count);
    // The log goes on in a new file; what does not fit into one is refused, again and again.
    let mut failures = 0;
    while failures < 5 {
        match put(&keyspace, count) {
            Ok(()) => count += 1,
            Err(error) => {
                failures += 1;
                assert!(!matches!(error, Error::Poisoned { .. }), "{error}");
            }
        }
    }
    check(&keyspace, count);
    let error = db.flush().unwrap_err();
    println!("error: {error}");
    check_text(&error, dir, &[".sst", "too large", "ulimit -f", "max_file_size"]);
    lift(Resource::Fsize);
    go_on(&keyspace, count);
    let start = Instant::now();
    while let Err(error) = db.flush() {
        assert!(start.elapsed() < PATIENCE, "still: {error}");
    }
    check(&keyspace, count + 1);
    println!("acknowledged: {}", count + 1);
}

fn small_files_killed(dir: &Path) {
    limit(Resource::Core, 0);
    limit(Resource::Fsize, SMALL_FILE);
    let db = large_files().open(dir).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    for n in 0..200_000 {
        println!("acknowledged: {n}");
        put(&keyspace, n).unwrap();
    }
}

fn small_disk(dir: &Path) {
    let (ballast, dir) = (dir.join("ballast"), dir.join("db"));
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut db = options(Access::Pread).open(&dir).unwrap();
    let mut keyspace = db.keyspace("k").unwrap();
    let (count, error) = write_until_error(&keyspace);
    println!("error: {error}");
    assert!(error.is_out_of_space(), "{error:?}");
    check_text(&error, &dir, &["no space left", "make room"]);
    check(&keyspace, count);
    // Full as it is, it can be closed and opened again, or says why not; nothing is lost either way.
    let _ = db.clone().close();
    drop((keyspace, db));
    db = match options(Access::Pread).open(&dir) {
        Ok(db) => db,
        Err(error) => {
            println!("error: {error}");
            assert!(error.is_out_of_space(), "{error:?}");
            check_text(&error, &dir, &["make room"]);
            let db = options(Access::Pread).open_read_only(&dir).unwrap();
            check(&db.keyspace("k").unwrap(), count);
            drop(db);
            std::fs::remove_file(&ballast).unwrap();
            options(Access::Pread).open(&dir).unwrap()
        }
    };
    let _ = std::fs::remove_file(&ballast);
    keyspace = db.keyspace("k").unwrap();
    check(&keyspace, count);
    go_on(&keyspace, count);
    db.sync().unwrap();
    let start = Instant::now();
    while let Err(error) = db.flush().and_then(|()| db.wait_for_background()) {
        assert!(start.elapsed() < PATIENCE, "still: {error}");
    }
    check(&keyspace, count + 1);
    drop((keyspace, db));
    check_in(&dir, count + 1);
    println!("acknowledged: {}", count + 1);
}

/// Holds the database, and has a child of its own, until it is killed.
fn holder(dir: &Path) {
    let db = Db::open(dir).unwrap();
    db.keyspace("k").unwrap().put("held", "yes").unwrap();
    let mut grandchild = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    println!("grandchild: {}", grandchild.id());
    grandchild.wait().unwrap();
}

// ---- the tests ----

#[test]
fn too_few_file_descriptors_are_an_error_that_a_higher_limit_heals() {
    for mode in ["few files, mapped", "few files, pread"] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("db");
        let count = acknowledged(this_test(mode, &dir));
        assert!(count > 100, "{count}");
        check_in(&dir, count);
    }
}

#[test]
fn the_last_file_descriptor_is_no_sync_that_fails() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let count = acknowledged(this_test("one descriptor left", &dir));
    check_in(&dir, count);
}

#[test]
fn a_database_of_more_files_than_may_be_open_says_so_and_is_unharmed() {
    let temp = tempfile::tempdir().unwrap();
    let db = options(Access::Mapped).open(temp.path()).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    (0..1500).for_each(|n| put(&keyspace, n).unwrap());
    db.flush().unwrap();
    db.wait_for_background().unwrap();
    assert!(keyspace.files().len() as u64 > FEW_FILES);
    drop(keyspace);
    db.close().unwrap();
    acknowledged(this_test("open with few files", temp.path()));
    check_in(temp.path(), 1500);
}

#[test]
fn a_limit_of_file_sizes_is_an_error_that_a_higher_limit_heals() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    // The signal that comes with the error kills a process that does not ignore it.
    let count = acknowledged(this_test_behind("trap '' XFSZ;", "small files", &dir));
    assert!(count > 100, "{count}");
    check_in(&dir, count);
}

#[test]
fn a_process_that_the_limit_of_file_sizes_kills_loses_nothing_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let output = this_test("small files, killed", &dir).output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.signal(), Some(SIGXFSZ), "{text}");
    let count = number_in(&text);
    assert!(count > 100, "{count}");
    check_in(&dir, count);
}

#[test]
fn a_full_file_system_is_an_error_that_room_heals() {
    let temp = tempfile::tempdir().unwrap();
    let allowed = Command::new("unshare")
        .args(["-rm", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    // A file system in memory, in a mount namespace that ends with the child.
    let mut command = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$PACKSTONE_LIMITS_DIR\" || exit 99; exec \"$@\"";
    command
        .args([if allowed { "-rm" } else { "-m" }, "sh", "-c", mount, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_under_a_limit", "--nocapture"])
        .env(DIR_VARIABLE, temp.path())
        .env(MODE_VARIABLE, "small disk");
    let output = match command.output() {
        Ok(output) if output.status.success() || text(&output).contains("running 1 test") => output,
        other => {
            println!(
                "skipped: this machine lets nobody mount a small file system ({other:?}); the simulator's full disk stands in"
            );
            return;
        }
    };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(number_in(&text) > 1000, "{text}");
    println!("{text}");
}

#[test]
fn the_lock_of_a_killed_process_is_free_at_once_and_its_children_have_not_inherited_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let mut holder = this_test("holder", &dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let grandchild = lines
        .find_map(|line| line.unwrap().strip_prefix("grandchild: ").map(str::to_owned))
        .expect("the holder has opened the database");
    let error = Db::open(&dir).map(drop).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    check_text(&error, &dir, &["close the other", "read-only"]);
    let read_only = Options::new().open_read_only(&dir).unwrap();
    assert_eq!(
        read_only.keyspace("k").unwrap().get("held").unwrap().unwrap(),
        b"yes"
    );
    drop(read_only);

    holder.kill().unwrap();
    holder.wait().unwrap();
    let opened = Db::open(&dir);
    // Ours, by its number; nobody waits for it any more.
    Command::new("kill")
        .args(["-KILL", &grandchild])
        .status()
        .unwrap();
    let db = opened.unwrap();
    assert_eq!(db.keyspace("k").unwrap().get("held").unwrap().unwrap(), b"yes");
    db.close().unwrap();
}
