//! A TCP proxy between a client and a real server, where faults are put: cut, stall, delay, refuse.
//!
//! Each connection takes the next [`Plan`] that was set; when none is left, it is passed through. The delay is a queue:
//! every byte arrives so much later, and as many may be under way as the two sides allow, as on a long line.
//!
//! ```ignore
//! let proxy = Proxy::start(server.port());
//! proxy.next(Plan::pass().up(Fault::ResetAfter(size / 2)));       // the next upload is cut half way, then all is well
//! proxy.set_delay(Duration::from_millis(15));                     // 30 ms round trip, for new connections
//! proxy.set_rate(1_000_000);                                      // a slow line towards the server, for new connections
//! proxy.refuse(true);                                             // connection refused, until `false`
//! wait::until("a megabyte", || proxy.bytes_up() > 1_000_000);
//! proxy.cut_all();                                                // resets every open connection
//! ```
//!
//! A protocol that opens further connections to other ports of the server, as FTP does for data, gets a proxy with an address
//! of its own, which listens on these ports as well: whatever follows a connection to the main port counts as part of it,
//! for the bytes of its plan and for its end.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::https::wire::wait_until_delivered;

/// What happens in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// After so many bytes, which still arrive, both sides get a TCP reset.
    ResetAfter(u64),
    /// After so many bytes, which still arrive, both sides get an orderly end.
    CloseAfter(u64),
    /// After so many bytes nothing moves in this direction any more; the connection stays.
    StallAfter(u64),
}

/// What happens to one connection. Up is from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    up: Fault,
    down: Fault,
}

/// The proxy; all its connections end when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<Acceptor>>,
    /// For the other ports.
    further: Vec<(SocketAddr, Acceptor)>,
}

struct Acceptor {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

struct Shared {
    server: SocketAddr,
    plans: Mutex<VecDeque<Plan>>,
    always: Mutex<Plan>,
    delay: Mutex<Duration>,
    /// Bytes per second that are taken from a client; 0 for any.
    rate: AtomicU64,
    open: Mutex<Vec<Arc<Connection>>>,
    /// Of the last connection to the main port.
    session: Mutex<Option<Arc<Session>>>,
    frozen: AtomicBool,
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    cut: AtomicBool,
    session: Arc<Session>,
}

/// A connection to the main port, and those that followed it.
struct Session {
    plan: Plan,
    /// Bytes that may still pass.
    left_up: Mutex<u64>,
    left_down: Mutex<u64>,
    members: Mutex<Vec<Arc<Connection>>>,
}

impl Session {
    fn new(plan: Plan) -> Self {
        let limit = |fault| match fault {
            Fault::None => u64::MAX,
            Fault::ResetAfter(bytes) | Fault::CloseAfter(bytes) | Fault::StallAfter(bytes) => bytes,
        };
        let (left_up, left_down) = (Mutex::new(limit(plan.up)), Mutex::new(limit(plan.down)));
        Session { plan, left_up, left_down, members: Mutex::default() }
    }

    /// How many of `count` bytes may pass; they are used up.
    fn take(&self, up: bool, count: usize) -> usize {
        let mut left = if up { &self.left_up } else { &self.left_down }.lock().unwrap();
        let taken = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        taken
    }

    fn is_used_up(&self, up: bool) -> bool {
        *if up { &self.left_up } else { &self.left_down }.lock().unwrap() == 0
    }

    fn cut(&self, reset: bool) {
        for member in self.members.lock().unwrap().iter() {
            member.cut(reset);
        }
    }
}

/// What travels through the queue of one direction.
enum Piece {
    Bytes(Instant, Vec<u8>),
    /// The sender has closed its half.
    End(Instant),
    Cut {
        reset: bool,
        /// With everything that belongs to the session.
        all: bool,
    },
}

impl Plan {
    /// Everything passes.
    pub fn pass() -> Self {
        Self::default()
    }

    /// A fault from the client to the server.
    pub fn up(self, fault: Fault) -> Self {
        Self { up: fault, ..self }
    }

