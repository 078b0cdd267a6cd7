//! `histogram`: how long keys and values are, what kinds of entries there are, and what compression saves, by kind of
//! block; for all SSTs together. No value is read.

use packstone::sst::{BlockTotals, ValuePlace};
use serde_json::{Value, json};

use crate::Ctx;
use crate::args::FileArgs;
use crate::draw::{bar, ratio};
use crate::entries::{self, KeyRange};
use crate::out::Fail;
use crate::target::Targets;

/// Counts by powers of two: bucket 0 holds zeros, bucket i holds 2^(i-1) to 2^i - 1.
struct Sizes {
    buckets: [u64; 65],
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Sizes {
    fn new() -> Self {
        Sizes {
            buckets: [0; 65],
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }

    fn add(&mut self, size: u64) {
        let bucket = (u64::BITS - size.leading_zeros()) as usize;
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum += size;
        self.min = self.min.min(size);
        self.max = self.max.max(size);
    }

    /// The bounds of the buckets between the first and the last that is not empty, and their counts.
    fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let first = self.buckets.iter().position(|count| *count > 0).unwrap_or(65);
        let last = self.buckets.iter().rposition(|count| *count > 0).unwrap_or(0);
        (first..=last).filter_map(|i| {
            let low = if i == 0 { 0 } else { 1 << (i - 1) };
            let high = if i == 0 { 0 } else { (low - 1) * 2 + 1 };
            self.buckets.get(i).map(|count| (low, high, *count))
        })
    }

    fn print(&self, ctx: &mut Ctx, title: &str) -> Result<(), Fail> {
        let mean = if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        };
        let min = if self.count == 0 { 0 } else { self.min };
        ctx.out.line(format_args!(
            "{title}: {} of them, {min} to {} bytes, {mean:.2} on average",
            self.count, self.max
        ))?;
        for (low, high, count) in self.rows() {
            let share = ratio(count * 100, self.count);
            let drawn = bar(count, self.count, 40);
            ctx.out.line(format_args!(
                "  [{low:>9}, {high:>9}] {count:>10} {share:>7.3}% {drawn}"
            ))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows()
            .map(|(low, high, count)| json!({ "from": low, "to": high, "count": count }))
            .collect();
        json!({
            "count": self.count, "sum": self.sum, "min": if self.count == 0 { 0 } else { self.min }, "max": self.max,
            "buckets": rows,
        })
    }
}

#[derive(Default)]
struct Kinds {
    inline: u64,
    small: u64,
    medium: u64,
    objects: u64,
    tombstones: u64,
}

pub(crate) fn run(ctx: &mut Ctx, args: &FileArgs) -> Result<(), Fail> {
    let targets = Targets::find(ctx, args)?;
    let items = targets.ssts(ctx);
    ctx.fs.expect(items.iter().map(|item| item.size / 4).sum());
    let (mut keys, mut values, mut kinds) = (Sizes::new(), Sizes::new(), Kinds::default());
    let mut blocks = [BlockTotals::default(); 3];
    let mut files = 0u64;
    for item in items {
        let Some(sst) = entries::open(ctx, &targets, &item) else {
            continue;
        };
        files += 1;
        let p = sst.properties();
        for (total, file) in blocks
            .iter_mut()
            .zip([&p.key_blocks, &p.value_blocks, &p.medium_blocks])
        {
            total.count += file.count;
            total.stored_bytes += file.stored_bytes;
            total.uncompressed_bytes += file.uncompressed_bytes;
        }
        entries::each(ctx, &sst, &KeyRange::default(), false, &mut |_, entry| {
            keys.add(entry.key.len() as u64);
            match entry.place {
                ValuePlace::Tombstone => {
                    kinds.tombstones += 1;
                    return Ok(());
                }
                ValuePlace::Inline { .. } | ValuePlace::InKeyBlock { .. } => kinds.inline += 1,
                ValuePlace::Small { .. } => kinds.small += 1,
                ValuePlace::Object { .. } => kinds.objects += 1,
                _ => kinds.medium += 1,
            }
            values.add(entries::value_len(entry.place));
            Ok(())
        })?;
    }
    print(ctx, files, &keys, &values, &kinds, &blocks)
}

fn print(
    ctx: &mut Ctx,
    files: u64,
    keys: &Sizes,
    values: &Sizes,
    kinds: &Kinds,
    blocks: &[BlockTotals; 3],
) -> Result<(), Fail> {
    ctx.out.line(format_args!("{files} SSTs"))?;
    keys.print(ctx, "keys")?;
    values.print(ctx, "values")?;
    ctx.out.line(format_args!("entries: {} of them", keys.count))?;
    let named = [
        ("inline values", kinds.inline),
        ("small values", kinds.small),
        ("medium values", kinds.medium),
        ("objects", kinds.objects),
        ("tombstones", kinds.tombstones),
    ];
    for (name, count) in named {
        let share = if keys.count == 0 {
            0.0
        } else {
            ratio(count * 100, keys.count)
        };
        let drawn = bar(count, keys.count, 40);
        ctx.out
            .line(format_args!("  {name:<22} {count:>10} {share:>7.3}% {drawn}"))?;
    }
    ctx.out.line(format_args!("compression by kind of block"))?;
    let mut by_kind = Vec::new();
    for (name, total) in ["key blocks", "value blocks", "medium values"]
        .into_iter()
        .zip(blocks)
    {
        let share = ratio(total.stored_bytes, total.uncompressed_bytes);
        ctx.out.line(format_args!(
            "  {name:<22} {:>10} blocks {:>12} bytes stored {:>12} uncompressed {share:>7.3}",
            total.count, total.stored_bytes, total.uncompressed_bytes
        ))?;
        by_kind.push(json!({
            "kind": name, "blocks": total.count, "stored": total.stored_bytes,
            "uncompressed": total.uncompressed_bytes, "ratio": share,
        }));
    }
    let object = json!({
        "files": files, "keys": keys.json(), "values": values.json(), "inline_values": kinds.inline,
        "small_values": kinds.small, "medium_values": kinds.medium, "objects": kinds.objects, "tombstones": kinds.tombstones,
        "blocks": by_kind,
    });
    Ok(ctx.out.record("histogram", object)?)
}
