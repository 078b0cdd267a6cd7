//! Whole files, with a manifest and without; what is refused.

use super::*;

#[test]
fn a_whole_database_is_copied_as_it_is() {
    let sample = sample(1);
    let (found, report) = repaired(&sample.files, RepairOptions::default());
    assert_same(&sample.state, &found, "", &report);
    assert!(report.is_clean() && report.manifest.is_some(), "{report:#?}");
    let copied = report
        .files
        .iter()
        .filter(|file| file.fate == Fate::Copied)
        .count();
    assert_eq!(copied, ssts(&sample.files).len());
}

#[test]
fn without_current_the_newest_manifest_counts() {
    let mut sample = sample(2);
    sample.files.remove("CURRENT");
    let (found, report) = repaired(&sample.files, RepairOptions::default());
    assert_same(&sample.state, &found, "", &report);
    assert!(report.is_clean() && report.manifest.is_some(), "{report:#?}");
}

#[test]
fn without_a_manifest_the_files_give_the_same_content_and_names() {
    for (seed, sample) in (0..12).flat_map(|seed| samples(seed).map(|sample| (seed, sample))) {
        let files = without_manifest(&sample.files);
        // The dropped keyspace may have left writes in the log: then it is undecided, and nothing else is.
        let report = costs_nothing(&sample, &files, &format!("seed {seed}"));
        assert!(
            report
                .undecided
                .iter()
                .all(|undecided| undecided.keyspace == Some(3)),
            "{report:#?}"
        );
        assert!(report.keyspaces.iter().all(|keyspace| keyspace.name_known));
        assert_eq!(report.manifest, None);
    }
}

#[test]
fn a_keyspace_that_only_the_log_knows_is_undecided_and_nothing_is_written() {
    let mut writer = Writer::new(3);
    writer.write(30, 20);
    let fresh = writer.db.keyspace("fresh").unwrap();
    fresh.put("k", "v").unwrap();
    writer.settle();
    // Flushed and compacted away: the log has its writes, and no SST does.
    writer.db.drop_keyspace("fresh").unwrap();
    writer.write(10, 20);
    let late = writer.db.keyspace("late").unwrap();
    late.put("k", "v").unwrap();
    let sample = writer.close();
    let files = without_manifest(&sample.files);
    let (_, report) = repaired(&files, RepairOptions::default());
    assert!(!report.written);
    assert!(
        report
            .undecided
            .iter()
            .any(|undecided| undecided.keyspace == Some(4)),
        "{report:#?}"
    );
    let (found, report) = repaired(&files, KEEP);
    assert_eq!(found["keyspace-4"], Map::from([(b"k".to_vec(), b"v".to_vec())]));
    assert!(
        report
            .keyspaces
            .iter()
            .any(|keyspace| keyspace.id == 4 && !keyspace.name_known)
    );
    assert_eq!(found["plain"], sample.state["plain"]);
}

#[test]
fn a_manifest_damaged_anywhere_costs_nothing() {
    let sample = sample(4);
    let name = newest(&sample.files, "MANIFEST");
    let len = sample.files[&name].len();
    for at in (0..len).step_by(len / 23) {
        let files = flipped(&sample.files, &name, at, 4);
        costs_nothing(&sample, &files, &format!("flip at {at}"));
    }
}

#[test]
fn a_target_that_is_not_empty_or_inside_the_source_is_refused() {
    let sample = sample(10);
    let sim = machine(&sample.files);
    let (source, inside) = (Path::new(SOURCE), Path::new("/db/new"));
    for target in [source, inside] {
        let result = repair(&sim.env(), source, target, RepairOptions::default(), &mut |_| {});
        assert!(
            matches!(result, Err(Error::InvalidOption { name: "target", .. })),
            "{result:?}"
        );
    }
    run(&sim.env(), RepairOptions::default()).unwrap();
    let again = run(&sim.env(), RepairOptions::default());
    assert!(
        matches!(again, Err(Error::InvalidOption { name: "target", .. })),
        "{again:?}"
    );
    assert_eq!(files_of(&sim, SOURCE), sample.files);
}

#[test]
fn a_source_in_use_is_refused() {
    let writer = Writer::new(11);
    let result = run(&writer.sim.env(), RepairOptions::default());
    assert!(matches!(result, Err(Error::Locked { .. })), "{result:?}");
    writer
        .db
        .keyspace("plain")
        .unwrap()
        .put_with("k", "v", Durability::Sync)
        .unwrap();
}

#[test]
fn foreign_files_are_named_and_nothing_of_ours_is_an_error() {
    let mut sample = sample(12);
    sample.files.insert("notes.txt".into(), b"mine".to_vec());
    let (found, report) = repaired(&sample.files, RepairOptions::default());
    assert_same(&sample.state, &found, "", &report);
    let named = report
        .files
        .iter()
        .find(|file| file.path.ends_with("notes.txt"))
        .unwrap();
    assert_eq!(named.fate, Fate::Foreign);
    let sim = machine(&Files::from([("notes.txt".to_owned(), b"mine".to_vec())]));
    let result = run(&sim.env(), RepairOptions::default());
    assert!(matches!(result, Err(Error::NotADatabase { .. })), "{result:?}");
}
