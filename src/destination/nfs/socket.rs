//! The TCP connection below the client: patience, signals, and a limit on what a server may send.
//!
//! The client itself waits for ever, takes an answer of up to 2 GiB into memory and refuses one that comes in several fragments
//! (RFC 5531 §11). So bytes pass through here: each wait ends when hardly anything moved for too long or a signal came, and answers
//! are put together and looked over before the client sees them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nfs3_client::io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::lengths::Asked;
use crate::destination::limits::StallTimer;
use crate::interrupt::Interrupt;

/// The longest sleep between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(250);
/// Once a signal has come, an answer is waited for this long: enough to tidy up on a server that is well.
const GRACE: Duration = Duration::from_secs(3);
/// The longest answer: a block of [`super::transfer::BLOCK_BYTES`], or a page of a listing, and what goes with it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// So much room is made for an answer at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Of a fragment's header: it is the last of its answer.
const LAST_FRAGMENT: u32 = 1 << 31;
/// The ports that only root may connect from, those left out that services listen on.
const PRIVILEGED_PORTS: std::ops::RangeInclusive<u16> = 665..=1023;

/// Nothing moved for so long.
#[derive(Debug)]
pub(super) struct Stalled(pub(super) Duration);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no byte moved for {} s", self.0.as_secs_f32())
    }
}

impl std::error::Error for Stalled {}

/// How long may nothing move, and has a signal come? Clones share the limit.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    limit_ms: Arc<AtomicU64>,
    interrupt: Interrupt,
}

impl Patience {
    pub(super) fn new(limit: Duration, interrupt: &Interrupt) -> Self {
        let patience = Patience { limit_ms: Arc::default(), interrupt: interrupt.clone() };
        patience.set_limit(limit);
        patience
    }

    pub(super) fn set_limit(&self, limit: Duration) {
        self.limit_ms.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms.load(Ordering::Relaxed))
    }

    pub(super) fn check(&self) -> io::Result<()> {
        self.interrupt.check()
    }

    /// Waits for one step of an exchange, which moves so many bytes.
    async fn wait(&self, exchange: &mut Exchange, step: impl Future<Output = io::Result<usize>>) -> io::Result<usize> {
        let mut step = pin!(step);
        let limit = self.limit();
        let grace = GRACE.min(limit);
        loop {
            let Exchange { timer, stopped_at } = exchange;
            // Before each step, not only while nothing comes: a server may have something to say for ever.
            if let Err(stop) = self.interrupt.check() {
                let since = *stopped_at.get_or_insert_with(Instant::now);
                if since.elapsed() >= grace || limit.saturating_sub(timer.left()) >= grace {
                    return Err(stop);
                }
            }
            if let Ok(result) = timeout(SLICE.min(timer.left()), step.as_mut()).await {
                timer.moved(result.as_ref().map_or(0, |count| *count as u64));
                return result;
            }
            if timer.is_stalled() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, Stalled(limit)));
            }
        }
    }
}

/// A request or its answer under way.
struct Exchange {
    timer: StallTimer,
    /// When it was first seen that a signal had come or the time limit was over.
    stopped_at: Option<Instant>,
}

impl Exchange {
    fn new(limit: Duration) -> Self {
        Exchange { timer: StallTimer::new(limit), stopped_at: None }
    }
}

/// A connection that the client reads and writes whole messages through.
pub(super) struct Socket {
    stream: TcpStream,
    patience: Patience,
    /// What was asked last.
    asked: Option<Asked>,
    exchange: Exchange,
    /// One answer as a single fragment, and how much of it the client has taken.
    answer: Vec<u8>,
    taken: usize,
    /// It failed once: what comes next would be half of something else.
    gone: bool,
}

