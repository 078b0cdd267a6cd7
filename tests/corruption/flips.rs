//! Each byte of each file flipped.

use super::*;

fn flip_every_byte(
    sample: &Sample,
    end: &str,
    bits: impl Fn(u64) -> Vec<u8>,
    way: impl Fn(u64) -> Way,
) -> Cases {
    let mut cases = Cases::new();
    for name in sample.names(end) {
        for at in 0..sample.files[&name].len() as u64 {
            for bit in bits(at) {
                let way = way(at);
                let case = || {
                    let sim = restore(&sample.files);
                    sim.flip_bit(Path::new(DIR).join(&name), at, bit).unwrap();
                    sample.try_out(&sim, &[&name], sample.excuse(&name), way)
                };
                cases.run(|| format!("{name}, byte {at}, bit {bit}, {way:?}"), case);
            }
        }
    }
    cases
}

fn random_bit(at: u64) -> Vec<u8> {
    vec![(mix(at) % 8) as u8]
}

#[test]
fn the_sample_is_whole() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        for (name, bytes) in &sample.files {
            println!("{name}: {} bytes", bytes.len());
        }
        for way in [
            WRITE,
            READ,
            Way {
                rewrite: true,
                ..WRITE
            },
        ] {
            let outcome = sample.try_out(&restore(&sample.files), &[], Excuse::None, way);
            assert_eq!(outcome, Outcome::Harmless);
        }
    }
}

#[test]
fn every_flipped_byte_of_an_sst_is_noticed_when_mapped() {
    let sample = sample(7, false);
    let cases = flip_every_byte(&sample, ".sst", random_bit, |at| Way {
        rewrite: at % 8 == 0,
        ..WRITE
    });
    // Harmless is what nobody reads any more: a block all of whose values have been replaced.
    assert!(cases.count(Outcome::Harmless) < cases.count(Outcome::ReadRefused) / 10);
    cases.finish("SSTs, mapped");
}

#[test]
fn every_flipped_byte_of_an_sst_is_noticed_when_read_by_pread() {
    let sample = sample(8, true);
    let cases = flip_every_byte(&sample, ".sst", random_bit, |_| READ);
    assert!(cases.count(Outcome::Harmless) < cases.count(Outcome::ReadRefused) / 10);
    cases.finish("SSTs, pread");
}

#[test]
fn every_flipped_byte_of_an_sst_is_found_by_its_verification() {
    let sample = sample(7, true);
    let mut cases = Cases::new();
    for name in sample.names(".sst") {
        let path = Path::new(DIR).join(&name);
        let sim = restore(&sample.files);
        for at in 0..sample.files[&name].len() as u64 {
            for access in [Access::Mapped, Access::Pread] {
                let case = || {
                    sim.flip_bit(&path, at, (mix(at) % 8) as u8).unwrap();
                    let options = SstReadOptions {
                        access,
                        cache: Arc::new(BlockCache::new(0)),
                    };
                    let file = sim.env().fs.open(&path).unwrap();
                    let found = Sst::open(file, &path, &options).and_then(|sst| sst.verify());
                    sim.flip_bit(&path, at, (mix(at) % 8) as u8).unwrap();
                    check_error(&found.unwrap_err(), &[&name]);
                    Outcome::ReadRefused
                };
                cases.run(|| format!("{name}, byte {at}, {access:?}"), case);
            }
        }
    }
    cases.finish("SSTs, verified");
}

#[test]
fn every_flipped_bit_of_current_is_noticed() {
    let sample = sample(7, false);
    for way in [WRITE, READ] {
        let cases = flip_every_byte(&sample, "CURRENT", |_| (0..8).collect(), |_| way);
        assert_eq!(cases.outcomes.keys().collect::<Vec<_>>(), [&Outcome::OpenRefused]);
        cases.finish("CURRENT");
    }
}

#[test]
fn every_flipped_byte_of_a_manifest_is_noticed_or_costs_nothing() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let cases = flip_every_byte(&sample, "MANIFEST", random_bit, |at| {
            if at % 2 == 0 { WRITE } else { READ }
        });
        assert!(cases.count(Outcome::OpenRefused) > 100);
        cases.finish("manifest");
    }
}

#[test]
fn every_flipped_byte_of_a_log_is_noticed_or_costs_unsynced_writes_only() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let cases = flip_every_byte(&sample, ".log", random_bit, |at| {
            if at % 2 == 0 { WRITE } else { READ }
        });
        assert!(cases.count(Outcome::OpenRefused) > 100);
        // A closed log is sealed: nothing in it may pass as a torn tail, except the seal itself.
        assert!(cases.count(Outcome::SuffixLost) > 0 || closed);
        cases.finish("log");
    }
}

#[test]
fn going_on_at_the_users_word_gives_a_state_that_once_was() {
    let sample = sample(7, true);
    let mut cases = Cases::new();
    for name in sample.names(".log") {
        for at in (0..sample.files[&name].len() as u64).step_by(3) {
            let case = || {
                let sim = restore(&sample.files);
                sim.flip_bit(Path::new(DIR).join(&name), at, (mix(at) % 8) as u8)
                    .unwrap();
                let way = Way {
                    mode: RecoveryMode::PointInTime,
                    ..WRITE
                };
                sample.try_out(&sim, &[&name], Excuse::LostBehind(0), way)
            };
            cases.run(|| format!("{name}, byte {at}"), case);
        }
    }
    assert!(cases.count(Outcome::SuffixLost) > 100);
    cases.finish("point in time");
}
