//! Packs are taken over whole, or object by object; what refers to an object that is in none is named.

use packstone::pack::PackBuilder;
use packstone::sst::{Cursor, CursorOptions, ValuePlace};

use super::*;

fn packs(files: &Files) -> Vec<String> {
    let packs = files.keys().filter(|name| name.ends_with(".pack"));
    packs.cloned().collect()
}

/// The SSTs of the engine's own keyspace.
fn directory_ssts(files: &Files) -> Vec<String> {
    let sim = machine(files);
    let of_it = |name: &String| {
        let path = Path::new(SOURCE).join(name);
        let sst = open(&sim, &path);
        sst.properties().origin.keyspace_name == "\0objects"
    };
    ssts(files).into_iter().filter(of_it).collect()
}

fn open(sim: &SimEnv, path: &Path) -> Arc<Sst> {
    let options = SstReadOptions {
        access: Access::Pread,
        cache: Arc::new(BlockCache::new(0)),
    };
    Arc::new(Sst::open(sim.env().fs.open(path).unwrap(), path, &options).unwrap())
}

fn without(files: &Files, names: &[String]) -> Files {
    let mut files = files.clone();
    files.retain(|name, _| !names.contains(name));
    files
}

/// Whether no SST of the target refers to what is not there: all of it can be read, so nothing more than that.
fn references(sim: &SimEnv) -> usize {
    let mut count = 0;
    for path in sim.list() {
        if path.parent() == Some(Path::new(TARGET)) && path.extension().is_some_and(|ext| ext == "sst") {
            let mut cursor = open(sim, &path).cursor(CursorOptions::default());
            cursor.seek_to_first().unwrap();
            while cursor.valid() {
                count += usize::from(matches!(cursor.value().place, ValuePlace::Object { .. }));
                cursor.next().unwrap();
            }
        }
    }
    count
}

#[test]
fn packs_come_through_with_and_without_manifest_and_directory() {
    for order in [Order::Key, Order::Hash] {
        let sample = streamed(21, order);
        assert!(packs(&sample.files).len() > 4, "{:?}", packs(&sample.files));
        let directory = directory_ssts(&sample.files);
        assert!(!directory.is_empty());
        let bare = without_manifest(&sample.files);
        for (what, files) in [
            ("all of it", sample.files.clone()),
            ("no manifest", bare.clone()),
            ("no directory", without(&sample.files, &directory)),
            ("neither", without(&bare, &directory)),
        ] {
            let report = costs_nothing(&sample, &files, &format!("{what} in {order:?}"));
            for pack in packs(&files) {
                assert_eq!(fate_of(&report, &pack), Fate::Copied, "{what}");
            }
        }
    }
}

#[test]
fn a_repaired_database_goes_on_and_knows_what_it_holds() {
    let sample = packed(22, Order::Key);
    let sim = machine(&without_manifest(&sample.files));
    let report = run(&sim.env(), KEEP).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert!(references(&sim) > 20);
    let db = options(&sim).open(TARGET).unwrap();
    let plain = db.keyspace("plain").unwrap();
    let (key, value) = sample.state["plain"]
        .iter()
        .find(|(_, value)| value.len() > 60)
        .unwrap();
    // Known: not stored again.
    plain.put("again", value).unwrap();
    assert_eq!(db.metrics().objects.duplicates, 1);
    plain.put("another", [1; 5000]).unwrap();
    assert_eq!(db.metrics().objects.stored, 1);
    db.close().unwrap();
    let db = options(&sim).open(TARGET).unwrap();
    let plain = db.keyspace("plain").unwrap();
    assert_eq!(
        plain.get("again").unwrap().unwrap(),
        plain.get(key).unwrap().unwrap()
    );
    assert_eq!(plain.get("another").unwrap().unwrap(), [1; 5000]);
    db.close().unwrap();
}

#[test]
fn a_flipped_byte_of_a_pack_costs_its_object_at_most_and_names_the_key() {
    let sample = packed(23, Order::Key);
    let (mut costly, mut free) = (0, 0);
    for name in packs(&sample.files) {
        let len = sample.files[&name].len();
        for at in (0..len).step_by(len.div_ceil(12)) {
            let context = format!("{name}, byte {at} of {len}");
            let files = flipped(&sample.files, &name, at, 4);
            let (found, report) = repaired(&files, KEEP);
            let differences = explain(&sample, &found, &report, &context);
            // Equal values share an object, and older versions of a key may have been put again.
            assert!(differences <= report.lost.len(), "{context}");
            let fate = fate_of(&report, &name);
            match report.lost.is_empty() {
                true => free += 1,
                false => {
                    costly += 1;
                    let named = |loss: &packstone::repair::Loss| {
                        loss.from_key.is_some() && loss.from_key == loss.to_key && loss.keyspace.is_some()
                    };
                    assert!(report.lost.iter().all(named), "{context}: {report:#?}");
                    assert!(
                        matches!(fate, Fate::Salvaged | Fate::Unreadable | Fate::Copied),
                        "{context}: {fate:?}"
                    );
                }
            }
        }
    }
    assert!(costly > 10 && free > 10, "{costly} {free}");
}