impl Socket {
    /// Connects to the first address that answers; from a privileged port if the server may insist on one.
    pub(super) async fn dial(addresses: &[SocketAddr], privileged: bool, patience: &Patience) -> io::Result<Socket> {
        let limit = patience.limit();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(limit, connect(*address, privileged)).await {
                Ok(Ok(stream)) => {
                    // Small requests must not wait for the acknowledgement of earlier ones.
                    let _ = stream.set_nodelay(true);
                    let patience = patience.clone();
                    let exchange = Exchange::new(limit);
                    return Ok(Socket {
                        stream,
                        patience,
                        asked: None,
                        exchange,
                        answer: Vec::new(),
                        taken: 0,
                        gone: false,
                    });
                }
                Ok(Err(error)) => last = io::Error::new(error.kind(), format!("`{address}`: {error}")),
                Err(_) => {
                    let message = format!("no answer from `{address}` in {} s", limit.as_secs_f32());
                    last = io::Error::new(io::ErrorKind::TimedOut, message);
                }
            }
        }
        Err(last)
    }

    async fn fill(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.patience.wait(&mut self.exchange, self.stream.read(buffer)).await?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Receives one answer, however many fragments it comes in.
    async fn receive(&mut self) -> io::Result<()> {
        let mut answer = vec![0; 4];
        self.exchange = Exchange::new(self.patience.limit());
        // With the headers: fragments may be empty (RFC 5531 §11).
        let mut received = 0;
        loop {
            let mut header = [0; 4];
            self.fill(&mut header).await?;
            let header = u32::from_be_bytes(header);
            let (held, more) = (answer.len(), (header & !LAST_FRAGMENT) as usize);
            received += 4 + more;
            if received > MAX_ANSWER_BYTES {
                let message = format!("the server announced an answer of {received} bytes or more");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            // Not before it has come: a length costs the server nothing.
            while answer.len() < held + more {
                let filled = answer.len();
                answer.resize((held + more).min(filled + PIECE_BYTES), 0);
                self.fill(&mut answer[filled..]).await?;
            }
            if header & LAST_FRAGMENT != 0 {
                break;
            }
        }
        if self.asked.is_some_and(|asked| !asked.may_be_answered_by(&answer[4..])) {
            let message = "the server's answer announces more than it holds";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let length = (answer.len() - 4) as u32;
        answer[..4].copy_from_slice(&(length | LAST_FRAGMENT).to_be_bytes());
        (self.answer, self.taken) = (answer, 0);
        Ok(())
    }

    async fn guarded<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.gone = true;
            let _ = self.stream.shutdown().await;
        }
        result
    }

    fn check(&self) -> io::Result<()> {
        match self.gone {
            true => Err(io::Error::new(io::ErrorKind::NotConnected, "the connection was lost")),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    async fn async_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.answer.len() {
            self.check()?;
            let received = self.receive().await;
            self.guarded(received).await?;
        }
        let count = buffer.len().min(self.answer.len() - self.taken);
        buffer[..count].copy_from_slice(&self.answer[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

impl AsyncWrite for Socket {
    async fn async_write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check()?;
        // The client hands over a whole message; what the line did not take of it comes again.
        let whole = (buffer.len() as u32).wrapping_sub(4) | LAST_FRAGMENT;
        if buffer.first_chunk().is_some_and(|header| u32::from_be_bytes(*header) == whole) {
            self.asked = Asked::of(buffer);
            self.exchange = Exchange::new(self.patience.limit());
        }
        let written = self.patience.wait(&mut self.exchange, self.stream.write(buffer)).await;
        self.guarded(written).await
    }
}

/// The addresses of a host.
pub(super) fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

async fn connect(address: SocketAddr, privileged: bool) -> io::Result<TcpStream> {
    if !privileged {
        return TcpStream::connect(address).await;
    }
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Which are free is not known: each in turn, from anywhere.
    let ports = PRIVILEGED_PORTS.len();
    let first = fastrand::usize(..ports);
    for port in (0..ports).filter_map(|n| PRIVILEGED_PORTS.clone().nth((first + n) % ports)) {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        match socket.bind(SocketAddr::new(any, port)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => {
                let message = format!("connecting from a port below 1024 is not allowed here: {error}");
                return Err(io::Error::new(error.kind(), message));
            }
        }
        match socket.connect(address).await {
            // The last connection from this port may still be remembered.
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {}
            result => return result,
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port below 1024 is free"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::exit_code::ExitCode;
    use crate::interrupt::Interrupted;

    /// What the client sees of these bytes from a server.
    fn answer_of(bytes: Vec<u8>, interrupt: &Interrupt) -> io::Result<Vec<u8>> {
        answer_from(move |stream| stream.write_all(&bytes), interrupt)
    }

    /// What the client sees of a server that does so.
    fn answer_from(
        serve: impl FnOnce(&mut std::net::TcpStream) -> io::Result<()> + Send + 'static,
        interrupt: &Interrupt,
    ) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = serve(&mut stream);
            // Until the client has gone.
            let _ = stream.read(&mut [0]);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(async {
            let patience = Patience::new(Duration::from_millis(100), interrupt);
            let mut socket = Socket::dial(&[address], false, &patience).await?;
            let mut answer = vec![0; 4];
            socket.async_read_exact(&mut answer).await?;
            let length = u32::from_be_bytes(answer[..].try_into().unwrap()) & !LAST_FRAGMENT;
            answer.resize(4 + length as usize, 0);
            socket.async_read_exact(&mut answer[4..]).await?;
            Ok(answer)
        });
        server.join().unwrap();
        result
    }

    #[test]
    fn an_answer_in_fragments_is_put_together() {
        let sent = b"\x00\x00\x00\x03abc\x00\x00\x00\x00\x80\x00\x00\x02de".to_vec();
        assert_eq!(answer_of(sent, &Interrupt::default()).unwrap(), b"\x80\x00\x00\x05abcde");
    }

    #[test]
    fn an_answer_too_long_to_be_one_is_refused() {
        let error = answer_of(b"\xff\xff\xff\xff".to_vec(), &Interrupt::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_answer_of_empty_fragments_without_end_is_refused() {
        let error = answer_of(vec![0; 2 * MAX_ANSWER_BYTES], &Interrupt::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }

    #[test]
    fn a_signal_ends_an_answer_that_always_moves() {
        let interrupt = Interrupt::default();
        interrupt.pretend(ExitCode::Terminated);
        let fragment = [&4096_u32.to_be_bytes()[..], &[7; 4096]].concat();
        let endless = move |stream: &mut std::net::TcpStream| {
            loop {
                stream.write_all(&fragment)?;
                thread::sleep(Duration::from_millis(10));
            }
        };
        let error = answer_from(endless, &interrupt).unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Interrupted>()), "{error}");
    }

    #[test]
    fn silence_ends_in_a_stall_that_says_how_long() {
        let error = answer_of(b"\x80\x00".to_vec(), &Interrupt::default()).unwrap_err();
        assert_eq!(error.to_string(), "no byte moved for 0.1 s");
    }

    #[test]
    fn what_is_closed_or_was_silent_once_serves_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let patience = Patience::new(Duration::from_secs(20), &Interrupt::default());
            let mut socket = Socket::dial(&[address], false, &patience).await.unwrap();
            drop(listener.accept().unwrap());
            assert_eq!(socket.async_read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(socket.async_read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert_eq!(socket.async_write(&[0; 4]).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        });
    }
}
