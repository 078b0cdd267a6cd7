//! `filter`: what a filter costs, and how often it says "maybe" of a key that is absent, measured.

use packstone::sst::{FilterPiece, Sst};
use serde_json::json;

use crate::Ctx;
use crate::args::FilterArgs;
use crate::draw::ratio;
use crate::entries;
use crate::out::Fail;
use crate::target::Targets;

pub(crate) fn run(ctx: &mut Ctx, args: &FilterArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, &args.files)?;
    for item in targets.ssts(ctx) {
        let Some(sst) = entries::open(ctx, &targets, &item) else {
            continue;
        };
        let path = item.path.display();
        let keys = sst.properties().key_count;
        let pieces = sst.filter_pieces();
        if pieces == 0 {
            ctx.out.line(format_args!("{path}: no filter; {keys} keys"))?;
            let object = json!({
                "file": path.to_string(), "keys": keys, "filter": false, "bytes": 0, "bits_per_key": 0.0,
                "probes": 0, "false_positives": 0, "rate": 1.0, "partitions": 0, "tables": [],
            });
            ctx.out.record("filter", object)?;
            continue;
        }
        // A random hash is that of a key of the file once in 2^64 / keys tries: never.
        let (mut hashes, mut bytes, mut hits) = (Hashes(0), 0, 0u64);
        let mut tables = Vec::new();
        for number in 0..pieces {
            let Some(piece) = piece(ctx, &sst, number) else {
                continue;
            };
            bytes += piece.stored_len();
            tables.extend(piece.tables());
            // Each piece gets its share of the probes, all of them together as many as were asked for.
            let before = |number: u32| args.probes * u64::from(number) / u64::from(pieces);
            let probes = before(number + 1) - before(number);
            hits += (0..probes).filter(|_| piece.may_contain(hashes.next())).count() as u64;
        }
        let bits = if keys == 0 {
            0.0
        } else {
            bytes as f64 * 8.0 / keys as f64
        };
        let rate = if args.probes == 0 {
            0.0
        } else {
            ratio(hits, args.probes)
        };
        ctx.out.line(format_args!(
            "{path}: {keys} keys, {bytes} bytes, {bits:.2} bits a key; {hits} of {} absent keys passed: {:.3} %",
            args.probes,
            rate * 100.0
        ))?;
        if sst.partitions() > 0 {
            ctx.out.line(format_args!("  {} partitions", sst.partitions()))?;
        }
        for table in &tables {
            let (slots, remainder) = (table.slots, table.remainder_bits);
            ctx.out.line(format_args!(
                "  table of {slots} slots, {remainder} remainder bits"
            ))?;
        }
        let tables: Vec<_> = tables
            .iter()
            .map(|table| json!({ "slots": table.slots, "remainder_bits": table.remainder_bits }))
            .collect();
        let object = json!({
            "file": path.to_string(), "keys": keys, "filter": true, "bytes": bytes, "bits_per_key": bits,
            "probes": args.probes, "false_positives": hits, "rate": rate, "partitions": sst.partitions(), "tables": tables,
        });
        ctx.out.record("filter", object)?;
    }
    Ok(())
}

/// A piece of the filter; none if a partition has none, or what is wrong with it has been reported.
pub(crate) fn piece(ctx: &mut Ctx, sst: &Sst, number: u32) -> Option<FilterPiece> {
    sst.filter_piece(number).unwrap_or_else(|error| {
        ctx.out.problem(&error);
        None
    })
}

/// Hashes as random as a key's, the same in every run (SplitMix64).
struct Hashes(u64);

impl Hashes {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
