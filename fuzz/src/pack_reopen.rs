//! A database's pack that an earlier process has left: whole, torn, sealed or half sealed, changed, or of any bytes, with a length that the
//! manifest knows, which may be any number. It is surveyed, reopened, read, appended to, synced, sealed.
//!
//! A survey changes nothing, and says what a reopening then finds. That keeps the whole records in front as they are and cuts the rest off; what it refuses
//! it leaves as it is, and what was sealed, but for the length in the header. If a call of it fails, or the power, the next one finds the same. What is whole
//! in the file is there; what is not as it was written is torn or an error, unless its checksums were made right again. All that is in the
//! pack then is durable, and what is appended has its place behind it, and is there after a crash, and after the seal. No place that somebody
//! names, and no length in the file, makes a read larger than the file.

use std::io;
use std::path::Path;

use packstone::env::Env;
use packstone::env::sim::{CrashStyle, Effect, Fault, Op, SimEnv};
use packstone::fuzzing::{Placed, PlacedReader, ReopenedPack, Sealed, UnsealedPack, survey_pack};
use packstone::pack::{ObjectId, Pack, PackOptions};
use packstone::{Compression, Error, Result};

use crate::packs::{content, modest, repair_pack};
use crate::support::Input;

const DIR: &str = "/p";
const PATH: &str = "/p/000012.pack";
const OTHER: &str = "/p/000013.pack";
const IDENTITY: [u8; 16] = [7; 16];
const NUMBER: u64 = 12;
const HEADER: u64 = 80;
/// Steps of the process before.
const STEPS: u8 = 20;

/// An object that was appended.
struct Known {
    placed: Placed,
    content: Vec<u8>,
    record: Vec<u8>,
}

impl Known {
    fn end(&self) -> u64 {
        end(&self.placed)
    }

    /// Whether its record is in the file as it was written.
    fn is_in(&self, bytes: &[u8]) -> bool {
        let at = self.placed.offset as usize;
        bytes.get(at..at + self.record.len()) == Some(&self.record[..])
    }
}

fn end(placed: &Placed) -> u64 {
    placed.offset + placed.record_len
}

struct Run {
    sim: SimEnv,
    flags: u8,
    objects: Vec<Known>,
    /// What a sync has returned, or a seal.
    synced: u64,
    /// A seal has begun.
    sealing: bool,
}

/// The file as it is found.
struct Found {
    bytes: Vec<u8>,
    /// The length that the manifest knows.
    known: u64,
    /// It is one that the manifest can know, and nothing was changed before it.
    honest: bool,
    /// Checksums were made right, or all of it is anybody's.
    forged: bool,
    /// Bytes were put there from outside; they are on the medium.
    planted: bool,
    /// A reopening has ended early.
    troubled: bool,
}

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let sim = SimEnv::new(u64::from(flags));
    sim.env().fs.create_dir_all(DIR.as_ref()).unwrap();
    let mut run = Run {
        sim,
        flags,
        objects: Vec::new(),
        synced: HEADER,
        sealing: false,
    };
    let (trouble, how, probe) = (input.u8(), input.u8(), input.u16());
    let mut found = run.find(&mut input);
    run.read_anywhere(&found, how, u64::from(probe));
    if trouble & 128 != 0 {
        run.reopen_in_trouble(&mut found, trouble);
    }
    run.reopen(&found, how);
    run.sim.crash(CrashStyle::KeepAll);
}

fn expected(error: &Error) {
    let is_expected = matches!(error, Error::Corruption { .. } | Error::NewerFormat { .. });
    assert!(is_expected, "{error:?}");
}

fn style(how: u8) -> CrashStyle {
    match how & 3 {
        0 => CrashStyle::KeepNothing,
        1 => CrashStyle::KeepAll,
        2 => CrashStyle::Random,
        _ => CrashStyle::Blocks,
    }
}

impl Run {
    fn env(&self) -> Env {
        modest(self.sim.env())
    }

    fn bytes(&self) -> Vec<u8> {
        self.sim.read_file(PATH).unwrap()
    }

    fn chunk_size(&self) -> u32 {
        if self.flags & 8 != 0 { 64 << 10 } else { 4096 }
    }

