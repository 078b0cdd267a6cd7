//! Files that compactions left behind, and what two files say of one key.

use super::*;

/// The files before a whole compaction, and those after it, of the same writes.
fn around_a_compaction(seed: u64) -> (Sample, Files, Files) {
    let mut writer = Writer::new(seed);
    writer.write(200, 100);
    writer.settle();
    writer.compact("plain");
    writer.write(120, 100);
    writer.settle();
    let before = files_of(&writer.sim, SOURCE);
    writer.compact("plain");
    writer.settle();
    let after = files_of(&writer.sim, SOURCE);
    (writer.close(), before, after)
}

fn ssts_only_in(these: &Files, those: &Files) -> Vec<String> {
    let mut names = ssts(these);
    names.retain(|name| !those.contains_key(name));
    names
}

#[test]
fn a_compaction_interrupted_before_its_edit_leaves_the_inputs_in_force() {
    for seed in 0..6 {
        let (sample, before, after) = around_a_compaction(seed);
        let outputs = ssts_only_in(&after, &before);
        assert!(outputs.len() > 1, "{outputs:?}");
        for upto in 1..=outputs.len() {
            let mut files = without_manifest(&before);
            for name in &outputs[..upto] {
                files.insert(name.clone(), after[name].clone());
            }
            let (found, report) = repaired(&files, RepairOptions::default());
            assert_eq!(
                found,
                sample.state,
                "seed {seed}, {upto} of {} outputs: {report:#?}",
                outputs.len()
            );
            assert!(report.is_clean(), "{report:#?}");
        }
        // The last one is torn.
        let mut files = without_manifest(&before);
        let torn = &after[&outputs[0]];
        files.insert(outputs[0].clone(), torn[..torn.len() / 2].to_vec());
        let (found, report) = repaired(&files, KEEP);
        explain(&sample, &found, &report, "a torn output");
        assert_same(
            &sample.state,
            &found,
            "its entries are in the inputs as well",
            &report,
        );
    }
}

#[test]
fn inputs_that_outlive_their_compaction_do_not_bring_anything_back() {
    for seed in 0..6 {
        let (sample, before, after) = around_a_compaction(seed);
        let inputs = ssts_only_in(&before, &after);
        assert!(!inputs.is_empty());
        for name in &inputs {
            let mut files = without_manifest(&after);
            files.insert(name.clone(), before[name].clone());
            let (found, report) = repaired(&files, RepairOptions::default());
            assert_same(&sample.state, &found, &format!("seed {seed}, {name}"), &report);
            assert!(report.is_clean());
            assert_eq!(fate_of(&report, name), Fate::Replaced);
        }
    }
}

#[test]
fn files_that_a_reader_keeps_alive_through_several_compactions_are_known_as_dead() {
    let mut writer = Writer::new(9);
    writer.write(200, 60);
    writer.settle();
    let plain = writer.db.keyspace("plain").unwrap();
    // Holds the files of this moment.
    let mut range = plain.range::<&[u8], _>(..);
    range.next().unwrap().unwrap();
    for _ in 0..3 {
        writer.write(60, 60);
        writer.settle();
        plain.compact_range::<&[u8], _>(..).unwrap();
        writer.settle();
    }
    let files = files_of(&writer.sim, SOURCE);
    drop(range);
    drop(plain);
    let sample = writer.close();
    assert!(
        ssts(&files).len() > ssts(&sample.files).len(),
        "the range has kept files alive"
    );
    let (found, report) = repaired(&without_manifest(&files), RepairOptions::default());
    assert_same(&sample.state, &found, "dead files", &report);
    assert!(report.is_clean(), "{report:#?}");
}

/// Two files, neither of which says when it was written, that give one key different values, and another one the same.
pub(crate) fn two_claims(layout: &SstOptions) -> Files {
    let sim = machine(&Files::new());
    for (number, value) in [(4u64, "four"), (9, "nine")] {
        let path = PathBuf::from(format!("{SOURCE}/{number:06}.sst"));
        let file = sim.env().fs.create(&path).unwrap();
        let identity = SstIdentity {
            keyspace: 1,
            file_number: number,
            identity: [number as u8; 16],
            replaces: Vec::new(),
        };
        let mut entries =
            [("k", value), ("same", "x")].map(|(key, value)| (sort_key(layout.order, key.as_bytes()), value));
        entries.sort();
        let entries = entries
            .iter()
            .map(|(key, value)| (&key[..], 0, EntryValue::Put(value.as_bytes())));
        write_sorted(file, &path, layout, identity, entries).unwrap();
    }
    files_of(&sim, SOURCE)
}

#[test]
fn two_values_without_a_number_are_undecided() {
    let files = two_claims(&SstOptions::default());
    let (_, report) = repaired(&files, RepairOptions::default());
    assert!(!report.written);
    assert_eq!(report.undecided.len(), 1, "{report:#?}");
    assert_eq!(report.undecided[0].key.as_ref().unwrap(), b"k");
    let (found, _) = repaired(&files, KEEP);
    assert_eq!(found["keyspace-1"][&b"k"[..]], b"nine");
    let (found, report) = repaired(&files, LEAVE_OUT);
    assert_eq!(found["keyspace-1"].len(), 1);
    assert!(is_reported(&report, 1, b"k") && !is_reported(&report, 1, b"same"));
}
