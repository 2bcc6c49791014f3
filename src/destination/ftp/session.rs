//! One control connection from the log-in on, and the transfers that belong to it.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use suppaftp::types::{Features, FileType};
use suppaftp::{FtpError, FtpResult, Mode, RustlsFtpStream, TransferStream};

use super::connect::{Failure, introduce};
use super::errors::{Reply, Wire};
use super::sockets::{Sockets, complete, limit};
use super::tls::{self, Tls, Version};
use crate::config::settings::{FtpSecurity, FtpSettings};
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::text;
use crate::text::Text;

/// The answer to a transfer that was given up is waited for this long at most.
const GRACE: Duration = Duration::from_secs(3);

/// A logged-in connection; what it says when it fails ends it, unless the server merely refused something.
pub(super) struct Session {
    ftp: RustlsFtpStream,
    sockets: Arc<Sockets>,
    limit: Duration,
    features: Features,
    /// The version of TLS, if any.
    version: Option<Version>,
    /// Transfers towards the server so far.
    pub(super) uploads: u32,
    /// Asks for data connections in the form that knows no addresses (RFC 2428).
    extended: bool,
    gone: bool,
}

impl Session {
    /// Connects, protects the connection and logs in.
    ///
    /// # Errors
    /// `Untrusted` before any credential was sent, `Auth`, `Unreachable`; the version is that of a server which takes
    /// nothing older.
    pub(super) fn open(
        settings: &FtpSettings,
        timeouts: Timeouts,
        roots: &RootCertStore,
        version: &mut Version,
    ) -> Result<Self, DestinationError> {
        let introduced = match introduce(settings, timeouts, roots, *version) {
            Err(Failure::Wire(wire)) if *version == Version::Tls12 && tls::wants_newer(&wire) => {
                tracing::debug!("`{}` takes no TLS 1.2, trying 1.3", settings.host);
                *version = Version::Tls13;
                introduce(settings, timeouts, roots, *version)
            }
            introduced => introduced,
        };
        let (ftp, sockets) = introduced.map_err(|failure| failure.explain(settings))?;
        let mut session = Session {
            ftp,
            sockets,
            limit: timeouts.connect,
            features: Features::new(),
            version: (settings.security != FtpSecurity::None).then_some(*version),
            uploads: 0,
            extended: false,
            gone: false,
        };
        session.log_in(settings)?;
        session.prepare().map_err(|wire| wire.during(format!("failed to prepare `{}`", settings.location())))?;
        let limited = session.set_limit(timeouts.stall);
        limited.map_err(|error| Wire::Broken(error).during("failed to set the timeout of a connection"))?;
        Ok(session)
    }

    /// How long the control connection may be silent from now on.
    fn set_limit(&mut self, silence: Duration) -> io::Result<()> {
        self.limit = silence;
        limit(&self.sockets.control, silence)
    }

    fn log_in(&mut self, settings: &FtpSettings) -> Result<(), DestinationError> {
        let user = settings.username.as_str();
        let accepted = self.ask(|ftp| ftp.login(user, settings.password.expose()));
        accepted.map_err(|wire| match wire {
            Wire::Refused(reply) if !(400..430).contains(&reply.code) => {
                let hint = login_hint(&reply, settings.security);
                DestinationError::new(ErrorKind::Auth, format!("authentication as `{user}` was refused"))
                    .caused_by(Wire::Refused(reply))
                    .with_hint(hint)
            }
            other => other.during(format!("failed to log in as `{user}`")),
        })
    }

    /// Everything that must be so before files move.
    fn prepare(&mut self) -> Result<(), Wire> {
        self.features = self.optional(RustlsFtpStream::feat)?.unwrap_or_default();
        // RFC 2640; some servers do so unasked and say that they do not know it.
        self.optional(|ftp| ftp.opts("UTF8", Some("ON")))?;
        // Otherwise line ends would be rewritten.
        self.ask(|ftp| ftp.transfer_type(FileType::Binary))?;
        let is_v6 = self.sockets.control.peer_addr().is_ok_and(|peer| peer.is_ipv6());
        self.extend(is_v6 || self.offers("EPSV"));
        Ok(())
    }

    fn extend(&mut self, extended: bool) {
        self.extended = extended;
        self.ftp.set_mode(if extended { Mode::ExtendedPassive } else { Mode::Passive });
    }

    /// Whether the server named this feature (RFC 2389).
    pub(super) fn offers(&self, feature: &str) -> bool {
        self.features.keys().any(|offered| offered.eq_ignore_ascii_case(feature))
    }

