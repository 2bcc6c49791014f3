//! The two headers of an entry (APPNOTE 4.3.7 and 4.3.12), as far as the crate `zip` does not show them: raw names, to be compared,
//! and the time, to be read without a time zone.

use std::io::{self, Read, Seek, SeekFrom};

use chrono::NaiveDate;

/// General purpose flags (APPNOTE 4.4.4).
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_STRONG_ENCRYPTION: u16 = 1 << 6;

/// 1980-01-01: the earliest a zip can say, and what it is taken to say when it says nonsense.
const EPOCH_1980: u64 = 315_532_800;

/// What both headers must agree on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub name: Vec<u8>,
    pub method: u16,
    pub flags: u16,
}

impl Identity {
    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPTED != 0
    }

    pub(super) fn is_strongly_encrypted(&self) -> bool {
        self.flags & FLAG_STRONG_ENCRYPTION != 0
    }
}

/// An entry in the directory.
pub(super) struct CentralHeader {
    pub identity: Identity,
    /// Modification time in seconds since 1970.
    pub mtime_unix: u64,
    /// The entry is encrypted as AE-2, which leaves the CRC out.
    pub is_ae2: bool,
}

/// The header before the entry's data.
pub(super) struct LocalHeader {
    pub identity: Identity,
    /// Where the data begins, from the start of the zip.
    pub data_start: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn wrong_signature() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header where there should be one")
}

pub(super) fn read_central(reader: &mut (impl Read + Seek), at: u64) -> io::Result<CentralHeader> {
    let mut fixed = [0; 46];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut fixed)?;
    if !fixed.starts_with(b"PK\x01\x02") {
        return Err(wrong_signature());
    }
    let mut name = vec![0; usize::from(u16_at(&fixed, 28))];
    let mut extra = vec![0; usize::from(u16_at(&fixed, 30))];
    reader.read_exact(&mut name)?;
    reader.read_exact(&mut extra)?;
    let identity = Identity { name, method: u16_at(&fixed, 10), flags: u16_at(&fixed, 8) };
    let mtime_unix =
        extended_timestamp(&extra).or_else(|| dos_time(u16_at(&fixed, 14), u16_at(&fixed, 12))).unwrap_or(EPOCH_1980);
    // AES extra field: vendor version 2 is AE-2 (https://www.winzip.com/en/support/aes-encryption/).
    let is_ae2 = fields(&extra).any(|(id, body)| id == 0x9901 && body.starts_with(&[2, 0]));
    Ok(CentralHeader { identity, mtime_unix, is_ae2 })
}

pub(super) fn read_local(reader: &mut (impl Read + Seek), at: u64) -> io::Result<LocalHeader> {
    let mut fixed = [0; 30];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut fixed)?;
    if !fixed.starts_with(b"PK\x03\x04") {
        return Err(wrong_signature());
    }
    let mut name = vec![0; usize::from(u16_at(&fixed, 26))];
    reader.read_exact(&mut name)?;
    let data_start =
        at.checked_add(30 + name.len() as u64 + u64::from(u16_at(&fixed, 28))).ok_or_else(wrong_signature)?;
    let identity = Identity { name, method: u16_at(&fixed, 8), flags: u16_at(&fixed, 6) };
    Ok(LocalHeader { identity, data_start })
}

/// The extra fields (APPNOTE 4.5), up to the first that does not fit.
fn fields(mut extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = extra.split_at_checked(4)?;
        let (body, rest) = rest.split_at_checked(usize::from(u16_at(header, 2)))?;
        extra = rest;
        Some((u16_at(header, 0), body))
    })
}

/// Info-ZIP's timestamp (`UT`): real seconds since 1970, in UTC. Times before 1970 are not believed.
fn extended_timestamp(extra: &[u8]) -> Option<u64> {
    let (_, body) = fields(extra).find(|(id, _)| *id == 0x5455)?;
    let (flags, seconds) = (body.first()?, body.get(1..5)?);
    if flags & 1 == 0 {
        return None;
    }
    u64::try_from(i32::from_le_bytes(seconds.try_into().ok()?)).ok()
}

/// MS-DOS date and time are local to whoever wrote them; which place that was, the zip does not say. They are taken as UTC: wrong by some
/// hours at most, but the same on every machine.
fn dos_time(date: u16, time: u16) -> Option<u64> {
    let (date, time) = (u32::from(date), u32::from(time));
    let day = NaiveDate::from_ymd_opt(1980 + (date >> 9) as i32, date >> 5 & 15, date & 31)?;
    let moment = day.and_hms_opt(time >> 11, time >> 5 & 63, (time & 31) * 2)?;
    u64::try_from(moment.and_utc().timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dos(y: u16, m: u16, d: u16, h: u16, min: u16, s: u16) -> Option<u64> {
        dos_time(((y - 1980) << 9) | (m << 5) | d, (h << 11) | (min << 5) | (s / 2))
    }

    #[test]
    fn a_dos_time_is_taken_as_utc() {
        assert_eq!(dos(1980, 1, 1, 0, 0, 0), Some(EPOCH_1980));
        assert_eq!(dos(2026, 8, 23, 4, 30, 58), Some(1_787_459_458));
    }

    #[test]
    fn a_dos_time_that_no_calendar_knows_is_refused() {
        assert_eq!(dos(1980, 0, 0, 0, 0, 0), None);
        assert_eq!(dos(2026, 2, 30, 0, 0, 0), None);
        assert_eq!(dos(2026, 2, 3, 24, 0, 0), None);
        assert_eq!(dos(2026, 2, 3, 23, 59, 60), None);
    }

    #[test]
    fn the_extended_timestamp_needs_its_flag_its_length_and_a_time_after_1970() {
        let field = |flags: u8, body: &[u8]| {
            let mut extra = vec![0x99, 0x99, 1, 0, 7];
            extra.extend([0x55, 0x54, 1 + body.len() as u8, 0, flags]);
            extra.extend(body);
            extra
        };
        let seconds = 1_787_459_459i32.to_le_bytes();
        assert_eq!(extended_timestamp(&field(1, &seconds)), Some(1_787_459_459));
        assert_eq!(extended_timestamp(&field(3, &seconds)), Some(1_787_459_459));
        assert_eq!(extended_timestamp(&field(2, &seconds)), None);
        assert_eq!(extended_timestamp(&field(1, &seconds[..3])), None);
        assert_eq!(extended_timestamp(&field(1, &(-1i32).to_le_bytes())), None);
        assert_eq!(extended_timestamp(&[0x55, 0x54, 200]), None);
    }
}
