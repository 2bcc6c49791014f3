//! Moving a file's bytes at line rate: several requests on their way at any time, on one connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use smb::{File, FileNetworkOpenInformation};
use tokio::task::{JoinError, JoinHandle};

use super::errors::Wire;
use super::link::Link;
use crate::destination::feed::Feed;
use crate::destination::{DestinationError, ErrorKind, Sink};

/// Data in one request, at most: eight credits (MS-SMB2 3.2.4.1.5), so that a server that gives few can be spoken to.
pub(super) const BLOCK: usize = 512 * 1024;
/// Requests on their way: 100 ms of a gigabit line are 12 MB, but each is held in memory several times.
const WINDOW: usize = 8;
/// All of them together.
pub(super) const UNDERWAY_BYTES: u64 = (BLOCK * WINDOW) as u64;
/// How long what is on its way may take when a transfer is given up.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// A request on its way, and the bytes of the file it is about.
struct Underway<T> {
    start: u64,
    end: u64,
    task: JoinHandle<io::Result<T>>,
}

impl From<JoinError> for Wire {
    fn from(error: JoinError) -> Self {
        Wire::Library(format!("a request ended without an answer: {error}"))
    }
}

/// Writes what `feed` still has at `offset`; `certain` is how far everything before was acknowledged.
pub(super) fn send(
    link: &Link,
    file: &Arc<File>,
    feed: &mut Feed<'_>,
    offset: u64,
    certain: &mut u64,
    what: &dyn Fn() -> String,
) -> Result<(), DestinationError> {
    let block_bytes = BLOCK.min(link.most_bytes().1 as usize);
    let mut underway = VecDeque::new();
    let mut due = link.sent();
    let mut reached = offset;
    let trouble = loop {
        if let Err(stop) = link.interrupt().check() {
            break DestinationError::new(ErrorKind::Local, what()).caused_by(stop);
        }
        if underway.len() < WINDOW && feed.left() > 0 {
            let mut block = vec![0; block_bytes];
            let filled = match fill(feed, &mut block) {
                Ok(filled) => filled,
                Err(error) => break error,
            };
            block.truncate(filled);
            let (start, end) = (reached, reached + filled as u64);
            let task = tokio::spawn(write(Arc::clone(file), block.into(), start));
            underway.push_back(Underway { start, end, task });
            reached = end;
            continue;
        }
        let Some(mut first) = underway.pop_front() else { return Ok(()) };
        due += 1;
        match link.wait_for(due, finished(&mut first)) {
            Ok(()) => *certain = first.end,
            Err(wire) => break wire.during(what()),
        }
    };
    settle(link, underway);
    Err(trouble)
}

/// Fills a block as far as there is something to fill it with.
fn fill(feed: &mut Feed<'_>, block: &mut [u8]) -> Result<usize, DestinationError> {
    let mut filled = 0;
    loop {
        match feed.read(&mut block[filled..])? {
            0 => return Ok(filled),
            count => filled += count,
        }
    }
}

async fn write(file: Arc<File>, block: Arc<[u8]>, at: u64) -> io::Result<()> {
    let mut written = 0;
    while written < block.len() {
        let rest = if written == 0 { Arc::clone(&block) } else { block[written..].into() };
        match file.write_block_zc(rest, at + written as u64, None).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(())
}

/// Reads from `offset` to the end.
pub(super) fn receive(
    link: &Link,
    file: &Arc<File>,
    offset: u64,
    sink: &mut Sink<'_>,
    what: &dyn Fn() -> String,
) -> Result<(), DestinationError> {
    let held: FileNetworkOpenInformation = link.wait(file.query_info()).map_err(|wire| wire.during(what()))?;
    let size = held.end_of_file;
    let block_bytes = BLOCK.min(link.most_bytes().0 as usize) as u64;
    let mut underway = VecDeque::new();
    let mut due = link.sent();
    let mut asked = offset;
    let trouble = loop {
        if let Err(stop) = link.interrupt().check() {
            break DestinationError::new(ErrorKind::Local, what()).caused_by(stop);
        }
        if underway.len() < WINDOW && asked < size {
            let (start, end) = (asked, size.min(asked + block_bytes));
            let task = tokio::spawn(read(Arc::clone(file), start, (end - start) as usize));
            underway.push_back(Underway { start, end, task });
            asked = end;
            continue;
        }
        let Some(mut first) = underway.pop_front() else { return Ok(()) };
        due += 1;
        let block = match link.wait_for(due, finished(&mut first)) {
            Ok(block) => block,
            Err(wire) => break wire.during(what()),
        };
        if let Err(error) = sink(&block) {
            break DestinationError::new(ErrorKind::Local, what()).caused_by(error);
        }
        let reached = first.start + block.len() as u64;
        if reached < first.end {
            break DestinationError::new(ErrorKind::Other, what())
                .caused_by(format!("it ended after {reached} of {size} bytes"));
        }
    };
    settle(link, underway);
    Err(trouble)
}

async fn read(file: Arc<File>, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut block = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_block(&mut block[filled..], at + filled as u64, None, false).await? {
            0 => break,
            count => filled += count,
        }
    }
    block.truncate(filled);
    Ok(block)
}

async fn finished<T>(request: &mut Underway<T>) -> Result<T, Wire> {
    Ok((&mut request.task).await??)
}

/// Lets what is on its way arrive before a transfer is given up, so that nothing changes the file after it was tidied up, and
/// the connection serves on. One that is too slow for that is lost.
fn settle<T>(link: &Link, underway: VecDeque<Underway<T>>) {
    let settled = link.wait_for(0, async {
        let rest = async {
            for request in underway {
                let _whatever_it_says = request.task.await;
            }
        };
        tokio::time::timeout(SETTLE_LIMIT, rest).await.map_err(io::Error::from)
    });
    if settled.is_err() {
        link.hang_up("given up in the middle of a transfer");
    }
}
