//! A destination that only looks: reads pass, writes say what they would do and do nothing.
//!
//! It keeps no record of what was not done: after a `put` the file is not there.

use chrono::{DateTime, Utc};

use super::{Capabilities, Destination, DestinationError, Entry, Sink, Source};
use crate::digest::Digest;
use crate::text::Language;
use crate::units::show_size;

/// Wraps a destination so that nothing at it changes.
pub struct DryRun {
    inner: Box<dyn Destination>,
}

impl DryRun {
    /// Wraps `inner`.
    pub fn new(inner: Box<dyn Destination>) -> Self {
        DryRun { inner }
    }
}

impl Destination for DryRun {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&mut self) -> Capabilities {
        self.inner.capabilities()
    }

    fn explore(&mut self) -> Capabilities {
        self.inner.explore()
    }

    fn list(&mut self) -> Result<Vec<Entry>, DestinationError> {
        self.inner.list()
    }

    fn stat(&mut self, name: &str) -> Result<Option<Entry>, DestinationError> {
        self.inner.stat(name)
    }

    fn put(&mut self, name: &str, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let bytes = source.len_bytes().saturating_sub(offset);
        tracing::info!("would write `{name}`, {}, to `{}`", show_size(bytes, Language::En), self.location());
        Ok(())
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        self.inner.get(name, offset, sink)
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        tracing::info!("would rename `{from}` to `{to}` at `{}`", self.location());
        Ok(())
    }

    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        self.put(name, source, 0)
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        tracing::info!("would delete `{name}` at `{}`", self.location());
        Ok(())
    }

    fn checksum(&mut self, name: &str) -> Result<Option<Digest>, DestinationError> {
        self.inner.checksum(name)
    }

    fn free_space(&mut self) -> Result<Option<u64>, DestinationError> {
        self.inner.free_space()
    }

    fn server_time(&mut self) -> Result<Option<DateTime<Utc>>, DestinationError> {
        self.inner.server_time()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::destination::memory::MemoryServer;

    #[test]
    fn a_dry_run_changes_nothing_and_still_reads() {
        let server = MemoryServer::new();
        server.write("20261119.tgz", b"old");
        let mut dry = DryRun::new(Box::new(server.connect().unwrap()));
        dry.put("20261120.tgz", &mut Cursor::new(b"new"), 0).unwrap();
        dry.move_new("20261119.tgz", "x").unwrap();
        dry.remove("20261119.tgz").unwrap();
        assert_eq!(server.names(), ["20261119.tgz"]);
        assert_eq!(dry.list().unwrap().len(), 1);
        assert_eq!(dry.stat("20261119.tgz").unwrap().unwrap().size, 3);
    }
}
