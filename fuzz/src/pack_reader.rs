//! A pack or an archive, valid or changed or made of nothing but the fuzzer's bytes, is opened, listed, read, verified and recovered.
//!
//! Unchanged it gives what was put in. Changed under its checksums it gives that, or an error, or the archive as of an earlier seal; and
//! `verify` finds every change of a sealed byte. With checksums made right again anything may be in it: then what `verify` lets pass
//! is whole, every content hashes to its id, and what `recover` makes of it is always whole. No read is larger than the file, no
//! content longer than what LZ4 can make of the file.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use packstone::env::sim::SimEnv;
use packstone::pack::{
    Archive, ArchiveWriter, ObjectId, Pack, PackBuilder, PackOptions, PackVerifyReport, recover,
};
use packstone::{Compression, Error};

use crate::packs::{content, modest, repair_pack};
use crate::support::Input;

const PATH: &str = "/a.pack";
const SAVED: &str = "/b.pack";
/// Content for one stored byte, at most: the format's own bound.
const MOST_RATIO: u64 = 256;

/// What an archive holds after a seal.
#[derive(Clone, Default)]
struct State {
    sealed_len: u64,
    objects: BTreeMap<ObjectId, Vec<u8>>,
    names: BTreeMap<Vec<u8>, ObjectId>,
}

/// A file, and what is known of it.
struct Case {
    bytes: Vec<u8>,
    sound: Vec<u8>,
    /// By the number of segments, from one; none where the bytes are anybody's.
    states: Vec<State>,
}

impl Case {
    /// Whether the first so many bytes are as they were written.
    fn is_sound(&self, len: u64) -> bool {
        let front = |bytes: &[u8]| bytes.get(..len as usize).map(<[u8]>::to_vec);
        !self.states.is_empty() && front(&self.bytes) == front(&self.sound)
    }
}

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let sim = SimEnv::new(1);
    let options = options(&sim, flags);
    let (raw, repaired) = (flags & 2 != 0, flags & 1 != 0);
    let mut case = if raw {
        let bytes = input.rest().to_vec();
        Case {
            sound: bytes.clone(),
            bytes,
            states: Vec::new(),
        }
    } else {
        build(&sim, &options, &mut input, flags)
    };
    let probe = input.u16();
    while !input.is_empty() {
        input.patch(&mut case.bytes);
    }
    if repaired {
        repair_pack(&mut case.bytes);
        if case.bytes != case.sound {
            case.states.clear();
        }
    }
    sim.write_file(PATH, &case.bytes).unwrap();
    let opened = Pack::open_with(PATH, &options);
    match opened {
        Ok(pack) => examine(&case, pack, u64::from(probe)),
        Err(error) => {
            expected(&error);
            assert!(case.states.is_empty() || case.bytes != case.sound, "{error}");
        }
    }
    save(&case, &options);
}

fn options(sim: &SimEnv, flags: u8) -> PackOptions {
    let compression = match flags & 4 {
        0 => Compression::Lz4,
        _ => Compression::None,
    };
    PackOptions::default()
        .env(modest(sim.env()))
        .identity([7; 16])
        .compression(compression)
        .chunk_size(if flags & 8 != 0 { 64 << 10 } else { 4096 })
        .dedup_window(if flags & 64 != 0 { 2 } else { 100 })
}

fn expected(error: &Error) {
    let is_expected = matches!(error, Error::Corruption { .. } | Error::NewerFormat { .. });
    assert!(is_expected, "{error:?}");
}

/// A pack, or an archive of one or two segments.
fn build(sim: &SimEnv, options: &PackOptions, input: &mut Input<'_>, flags: u8) -> Case {
    let (mut states, mut state) = (Vec::new(), State::default());
    let segments = match (flags & 16 != 0, flags & 32 != 0) {
        (true, true) => 2,
        _ => 1,
    };
    for _ in 0..segments {
        let count = input.u8() % 8;
        let shapes: Vec<(u8, u8)> = (0..count).map(|_| (input.u8(), input.u8())).collect();
        if flags & 16 == 0 {
            let mut builder = PackBuilder::create(PATH, options).unwrap();
            for (shape, more) in shapes {
                let object = content(shape, more);
                state.objects.insert(builder.add(&object).unwrap().id, object);
            }
            builder.finish().unwrap();
        } else {
            let mut writer = ArchiveWriter::open(PATH, options).unwrap();
            for (shape, more) in shapes {
                let (object, name) = (content(shape, more), vec![b'n', shape >> 4, more & 3]);
                let added = writer.add(&name, b"meta", &object).unwrap();
                state.objects.insert(added.id, object);
                state.names.insert(name, added.id);
            }
            writer.finish().unwrap();
        }
        let sealed_len = sim.file_len(PATH).unwrap();
        // A second seal of nothing is none.
        if state.sealed_len != sealed_len {
            state.sealed_len = sealed_len;
            states.push(state.clone());
        }
    }
    let sound = sim.read_file(PATH).unwrap();
    Case {
        bytes: sound.clone(),
        sound,
        states,
    }
}

