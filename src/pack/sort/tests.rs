//! Any number of rows in bounded memory: order, ties, scratch files, damage.

use std::path::Path;

use super::*;
use crate::env::sim::SimEnv;

fn sorter(sim: &SimEnv) -> Sorter {
    sim.env().fs.create_dir_all(Path::new("/s")).unwrap();
    Sorter::new(&sim.env(), PathBuf::from("/s/rows.sort"), 0)
}

fn draw(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn drain(mut rows: Merged) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    while rows.advance()? {
        all.push((rows.key().to_vec(), rows.value().to_vec()));
    }
    Ok(all)
}

/// The last of equal keys comes first, however the rows were spread over runs.
#[test]
fn rows_are_sorted_and_the_newest_of_equal_keys_comes_first() {
    for count in [0, 1, 2, 1000, 5000, 60_000] {
        let sim = SimEnv::new(count);
        let (mut sorter, mut state, mut model) = (sorter(&sim), count, Vec::new());
        for number in 0..count {
            let key = match draw(&mut state) % 3 {
                0 => format!("{:03}", draw(&mut state) % 500).into_bytes(),
                1 => vec![(draw(&mut state) % 4) as u8; (draw(&mut state) % 20) as usize],
                _ => draw(&mut state).to_be_bytes().to_vec(),
            };
            let value = number.to_le_bytes();
            sorter.add(&key, &[&value[..3], &value[3..]]).unwrap();
            assert!(sorter.held() <= LEAST_MEMORY);
            model.push((key, std::cmp::Reverse(number)));
        }
        model.sort();
        let expected = model
            .into_iter()
            .map(|(key, number)| (key, number.0.to_le_bytes().to_vec()));
        assert!(
            drain(sorter.finish().unwrap()).unwrap() == expected.collect::<Vec<_>>(),
            "{count} rows"
        );
        assert!(sim.list().is_empty(), "the scratch file is gone");
    }
}

/// More runs than a merge has buffers for: they are merged in several passes.
#[test]
fn runs_are_merged_in_passes_where_memory_is_short() {
    let sim = SimEnv::new(1);
    let mut sorter = sorter(&sim);
    let value = [7; 20_000];
    for number in 0..600u64 {
        sorter
            .add(&draw(&mut (number * 7919)).to_be_bytes(), &[&value])
            .unwrap();
    }
    assert!(
        sorter.runs.len() > 3 * LEAST_MEMORY / RUN_BUFFER,
        "{} runs",
        sorter.runs.len()
    );
    let rows = drain(sorter.finish().unwrap()).unwrap();
    assert_eq!(rows.len(), 600);
    assert!(rows.is_sorted() && rows.iter().all(|(_, found)| *found == value));
}

#[test]
fn a_row_larger_than_the_memory_goes_through() {
    let sim = SimEnv::new(2);
    let mut sorter = sorter(&sim);
    for number in [3u8, 1, 2] {
        sorter.add(&[number], &[&vec![number; 2 * LEAST_MEMORY]]).unwrap();
    }
    let rows = drain(sorter.finish().unwrap()).unwrap();
    let expected = [1u8, 2, 3].map(|number| (vec![number], vec![number; 2 * LEAST_MEMORY]));
    assert!(rows == expected);
}

#[test]
fn a_sorter_that_is_dropped_removes_its_scratch_file() {
    let sim = SimEnv::new(3);
    let mut sorter = sorter(&sim);
    for number in 0..10_000u64 {
        sorter.add(&number.to_be_bytes(), &[]).unwrap();
    }
    assert_eq!(sim.list().len(), 1);
    drop(sorter);
    assert!(sim.list().is_empty());
}

/// What the scratch file does not give back as it was written is an error, loudly.
#[test]
fn a_damaged_or_cut_scratch_file_is_an_error() {
    let filled = |sim: &SimEnv| {
        let mut sorter = sorter(sim);
        for number in 0..9_000u64 {
            sorter.add(&number.to_be_bytes(), &[b"value"]).unwrap();
        }
        sorter
    };
    let len = {
        let sim = SimEnv::new(4);
        let _sorter = filled(&sim);
        sim.file_len("/s/rows.sort").unwrap()
    };
    for at in (0..len).step_by(4_999) {
        let sim = SimEnv::new(4);
        let mut sorter = filled(&sim);
        sim.flip_bit("/s/rows.sort", at, 2).unwrap();
        let error = sorter.finish().and_then(drain).unwrap_err();
        assert!(error.to_string().contains("rows.sort"), "{error}");
    }
    for cut in [0, 1, len / 2, len - 1] {
        let sim = SimEnv::new(4);
        let mut sorter = filled(&sim);
        let scratch = sim.env().fs.open_writable(Path::new("/s/rows.sort")).unwrap();
        scratch.set_len(cut).unwrap();
        assert!(sorter.finish().and_then(drain).is_err(), "cut to {cut}");
    }
}
