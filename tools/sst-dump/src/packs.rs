//! Going through the objects of a pack: by name where objects have names, by id otherwise.

use std::io::{self, Write};

use packstone::inspect;
use packstone::pack::{Archive, ArchiveEntry, ObjectId, ObjectReader, PackEntry};

use crate::Ctx;
use crate::args::ScanArgs;
use crate::entries::KeyRange;
use crate::out::Fail;
use crate::target::{Item, Role, Targets};

/// Bytes of an object that are held at a time.
const BUFFER: usize = 256 << 10;

/// A row of an index.
pub(crate) struct Row {
    pub(crate) entry: PackEntry,
    /// Its name and meta data, in an archive.
    pub(crate) named: Option<ArchiveEntry>,
}

impl Row {
    pub(crate) fn open(&self, archive: &Archive) -> packstone::Result<Option<ObjectReader>> {
        match &self.named {
            Some(named) => archive.open_entry(named).map(Some),
            None => archive.pack().open_object(&self.entry.id),
        }
    }
}

/// Opens the pack of an item; a failure is reported. A pack is an archive that has no names.
pub(crate) fn open(ctx: &mut Ctx, targets: &Targets, item: &Item) -> Option<Archive> {
    if matches!(&item.role, Role::Pack(pack) if !pack.sealed) {
        let path = item.path.display();
        ctx.out.warn(&format!(
            "{path} has no index yet: it is not sealed; `verify` reads its objects"
        ));
        return None;
    }
    match inspect::open_pack(&ctx.fs, &item.path) {
        Ok(pack) => Some(Archive::from(pack)),
        Err(error) => {
            targets.failed(ctx, item, &error);
            None
        }
    }
}

/// Which rows are wanted: keys are names in an archive, and ids in hex in a pack.
pub(crate) fn range_of(archive: &Archive, args: &ScanArgs) -> Result<KeyRange, Fail> {
    if !archive.is_empty() {
        return KeyRange::from_args(args);
    }
    let digits = |given: &Option<String>| match given {
        None => Ok(None),
        Some(text) => {
            let digits = text.strip_prefix("0x").unwrap_or(text).to_ascii_lowercase();
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            match is_hex && digits.len() <= 32 {
                true => Ok(Some(digits.into_bytes())),
                false => Err(Fail::Usage(format!(
                    "{text:?} is not the begin of an id: at most 32 hexadecimal digits"
                ))),
            }
        }
    };
    let prefix = digits(&args.prefix)?.unwrap_or_default();
    Ok(KeyRange {
        from: digits(&args.from)?.unwrap_or_else(|| prefix.clone()),
        to: digits(&args.to)?,
        prefix,
        limit: args.read_num,
    })
}

/// The least id whose digits begin so.
fn first_id(digits: &[u8]) -> ObjectId {
    let mut text = [b'0'; 32];
    text.iter_mut().zip(digits).for_each(|(to, from)| *to = *from);
    let text = String::from_utf8_lossy(&text);
    text.parse().unwrap_or_default()
}

/// Hands the rows of `range` to `show`, in order, and returns how many there were. Damage of an index is reported and ends it.
pub(crate) fn each(
    ctx: &mut Ctx,
    archive: &Archive,
    range: &KeyRange,
    show: &mut dyn FnMut(&mut Ctx, &Row) -> Result<(), Fail>,
) -> Result<u64, Fail> {
    let named = archive.entries_from(&range.from).map(|named| {
        named.map(|named| Row {
            entry: named.object(),
            named: Some(named),
        })
    });
    let by_id = archive.pack().entries(&first_id(&range.from));
    let by_id = by_id.map(|entry| entry.map(|entry| Row { entry, named: None }));
    let mut rows: Box<dyn Iterator<Item = packstone::Result<Row>> + '_> = match archive.is_empty() {
        true => Box::new(by_id),
        false => Box::new(named),
    };
    let mut shown = 0;
    while range.limit.is_none_or(|limit| shown < limit) {
        let row = match rows.next() {
            None => break,
            Some(Ok(row)) => row,
            Some(Err(error)) => {
                ctx.out.problem(&error);
                break;
            }
        };
        let key = match &row.named {
            Some(named) => named.name.to_vec(),
            None => row.entry.id.to_string().into_bytes(),
        };
        if range.is_behind(&key) {
            break;
        }
        if range.contains(&key) {
            shown += 1;
            show(ctx, &row)?;
        }
    }
    Ok(shown)
}

/// What went wrong with a copy: one end or the other.
pub(crate) enum CopyError {
    Read(packstone::Error),
    Write(io::Error),
}

/// Writes an object to `out`; returns its length.
pub(crate) fn copy(object: &mut ObjectReader, out: &mut dyn Write) -> Result<u64, CopyError> {
    let mut buffer = vec![0; BUFFER];
    let mut len = 0;
    loop {
        match object.read_some(&mut buffer).map_err(CopyError::Read)? {
            0 => return Ok(len),
            n => {
                out.write_all(&buffer[..n]).map_err(CopyError::Write)?;
                len += n as u64;
            }
        }
    }
}