fn examine(case: &Case, pack: Pack, probe: u64) {
    let report = pack.verify();
    check_report(&report);
    let clean = report.damages == 0;
    check_layout(&pack, clean);
    let sealed = pack.file_bytes() - pack.torn_bytes();
    let state = match case.states.is_empty() {
        true => None,
        false => {
            let state = case.states.get(pack.segments() as usize - 1);
            let state = state.expect("a segment that was never written");
            // The second copy of the footer may be cut off.
            assert_eq!(state.sealed_len.min(pack.file_bytes()), sealed);
            assert_eq!(clean, case.is_sound(state.sealed_len), "{:?}", report.damage);
            Some(state)
        }
    };
    let mut ids = Vec::new();
    for id in pack.ids() {
        match id {
            Ok(id) => ids.push(id),
            Err(error) => {
                expected(&error);
                assert!(!clean, "{error}");
            }
        }
        assert!(ids.len() <= case.bytes.len());
    }
    // An index that somebody has made wrong may be in any order.
    let ascending = ids.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(ascending || !(clean || state.is_some()));
    for id in &ids {
        let found = read(&pack, id, probe, case.bytes.len() as u64);
        check_content(id, found, clean || state.is_some(), clean);
        assert!(state.is_none_or(|state| state.objects.contains_key(id)), "{id}");
    }
    if clean {
        let entries: Result<Vec<_>, _> = pack.entries(&ObjectId::default()).collect();
        let listed: Vec<ObjectId> = entries.unwrap().iter().map(|entry| entry.id).collect();
        assert_eq!(listed, ids);
    }
    for (id, object) in state.iter().flat_map(|state| &state.objects) {
        match pack.get(id) {
            Ok(found) => assert_eq!(found.as_ref(), Some(object)),
            Err(error) => {
                expected(&error);
                assert!(!clean, "{error}");
            }
        }
    }
    check_names(&Archive::from(pack), state, clean);
}

fn check_report(report: &PackVerifyReport) {
    assert!(report.damages >= report.damage.len() as u64);
    report.damage.iter().for_each(expected);
}

/// The parts tile the file.
fn check_layout(pack: &Pack, clean: bool) {
    let mut end = 0;
    for part in pack.layout() {
        assert_eq!(part.offset, end);
        end += part.len;
    }
    assert_eq!(end, pack.file_bytes());
    let (mut records, mut errors) = (0, 0);
    for record in pack.records() {
        match record {
            Ok(_) => records += 1,
            Err(error) => {
                expected(&error);
                errors += 1;
            }
        }
    }
    assert!(!clean || (errors == 0 && records == pack.objects()));
}

/// The whole content, the same as its parts.
fn read(pack: &Pack, id: &ObjectId, probe: u64, file_len: u64) -> packstone::Result<Option<Vec<u8>>> {
    let Some(mut object) = pack.open_object(id)? else {
        return Ok(None);
    };
    let mut whole = Vec::new();
    object.read_all(&mut whole)?;
    assert_eq!(whole.len() as u64, object.len());
    assert!(object.len() <= file_len * MOST_RATIO);
    for turn in 0..3 {
        let from = (probe * (turn * 7 + 1)) % (object.len() + 2);
        let mut part = vec![0; 1 + probe as usize % 5000];
        object.seek(SeekFrom::Start(from)).unwrap();
        let mut len = 0;
        while len < part.len() {
            match object.read(&mut part[len..]).unwrap() {
                0 => break,
                n => len += n,
            }
        }
        let from = (from as usize).min(whole.len());
        assert_eq!(part[..len], whole[from..whole.len().min(from + part.len())]);
    }
    Ok(Some(whole))
}

/// `true_ids`: nobody has made wrong checksums right. `clean`: nothing may fail.
fn check_content(id: &ObjectId, found: packstone::Result<Option<Vec<u8>>>, true_ids: bool, clean: bool) {
    match found {
        Ok(Some(content)) => assert!(!true_ids || ObjectId::of(&content) == *id, "{id}"),
        // A filter that somebody has made wrong, and its checksum right.
        Ok(None) => assert!(!true_ids, "{id} is listed, and is not there"),
        Err(error) => {
            expected(&error);
            assert!(!clean, "{id}: {error}");
        }
    }
}

fn check_names(archive: &Archive, state: Option<&State>, clean: bool) {
    let mut names = Vec::new();
    for entry in archive.entries() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                expected(&error);
                assert!(!clean, "{error}");
                break;
            }
        };
        check_content(
            &entry.id,
            archive.read(&entry).map(Some),
            clean || state.is_some(),
            clean,
        );
        if let Some(state) = state {
            assert_eq!(state.names.get(&entry.name[..]), Some(&entry.id));
        }
        names.push(entry.name.to_vec());
    }
    let ascending = names.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(ascending || !(clean || state.is_some()));
    if clean {
        assert_eq!(names.len() as u64, archive.len());
    }
    for (name, id) in state.iter().flat_map(|state| &state.names) {
        match archive.get(name) {
            Ok(entry) => assert_eq!(entry.map(|entry| entry.id), Some(*id)),
            Err(error) => {
                expected(&error);
                assert!(!clean, "{error}");
            }
        }
    }
}

/// What a recovery makes of it is whole, and has nothing that was not put in.
fn save(case: &Case, options: &PackOptions) {
    let report = match recover(PATH, SAVED, options) {
        Ok(report) => report,
        Err(error) => {
            expected(&error);
            // What is shorter than a header, with its sealed length, has nothing to save.
            assert!(!case.is_sound(64) || case.bytes.len() < 80, "{error}");
            return;
        }
    };
    report.lost.iter().chain(&report.index).for_each(expected);
    let saved = Archive::open_with(SAVED, options).unwrap();
    let verified = saved.pack().verify();
    assert_eq!(verified.damages, 0, "{:?}", verified.damage);
    assert_eq!(saved.pack().objects(), report.objects);
    let ids: Result<Vec<ObjectId>, _> = saved.pack().ids().collect();
    let ids = ids.unwrap();
    let Some(all) = case.states.last() else { return };
    assert!(ids.iter().all(|id| all.objects.contains_key(id)));
    if case.is_sound(all.sealed_len) {
        assert_eq!(ids.len(), all.objects.len());
        let names = all.names.keys();
        assert!(names.into_iter().all(|name| saved.get(name).unwrap().is_some()));
    }
}
