//! A journal entry's texts as they lie in the table: packed, most of them as what differs from an earlier entry of the
//! fleet. Measured with made-up lines of ten instances: 3.1 KB plain, 1.4 KB packed alone, 0.5 KB packed on a base, of
//! which 0.3 KB are memory made of noise; with a hundred instances 14.7, 4.9 and 0.5 KB.

use crate::store::{JournalEntry, StoreError};
use lz4_flex::block::{compress, compress_with_dict, decompress, decompress_with_dict};

/// The first byte says how the rest is packed.
const ALONE: u8 = 1;
const ON_BASE: u8 = 2;
/// SQLite holds no more in one value, so a larger length is damage; believing it could take all memory.
const LARGEST: usize = 1_000_000_000;

/// A packed body.
pub(super) struct Packed {
    pub bytes: Vec<u8>,
    /// It can be read only with the base it was packed on.
    pub on_base: bool,
}

/// What an entry keeps beside the table's columns.
#[derive(serde::Deserialize)]
pub(super) struct Body {
    pub facts: String,
    pub memory_before: Vec<u8>,
    pub decision: String,
}

/// An entry's texts as plain bytes.
pub(super) fn plain(entry: &JournalEntry) -> Result<Vec<u8>, StoreError> {
    let parts = (&entry.facts, &entry.memory_before, &entry.decision);
    postcard::to_stdvec(&parts).map_err(|error| StoreError::Failed(error.to_string()))
}

/// Packs plain bytes, on a base (its packed length and its plain bytes) while that saves at least half.
pub(super) fn pack(plain: &[u8], base: Option<(usize, &[u8])>) -> Packed {
    if let Some((length, base)) = base {
        let packed = compress_with_dict(plain, base);
        if packed.len() * 2 <= length {
            return Packed { bytes: framed(ON_BASE, plain.len(), &packed), on_base: true };
        }
    }
    Packed { bytes: framed(ALONE, plain.len(), &compress(plain)), on_base: false }
}

fn framed(form: u8, length: usize, packed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![form];
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(packed);
    bytes
}

/// Undoes [`pack`].
pub(super) fn unpack(bytes: &[u8], base: Option<&[u8]>) -> Result<Vec<u8>, StoreError> {
    let wrong = |what: &str| StoreError::Corrupt(format!("a journal entry cannot be read: {what}"));
    let (form, rest) = bytes.split_first().ok_or_else(|| wrong("no bytes"))?;
    let (length, packed) = rest.split_first_chunk::<4>().ok_or_else(|| wrong("no length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LARGEST {
        return Err(wrong("an impossible length"));
    }
    let plain = match (*form, base) {
        (ALONE, None) => decompress(packed, length),
        (ON_BASE, Some(base)) => decompress_with_dict(packed, length, base),
        _ => return Err(wrong("an unknown form")),
    };
    plain.map_err(|error| wrong(&error.to_string()))
}

/// Undoes [`plain`].
pub(super) fn parse(plain: &[u8]) -> Result<Body, StoreError> {
    postcard::from_bytes(plain).map_err(|error| StoreError::Corrupt(format!("a journal entry cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Timestamp;

    fn sample(instances: u32, round: u32) -> Vec<u8> {
        plain(&crate::store::sample::entry(1, instances, round, Timestamp::from_secs(1_700_000_000))).expect("plain")
    }

    #[test]
    fn what_was_packed_comes_back() {
        let check = |first: &[u8], second: &[u8], on_base: bool| {
            let alone = pack(first, None);
            assert!(!alone.on_base);
            assert_eq!(unpack(&alone.bytes, None).expect("unpacks"), first);
            let packed = pack(second, Some((alone.bytes.len(), first)));
            assert_eq!(packed.on_base, on_base);
            assert_eq!(unpack(&packed.bytes, packed.on_base.then_some(first)).expect("unpacks"), second);
        };
        check(&sample(10, 1), &sample(10, 2), true);
        check(&sample(100, 1), &sample(101, 2), true);
        check(&sample(3, 1), &[], true);
        check(&[], &sample(3, 1), false);
        check(&[], &[], true);
        // Beyond LZ4's window of 64 KiB a base does not help, and must not hurt.
        check(&sample(2_000, 1), &sample(2_000, 2), false);
    }

    #[test]
    fn a_base_makes_entries_small() {
        let (first, second) = (sample(10, 1), sample(10, 2));
        let alone = pack(&first, None).bytes.len();
        let on_base = pack(&second, Some((alone, &first))).bytes.len();
        assert!(alone * 2 < first.len() && on_base * 5 < second.len(), "{} {alone} {on_base}", first.len());
    }

    #[test]
    fn damage_is_an_error() {
        let whole = pack(&sample(3, 1), None).bytes;
        let on_base = pack(&sample(3, 2), Some((whole.len(), &sample(3, 1)))).bytes;
        for cut in 0..whole.len() {
            assert!(unpack(&whole[..cut], None).and_then(|plain| parse(&plain).map(drop)).is_err(), "cut at {cut}");
        }
        for at in 0..on_base.len() {
            let mut damaged = on_base.clone();
            damaged[at] ^= 0x81;
            // It may still unpack to something; it may not panic or take all memory.
            let _ = unpack(&damaged, Some(&sample(3, 1))).and_then(|plain| parse(&plain).map(drop));
        }
        assert!(unpack(&[ALONE, 255, 255, 255, 255, 0], None).is_err(), "a length that cannot be");
        assert!(unpack(&on_base, None).is_err(), "without its base");
        assert!(unpack(&[7, 0, 0, 0, 0], None).is_err(), "a form of the future");
    }
}
