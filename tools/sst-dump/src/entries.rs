//! Going through the entries of an SST: block by block, so that a damaged block costs its own entries and no others.

use std::ops::ControlFlow;
use std::sync::Arc;

use packstone::SeqNo;
use packstone::env::FileSystem;
use packstone::inspect::{self, SstBlock};
use packstone::sst::{Cursor, CursorOptions, ObjectRef, SortKeyBuffer, Sst, ValuePlace, ValueRef};

use crate::Ctx;
use crate::args::ScanArgs;
use crate::out::{Fail, hex};
use crate::target::{Item, Targets};

/// Which keys are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRange {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Option<Vec<u8>>,
    pub(crate) prefix: Vec<u8>,
    pub(crate) limit: Option<u64>,
}

impl KeyRange {
    pub(crate) fn from_args(args: &ScanArgs) -> Result<KeyRange, Fail> {
        let key = |given: &Option<String>| match given {
            Some(text) => parse_key(text, args.input_key_hex).map(Some),
            None => Ok(None),
        };
        let prefix = key(&args.prefix)?.unwrap_or_default();
        Ok(KeyRange {
            from: key(&args.from)?.unwrap_or_else(|| prefix.clone()),
            to: key(&args.to)?,
            prefix,
            limit: args.read_num,
        })
    }

    /// Whether it leaves nothing out.
    pub(crate) fn is_all(&self) -> bool {
        self.from.is_empty() && self.to.is_none() && self.limit.is_none()
    }

    pub(crate) fn is_behind(&self, key: &[u8]) -> bool {
        let past_prefix = !key.starts_with(&self.prefix) && key > &self.prefix[..];
        past_prefix || self.to.as_ref().is_some_and(|to| key >= &to[..])
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && key.starts_with(&self.prefix) && !self.is_behind(key)
    }
}

/// A key from the command line.
pub(crate) fn parse_key(text: &str, hex: bool) -> Result<Vec<u8>, Fail> {
    if !hex {
        return Ok(text.as_bytes().to_vec());
    }
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let key: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    key.ok_or_else(|| Fail::Usage(format!("{text:?} is not a key in hex: two digits a byte")))
}

/// What a range of keys is in an SST: in hash order its entries lie everywhere, unless it is a single key.
fn range_in(sst: &Sst, range: &KeyRange) -> KeyRange {
    let order = sst.order();
    if !order.is_hash() {
        return range.clone();
    }
    let only = range.to.as_ref().and_then(|to| to.strip_suffix(&[0]));
    if only != Some(&range.from[..]) {
        return KeyRange {
            limit: range.limit,
            ..KeyRange::default()
        };
    }
    let mut room = SortKeyBuffer::default();
    let from = order
        .sort_key(&range.from, order.hash(&range.from), &mut room)
        .to_vec();
    KeyRange {
        to: Some([&from[..], &[0]].concat()),
        from,
        limit: range.limit,
        ..KeyRange::default()
    }
}

/// An entry, while it is being shown.
pub(crate) struct Entry<'a> {
    /// The number of the key block that it is in.
    pub(crate) block: u32,
    pub(crate) key: &'a [u8],
    pub(crate) seq: SeqNo,
    pub(crate) place: ValuePlace,
    /// The value, of an object its reference; `None` for a tombstone, and where values were not wanted.
    pub(crate) value: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// What it holds, where values were wanted.
    pub(crate) fn content(&self) -> Content<'_> {
        match (self.place, self.value) {
            (ValuePlace::Object { .. }, Some(bytes)) => ObjectRef::from_bytes(bytes).into(),
            (_, value) => value.into(),
        }
    }
}

/// What an entry of an SST or an operation of a log holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Value(&'a [u8]),
    Object(ObjectRef),
    Nothing,
}

impl<'a> From<Option<&'a [u8]>> for Content<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        value.map_or(Content::Nothing, Content::Value)
    }
}

