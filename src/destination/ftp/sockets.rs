//! The sockets below a session: their limits, their end, and the second connection of each transfer.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl};
use suppaftp::{FtpError, FtpResult};

use super::errors::NoDataConnection;
use super::line::{Pace, SLICE};

/// A connection that is idle shows a sign of life so often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Handles on the sockets that the crate owns.
pub(super) struct Sockets {
    pub(super) control: TcpStream,
    pub(super) data: Mutex<Option<TcpStream>>,
    pub(super) pace: Arc<Pace>,
    /// For data connections.
    pub(super) connect_timeout: Duration,
}

impl Sockets {
    pub(super) fn data(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a second connection, to the host of the first one: whatever address the server gives, it may be that of a
    /// private network, and must not be somebody else's.
    pub(super) fn open_data(&self, host: IpAddr, port: u16) -> FtpResult<TcpStream> {
        let address = SocketAddr::new(host, port);
        let opened = TcpStream::connect_timeout(&address, self.connect_timeout).and_then(|socket| {
            limit(&socket)?;
            *self.data() = Some(socket.try_clone()?);
            Ok(socket)
        });
        opened.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::TimedOut => format!("no answer in {} s", self.connect_timeout.as_secs_f32()),
                _ => error.to_string(),
            };
            let words = format!("failed to open the data connection to `{address}`: {why}");
            FtpError::ConnectionError(io::Error::other(NoDataConnection(words)))
        })
    }
}

/// No exchange over this socket waits for longer than a slice ([`Pace`] counts them), and it is not forgotten on the way while it
/// has nothing to say: during a long transfer the control connection is idle, and firewalls drop what is.
pub(super) fn limit(socket: &TcpStream) -> io::Result<()> {
    set_socket_keepalive(socket, true)?;
    set_tcp_keepidle(socket, KEEPALIVE)?;
    set_tcp_keepintvl(socket, KEEPALIVE)?;
    socket.set_read_timeout(Some(SLICE))?;
    socket.set_write_timeout(Some(SLICE))?;
    // Small requests must not wait for the acknowledgement of earlier ones.
    socket.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::sockopt::{socket_keepalive, tcp_keepidle};

    use super::*;

    #[test]
    fn an_idle_connection_is_kept_alive_and_limited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        limit(&ours).unwrap();
        assert!(socket_keepalive(&ours).unwrap());
        assert_eq!(tcp_keepidle(&ours).unwrap(), KEEPALIVE);
        assert_eq!(ours.read_timeout().unwrap(), Some(SLICE));
        assert_eq!(ours.write_timeout().unwrap(), Some(SLICE));
    }
}
