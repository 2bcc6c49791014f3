//! What a server may cost: bounds on the time it takes, on what it lists and on what it sends.
//!
//! A server decides none of these: a reading ends one byte after what was expected, a listing has a cap, and a line on which
//! less than [`MOVING_BYTES`] move within `stall_timeout` stands still ([`StallTimer`]). The limit for a destination as a whole is
//! [`Interrupt::with_time_limit`](crate::interrupt::Interrupt::with_time_limit).

use std::io;

use super::{Destination, DestinationError, Entry, ErrorKind, Sink};
use crate::text;

pub use crate::stall::{MOVING_BYTES, StallTimer};

/// The longest file name, bytes. File systems end at 255.
pub const MAX_NAME_BYTES: usize = 4096;
/// The most that one listing may come to: what a server sends for it, and [`ENTRY_BYTES`] and twice the name for each entry.
pub const MAX_LISTING_BYTES: u64 = 64 << 20;
/// What an entry counts for beside its name: what it takes in memory, and again where it is copied. A server may send less for it.
pub const ENTRY_BYTES: usize = 200;

/// A listing under construction, which refuses to grow without end.
#[derive(Debug, Default)]
pub struct Listing {
    entries: Vec<Entry>,
    received: u64,
}

impl Listing {
    /// Nothing has been listed yet.
    pub fn new() -> Self {
        Listing::default()
    }

    /// Counts bytes that the server sent, for protocols that see them before they become entries.
    ///
    /// # Errors
    /// `Other` beyond [`MAX_LISTING_BYTES`].
    pub fn received(&mut self, bytes: usize) -> Result<(), DestinationError> {
        self.received = self.received.saturating_add(bytes as u64);
        if self.received > MAX_LISTING_BYTES {
            return Err(endless(format!("it comes to more than {} MiB", MAX_LISTING_BYTES >> 20)));
        }
        Ok(())
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `Other` beyond [`MAX_LISTING_BYTES`], and for a name longer than [`MAX_NAME_BYTES`].
    pub fn push(&mut self, entry: Entry) -> Result<(), DestinationError> {
        if entry.name.len() > MAX_NAME_BYTES {
            return Err(endless(format!("it holds a name of {} bytes", entry.name.len())));
        }
        self.received(ENTRY_BYTES + 2 * entry.name.len())?;
        self.entries.push(entry);
        Ok(())
    }

    /// Counts an entry that is not kept, which a server may send without end as well.
    ///
    /// # Errors
    /// `Other` beyond [`MAX_LISTING_BYTES`].
    pub fn leave_out(&mut self, name: &[u8]) -> Result<(), DestinationError> {
        self.received(ENTRY_BYTES + name.len())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries.
    pub fn finish(self) -> Vec<Entry> {
        self.entries
    }
}

fn endless(why: String) -> DestinationError {
    DestinationError::new(ErrorKind::Other, format!("the server's listing was given up: {why}")).with_hint(text!(
        "give the archives a directory of their own; if it is one, the server does not work as it should"
            / "donnez aux archives un répertoire qui leur soit propre ; si c'est le cas, le serveur ne fonctionne pas correctement"
    ))
}

/// Reads `name` from `offset` to its end, which is expected after `size` bytes of the file; stops at the first byte beyond.
///
/// # Errors
/// As [`Destination::get`]; `Other` if the file turns out to be longer or shorter than `size`.
pub fn get_exactly(
    destination: &mut dyn Destination,
    name: &str,
    offset: u64,
    size: u64,
    sink: &mut Sink<'_>,
) -> Result<(), DestinationError> {
    let mut reached = offset;
    let got = destination.get(name, offset, &mut |bytes| {
        reached = reached.saturating_add(bytes.len() as u64);
        if reached > size {
            return Err(io::Error::other("more bytes came than were expected"));
        }
        sink(bytes)
    });
    let differs =
        |what: &str| DestinationError::new(ErrorKind::Other, format!("`{name}` {what} the {size} bytes that it has"));
    if reached > size {
        return Err(differs("goes on after"));
    }
    got?;
    if reached < size { Err(differs("ends before")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::memory::MemoryServer;

    fn entry(name: String) -> Entry {
        Entry { name, size: 1, modified: None, is_file: true }
    }

    #[test]
    fn a_listing_has_a_cap_of_entries_bytes_and_names() {
        let mut listing = Listing::new();
        assert!(listing.push(entry("x".repeat(MAX_NAME_BYTES + 1))).is_err());
        for _ in 0..250_000 {
            listing.push(entry("20261120.tgz".to_owned())).unwrap();
        }
        let left = MAX_LISTING_BYTES - listing.received;
        assert!(listing.received(left as usize).is_ok());
        assert!(listing.push(entry("x".to_owned())).unwrap_err().to_string().contains("64 MiB"));
        assert!(listing.received(1).is_err());
    }

    #[test]
    fn what_is_left_out_of_a_listing_counts_as_well() {
        let mut listing = Listing::new();
        let left_out = (0..1_000_000).take_while(|_| listing.leave_out(b".").is_ok()).count();
        assert_eq!(left_out as u64, MAX_LISTING_BYTES / (ENTRY_BYTES as u64 + 1));
        assert!(listing.is_empty());
    }

    #[test]
    fn a_file_that_is_longer_or_shorter_than_expected_is_an_error_and_is_not_read_on() {
        let server = MemoryServer::new();
        server.write("x", &[7; 10]);
        let mut destination = server.connect().unwrap();
        let mut read = |offset, size| {
            let mut seen = 0;
            let mut sink = |bytes: &[u8]| {
                seen += bytes.len();
                Ok(())
            };
            get_exactly(&mut destination, "x", offset, size, &mut sink).map(|()| seen)
        };
        assert_eq!(read(0, 10).unwrap(), 10);
        assert_eq!(read(4, 10).unwrap(), 6);
        assert!(read(0, 9).unwrap_err().to_string().contains("goes on after the 9 bytes"));
        assert!(read(0, 11).unwrap_err().to_string().contains("ends before the 11 bytes"));
    }
}