    fn compression(how: u8) -> Compression {
        match how & 16 {
            0 => Compression::Lz4,
            _ => Compression::None,
        }
    }

    fn open(&self, known: u64) -> Result<ReopenedPack> {
        UnsealedPack::reopen(&*self.env().fs, Path::new(PATH), &IDENTITY, NUMBER, known)
    }

    fn survey(&self, known: u64) -> Result<u64> {
        survey_pack(&*self.env().fs, Path::new(PATH), &IDENTITY, NUMBER, known)
    }

    // ---- the process before ----

    /// A pack that was written and changed, or bytes.
    fn find(&mut self, input: &mut Input<'_>) -> Found {
        let (how, any) = (input.u8(), input.u64());
        let made = self.flags & 3 > 1;
        if made {
            self.write(input);
        } else {
            let mut bytes = match self.flags & 1 {
                0 => Vec::new(),
                _ => self.header(),
            };
            bytes.extend_from_slice(input.rest());
            self.sim.write_file(PATH, &bytes).unwrap();
        }
        let sound = self.bytes();
        let mut bytes = sound.clone();
        while !input.is_empty() {
            input.patch(&mut bytes);
        }
        let repaired = self.flags & 4 != 0;
        if repaired {
            repair_pack(&mut bytes);
        }
        let planted = !made || bytes != sound;
        if planted {
            self.sim.write_file(PATH, &bytes).unwrap();
        }
        let ends: Vec<u64> = self.objects.iter().map(Known::end).collect();
        let known = match how & 3 {
            0 => 0,
            1 => self.synced,
            // Any place of a record's end, or near it.
            2 if !ends.is_empty() => {
                ends[usize::from(how >> 2 & 15) % ends.len()].wrapping_add(u64::from(how >> 6 & 1))
            }
            _ => any,
        };
        let same = |len: u64| bytes.get(..len as usize) == sound.get(..len as usize);
        let is_end = known <= HEADER || ends.contains(&known);
        Found {
            honest: made && is_end && known <= self.synced && same(known.max(HEADER)),
            forged: !made || repaired && bytes != sound,
            planted,
            troubled: false,
            bytes,
            known,
        }
    }

    /// What a pack begins with.
    fn header(&self) -> Vec<u8> {
        let (env, path) = (self.env(), Path::new(OTHER));
        drop(UnsealedPack::create(&*env.fs, path, IDENTITY, NUMBER).unwrap());
        let header = self.sim.read_file(OTHER).unwrap();
        self.sim.remove_file(OTHER).unwrap();
        header
    }

    fn write(&mut self, input: &mut Input<'_>) {
        let env = self.env();
        let mut pack = UnsealedPack::create(&*env.fs, Path::new(PATH), IDENTITY, NUMBER).unwrap();
        self.synced = pack.sync().unwrap();
        env.fs.sync_dir(Path::new(DIR)).unwrap();
        for _ in 0..input.u8() % STEPS {
            let step = input.u8();
            match step & 15 {
                0..=8 => self.append(&pack, input),
                9 | 10 => self.sync(&pack),
                11 | 12 => {
                    let (op, effect) = match step & 32 {
                        0 => (Op::Write, Effect::Partial),
                        _ => (Op::Sync, Effect::Nothing),
                    };
                    self.sim
                        .fail_matching(Some(op), "pack", 1, io::ErrorKind::Other, effect);
                    match op {
                        Op::Write => self.append(&pack, input),
                        _ => self.sync(&pack),
                    }
                    self.sim.clear_faults();
                }
                13 => {
                    // Another process.
                    drop(pack);
                    let ReopenedPack::Unsealed { pack: again, .. } = self.open(self.synced).unwrap() else {
                        panic!("nobody has sealed it");
                    };
                    pack = again;
                    self.synced = pack.len();
                    assert!(self.objects.iter().all(|known| known.end() <= pack.len()));
                }
                _ => {
                    self.end(&pack, input, step);
                    return;
                }
            }
        }
    }

