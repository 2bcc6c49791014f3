//! Zips by hand, for tests: what no honest program writes cannot be had from one.

use std::io::Write;

/// One entry with every field free.
#[derive(Clone)]
pub(super) struct TestEntry {
    pub name: Vec<u8>,
    /// Name in the entry's own header, if it differs.
    pub local_name: Option<Vec<u8>>,
    pub local_method: Option<u16>,
    pub method: u16,
    pub flags: u16,
    pub dos: (u16, u16),
    pub crc32: u32,
    pub size: u64,
    /// As declared; what is written is all of `data`.
    pub compressed_size: u64,
    pub data: Vec<u8>,
    pub extra: Vec<u8>,
    pub external_attributes: u32,
    pub zip64: bool,
}

impl TestEntry {
    pub fn deflated(name: &str, content: &[u8]) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(content).unwrap();
        let mut entry = Self::stored(name, content);
        entry.method = 8;
        entry.with_data(encoder.finish().unwrap())
    }

    pub fn stored(name: &str, content: &[u8]) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            local_name: None,
            local_method: None,
            method: 0,
            flags: 0,
            // 2026-08-23 04:30:58
            dos: (46 << 9 | 8 << 5 | 23, 4 << 11 | 30 << 5 | 29),
            crc32: crc32fast::hash(content),
            size: content.len() as u64,
            compressed_size: content.len() as u64,
            data: content.to_vec(),
            extra: Vec::new(),
            external_attributes: 0,
            zip64: false,
        }
    }

    pub fn with_data(mut self, data: Vec<u8>) -> Self {
        self.compressed_size = data.len() as u64;
        self.data = data;
        self
    }

    /// Version, flags, method, time, date, CRC, sizes, name length, extra length: the part that both headers share.
    fn common(&self, name: &[u8], method: u16, extra_len: usize, sizes: (u32, u32), crc32: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for field in [45, self.flags, method, self.dos.1, self.dos.0] {
            out.extend(field.to_le_bytes());
        }
        for field in [crc32, sizes.0, sizes.1] {
            out.extend(field.to_le_bytes());
        }
        out.extend((name.len() as u16).to_le_bytes());
        out.extend((extra_len as u16).to_le_bytes());
        out
    }

    fn sizes(&self) -> (u32, u32) {
        if self.zip64 { (u32::MAX, u32::MAX) } else { (self.compressed_size as u32, self.size as u32) }
    }

    fn all_extra(&self) -> Vec<u8> {
        let mut extra = self.extra.clone();
        if self.zip64 {
            extra.extend([1, 0, 16, 0]);
            extra.extend(self.size.to_le_bytes());
            extra.extend(self.compressed_size.to_le_bytes());
        }
        extra
    }

    fn has_descriptor(&self) -> bool {
        self.flags & 8 != 0
    }

    fn write_local(&self, out: &mut Vec<u8>) {
        let name = self.local_name.as_ref().unwrap_or(&self.name);
        let extra = self.all_extra();
        let (sizes, crc32) = if self.has_descriptor() { ((0, 0), 0) } else { (self.sizes(), self.crc32) };
        out.extend(b"PK\x03\x04");
        out.extend(self.common(name, self.local_method.unwrap_or(self.method), extra.len(), sizes, crc32));
        out.extend(name);
        out.extend(extra);
        out.extend(&self.data);
        if self.has_descriptor() {
            out.extend(b"PK\x07\x08");
            for field in [self.crc32, self.compressed_size as u32, self.size as u32] {
                out.extend(field.to_le_bytes());
            }
        }
    }

    fn write_central(&self, out: &mut Vec<u8>, offset: u64) {
        let extra = self.all_extra();
        // Made by Unix, so that the mode in the attributes counts.
        out.extend(b"PK\x01\x02\x2d\x03");
        out.extend(self.common(&self.name, self.method, extra.len(), self.sizes(), self.crc32));
        // Comment length, disk, internal attributes.
        out.extend([0; 6]);
        out.extend(self.external_attributes.to_le_bytes());
        out.extend((offset as u32).to_le_bytes());
        out.extend(&self.name);
        out.extend(extra);
    }
}

/// A zip of these entries.
pub(super) fn zip_of(entries: &[TestEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for entry in entries {
        entry.write_central(&mut central, out.len() as u64);
        entry.write_local(&mut out);
    }
    let (start, count) = (out.len() as u64, entries.len() as u64);
    out.extend(&central);
    let is_zip64 = entries.iter().any(|entry| entry.zip64);
    if is_zip64 {
        let at = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend(44u64.to_le_bytes());
        out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for field in [count, count, central.len() as u64, start] {
            out.extend(field.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(at.to_le_bytes());
        out.extend(1u32.to_le_bytes());
    }
    out.extend(b"PK\x05\x06\0\0\0\0");
    let short = |n: u64| if is_zip64 { u16::MAX } else { n as u16 };
    out.extend(short(count).to_le_bytes());
    out.extend(short(count).to_le_bytes());
    let long = |n: u64| if is_zip64 { u32::MAX } else { n as u32 };
    out.extend(long(central.len() as u64).to_le_bytes());
    out.extend(long(start).to_le_bytes());
    out.extend([0, 0]);
    out
}