impl From<Option<ObjectRef>> for Content<'_> {
    fn from(object: Option<ObjectRef>) -> Self {
        object.map_or(Content::Nothing, Content::Object)
    }
}

impl Content<'_> {
    /// As in RocksDB, where 17 is a reference to a blob.
    pub(crate) fn type_number(&self) -> u8 {
        match self {
            Content::Value(_) => 1,
            Content::Object(_) => 17,
            Content::Nothing => 0,
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Content::Value(_) => "put",
            Content::Object(_) => "object",
            Content::Nothing => "delete",
        }
    }
}

/// A reference in words.
pub(crate) fn object_text(object: &ObjectRef) -> String {
    format!("object {} {}", hex(&object.id), object.len)
}

/// The length of an entry's value, known without reading it; of an object that of its reference.
pub(crate) fn value_len(place: ValuePlace) -> u64 {
    match place {
        ValuePlace::Inline { len, .. } => len.into(),
        ValuePlace::InKeyBlock { len, .. }
        | ValuePlace::Small { len, .. }
        | ValuePlace::Medium { len, .. } => len.into(),
        ValuePlace::Object { .. } => ObjectRef::LEN as u64,
        _ => 0,
    }
}

/// Opens the SST of an item; a failure is reported.
pub(crate) fn open(ctx: &mut Ctx, targets: &Targets, item: &Item) -> Option<Arc<Sst>> {
    let fs: &dyn FileSystem = &ctx.fs;
    match inspect::open_sst(fs, &item.path) {
        Ok(sst) => Some(sst),
        Err(error) => {
            targets.failed(ctx, item, &error);
            None
        }
    }
}

/// Hands the entries of `range` to `show`, in order, and returns how many there were. Damaged blocks are reported and
/// stepped over, as are values that can't be read.
pub(crate) fn each(
    ctx: &mut Ctx,
    sst: &Arc<Sst>,
    range: &KeyRange,
    values: bool,
    show: &mut dyn FnMut(&mut Ctx, &Entry<'_>) -> Result<(), Fail>,
) -> Result<u64, Fail> {
    let (order, keys) = (sst.order(), range);
    let range = &range_in(sst, keys);
    let mut blocks = Vec::new();
    let wanted = sst.separators(&mut |separator, block| {
        // In hash order a separator is the hash only.
        let from = range.from.get(..separator.len()).filter(|_| order.is_hash());
        if separator >= from.unwrap_or(&range.from) {
            blocks.push(block);
        }
        match range.is_behind(separator) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    if let Err(error) = wanted {
        ctx.out.problem(&error);
    }
    // The cursor keeps the value block that it read last: neighbours cost one read together.
    let options = CursorOptions {
        fill_cache: false,
        ..CursorOptions::default()
    };
    let cursor = sst.cursor(options);
    let (mut shown, mut value, mut failed) = (0, Vec::new(), None);
    for number in blocks {
        let block = match SstBlock::read(sst, number) {
            Ok(block) => block,
            Err(error) => {
                ctx.out.problem(&error);
                continue;
            }
        };
        let mut done = false;
        let walked = block.entries(sst, &mut |key, seq, place| {
            done = range.is_behind(key) || range.limit.is_some_and(|limit| shown >= limit);
            if done {
                return ControlFlow::Break(());
            }
            if !range.contains(key) || !keys.contains(order.key_of(key)) {
                return ControlFlow::Continue(());
            }
            let key = order.key_of(key);
            let is_put = place != ValuePlace::Tombstone;
            if values
                && is_put
                && let Err(error) = cursor.load_into(ValueRef::new(place), &mut value)
            {
                ctx.out.problem(&error);
                value.clear();
            }
            shown += 1;
            let value = (values && is_put).then_some(&value[..]);
            let entry = Entry {
                block: number,
                key,
                seq,
                place,
                value,
            };
            match show(ctx, &entry) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Err(error) = walked {
            ctx.out.problem(&error);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if done {
            break;
        }
    }
    Ok(shown)
}
