//! The tar around the file: what comes before its bytes and what comes after.

use std::io;

/// Tar's unit.
const BLOCK: u64 = 512;
/// What the `name` field of a header holds; it needs no NUL when full.
const NAME_MAX: usize = 100;
/// Sizes and times from here on do not fit eleven octal digits and are written in base 256, a GNU extension.
const OCTAL_LIMIT: u64 = 1 << 33;

/// The one file in the archive. Everything else in its header is fixed: mode 0644, owner 0:0 without names, a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarMember {
    /// Name in the tar, UTF-8, relative, without `..`.
    pub name: String,
    /// Exact length of the content in bytes.
    pub size_bytes: u64,
    /// Modification time in seconds since 1970, UTC.
    pub mtime_unix: u64,
}

impl TarMember {
    /// Everything before the content, a multiple of 512 bytes.
    ///
    /// Names of up to 100 bytes stand in a plain ustar header as they are, UTF-8 included. Longer ones go into a GNU
    /// long-name record: GNU tar, bsdtar, busybox, 7z and Python read it, while busybox does not know PAX's `path`.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty, absolute, has a NUL byte or a `..` in it.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        self.check_name()?;
        let name = self.name.as_bytes();
        let is_long = name.len() > NAME_MAX;
        let mut head = Vec::new();
        if is_long {
            let mut record = name.to_vec();
            record.push(0);
            let mut long = header(true, b"././@LongLink", record.len() as u64, 0, tar::EntryType::GNULongName);
            long.set_cksum();
            head.extend_from_slice(long.as_bytes());
            record.resize(record.len().next_multiple_of(BLOCK as usize), 0);
            head.append(&mut record);
        }
        let is_gnu = is_long || self.size_bytes >= OCTAL_LIMIT || self.mtime_unix >= OCTAL_LIMIT;
        let mut file = header(
            is_gnu,
            &name[..name.len().min(NAME_MAX)],
            self.size_bytes,
            self.mtime_unix,
            tar::EntryType::Regular,
        );
        file.set_cksum();
        head.extend_from_slice(file.as_bytes());
        Ok(head)
    }

    /// Everything after the content: zeros up to a multiple of 512 bytes, then the two zero blocks that end a tar.
    ///
    /// GNU tar fills up to 10,240 bytes when it writes; no reader asks for it when the tar comes out of a pipe or a
    /// decompressor.
    pub(super) fn tail(&self) -> Vec<u8> {
        let padding = (BLOCK - self.size_bytes % BLOCK) % BLOCK;
        vec![0; (padding + 2 * BLOCK) as usize]
    }

    fn check_name(&self) -> io::Result<()> {
        let why = if self.name.is_empty() {
            "it is empty"
        } else if self.name.starts_with('/') {
            "it is absolute"
        } else if self.name.contains('\0') {
            "it has a NUL byte in it"
        } else if self.name.split('/').any(|part| part == "..") {
            "it has `..` in it"
        } else {
            return Ok(());
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` cannot be a name in a tar: {why}", self.name.escape_default()),
        ))
    }
}

/// A header without its checksum. `name` must be at most [`NAME_MAX`] bytes.
fn header(is_gnu: bool, name: &[u8], size: u64, mtime: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = if is_gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
    // Not `set_path`: it would rewrite names, and move a part of them into the prefix field.
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_entry_type(kind);
    header
}
