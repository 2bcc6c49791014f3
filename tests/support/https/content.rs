//! What a path serves: bytes in memory, or a file of any size.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A path's content: in memory, or a file of any size.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Bytes(Arc<Vec<u8>>),
    File(PathBuf),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Arc::new(bytes))
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Content {
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
        }
    }

    pub fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Bytes(bytes) => bytes.hash(&mut hasher),
            Self::File(path) => {
                let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
                (path, modified, self.len()).hash(&mut hasher);
            }
        }
        format!("\"{:016x}\"", hasher.finish())
    }

    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            Self::File(path) => File::open(path)?.read_at(buffer, offset),
        }
    }
}
