//! Files cut, lost, exchanged.

use super::*;

/// Opens with `name` holding `bytes`, for writing and for reading.
fn replace(sample: &Sample, cases: &mut Cases, name: &str, what: &str, bytes: &[u8], excuse: Excuse) {
    for way in [WRITE, READ] {
        let case = || {
            let sim = restore(&sample.files);
            sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
            sample.try_out(&sim, &sample.culprits(name), excuse, way)
        };
        cases.run(|| format!("{name} {what}, {way:?}"), case);
    }
}

impl Sample {
    /// The end of a file takes its markers with it, and what they prove. Where a log ends is in the manifest only once
    /// the database has been closed, so until then a suffix of the log may be missing.
    fn excuse_of_a_cut(&self, name: &str) -> Excuse {
        if name.ends_with(".log") && !self.closed {
            Excuse::LostBehind(0)
        } else {
            Excuse::None
        }
    }

    /// The same for a file that is gone altogether: until it is closed, the newest log may be unknown to the manifest.
    fn excuse_of_a_loss(&self, name: &str) -> Excuse {
        let newest = self.names(".log").pop();
        if newest.is_some_and(|newest| newest == name) {
            self.excuse_of_a_cut(name)
        } else {
            Excuse::None
        }
    }

    /// Who may be named: the file; or where an old state of the manifest is whole in itself, a file that does not fit it.
    fn culprits<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        if name.starts_with("MANIFEST") {
            vec![DIR]
        } else {
            vec![name]
        }
    }
}

#[test]
fn a_file_cut_short_is_noticed_or_costs_a_suffix_of_the_log() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let mut cases = Cases::new();
        for (name, bytes) in &sample.files {
            let step = if name.ends_with(".sst") { 13 } else { 1 };
            for len in (0..bytes.len()).step_by(step) {
                replace(
                    &sample,
                    &mut cases,
                    name,
                    &format!("cut to {len}"),
                    &bytes[..len],
                    sample.excuse_of_a_cut(name),
                );
            }
        }
        cases.finish("cut");
    }
}

#[test]
fn a_file_with_something_behind_it_is_noticed_or_read_as_it_was() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let mut cases = Cases::new();
        for (name, bytes) in &sample.files {
            for (what, more) in [
                ("and zeros", vec![0; 700]),
                ("and one byte", vec![1]),
                ("and garbage", (0..700u32).map(|n| mix(n.into()) as u8).collect()),
                ("and itself", bytes.clone()),
            ] {
                let longer = [bytes.clone(), more].concat();
                replace(&sample, &mut cases, name, what, &longer, Excuse::None);
            }
        }
        cases.finish("longer");
    }
}

#[test]
fn a_file_that_is_lost_empty_or_a_directory_is_noticed() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let mut cases = Cases::new();
        for name in sample.files.keys() {
            let excuse = sample.excuse_of_a_loss(name);
            replace(&sample, &mut cases, name, "emptied", &[], excuse);
            replace(
                &sample,
                &mut cases,
                name,
                "zeroed",
                &vec![0; sample.files[name].len()],
                excuse,
            );
            let path = PathBuf::from(DIR).join(name);
            for (what, directory) in [("removed", false), ("a directory", true)] {
                for way in [WRITE, READ] {
                    let case = || {
                        let sim = restore(&sample.files);
                        sim.remove_file(&path).unwrap();
                        if directory {
                            sim.env().fs.create_dir_all(&path).unwrap();
                        }
                        sample.try_out(&sim, &[name], excuse, way)
                    };
                    cases.run(|| format!("{name} {what}, {way:?}"), case);
                }
            }
        }
        let harmless = cases.count(Outcome::Harmless);
        cases.finish("lost");
        assert_eq!(harmless, 0);
    }
}

#[test]
fn files_that_changed_places_are_noticed() {
    let (here, there) = (sample(7, true), sample(9, true));
    let mut cases = Cases::new();
    // Within one database: every two SSTs, every two logs.
    for (name, bytes) in &here.files {
        for (other, others) in here.files.iter().filter(|(other, _)| *other > name) {
            for way in [WRITE, READ] {
                let case = || {
                    let sim = restore(&here.files);
                    sim.write_file(Path::new(DIR).join(name), others).unwrap();
                    sim.write_file(Path::new(DIR).join(other), bytes).unwrap();
                    here.try_out(&sim, &[name, other], Excuse::None, way)
                };
                cases.run(|| format!("{name} and {other} exchanged"), case);
            }
        }
    }
    // From another database, which was made in the same way.
    for name in here.files.keys().filter(|name| *name != "CURRENT") {
        if let Some(bytes) = there.files.get(name) {
            for way in [WRITE, READ] {
                let case = || {
                    let sim = restore(&here.files);
                    sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
                    here.try_out(&sim, &here.culprits(name), Excuse::None, way)
                };
                cases.run(|| format!("{name} of another database"), case);
            }
        }
    }
    let harmless = cases.count(Outcome::Harmless);
    cases.finish("exchanged");
    assert_eq!(harmless, 0);
}
