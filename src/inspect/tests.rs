use std::collections::BTreeMap;

use super::*;
use crate::Options;
use crate::env::sim::SimEnv;
use crate::{Db, Durability, LogMedium};
use std::ops::ControlFlow;

fn database() -> (SimEnv, Db) {
    database_on(LogMedium::Auto)
}

fn database_on(medium: LogMedium) -> (SimEnv, Db) {
    let sim = SimEnv::new(1);
    let options = Options::new().log_medium(medium).env(sim.env());
    let db = options.open("/db").unwrap();
    (sim, db)
}

fn db_path(name: &str) -> std::path::PathBuf {
    Path::new("/db").join(name)
}

#[test]
fn files_are_known_by_their_content_and_not_by_their_name() {
    let (sim, db) = database();
    let keyspace = db.keyspace("a").unwrap();
    keyspace.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let fs = sim.env().fs;
    let mut found = BTreeMap::new();
    for path in sim.list() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = sim.read_file(&path).unwrap();
        sim.write_file("/elsewhere/x", &bytes).unwrap();
        let kind = identify(&*fs, Path::new("/elsewhere/x")).unwrap();
        assert_eq!(kind, FileName::parse(&name).unwrap().expected(), "{name}");
        *found.entry(kind).or_insert(0) += 1;
        // One flipped bit in the magic does not hide a file whose other parts tell.
        if matches!(kind, FileKind::Sst | FileKind::Log | FileKind::Manifest) {
            sim.flip_bit("/elsewhere/x", 2, 3).unwrap();
            assert_eq!(identify(&*fs, Path::new("/elsewhere/x")).unwrap(), kind, "{name}");
        }
    }
    assert_eq!(found.len(), 5, "every kind of file was there: {found:?}");
    for (bytes, kind) in [
        (vec![], FileKind::Empty),
        (vec![0; 5000], FileKind::Empty),
        (b"hello world, this is text\n".to_vec(), FileKind::Unknown),
        (vec![7; 1 << 20], FileKind::Unknown),
        ([vec![0; 200], vec![1; 200]].concat(), FileKind::Unknown),
    ] {
        sim.write_file("/elsewhere/x", &bytes).unwrap();
        assert_eq!(identify(&*fs, Path::new("/elsewhere/x")).unwrap(), kind);
    }
}

#[test]
fn a_walk_shows_every_frame_and_covers_every_byte() {
    let (sim, db) = database();
    let keyspace = db.keyspace("a").unwrap();
    keyspace.put("one", "1").unwrap();
    let mut batch = db.batch();
    batch.put(&keyspace, "two", "2");
    batch.delete(&keyspace, "one");
    batch.commit(Durability::Sync).unwrap();
    db.close().unwrap();
    let (mut seen, mut at) = (Vec::new(), 96);
    let report = walk_log(
        &*sim.env().fs,
        &db_path("000002.log"),
        &LogLimits::default(),
        &mut |frame| {
            assert_eq!(frame.offset, at);
            at += frame.len;
            seen.push(match frame.content {
                FrameContent::Batch(batch) => {
                    let ops: Vec<_> = batch.operations().map(|op| op.unwrap().value.is_some()).collect();
                    format!("{}..{} {ops:?}", batch.first_seq, batch.last_seq)
                }
                FrameContent::Marker { .. } => "marker".to_owned(),
                FrameContent::Seal { .. } => "seal".to_owned(),
            });
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert_eq!(seen, ["1..1 [true]", "2..3 [true, false]", "marker", "seal"]);
    assert_eq!((report.end, report.file_len), (at, at));
    assert!(report.sealed && matches!(report.tail, Tail::Clean));
}

#[test]
fn tails_are_told_apart() {
    let (sim, db) = database_on(LogMedium::Plain);
    let keyspace = db.keyspace("a").unwrap();
    keyspace.put("one", "1").unwrap();
    db.sync().unwrap();
    keyspace.put("two", "2").unwrap();
    let path = db_path("000002.log");
    let whole = sim.read_file(&path).unwrap(); // before the drop, which closes in order
    drop(db);
    let walk = |bytes: &[u8]| {
        sim.write_file(&path, bytes).unwrap();
        walk_log(&*sim.env().fs, &path, &LogLimits::default(), &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
    };
    let cut = walk(&whole[..whole.len() - 1]);
    assert!(
        matches!(cut.tail, Tail::Torn { bytes, .. } if bytes > 0),
        "{cut:?}"
    );
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    let damaged = walk(&flipped);
    assert!(
        matches!(&damaged.tail, Tail::Damaged(Error::Corruption { offset: 96, .. })),
        "{damaged:?}"
    );
}

#[test]
fn a_walk_stops_when_it_is_told_to() {
    let (sim, db) = database();
    let keyspace = db.keyspace("a").unwrap();
    (0..9).for_each(|i: u8| keyspace.put([i], "v").unwrap());
    drop(db);
    let mut frames = 0;
    let report = walk_log(
        &*sim.env().fs,
        &db_path("000002.log"),
        &LogLimits::default(),
        &mut |_| {
            frames += 1;
            if frames == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    )
    .unwrap();
    assert_eq!(frames, 3);
    assert!(matches!(report.tail, Tail::Stopped));
}

#[test]
fn a_manifest_adds_up_to_the_files_that_are_there_while_the_database_is_open() {
    let (sim, db) = database();
    let keyspace = db.keyspace("a").unwrap();
    for round in 0..3 {
        keyspace.put(format!("k{round}"), "v").unwrap();
        db.flush().unwrap();
    }
    let fs = sim.env().fs;
    let manifest = read_current(&*fs, Path::new("/db")).unwrap().unwrap();
    let (mut changes, mut marks) = (0, 0);
    let report = walk_manifest(&*fs, &manifest, &mut |_, _, frame| {
        match frame {
            ManifestFrame::Edit(edit) => changes += edit.len(),
            ManifestFrame::Mark(_) => marks += 1,
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let state = report.state.unwrap();
    assert!(changes >= 10 && marks >= 4, "{changes} {marks}");
    let ssts: Vec<_> = state.keyspaces[0].levels[0]
        .iter()
        .map(|sst| sst.number)
        .collect();
    assert_eq!(ssts.len(), 3);
    for number in ssts {
        let sst = open_sst(&*fs, &sst_path(Path::new("/db"), number)).unwrap();
        let mut entries = 0;
        for block in sst.blocks().unwrap() {
            let block = SstBlock::read(&sst, block.number).unwrap();
            block
                .entries(&sst, &mut |_, _, _| {
                    entries += 1;
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
        assert_eq!(entries, sst.properties().entry_count);
    }
    let logs = read_logs(&*fs, Path::new("/db"), &state).unwrap();
    assert_eq!((logs.operations, logs.last_seq), (3, 3));
}