    /// A fault from the server to the client.
    pub fn down(self, fault: Fault) -> Self {
        Self { down: fault, ..self }
    }
}

impl Proxy {
    /// A proxy on a free port to a server on 127.0.0.1.
    pub fn start(server_port: u16) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, server_port, &[]).expect("a free port on loopback")
    }

    /// The same at another address of this machine, and with these further ports of the server.
    pub fn start_at(address: Ipv4Addr, server_port: u16, further_ports: &[u16]) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            server: SocketAddr::from(([127, 0, 0, 1], server_port)),
            plans: Mutex::default(),
            always: Mutex::default(),
            delay: Mutex::default(),
            rate: AtomicU64::default(),
            open: Mutex::default(),
            session: Mutex::default(),
            frozen: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let acceptor = Mutex::new(Some(Acceptor::start(listener, &shared, None)));
        let further = further_ports.iter().map(|&port| {
            let listener = TcpListener::bind((address.ip(), port))?;
            let address = listener.local_addr()?;
            Ok((address, Acceptor::start(listener, &shared, Some(port))))
        });
        let further = further.collect::<io::Result<_>>()?;
        Ok(Self { shared, address, acceptor, further })
    }

    /// The address for the client.
    pub fn host(&self) -> IpAddr {
        self.address.ip()
    }

    /// The port for the client.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The plan of the next connection; called again, of the one after.
    pub fn next(&self, plan: Plan) {
        self.shared.plans.lock().unwrap().push_back(plan);
    }

    /// The plan of every connection for which [`next`](Self::next) says nothing.
    pub fn always(&self, plan: Plan) {
        *self.shared.always.lock().unwrap() = plan;
    }

    /// How much later each direction's bytes arrive, in connections from now on.
    pub fn set_delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// How many bytes per second are taken from clients, in connections from now on: with hardly any buffer, so that a client
    /// feels it at once.
    pub fn set_rate(&self, bytes_per_second: u64) {
        self.shared.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Closes the port (`true`) or opens it again; connections that exist stay.
    pub fn refuse(&self, refuse: bool) {
        let mut acceptor = self.acceptor.lock().unwrap();
        if refuse {
            if let Some(acceptor) = acceptor.take() {
                acceptor.stop(self.address);
            }
        } else if acceptor.is_none() {
            let listener = super::wait::some("the proxy's own port", || TcpListener::bind(self.address).ok());
            *acceptor = Some(Acceptor::start(listener, &self.shared, None));
        }
    }

    /// Resets every open connection now.
    pub fn cut_all(&self) {
        for connection in self.shared.open.lock().unwrap().iter() {
            connection.cut(true);
        }
    }

    /// From now on nothing arrives on either side; connections stay. For servers that cannot be frozen themselves.
    pub fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::SeqCst);
    }

    /// Connections that came so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Bytes delivered to the server so far.
    pub fn bytes_up(&self) -> u64 {
        self.shared.up.load(Ordering::SeqCst)
    }

    /// Bytes delivered to clients so far.
    pub fn bytes_down(&self) -> u64 {
        self.shared.down.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse(true);
        for (address, acceptor) in self.further.drain(..) {
            acceptor.stop(address);
        }
        self.cut_all();
    }
}

impl Acceptor {
    /// Accepts for the main port, or for a further one.
    fn start(listener: TcpListener, shared: &Arc<Shared>, further_port: Option<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, shared) = (Arc::clone(&stop), Arc::clone(shared));
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    let Some(session) = shared.session_for(further_port) else { continue };
                    let server = SocketAddr::new(shared.server.ip(), further_port.unwrap_or(shared.server.port()));
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || pass(client, server, session, &shared));
                }
            }
        });
        Self { thread, stop }
    }

    fn stop(self, address: SocketAddr) {
        self.stop.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(address);
        self.thread.join().expect("the acceptor does not panic");
    }
}

impl Shared {
    /// What a new connection belongs to: a session of its own, or that of the last one to the main port.
    fn session_for(&self, further_port: Option<u16>) -> Option<Arc<Session>> {
        if further_port.is_some() {
            return self.session.lock().unwrap().clone();
        }
        self.connections.fetch_add(1, Ordering::SeqCst);
        let plan = self.plans.lock().unwrap().pop_front().unwrap_or(*self.always.lock().unwrap());
        let session = Arc::new(Session::new(plan));
        *self.session.lock().unwrap() = Some(Arc::clone(&session));
        Some(session)
    }
}

impl Connection {
    /// Ends both sides. A reset is what closing does with a linger of zero, once the last handle is dropped; shutting
    /// down the reading halves sends nothing and wakes the threads that hold them.
    fn cut(&self, reset: bool) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            if reset {
                let _already_closed = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            let _already_closed = stream.shutdown(if reset { Shutdown::Read } else { Shutdown::Both });
        }
    }
}