#[test]
fn of_a_pack_that_is_missing_every_key_is_named() {
    for order in [Order::Key, Order::Hash] {
        let sample = streamed(24, order);
        let mut losses = 0;
        for name in packs(&sample.files) {
            for files in [&sample.files, &without_manifest(&sample.files)] {
                let files = without(files, std::slice::from_ref(&name));
                let (found, report) = repaired(&files, KEEP);
                losses += explain(&sample, &found, &report, &name);
                let in_no_pack = report
                    .lost
                    .iter()
                    .filter(|loss| loss.what.contains("is in no pack"));
                assert!(in_no_pack.count() <= report.lost.len());
                if files.contains_key("CURRENT") {
                    assert_eq!(fate_of(&report, &name), Fate::Missing);
                }
            }
        }
        assert!(losses > 10, "{losses}");
    }
}

#[test]
fn a_foreign_file_named_like_a_pack_is_left_alone() {
    let sample = packed(25, Order::Key);
    let sim = SimEnv::new(1);
    let options = packstone::pack::PackOptions::default().env(sim.env());
    let mut builder = PackBuilder::create("/foreign.pack", &options).unwrap();
    builder.add(b"nothing of the database's").unwrap();
    builder.finish().unwrap();
    let archive = sim.read_file("/foreign.pack").unwrap();
    let other = sample.files[&packs(&sample.files)[0]].clone();
    for bytes in [archive, other, b"a letter".to_vec(), Vec::new()] {
        for files in [&sample.files, &without_manifest(&sample.files)] {
            let mut files = files.clone();
            files.insert("000999.pack".to_owned(), bytes.clone());
            let report = costs_nothing(&sample, &files, "a foreign file");
            let fate = fate_of(&report, "000999.pack");
            assert!(matches!(fate, Fate::LeftOut | Fate::Unreadable), "{fate:?}");
            // In place of one that is ours it is not taken for it.
            let name = newest(&sample.files, ".pack");
            let mut files = files.clone();
            files.insert(name.clone(), bytes.clone());
            let (found, report) = repaired(&files, KEEP);
            explain(&sample, &found, &report, "in place of a pack");
            assert_eq!(fate_of(&report, &name), Fate::Unreadable);
        }
    }
}

#[test]
fn an_object_with_a_copy_in_another_pack_is_not_lost() {
    // The same content in both: deduplicated, unless it is written before the first is known. A copy of a pack under a new number is no pack of
    // the database, so copies come from salvaging twice.
    let sample = packed(26, Order::Key);
    let name = packs(&sample.files)[0].clone();
    let len = sample.files[&name].len();
    let damaged = flipped(&sample.files, &name, len / 2, 1);
    let sim = machine(&damaged);
    let first = run(&sim.env(), KEEP).unwrap();
    assert_eq!(fate_of(&first, &name), Fate::Salvaged);
    // Repaired again, nothing more is lost.
    let once = files_of(&sim, TARGET);
    let again = machine(&once);
    let second = run(&again.env(), KEEP).unwrap();
    assert!(second.is_clean(), "{second:#?}");
    assert!(differences(&content(&sim), &content(&again)).is_empty());
}

#[test]
fn damaged_ssts_give_their_references_back_and_a_damaged_directory_costs_nothing() {
    let sample = packed(27, Order::Key);
    let directory = directory_ssts(&sample.files);
    for name in ssts(&sample.files) {
        let len = sample.files[&name].len();
        for at in (0..len).step_by(len.div_ceil(7)) {
            let context = format!("{name}, byte {at} of {len}");
            let files = flipped(&sample.files, &name, at, 16);
            if directory.contains(&name) {
                costs_nothing(&sample, &files, &context);
            } else {
                let (found, report) = repaired(&files, KEEP);
                explain(&sample, &found, &report, &context);
                assert!(
                    report.lost.iter().all(|loss| !loss.what.contains("object")),
                    "{report:#?}"
                );
            }
        }
    }
}

/// Nothing has been flushed: only the log knows the directory, and not its name.
#[test]
fn a_directory_that_only_the_log_knows_is_known_by_what_it_says() {
    let sim = SimEnv::new(28);
    let db = options(&sim).open(SOURCE).unwrap();
    let layout = KeyspaceOptions::new().object_threshold(Some(60));
    let plain = db.keyspace_with("plain", layout).unwrap();
    plain.put("small", "value").unwrap();
    db.flush().unwrap();
    plain.put("large", [5; 100]).unwrap();
    plain.put("other", [6; 100]).unwrap();
    db.close().unwrap();
    let files = without_manifest(&files_of(&sim, SOURCE));
    let (found, report) = repaired(&files, RepairOptions::default());
    assert!(report.is_clean() && report.written, "{report:#?}");
    let found = &found["plain"];
    assert_eq!(
        (&found[&b"large"[..]][..], &found[&b"other"[..]][..]),
        (&[5; 100][..], &[6; 100][..])
    );
    assert_eq!(report.keyspaces.len(), 2, "{report:#?}");
}
