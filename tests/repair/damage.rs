//! Damaged, cut and lost SSTs and logs.

use super::*;

#[test]
fn a_flip_anywhere_in_an_sst_loses_nothing_that_the_report_does_not_name() {
    let (mut lossless, mut lossy) = (0, 0);
    for sample in samples(6) {
        let bare = without_manifest(&sample.files);
        for name in ssts(&sample.files) {
            let len = sample.files[&name].len();
            for at in (0..len).step_by(len / 9) {
                for files in [&sample.files, &bare] {
                    let files = flipped(files, &name, at, 0x20);
                    let (found, report) = repaired(&files, KEEP);
                    let context = format!(
                        "flip at {at} of {name}, {} bytes, manifest {:?}",
                        len, report.manifest
                    );
                    match explain(&sample, &found, &report, &context) {
                        0 => lossless += 1,
                        _ => lossy += 1,
                    }
                    assert_eq!(fate_of(&report, &name), Fate::Salvaged, "{context}");
                }
            }
        }
    }
    assert!(lossless > 20 && lossy > 20, "{lossless} {lossy}");
}

#[test]
fn ssts_cut_short_or_lost_or_overwritten_lose_nothing_that_the_report_does_not_name() {
    for sample in samples(7) {
        let bare = without_manifest(&sample.files);
        for name in ssts(&sample.files) {
            let whole = sample.files[&name].clone();
            let half = whole.len() / 2;
            let mut zeros = whole.clone();
            zeros[half - 300..half + 300].fill(0);
            let mut front = whole.clone();
            front[..200].fill(0xff);
            let mut back = whole.clone();
            let len = back.len();
            back[len - 700..].fill(0x11);
            for (what, bytes) in [
                ("cut", Some(whole[..half].to_vec())),
                ("cut to nothing", Some(Vec::new())),
                ("zeros in the middle", Some(zeros)),
                ("front overwritten", Some(front)),
                ("back overwritten", Some(back)),
                ("noise", Some(vec![0xa5; 2000])),
                ("lost", None),
            ] {
                for files in [&sample.files, &bare] {
                    let is_bare = !files.contains_key("CURRENT");
                    if what == "lost" && is_bare {
                        continue; // nobody can know of it, unless a file of its run names it
                    }
                    let mut files = files.clone();
                    match &bytes {
                        Some(bytes) => drop(files.insert(name.clone(), bytes.clone())),
                        None => drop(files.remove(&name)),
                    }
                    let (found, report) = repaired(&files, KEEP);
                    let context = format!("{name}: {what}, without a manifest: {is_bare}");
                    explain(&sample, &found, &report, &context);
                    assert!(!report.lost.is_empty(), "{context}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_log_loses_only_the_frames_that_are_hit() {
    let sim = SimEnv::new(8);
    let one_log = options(&sim).max_log_size(1 << 20);
    let mut writer = Writer::with(8, sim, one_log, Order::Hash);
    writer.write(100, 60);
    writer.settle();
    writer.db.sync().unwrap();
    writer.write(60, 60);
    writer.db.sync().unwrap();
    let sample = writer.close();
    let name = newest(&sample.files, ".log");
    let len = sample.files[&name].len();
    for at in (96..len - 60).step_by(len / 17) {
        for files in [&sample.files, &without_manifest(&sample.files)] {
            let files = flipped(files, &name, at, 1);
            let (found, report) = repaired(&files, RepairOptions::default());
            let differences = explain(&sample, &found, &report, &format!("flip at {at}"));
            assert!(differences <= 1, "flip at {at}: {differences}");
            let loss = report
                .lost
                .iter()
                .find(|loss| loss.path.ends_with(&name))
                .unwrap();
            let hit = loss.offset..loss.offset + loss.len;
            assert!(hit.contains(&(at as u64)) && loss.numbers.is_some(), "{loss:?}");
        }
    }
}
