//! Sources that do not keep their word, and a signal in the middle: nothing may come to bear a name that counts.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use anyhow::{Result, ensure};
use archive::destination::{self, ErrorKind, Source};
use archive::interrupt::Interrupt;

use crate::server::{Case, Feature, Place, Server, content, refused, says};
use crate::support::wait;

pub const CASES: &[Case] = &[
    Case { name: "a_source_that_ends_early_leaves_nothing_that_counts", feature: Feature::Any, run: ends_early },
    Case { name: "a_source_longer_than_it_said_leaves_nothing_that_counts", feature: Feature::Any, run: goes_on },
    Case { name: "a_source_that_fails_half_way_leaves_nothing_that_counts", feature: Feature::Any, run: fails },
    Case { name: "a_signal_ends_an_upload", feature: Feature::Directory, run: interrupted },
];

/// A source that says one length and has another, or an accident.
struct Lying {
    inner: Cursor<Vec<u8>>,
    announced: u64,
    fails_at: u64,
}

impl Lying {
    fn new(held: usize, announced: u64) -> Self {
        Lying { inner: Cursor::new(content(held, 8)), announced, fails_at: u64::MAX }
    }
}

impl Read for Lying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inner.position() >= self.fails_at {
            return Err(io::Error::other("the disk under the source broke"));
        }
        self.inner.read(buffer)
    }
}

impl Seek for Lying {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl Source for Lying {
    fn len_bytes(&self) -> u64 {
        self.announced
    }
}

fn leaves_nothing(server: &dyn Server, mut source: Lying, words: &[&str]) -> Result<()> {
    let mut destination = server.connect(Place::Data)?;
    let disk = server.disk(Place::Data);
    disk.write("20261119.tgz", b"yesterday");
    let told = refused(server, destination.put(".x.part", &mut source, 0), ErrorKind::Local)?;
    says(&told, words)?;
    // A server may remove a temporary file of its own a moment after the connection has ended (Apache does).
    wait::until("only yesterday's archive is there", || {
        disk.names().iter().filter(|name| *name != ".x.part").eq(["20261119.tgz"])
    });
    // The connection serves on, and the rest of the failed one is in nobody's way.
    destination.put(".x.part", &mut Cursor::new(b"good"), 0)?;
    ensure!(disk.read(".x.part") == Some(b"good".to_vec()));
    Ok(())
}

fn ends_early(server: &dyn Server) -> Result<()> {
    leaves_nothing(server, Lying::new(2_999_999, 3_000_000), &["ended after 2999999 of 3000000 bytes"])?;
    leaves_nothing(server, Lying::new(0, 1), &["ended after 0 of 1 bytes"])
}

fn goes_on(server: &dyn Server) -> Result<()> {
    leaves_nothing(server, Lying::new(3_000_001, 3_000_000), &["longer than the 3000000 bytes"])
}

fn fails(server: &dyn Server) -> Result<()> {
    let source = Lying { fails_at: 1_000_000, ..Lying::new(3_000_000, 3_000_000) };
    leaves_nothing(server, source, &["the disk under the source broke"])
}

/// Raises the signal once half of it was read.
struct Stopping(Cursor<Vec<u8>>, Interrupt);

impl Read for Stopping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.position() * 2 > self.len_bytes() {
            self.1.stop();
        }
        self.1.check()?;
        self.0.read(buffer)
    }
}

impl Seek for Stopping {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Source for Stopping {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }
}

fn interrupted(server: &dyn Server) -> Result<()> {
    let interrupt = Interrupt::default();
    let mut settings = server.settings(Place::Data);
    settings.retries = 3;
    let mut destination = destination::connect(&settings, &interrupt)?;
    let mut source = Stopping(Cursor::new(content(20_000_000, 9)), interrupt.clone());
    let told = refused(server, destination.put(".x.part", &mut source, 0), ErrorKind::Local)?;
    says(&told, &["stopped by a signal"])?;
    drop(destination);
    // A server may take a moment to clear away what it has begun.
    let disk = server.disk(Place::Data);
    wait::until("nothing but a temporary name", || disk.names().iter().all(|name| name == ".x.part"));
    Ok(())
}