    /// Whether the server named `REST STREAM` (RFC 3659).
    pub(super) fn restarts(&self) -> bool {
        let stream =
            |value: &Option<String>| value.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("STREAM"));
        self.features.iter().any(|(name, value)| name.eq_ignore_ascii_case("REST") && stream(value))
    }

    /// Whether the connection was given up.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether another transfer towards the server could lack what it needs to resume TLS, see [`Version`].
    pub(super) fn is_spent(&self) -> bool {
        self.version == Some(Version::Tls13) && self.uploads > 0
    }

    /// Sends one command and awaits its answer.
    pub(super) fn ask<T>(&mut self, ask: impl FnOnce(&mut RustlsFtpStream) -> FtpResult<T>) -> Result<T, Wire> {
        match complete(ask(&mut self.ftp), &self.sockets.control) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let wire = Wire::of(error, self.limit);
                if wire.is_the_end() {
                    self.hang_up();
                }
                Err(wire)
            }
        }
    }

    /// The same of a command that a server need not know, or answers in a form of its own.
    fn optional<T>(&mut self, ask: impl FnOnce(&mut RustlsFtpStream) -> FtpResult<T>) -> Result<Option<T>, Wire> {
        let understood = |result: FtpResult<T>| match result {
            Err(FtpError::BadResponse) => Ok(None),
            result => result.map(Some),
        };
        let control = Arc::clone(&self.sockets);
        match self.ask(|ftp| understood(complete(ask(ftp), &control.control))) {
            Err(Wire::Refused(reply)) if reply.code >= 500 => Ok(None),
            answer => answer,
        }
    }

    /// Opens a second connection for a command, from `offset` where it moves a file.
    pub(super) fn transfer(&mut self, command: &str, offset: u64) -> Result<Transfer<'_>, Wire> {
        let start = |ftp: &mut RustlsFtpStream| {
            ftp.resume_transfer(usize::try_from(offset).unwrap_or(usize::MAX))?;
            ftp.custom_data_command(command, &[suppaftp::Status::AboutToSend, suppaftp::Status::AlreadyOpen])
        };
        let opened = match self.ask(start) {
            // 522: not for this family of addresses (RFC 2428).
            Err(Wire::Refused(reply)) if self.extended && (reply.is_unknown_command() || reply.code == 522) => {
                self.extend(false);
                self.ask(start)
            }
            opened => opened,
        };
        let (_, stream) = opened?;
        Ok(Transfer { stream, session: self })
    }

    fn verdict(&mut self, stream: TransferStream<Tls>) -> Result<(), Wire> {
        // A second handle would keep it open, and the server waiting for its end.
        self.sockets.data().take();
        self.ask(|_| stream.finish())
    }

    /// Ends the connection without ceremony, so that whatever is dropped later does not wait for a server that is silent.
    pub(super) fn hang_up(&mut self) {
        self.gone = true;
        let _ = self.sockets.control.shutdown(Shutdown::Both);
        if let Some(data) = self.sockets.data().take() {
            let _ = data.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // TLS has no more to say: a server that is asked nothing need not be waited for.
        self.hang_up();
    }
}

/// A second connection while it moves bytes.
pub(super) struct Transfer<'a> {
    stream: TransferStream<Tls>,
    session: &'a mut Session,
}

impl Transfer<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.stream, bytes)
    }

    /// 0 at the end. Many servers end TLS without saying so: whether all has come, the reply and the size tell.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match io::Read::read(&mut self.stream, buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }

    /// Closes the second connection and awaits the server's verdict.
    pub(super) fn finish(self) -> Result<(), Wire> {
        let Transfer { stream, session } = self;
        session.verdict(stream)
    }

    /// Why bytes would not move: the server's reply says it better than the socket, if one comes.
    pub(super) fn failed(self, error: io::Error) -> Wire {
        let wire = Wire::of_io(error, self.session.limit);
        if !matches!(wire, Wire::Broken(_)) {
            self.session.hang_up();
            return wire;
        }
        match self.finish() {
            Err(refused @ Wire::Refused(_)) => refused,
            _ => wire,
        }
    }

    /// Gives up what was on its way; a server that is slow to notice, or hangs up for that, loses the connection.
    pub(super) fn give_up(self) {
        let Transfer { stream, session } = self;
        let usual = session.limit;
        let goes_on = session.set_limit(GRACE.min(usual)).is_ok()
            // It has the right to call the transfer complete or cut: both end it.
            && matches!(session.verdict(stream), Ok(()) | Err(Wire::Refused(_)))
            && session.ask(RustlsFtpStream::noop).is_ok()
            && session.set_limit(usual).is_ok();
        if !goes_on {
            session.hang_up();
        }
    }
}

fn login_hint(reply: &Reply, security: FtpSecurity) -> Text {
    let words = reply.words.to_lowercase();
    if security == FtpSecurity::None && ["tls", "ssl", "encrypt", "secure"].iter().any(|word| words.contains(word)) {
        return text!(
            "the server wants TLS: use `type = \"ftps\"`" / "le serveur exige TLS : utilisez `type = \"ftps\"`"
        );
    }
    text!(
        "check `username` and `password`, and that the server lets this account use FTP"
            / "vérifiez `username` et `password`, et que le serveur autorise ce compte en FTP"
    )
}