    fn append(&mut self, pack: &UnsealedPack, input: &mut Input<'_>) {
        let (shape, more) = (input.u8(), input.u8());
        let (content, at) = (content(shape, more), pack.len());
        let Ok(placed) = pack.append(&content, self.chunk_size(), Self::compression(shape)) else {
            assert_eq!(pack.len(), at);
            return;
        };
        assert_eq!((placed.offset, placed.id), (at, ObjectId::of(&content)));
        assert_eq!(end(&placed), pack.len());
        let record = self.bytes()[at as usize..pack.len() as usize].to_vec();
        self.objects.push(Known {
            placed,
            content,
            record,
        });
    }

    fn sync(&mut self, pack: &UnsealedPack) {
        if let Ok(len) = pack.sync() {
            assert_eq!((len, pack.synced_len()), (pack.len(), len));
            self.synced = len;
        }
    }

    /// A seal, or the power fails now or in the middle of one; the process is gone.
    fn end(&mut self, pack: &UnsealedPack, input: &mut Input<'_>, step: u8) {
        let how = input.u8();
        if step & 1 != 0 {
            self.sealing = true;
            if step & 16 != 0 {
                let index = self.sim.io_count() + u64::from(how & 15);
                self.sim.set_fault(Fault::PowerOffAt { index });
            }
            if let Ok(sealed) = pack.seal() {
                self.synced = sealed.records_end;
                pack.append(b"too late", 4096, Compression::None).unwrap_err();
            }
            if !self.sim.is_off() {
                self.sim.clear_faults();
            }
        }
        if step & 32 != 0 || self.sim.is_off() {
            self.sim.crash(style(how >> 4));
        }
    }

    // ---- what was found ----

