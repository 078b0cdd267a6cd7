//! Memory as the system counts it: of a child process, which runs this test program again with a plan in its environment.

use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

/// Bytes that the system says of a process's memory under this name; 0 where it does not say.
fn status(process: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Bytes of a process's anonymous memory.
fn anonymous(process: &str) -> u64 {
    status(process, "RssAnon:")
}

/// The most bytes that this process has had in memory, those of files that it has mapped included.
pub(crate) fn most_resident() -> u64 {
    status("self", "VmHWM:")
}

/// A number of the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Whether the system says how much memory a process has.
pub(crate) fn can_be_measured() -> bool {
    let yes = anonymous("self") > 0;
    if !yes {
        println!("this system does not say how much memory a process has");
    }
    yes
}

/// Runs the test `works_in_a_process_of_its_own` in a process of its own, the plan in the variable `name`, and looks at it every 2 ms.
/// Gives the most anonymous memory that it had, and what it said.
pub(crate) fn watch(name: &str, plan: &str) -> (u64, String) {
    let mut process = Command::new(env::current_exe().unwrap())
        .args([
            "works_in_a_process_of_its_own",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(name, plan)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (id, mut most) = (process.id().to_string(), 0);
    while process.try_wait().unwrap().is_none() {
        most = most.max(anonymous(&id));
        thread::sleep(Duration::from_millis(2));
    }
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{plan}: {said}");
    println!(
        "{plan}: {:.1} MiB anonymous at the most",
        most as f64 / (1 << 20) as f64
    );
    (most, said)
}
