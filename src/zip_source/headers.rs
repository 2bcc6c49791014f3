//! The two headers of an entry (APPNOTE 4.3.7 and 4.3.12).

use std::io::{self, Read, Seek, SeekFrom};

use chrono::NaiveDate;

/// Signature of a header in the directory.
pub(super) const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";

/// General purpose flags (APPNOTE 4.4.4).
const FLAG_ENCRYPTED: u16 = 1;
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_STRONG_ENCRYPTION: u16 = 1 << 6;

/// Extra fields (APPNOTE 4.5.2, 4.6.9): zip64, Info-ZIP's Unicode path and timestamp, WinZip's AES.
const ZIP64: u16 = 1;
const UNICODE_PATH: u16 = 0x7075;
const TIMESTAMP: u16 = 0x5455;
const AES: u16 = 0x9901;

/// 1980-01-01: the earliest a zip can say, and what it is taken to say when it says nonsense.
const EPOCH_1980: u64 = 315_532_800;

/// What both headers must agree on, and the name, on which they need not.
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

    /// Whether the two lead to the same reading of the data.
    pub(super) fn differs_from(&self, other: &Self) -> Option<&'static str> {
        if self.method != other.method {
            Some("method")
        } else if self.is_encrypted() != other.is_encrypted() {
            Some("encryption")
        } else {
            None
        }
    }
}

/// WinZip's AES (https://www.winzip.com/en/support/aes-encryption/).
#[derive(Debug, Clone, Copy)]
pub(super) struct AesField {
    /// 1 or 2; AE-2 leaves the CRC-32 out.
    pub version: u16,
    /// 1 to 3: 128, 192 or 256 bits.
    pub strength: u8,
    /// The method of what is encrypted.
    pub method: u16,
}

/// An entry in the directory.
#[derive(Debug)]
pub(super) struct CentralHeader {
    pub identity: Identity,
    /// As it was before an Info-ZIP Unicode path, if there is one, took its place.
    pub raw_name: Vec<u8>,
    pub compressed_size: u64,
    pub size: u64,
    pub crc32: u32,
    /// Where the local header is, as counted by who wrote it.
    pub offset: u64,
    /// The sizes are exact; without zip64 they are those modulo 2^32.
    pub has_long_sizes: bool,
    /// MS-DOS time and date.
    pub dos: (u16, u16),
    /// Modification time in seconds since 1970.
    pub mtime_unix: u64,
    pub aes: Option<AesField>,
    pub is_link: bool,
    /// Where the next header begins.
    pub end: u64,
}

/// The header before the entry's data.
pub(super) struct LocalHeader {
    pub identity: Identity,
    /// Where the data begins, from the start of the zip.
    pub data_start: u64,
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The header at `at`; `None` if there is no header.
pub(super) fn read_central(reader: &mut (impl Read + Seek), at: u64) -> io::Result<Option<CentralHeader>> {
    let mut fixed = [0; 46];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut fixed)?;
    if !fixed.starts_with(CENTRAL) {
        return Ok(None);
    }
    let mut raw_name = vec![0; usize::from(u16_at(&fixed, 28))];
    let mut extra = vec![0; usize::from(u16_at(&fixed, 30))];
    reader.read_exact(&mut raw_name)?;
    reader.read_exact(&mut extra)?;
    let variable = raw_name.len() + extra.len() + usize::from(u16_at(&fixed, 32));