/// Passes one connection through until it ends.
fn pass(client: TcpStream, server: SocketAddr, session: Arc<Session>, shared: &Arc<Shared>) {
    let (delay, rate) = (*shared.delay.lock().unwrap(), shared.rate.load(Ordering::SeqCst));
    if rate > 0 {
        rustix::net::sockopt::set_socket_recv_buffer_size(&client, 64 << 10).expect("a socket");
    }
    // A server that refuses shows to the client as a connection that ends at once.
    let Ok(server) = TcpStream::connect(server) else { return };
    for stream in [&client, &server] {
        let _only_slower = stream.set_nodelay(true);
        // So that a writer whose peer does not read still notices a cut.
        stream.set_write_timeout(Some(Duration::from_millis(50))).expect("not zero");
    }
    let plan = session.plan;
    let connection = Arc::new(Connection { client, server, cut: AtomicBool::new(false), session });
    connection.session.members.lock().unwrap().push(Arc::clone(&connection));
    shared.open.lock().unwrap().push(Arc::clone(&connection));
    thread::scope(|scope| {
        for (fault, up) in [(plan.up, true), (plan.down, false)] {
            // 64 MiB under way at most: a gigabit at half a second.
            let (into, from) = sync_channel(1024);
            let connection = &connection;
            let rate = if up { rate } else { 0 };
            scope.spawn(move || receive(connection, up, fault, delay, rate, &into));
            let counter = if up { &shared.up } else { &shared.down };
            scope.spawn(move || deliver(connection, up, &from, counter, &shared.frozen));
        }
    });
    shared.open.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &connection));
    connection.session.members.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &connection));
}

/// Reads one side, and puts what it reads into the queue with the time at which it is due.
fn receive(connection: &Connection, up: bool, fault: Fault, delay: Duration, rate: u64, queue: &SyncSender<Piece>) {
    let mut source = if up { &connection.client } else { &connection.server };
    let mut buffer = vec![0; 64 * 1024];
    let session = &connection.session;
    while !session.is_used_up(up) {
        let count = match source.read(&mut buffer) {
            Ok(count) if count > 0 => count,
            Ok(_) if !connection.cut.load(Ordering::SeqCst) => {
                let _ended = queue.send(Piece::End(Instant::now() + delay));
                return;
            }
            // A reset on one side becomes a reset on the other.
            _ => {
                let _ended = queue.send(Piece::Cut { reset: true, all: false });
                return;
            }
        };
        let count = session.take(up, count);
        if rate > 0 {
            thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
        }
        if queue.send(Piece::Bytes(Instant::now() + delay, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
    match fault {
        Fault::ResetAfter(_) | Fault::CloseAfter(_) => {
            let _ended = queue.send(Piece::Cut { reset: matches!(fault, Fault::ResetAfter(_)), all: true });
        }
        // The socket stays open and unread, even when the client gives up, until `cut_all` or the proxy's end.
        _ => {
            while !connection.cut.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Writes what is due to the other side.
fn deliver(connection: &Connection, up: bool, queue: &Receiver<Piece>, counter: &AtomicU64, frozen: &AtomicBool) {
    let target = if up { &connection.server } else { &connection.client };
    for piece in queue {
        while frozen.load(Ordering::SeqCst) && !connection.cut.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        match piece {
            Piece::Bytes(due, bytes) => {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if write(connection, target, &bytes, counter).is_err() {
                    connection.cut(true);
                    return;
                }
            }
            Piece::End(due) => {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let _already_closed = target.shutdown(Shutdown::Write);
                return;
            }
            Piece::Cut { reset, all } => {
                wait_until_delivered(target);
                if all {
                    connection.session.cut(reset);
                }
                connection.cut(reset);
                return;
            }
        }
    }
}

fn write(connection: &Connection, mut target: &TcpStream, bytes: &[u8], counter: &AtomicU64) -> io::Result<()> {
    let mut rest = bytes;
    // Counted first: whoever has received them must not find that they were not.
    counter.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    let result = loop {
        if rest.is_empty() {
            break Ok(());
        }
        if connection.cut.load(Ordering::SeqCst) {
            break Err(io::ErrorKind::ConnectionReset.into());
        }
        match target.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => break Err(error),
        }
    };
    counter.fetch_sub(rest.len() as u64, Ordering::SeqCst);
    result
}
