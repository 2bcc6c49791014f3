//! Moving a file's bytes at line rate: many requests on their way at any time.
//!
//! libssh2 cuts what it is given into packets of 30 kB, sends all of them and tells how many bytes were *acknowledged*. Called
//! again with a buffer that begins at the first byte that was not, and is longer than before, it keeps the line full. Waiting
//! for one buffer to drain instead costs nearly everything: 8 MB/s instead of 60 at a round trip of 30 ms.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use ssh2::File;

use super::errors::{FX_FAILURE, Right, Wire, no_space_hint};
use super::link::Link;
use crate::destination::feed::Feed;
use crate::destination::{DestinationError, ErrorKind, Sink};
use crate::text::Language;
use crate::units::show_size;

/// Bytes on their way: 100 ms of a gigabit line is 12 MB, but one channel of OpenSSH takes 2 MB per round trip.
const WINDOW: usize = 4 << 20;
/// Read from the source in one piece, at most.
const PIECE: usize = 1 << 20;
/// The library asks for four times this much ahead.
const READ_BYTES: usize = 2 << 20;
/// With less than this left, a write that fails without a reason failed for want of space.
const NEARLY_FULL_BYTES: u64 = 4 << 20;
/// How long an upload that is given up may still use the line.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Writes what `feed` still has at `offset`.
pub(super) fn send(
    link: &Link,
    file: &mut File,
    feed: &mut Feed<'_>,
    offset: u64,
    what: &dyn Fn() -> String,
) -> Result<(), DestinationError> {
    file.seek(SeekFrom::Start(offset))
        .map_err(|error| DestinationError::new(ErrorKind::Other, what()).caused_by(error))?;
    // `buffer[start..end]` is what the server has not acknowledged.
    let mut buffer = vec![0; 2 * WINDOW];
    let (mut start, mut end) = (0, 0);
    let mut idle = link.idle();
    loop {
        if let Err(stop) = link.interrupt().check() {
            settle(link, file, &buffer[start..end]);
            return Err(DestinationError::new(ErrorKind::Local, what()).caused_by(stop));
        }
        let room = WINDOW - (end - start);
        if room > 0 && feed.left() > 0 {
            if buffer.len() - end < room {
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
            }
            match feed.read(&mut buffer[end..end + room.min(PIECE)]) {
                Ok(count) => end += count,
                Err(error) => {
                    settle(link, file, &buffer[start..end]);
                    return Err(error);
                }
            }
        }
        if start == end {
            return Ok(());
        }
        match link.try_io(|| file.write(&buffer[start..end])) {
            Ok(Some(acknowledged)) => {
                start += acknowledged;
                idle = link.idle();
            }
            // There is more to send before the answers matter.
            Ok(None) if end - start < WINDOW && feed.left() > 0 => {}
            Ok(None) => link.wait(&mut idle).map_err(|wire| wire.during(what()))?,
            Err(wire) => return Err(explain(link, file, wire, feed.left() + (end - start) as u64, what())),
        }
    }
}

/// Lets what is on its way arrive before an upload is given up: a packet that was cut in two would spoil the connection for
/// whoever wants to tidy up over it. A server that is too slow for that loses the connection.
fn settle(link: &Link, file: &mut File, mut outstanding: &[u8]) {
    let end = Instant::now() + SETTLE_LIMIT;
    while !outstanding.is_empty() {
        match link.try_io(|| file.write(outstanding)) {
            Ok(Some(acknowledged)) => outstanding = &outstanding[acknowledged..],
            Ok(None) if Instant::now() < end && link.wait_a_slice(Duration::from_millis(100)).is_ok() => {}
            _ => return link.hang_up(),
        }
    }
}

/// Gives a failed write the reason that the protocol has no word for.
pub(super) fn explain(link: &Link, file: &mut File, wire: Wire, missing: u64, what: String) -> DestinationError {
    if wire.sftp_status() != Some(FX_FAILURE) {
        return wire.during(what);
    }
    let free = link.run(|| file.statvfs()).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    let full = |reason: String| DestinationError::new(ErrorKind::NoSpace, what.clone()).caused_by(reason);
    let shown = |bytes| show_size(bytes, Language::En);
    match free {
        Some(free) if free < missing.max(NEARLY_FULL_BYTES) => {
            full(format!("the server's disk is full: {} free, {} still to write", shown(free), shown(missing)))
                .with_hint(no_space_hint())
        }
        Some(free) => full(format!(
            "the server refused to write although its disk has {} free: the account's quota may be used up",
            shown(free)
        ))
        .with_hint(no_space_hint()),
        None => wire.during(what),
    }
}

/// Reads from `offset` to the end.
pub(super) fn receive(
    link: &Link,
    file: &mut File,
    offset: u64,
    sink: &mut Sink<'_>,
    what: &dyn Fn() -> String,
) -> Result<(), DestinationError> {
    let size = link.run(|| file.stat()).map_err(|wire| wire.without(Right::Read, what()))?.size;
    file.seek(SeekFrom::Start(offset))
        .map_err(|error| DestinationError::new(ErrorKind::Other, what()).caused_by(error))?;
    let mut buffer = vec![0; READ_BYTES];
    let mut reached = offset;
    loop {
        if let Err(stop) = link.interrupt().check() {
            return Err(DestinationError::new(ErrorKind::Local, what()).caused_by(stop));
        }
        let count = link.io(|| file.read(&mut buffer)).map_err(|wire| wire.without(Right::Read, what()))?;
        if count == 0 {
            break;
        }
        reached += count as u64;
        if let Some(size) = size
            && reached > size.max(offset)
        {
            return Err(DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("it goes on after the {size} bytes that it has")));
        }
        sink(&buffer[..count]).map_err(|error| DestinationError::new(ErrorKind::Local, what()).caused_by(error))?;
    }
    match size {
        Some(size) if reached < size => Err(DestinationError::new(ErrorKind::Other, what())
            .caused_by(format!("it ended after {reached} of {size} bytes"))),
        _ => Ok(()),
    }
}