    /// Reads at places that may be anything: what comes is what was put there, or hashes to what was asked for.
    fn read_anywhere(&self, found: &Found, how: u8, probe: u64) {
        let env = self.env();
        let reader = match PlacedReader::open(&*env.fs, Path::new(PATH), &IDENTITY, NUMBER) {
            Ok(reader) => reader,
            Err(error) => {
                expected(&error);
                assert!(!found.honest, "{error}");
                return;
            }
        };
        for known in &self.objects {
            let is_there = known.is_in(&found.bytes);
            match (reader.read(&known.placed), reader.stream(&known.placed)) {
                (Ok(read), Ok(streamed)) => {
                    assert!(read == streamed);
                    assert!(found.forged || is_there && read == known.content);
                }
                (Err(error), Err(_)) => {
                    expected(&error);
                    assert!(!is_there, "{error}");
                }
                (read, streamed) => panic!("{:?} or {:?}", read.err(), streamed.err()),
            }
            assert!(found.forged || reader.verify(&known.placed).is_ok() == is_there);
        }
        let some = self.objects.get(usize::from(how) % self.objects.len().max(1));
        let mut place = some.map_or(
            Placed {
                id: ObjectId::of(b""),
                len: probe,
                offset: HEADER,
                record_len: 84 + probe,
            },
            |known| known.placed,
        );
        match how >> 5 {
            0 => place.offset = place.offset.wrapping_add(probe).wrapping_sub(100),
            1 => place.record_len = place.record_len.wrapping_add(probe).wrapping_sub(100),
            2 => place.len = place.len.wrapping_add(probe).wrapping_sub(100),
            3 => place.id = ObjectId::of(&probe.to_le_bytes()),
            4 => place.record_len = u64::MAX - probe,
            5 => place.offset = u64::MAX - probe,
            6 => place.record_len = probe << 10,
            _ => place.len = probe << 40,
        }
        for read in [reader.read(&place), reader.stream(&place)] {
            match read {
                Ok(read) => assert!(read.len() as u64 == place.len),
                Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::InvalidData),
                Err(error) => expected(&error),
            }
        }
        if let Err(error) = reader.verify(&place) {
            expected(&error);
        }
    }

    fn reopen(&self, found: &Found, how: u8) {
        let before = self.bytes();
        let surveyed = self.survey(found.known);
        assert!(self.bytes() == before, "a survey changes nothing");
        match self.open(found.known) {
            Err(error) => {
                expected(&error);
                assert!(!found.honest || self.sealing && found.planted, "{error}");
                assert!(self.bytes() == before, "what is refused stays as it is");
            }
            Ok(ReopenedPack::Sealed(sealed)) => {
                assert!(self.sealing || found.forged);
                self.check_sealed(found, &before, sealed, surveyed);
            }
            Ok(ReopenedPack::Unsealed {
                pack,
                cut_bytes,
                verified_bytes,
                objects,
            }) => {
                let (len, known) = (pack.len(), found.known.max(HEADER));
                assert_eq!(surveyed.unwrap(), len);
                assert!(
                    self.bytes() == before[..len as usize],
                    "whole records stay as they are"
                );
                assert_eq!(
                    (cut_bytes, verified_bytes),
                    (before.len() as u64 - len, len - known)
                );
                assert_eq!((objects, pack.synced_len()), (pack.objects(), len));
                self.check_objects(found, &pack);
                self.go_on(found, pack, how);
            }
        }
    }

    /// A call of a reopening fails, or the power: what is found then is what was found before, but for what was not durable.
    fn reopen_in_trouble(&self, found: &mut Found, trouble: u8) {
        found.troubled = true;
        let surveyed = self.survey(found.known);
        let index = self.sim.io_count() + u64::from(trouble & 15);
        let power = trouble & 64 != 0;
        self.sim.set_fault(match power {
            true => Fault::PowerOffAt { index },
            false => Fault::FailCall {
                index,
                kind: io::ErrorKind::Other,
                effect: match trouble & 32 {
                    0 => Effect::Nothing,
                    _ => Effect::Partial,
                },
            },
        });
        drop(self.open(found.known));
        match power {
            true => self.sim.crash(style(trouble >> 4)),
            false => self.sim.clear_faults(),
        }
        let again = self.survey(found.known);
        if power && !found.planted {
            assert!(!found.honest || again.is_ok_and(|end| end >= found.known.max(HEADER)));
            found.bytes = self.bytes();
            return;
        }
        assert!(
            again.as_ref().ok() == surveyed.as_ref().ok(),
            "{surveyed:?}, {again:?}"
        );
        let (mut now, end) = (self.bytes(), again.unwrap_or(u64::MAX));
        now.truncate(end.min(now.len() as u64) as usize);
        if now.len() >= 80 {
            now[64..80].copy_from_slice(&found.bytes[64..80]);
        }
        assert!(found.bytes.starts_with(&now));
    }

    fn check_sealed(&self, found: &Found, before: &[u8], sealed: Sealed, surveyed: Result<u64>) {
        let mut now = self.bytes();
        assert_eq!(now.len() as u64, sealed.file_bytes);
        now[64..80].copy_from_slice(&before[64..80]);
        assert!(now == before, "a sealed pack is changed");
        match surveyed {
            Ok(end) => assert!(found.forged || end == sealed.records_end || self.is_changed(found, end)),
            Err(error) => {
                expected(&error);
                assert!(!found.honest, "{error}");
            }
        }
        let Ok(ReopenedPack::Sealed(again)) = self.open(found.known) else {
            panic!("sealed once, and then no more");
        };
        assert_eq!(again, sealed);
        self.check_pack(found, &[]);
    }

    /// Whether something before this place is not as it was written, or behind the records of a sealed pack anything is.
    fn is_changed(&self, found: &Found, end: u64) -> bool {
        let touched = |known: &Known| known.placed.offset >= end && !known.is_in(&found.bytes);
        self.objects.iter().any(touched)
    }

    /// All whole records in front are there, and what is there is as it was written.
    fn check_objects(&self, found: &Found, pack: &UnsealedPack) {
        let reader = pack.reader();
        let mut next = HEADER;
        for known in &self.objects {
            let is_there = known.is_in(&found.bytes);
            // Up to the known length nothing but ends is looked at.
            if is_there && known.placed.offset == next && !found.forged {
                next = known.end();
                assert!(next <= pack.len(), "a whole record is cut off");
            }
            if known.end() <= pack.len() && !found.forged {
                assert!(
                    is_there || known.placed.offset < found.known,
                    "a torn record is kept"
                );
            }
            match reader.verify(&known.placed) {
                Ok(len) => assert!(found.forged || is_there && len == known.placed.len),
                Err(error) => {
                    expected(&error);
                    assert!(!is_there || known.end() > pack.len(), "{error}");
                }
            }
        }
        if !found.forged && found.honest {
            assert!(pack.len() >= found.known);
        }
    }

    // ---- going on ----

    fn go_on(&self, found: &Found, mut pack: UnsealedPack, how: u8) {
        let mut new = Vec::new();
        for n in 0..how & 3 {
            let content = content(how.wrapping_mul(n + 1), how ^ n);
            let at = pack.len();
            let placed = pack
                .append(&content, self.chunk_size(), Self::compression(how))
                .unwrap();
            assert_eq!((placed.offset, end(&placed)), (at, pack.len()));
            new.push((placed, content));
        }
        let objects = pack.objects();
        assert_eq!(pack.sync().unwrap(), pack.len());
        if how & 4 != 0 {
            let (len, bytes) = (pack.len(), self.bytes());
            self.sim.power_off();
            drop(pack);
            self.sim.crash(CrashStyle::KeepNothing);
            let now = self.bytes();
            assert!(now.starts_with(&bytes), "what was synced is not there");
            if now.len() > bytes.len() {
                // A reopening that ended early had cut it, and not synced that: what was behind the records is there again.
                assert!(found.troubled && new.is_empty());
                return;
            }
            let known = match how & 8 {
                0 => len,
                _ => found.known,
            };
            let Ok(ReopenedPack::Unsealed {
                pack: again,
                cut_bytes: 0,
                objects: count,
                ..
            }) = self.open(known)
            else {
                panic!("it was reopened before");
            };
            assert_eq!((again.len(), count), (len, objects));
            pack = again;
        }
        self.check_new(&pack.reader(), &new);
        self.move_one(&pack);
        let end = pack.len();
        let sealed = pack.seal().unwrap();
        assert_eq!((sealed.records_end, sealed.objects), (end, objects));
        assert_eq!(self.bytes().len() as u64, sealed.file_bytes);
        drop(pack);
        match self.open(end) {
            Ok(ReopenedPack::Sealed(again)) => assert_eq!(again, sealed),
            Ok(ReopenedPack::Unsealed { .. }) => panic!("it was sealed"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(self.survey(end).unwrap(), end);
        self.check_pack(found, &new);
    }

    fn check_new(&self, reader: &PlacedReader, new: &[(Placed, Vec<u8>)]) {
        for (placed, content) in new {
            assert!(reader.read(placed).unwrap() == *content);
            assert!(reader.stream(placed).unwrap() == *content);
            assert_eq!(reader.verify(placed).unwrap(), content.len() as u64);
        }
    }

    /// A record goes to another pack as it is; forged ones may, too, and are no better there.
    fn move_one(&self, pack: &UnsealedPack) {
        let Some(known) = self.objects.last() else { return };
        let (env, reader) = (self.env(), pack.reader());
        let other = UnsealedPack::create(&*env.fs, Path::new(OTHER), [8; 16], 13).unwrap();
        match other.append_copy(&reader, &known.placed) {
            Ok(copy) => {
                let content = other.reader().read(&copy);
                let here = reader.read(&known.placed);
                assert!(here.ok() == content.ok());
                assert_eq!(other.objects(), 1);
            }
            Err(error) => {
                expected(&error);
                assert_eq!((other.objects(), other.len()), (0, HEADER));
            }
        }
    }

    /// The sealed file, as an ordinary pack.
    fn check_pack(&self, found: &Found, new: &[(Placed, Vec<u8>)]) {
        let options = PackOptions::default().env(self.env());
        let pack = Pack::open_with(PATH, &options).unwrap();
        let report = pack.verify();
        report.damage.iter().for_each(expected);
        let now = self.bytes();
        let within = |known: &&Known| known.end() <= found.known;
        let stepped_over = self.objects.iter().filter(within).any(|known| !known.is_in(&now));
        let may_be_damaged = found.forged || stepped_over || self.sealing && now != found.bytes;
        assert!(
            report.damages == 0 || may_be_damaged || self.sealing,
            "{:?}",
            report.damage
        );
        for entry in pack.entries(&ObjectId::default()) {
            match entry {
                Ok(_) => {}
                Err(error) => {
                    expected(&error);
                    assert!(found.forged || self.sealing);
                }
            }
        }
        for (placed, content) in new {
            assert!(pack.get(&placed.id).unwrap().as_ref() == Some(content));
        }
    }
}
