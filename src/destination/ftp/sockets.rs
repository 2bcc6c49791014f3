//! The sockets below a session: their limits, their end, and the second connection of each transfer.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl};
use suppaftp::{FtpError, FtpResult};

use super::errors::NoDataConnection;
use crate::destination::Timeouts;

/// A connection that is idle shows a sign of life so often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Handles on the sockets that the crate owns.
pub(super) struct Sockets {
    pub(super) control: TcpStream,
    pub(super) data: Mutex<Option<TcpStream>>,
    /// For data connections.
    pub(super) timeouts: Timeouts,
}

impl Sockets {
    pub(super) fn data(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a second connection, to the host of the first one: whatever address the server gives, it may be that of a
    /// private network, and must not be somebody else's.
    pub(super) fn open_data(&self, host: IpAddr, port: u16) -> FtpResult<TcpStream> {
        let address = SocketAddr::new(host, port);
        let opened = TcpStream::connect_timeout(&address, self.timeouts.connect).and_then(|socket| {
            limit(&socket, self.timeouts.stall)?;
            *self.data() = Some(socket.try_clone()?);
            Ok(socket)
        });
        opened.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::TimedOut => format!("no answer in {} s", self.timeouts.connect.as_secs_f32()),
                _ => error.to_string(),
            };
            let words = format!("failed to open the data connection to `{address}`: {why}");
            FtpError::ConnectionError(io::Error::other(NoDataConnection(words)))
        })
    }
}

/// No exchange over this socket waits for longer, and it is not forgotten on the way while it has nothing to say: during a long
/// transfer the control connection is idle, and firewalls drop what is.
pub(super) fn limit(socket: &TcpStream, limit: Duration) -> io::Result<()> {
    set_socket_keepalive(socket, true)?;
    set_tcp_keepidle(socket, KEEPALIVE)?;
    set_tcp_keepintvl(socket, KEEPALIVE)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    // Small requests must not wait for the acknowledgement of earlier ones.
    socket.set_nodelay(true)
}

/// The answer, unless the connection was closed in the middle of it: the crate takes what came of a line for the line, and
/// half a number for a number. TLS notices by itself.
pub(super) fn complete<T>(answer: FtpResult<T>, control: &TcpStream) -> FtpResult<T> {
    let is_closed = || {
        let peeked = control.set_nonblocking(true).and_then(|()| control.peek(&mut [0]));
        let reset = control.set_nonblocking(false);
        matches!(peeked, Ok(0)) || reset.is_err()
    };
    match answer {
        Ok(_) | Err(FtpError::BadResponse) if is_closed() => {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection");
            Err(FtpError::ConnectionError(error))
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use rustix::net::sockopt::{socket_keepalive, tcp_keepidle};

    use super::super::errors::Wire;
    use super::*;
    use crate::destination::ErrorKind;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn an_idle_connection_is_kept_alive_and_limited() {
        let (ours, _theirs) = connected();
        limit(&ours, Duration::from_secs(7)).unwrap();
        assert!(socket_keepalive(&ours).unwrap());
        assert_eq!(tcp_keepidle(&ours).unwrap(), KEEPALIVE);
        assert_eq!(ours.read_timeout().unwrap(), Some(Duration::from_secs(7)));
        assert_eq!(ours.write_timeout().unwrap(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_answer_that_was_cut_is_none() {
        let (ours, mut theirs) = connected();
        assert_eq!(complete(Ok(12_345), &ours).unwrap(), 12_345);
        theirs.write_all(b"213 12").unwrap();
        drop(theirs);
        let mut ftp_reads = [0; 6];
        io::Read::read_exact(&mut &ours, &mut ftp_reads).unwrap();
        // Its end may need a moment to arrive.
        ours.peek(&mut [0]).unwrap();
        for answer in [Ok(12), Err(FtpError::BadResponse)] {
            let wire = Wire::of(complete(answer, &ours).unwrap_err(), Duration::from_secs(1));
            assert_eq!(wire.kind(), ErrorKind::Unreachable, "{wire}");
        }
    }
}
