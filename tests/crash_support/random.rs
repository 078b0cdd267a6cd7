//! Histories drawn from a seed, for the soak.

use packstone::LogMedium;

use super::Step::{self, *};
use super::{Amidst, History, Item, Reader};
use crate::support::rng::Rng;

/// A history of about `length` steps. With `crashes` it contains kills and losses of power.
pub fn history(seed: u64, length: u64, crashes: bool) -> History {
    let mut rng = Rng::apart(seed, 0);
    let objects = rng.one_in(2);
    let mut live: Vec<&'static str> = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..length {
        if live.is_empty() || rng.below(25) == 0 {
            let name = rng.pick(&["a", "b", "c"]);
            steps.push(Keyspace(name));
            if !live.contains(&name) {
                live.push(name);
            }
            continue;
        }
        steps.push(step(&mut rng, &mut live, crashes));
    }
    History {
        name: format!("random, seed {seed}"),
        write_buffer_size: rng.pick(&[24 << 10, 40 << 10]),
        max_log_size: rng.pick(&[16 << 10, 64 << 10, 1 << 20]),
        max_file_size: rng.pick(&[8 << 10, 64 << 10]),
        manifest_roll_size: rng.pick(&[1 << 10, 4 << 10, 1 << 20]),
        sync_interval_ms: rng.pick(&[None, None, Some(20)]),
        read_calls: false,
        log_medium: rng.pick(&[LogMedium::Auto, LogMedium::Auto, LogMedium::Plain]),
        objects,
        pack_size: 4 << 10,
        steps,
    }
}

fn step(rng: &mut Rng, live: &mut Vec<&'static str>, crashes: bool) -> Step {
    match rng.below(116) {
        0..45 => write(rng, live),
        45..53 => {
            // Now and then more than a replay keeps in memory.
            let most = rng.pick(&[6, 6, 6, 40]);
            Fill {
                keyspace: rng.pick(live),
                from: rng.below(60) as u32,
                count: 1 + rng.below(most) as u32,
                len: rng.pick(&[10, 900, 3900]),
            }
        }
        53 if rng.one_in(2) => Stream(
            rng.pick(live),
            rng.below(60) as u32,
            stream_len(rng),
            rng.one_in(2),
        ),
        53..57 => Sync,
        57..64 => Flush,
        64..69 => Compact(rng.pick(live)),
        69..75 => RunOne,
        75..78 => RunIdle,
        78..80 => Settle,
        80..83 => Advance(30),
        83..86 => TakeSnapshot,
        86..89 => CheckSnapshot,
        89 => {
            let name = live.swap_remove(rng.below(live.len() as u64) as usize);
            Drop(name)
        }
        90..93 => Reopen,
        93..95 => DropAndReopen,
        // A loss of power takes no keyspace whose creation was acknowledged, so `live` stays right.
        95 | 96 if crashes => Kill,
        97 if crashes => PowerLoss,
        98 | 99 if crashes => PowerLossRandom,
        100..104 => Amid(
            rng.pick(&[Reader::Snapshot, Reader::Get, Reader::Sync]),
            items(rng, live),
        ),
        104..108 => Checkpoint(amidst(rng, live)),
        108..111 => {
            let mut amidst = amidst(rng, live);
            let gone = (live.len() > 1 && rng.below(3) == 0).then(|| rng.below(live.len() as u64));
            amidst.drop = gone.map(|at| live.swap_remove(at as usize));
            Beside(amidst)
        }
        111 | 112 => Collect,
        113 => PutReader(rng.pick(live), rng.below(60) as u32, stream_len(rng)),
        114 => GiveUp(rng.pick(live), rng.below(60) as u32, stream_len(rng)),
        115 => FailingReader(rng.pick(live), rng.below(60) as u32, stream_len(rng)),
        _ => write(rng, live),
    }
}

fn stream_len(rng: &mut Rng) -> usize {
    rng.pick(&[10, 700, 5000, 14_000])
}

fn amidst(rng: &mut Rng, live: &[&'static str]) -> Amidst {
    Amidst {
        at: rng.below(40),
        items: items(rng, live),
        drop: None,
        no_links: rng.below(3) == 0,
    }
}

fn write(rng: &mut Rng, live: &[&'static str]) -> Step {
    let items = items(rng, live);
    Write(items, rng.below(6) == 0)
}

fn items(rng: &mut Rng, live: &[&'static str]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let len = match rng.below(12) {
            0..3 => None,
            3..7 => Some(rng.below(9) as usize),
            7..10 => Some(rng.below(700) as usize),
            10 => Some(rng.below(5000) as usize),
            _ => Some(rng.below(14_000) as usize),
        };
        items.push((rng.pick(live), rng.below(60) as u32, len));
    }
    items
}