    let (mut size, mut compressed_size, mut offset) =
        (u64::from(u32_at(&fixed, 24)), u64::from(u32_at(&fixed, 20)), u64::from(u32_at(&fixed, 42)));
    let zip64 = field(&extra, ZIP64);
    let mut long = zip64.unwrap_or_default().chunks_exact(8).map(|bytes| u64_at(bytes, 0));
    // Those that did not fit, in this order (APPNOTE 4.5.3).
    for value in [&mut size, &mut compressed_size, &mut offset] {
        if *value == u64::from(u32::MAX)
            && let Some(long) = long.next()
        {
            *value = long;
        }
    }
    let name = field(&extra, UNICODE_PATH)
        .filter(|body| body.len() > 5 && body[0] == 1 && u32_at(body, 1) == crc32fast::hash(&raw_name))
        .map_or_else(|| raw_name.clone(), |body| body[5..].to_vec());
    let dos = (u16_at(&fixed, 12), u16_at(&fixed, 14));
    let aes = field(&extra, AES).filter(|body| body.len() >= 7).map(|body| AesField {
        version: u16_at(body, 0),
        strength: body[4],
        method: u16_at(body, 5),
    });
    // Made by Unix (3) or macOS (19): then the mode is in the upper half of the attributes.
    let mode = if [3, 19].contains(&fixed[5]) { u32_at(&fixed, 38) >> 16 } else { 0 };
    Ok(Some(CentralHeader {
        identity: Identity { name, method: u16_at(&fixed, 10), flags: u16_at(&fixed, 8) },
        raw_name,
        compressed_size,
        size,
        crc32: u32_at(&fixed, 16),
        offset,
        has_long_sizes: zip64.is_some(),
        dos,
        mtime_unix: extended_timestamp(&extra).or_else(|| dos_time(dos.1, dos.0)).unwrap_or(EPOCH_1980),
        aes,
        is_link: mode & 0o170_000 == 0o120_000,
        end: at + 46 + variable as u64,
    }))
}

/// The header at `at`; `None` if there is no header, or the file ends there.
pub(super) fn read_local(reader: &mut (impl Read + Seek), at: u64) -> io::Result<Option<LocalHeader>> {
    let mut fixed = [0; 30];
    reader.seek(SeekFrom::Start(at))?;
    match reader.read_exact(&mut fixed) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if !fixed.starts_with(LOCAL) {
        return Ok(None);
    }
    let mut name = vec![0; usize::from(u16_at(&fixed, 26))];
    match reader.read_exact(&mut name) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let data_start = at + 30 + name.len() as u64 + u64::from(u16_at(&fixed, 28));
    let identity = Identity { name, method: u16_at(&fixed, 8), flags: u16_at(&fixed, 6) };
    Ok(Some(LocalHeader { identity, data_start }))
}

/// A local header that says no more than a decoder has to know, with every length in zip64. `method` is that of the data behind it.
pub(super) fn plain_local(central: &CentralHeader, method: u16) -> Vec<u8> {
    let mut extra = Vec::new();
    for field in [ZIP64, 16] {
        extra.extend(field.to_le_bytes());
    }
    for length in [central.size, central.compressed_size] {
        extra.extend(length.to_le_bytes());
    }
    let outer = match central.aes {
        None => method,
        Some(aes) => {
            for field in [AES, 7, aes.version, u16::from_le_bytes(*b"AE")] {
                extra.extend(field.to_le_bytes());
            }
            extra.push(aes.strength);
            extra.extend(method.to_le_bytes());
            99
        }
    };
    let mut header = LOCAL.to_vec();
    // The old encryption checks a password by the time where there is a descriptor.
    let flags = central.identity.flags & (FLAG_ENCRYPTED | FLAG_DESCRIPTOR);
    for field in [51, flags, outer, central.dos.0, central.dos.1] {
        header.extend(field.to_le_bytes());
    }
    for field in [central.crc32, u32::MAX, u32::MAX] {
        header.extend(field.to_le_bytes());
    }
    for length in [1, extra.len() as u16] {
        header.extend(length.to_le_bytes());
    }
    header.push(b'x');
    header.extend(extra);
    header
}

/// The body of an extra field.
fn field(extra: &[u8], wanted: u16) -> Option<&[u8]> {
    fields(extra).find(|(id, _)| *id == wanted).map(|(_, body)| body)
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
    let body = field(extra, TIMESTAMP)?;
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
