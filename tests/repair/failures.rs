//! Calls that fail in the middle of a repair, and repairs that are killed.

use packstone::env::sim::{Call, CrashStyle, EIO, Effect, Fault, Op};

use super::*;

/// How many calls a repair of these files makes, and the number of the first one.
fn calls(files: &Files) -> std::ops::Range<u64> {
    let sim = machine(files);
    let first = sim.io_count();
    run(&sim.env(), KEEP).unwrap();
    first..sim.io_count()
}

/// Each `step`th call, a few at either end left in: there the lists are read, and the target is put in force.
fn some(calls: std::ops::Range<u64>, step: usize) -> BTreeSet<u64> {
    let ends = calls.clone().take(12).chain(calls.clone().rev().take(12));
    calls.clone().step_by(step).chain(ends).collect()
}

/// What is left is no database, and a repair into it is refused with what to do; that done, the repair ends well.
fn start_again(sim: &SimEnv, sample: &Sample, context: &str) {
    let left = files_of(sim, TARGET);
    assert!(!left.contains_key("CURRENT"), "{context}");
    if !left.is_empty() {
        let opened = options(sim).open_read_only(TARGET);
        assert!(opened.is_err(), "{context}: {left:?} is taken for a database");
        let again = run(&sim.env(), KEEP);
        assert!(
            matches!(&again, Err(Error::InvalidOption { name: "target", what })
                if what == "/new is not empty; choose a new directory"),
            "{context}: {again:?}"
        );
    }
    for name in left.keys() {
        sim.remove_file(Path::new(TARGET).join(name)).unwrap();
    }
    let report = run(&sim.env(), KEEP).unwrap();
    assert_same(&sample.state, &content(sim), context, &report);
}

#[test]
fn a_call_that_fails_once_is_an_error_or_costs_nothing() {
    let (mut errors, mut done) = (0, 0);
    for (sample, bare) in [
        (sample(13), true),
        (sample(13), false),
        (packed(13, Order::Key), true),
    ] {
        let files = match bare {
            true => &without_manifest(&sample.files),
            false => &sample.files,
        };
        for index in calls(files) {
            let sim = machine(files);
            sim.set_fault(Fault::FailCallWith {
                index,
                errno: EIO,
                effect: Effect::Nothing,
            });
            let result = run(&sim.env(), KEEP);
            let context = format!("call {index} of {} files", files.len());
            sim.clear_faults();
            assert_eq!(
                &files_of(&sim, SOURCE),
                files,
                "{context}: the source has changed"
            );
            match result {
                Ok(report) => {
                    // What could not be read at first was read again.
                    assert_same(&sample.state, &content(&sim), &context, &report);
                    assert_eq!(report.lost, [], "{context}");
                    done += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Io { .. }), "{context}: {error:?}");
                    errors += 1;
                    if files_of(&sim, TARGET).contains_key("CURRENT") {
                        // What failed came behind the last write.
                        assert!(differences(&sample.state, &content(&sim)).is_empty(), "{context}");
                    } else {
                        start_again(&sim, &sample, &context);
                    }
                }
            }
        }
    }
    assert!(errors > 20 && done > 20, "{errors} errors, {done} done");
}

/// A bad place of the medium: whatever is read over it fails, each time.
#[test]
fn a_place_that_cannot_be_read_costs_what_the_report_names() {
    let sample = sample(15);
    let (mut losses, mut lossless) = (0, 0);
    for (name, bytes) in sample.files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        for bad in (0..bytes.len() as u64).step_by(bytes.len().div_ceil(5)) {
            let sim = machine(&sample.files);
            let path = Path::new(SOURCE).join(name);
            let is_hit = move |call: &Call| {
                call.op == Op::Read
                    && call.path == path
                    && (call.offset..call.offset + call.len).contains(&bad)
            };
            sim.fail_where(is_hit, u64::MAX, std::io::ErrorKind::Other, Effect::Nothing);
            let context = format!("{name}, byte {bad} of {}", bytes.len());
            let report = run(&sim.env(), KEEP).unwrap();
            explain(&sample, &content(&sim), &report, &context);
            match report.lost.is_empty() {
                true => lossless += 1,
                false => losses += 1,
            }
        }
    }
    assert!(losses > 20 && lossless > 5, "{losses} {lossless}");
}

/// Killed, what had been written is there; where the power fails, what was not synced is not.
#[test]
fn a_repair_that_is_killed_leaves_no_database_or_a_whole_one() {
    let (mut begun, mut whole) = (0, 0);
    let samples = [sample(14), packed(14, Order::Key)];
    let styles = [CrashStyle::KeepAll, CrashStyle::KeepNothing];
    for (sample, style) in samples
        .iter()
        .flat_map(|sample| styles.map(|style| (sample, style)))
    {
        for index in some(calls(&sample.files), 9) {
            let sim = machine(&sample.files);
            sim.set_fault(Fault::PowerOffAt { index });
            let result = run(&sim.env(), KEEP);
            sim.crash(style);
            let context = format!("{style:?} at call {index}");
            assert_eq!(
                files_of(&sim, SOURCE),
                sample.files,
                "{context}: the source has changed"
            );
            let left = files_of(&sim, TARGET);
            if left.contains_key("CURRENT") {
                whole += 1;
                assert!(differences(&sample.state, &content(&sim)).is_empty(), "{context}");
                continue;
            }
            assert!(result.is_err(), "{context}: it has said that it was done");
            begun += usize::from(!left.is_empty());
            start_again(&sim, sample, &context);
        }
    }
    assert!(begun > 20 && whole > 0, "{begun} begun, {whole} whole");
}
