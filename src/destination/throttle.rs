//! `bandwidth_limit`: a token bucket between the bytes and any destination, both ways.
//!
//! It slows down sources and sinks and knows no protocol; a long wait ends when a signal comes.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::clock::{Clock, SystemClock, pause};
use super::{Capabilities, Destination, DestinationError, Entry, Sink, Source};
use crate::digest::Digest;
use crate::interrupt::Interrupt;

/// Wraps a destination so that no more than so many bytes per second go up or come down, on average over a tenth of a second.
pub struct Throttled<D> {
    inner: D,
    bucket: Bucket,
}

impl<D: Destination> Throttled<D> {
    /// Wraps `inner`; a limit of 0 counts as 1.
    pub fn new(inner: D, bytes_per_second: u64, interrupt: &Interrupt) -> Self {
        Throttled { inner, bucket: Bucket::new(bytes_per_second, interrupt, Arc::new(SystemClock::new())) }
    }
}

impl<D: Destination> Destination for Throttled<D> {
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
        self.inner.put(name, &mut SlowSource { source, bucket: &mut self.bucket }, offset)
    }

    fn wrote_straight(&self) -> bool {
        self.inner.wrote_straight()
    }

    fn write_plainly(&mut self) {
        self.inner.write_plainly();
    }

    fn probe_bytes(&mut self) -> u64 {
        self.inner.probe_bytes()
    }

    fn keep_beginning(&mut self, name: &str, bytes: u64) -> Result<u64, DestinationError> {
        self.inner.keep_beginning(name, bytes)
    }

    fn unsettled_bytes(&self) -> u64 {
        self.inner.unsettled_bytes()
    }

    fn get(&mut self, name: &str, offset: u64, sink: &mut Sink<'_>) -> Result<(), DestinationError> {
        let bucket = &mut self.bucket;
        self.inner.get(name, offset, &mut |bytes| {
            sink(bytes)?;
            bucket.spend(bytes.len())
        })
    }

    fn move_new(&mut self, from: &str, to: &str) -> Result<(), DestinationError> {
        self.inner.move_new(from, to)
    }

    fn put_new(&mut self, name: &str, source: &mut dyn Source) -> Result<(), DestinationError> {
        self.inner.put_new(name, &mut SlowSource { source, bucket: &mut self.bucket })
    }

    fn remove(&mut self, name: &str) -> Result<(), DestinationError> {
        self.inner.remove(name)
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

/// Tokens are bytes; what was spent beyond the tokens is waited for.
struct Bucket {
    bytes_per_second: f64,
    tokens: f64,
    filled_at: Duration,
    clock: Arc<dyn Clock>,
    interrupt: Interrupt,
}

impl Bucket {
    fn new(bytes_per_second: u64, interrupt: &Interrupt, clock: Arc<dyn Clock>) -> Self {
        Bucket {
            bytes_per_second: bytes_per_second.max(1) as f64,
            tokens: 0.0,
            filled_at: clock.now(),
            clock,
            interrupt: interrupt.clone(),
        }
    }

    /// How much to move in one piece: a tenth of a second's worth, so that the line is used evenly.
    fn piece(&self) -> usize {
        ((self.bytes_per_second / 10.0) as usize).max(512)
    }

    fn spend(&mut self, bytes: usize) -> io::Result<()> {
        let now = self.clock.now();
        let earned = (now - self.filled_at).as_secs_f64() * self.bytes_per_second;
        self.filled_at = now;
        // Time that nobody used is not saved up: a burst after a pause would break the limit.
        self.tokens = (self.tokens + earned).min(self.piece() as f64) - bytes as f64;
        if self.tokens < 0.0 {
            let debt = Duration::from_secs_f64(-self.tokens / self.bytes_per_second);
            pause(&*self.clock, debt, &self.interrupt)?;
        }
        Ok(())
    }
}

struct SlowSource<'a> {
    source: &'a mut dyn Source,
    bucket: &'a mut Bucket,
}

impl Read for SlowSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = buffer.len().min(self.bucket.piece());
        let count = self.source.read(&mut buffer[..piece])?;
        self.bucket.spend(count)?;
        Ok(count)
    }
}

impl Seek for SlowSource<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

impl Source for SlowSource<'_> {
    fn len_bytes(&self) -> u64 {
        self.source.len_bytes()
    }

    fn local_path(&self) -> Option<&Path> {
        self.source.local_path()
    }

    fn sent_by_path(&mut self, bytes: u64) -> io::Result<()> {
        self.source.sent_by_path(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::destination::clock::fake::FakeClock;
    use crate::destination::memory::MemoryServer;

    fn throttled(server: &MemoryServer, clock: &Arc<FakeClock>) -> Throttled<impl Destination + use<>> {
        let bucket = Bucket::new(1000, &Interrupt::default(), Arc::clone(clock) as Arc<dyn Clock>);
        Throttled { inner: server.connect().unwrap(), bucket }
    }

    #[test]
    fn ten_thousand_bytes_at_a_thousand_per_second_take_ten_seconds_each_way() {
        let (server, clock) = (MemoryServer::new(), Arc::new(FakeClock::default()));
        let mut slow = throttled(&server, &clock);
        slow.put("x", &mut Cursor::new(vec![7; 10_000]), 0).unwrap();
        let up = clock.now();
        assert!((up.as_secs_f64() - 10.0).abs() < 0.6, "{up:?}");
        assert_eq!(server.read("x").unwrap(), vec![7; 10_000]);
        let mut got = 0;
        slow.get("x", 0, &mut |bytes| {
            got += bytes.len();
            Ok(())
        })
        .unwrap();
        assert_eq!(got, 10_000);
        let down = clock.now() - up;
        assert!((down.as_secs_f64() - 10.0).abs() < 0.6, "{down:?}");
    }

    #[test]
    fn an_idle_hour_earns_no_burst() {
        let (server, clock) = (MemoryServer::new(), Arc::new(FakeClock::default()));
        let mut slow = throttled(&server, &clock);
        clock.sleep(Duration::from_secs(3600));
        slow.put("x", &mut Cursor::new(vec![7; 10_000]), 0).unwrap();
        assert!(clock.now() > Duration::from_secs(3609));
    }
}
