//! One control connection from the log-in on, and the transfers that belong to it.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::RootCertStore;
use suppaftp::types::{FileType, Response};
use suppaftp::{FtpError, FtpResult, Mode, Status, TransferStream};

use super::connect::{Failure, Ftp, introduce};
use super::errors::{Reply, Wire};
use super::line::{Channel, GRACE};
use super::sockets::Sockets;
use super::tls::{self, Version};
use crate::config::settings::{FtpSecurity, FtpSettings};
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;
use crate::text;
use crate::text::Text;

/// A logged-in connection; what it says when it fails ends it, unless the server merely refused something.
pub(super) struct Session {
    ftp: Ftp,
    sockets: Arc<Sockets>,
    /// What the server names in answer to `FEAT` (RFC 2389), and what it says of it.
    features: Vec<(String, String)>,
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
        interrupt: &Interrupt,
        roots: &RootCertStore,
        version: &mut Version,
    ) -> Result<Self, DestinationError> {
        let introduced = match introduce(settings, timeouts, interrupt, roots, *version) {
            Err(Failure::Wire(wire)) if *version == Version::Tls12 && tls::wants_newer(&wire) => {
                tracing::debug!("`{}` takes no TLS 1.2, trying 1.3", settings.host);
                match introduce(settings, timeouts, interrupt, roots, Version::Tls13) {
                    // It was the ciphers, then.
                    Err(Failure::Wire(Wire::Tls(_))) if tls::wants_other_ciphers(&wire) => Err(Failure::Wire(wire)),
                    introduced => {
                        *version = Version::Tls13;
                        introduced
                    }
                }
            }
            introduced => introduced,
        };
        let (ftp, sockets) = introduced.map_err(|failure| failure.explain(settings))?;
        let mut session = Session {
            ftp,
            sockets,
            features: Vec::new(),
            version: (settings.security != FtpSecurity::None).then_some(*version),
            uploads: 0,
            extended: false,
            gone: false,
        };
        session.log_in(settings)?;
        session.prepare().map_err(|wire| wire.during(format!("failed to prepare `{}`", settings.location())))?;
        session.sockets.pace.set_limit(timeouts.stall);
        Ok(session)
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
        self.features = self.optional(features)?.unwrap_or_default();
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

    /// Whether the server named this feature.
    pub(super) fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|(offered, _)| offered.eq_ignore_ascii_case(feature))
    }

    /// Whether the server named `REST STREAM` (RFC 3659).
    pub(super) fn restarts(&self) -> bool {
        let named =
            |(name, of): &(String, String)| name.eq_ignore_ascii_case("REST") && of.eq_ignore_ascii_case("STREAM");
        self.features.iter().any(named)
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
    pub(super) fn ask<T>(&mut self, ask: impl FnOnce(&mut Ftp) -> FtpResult<T>) -> Result<T, Wire> {
        self.sockets.pace.restart();
        ask(&mut self.ftp).map_err(|error| {
            let wire = Wire::of(error, self.sockets.pace.limit());
            if wire.is_the_end() {
                self.hang_up();
            }
            wire
        })
    }

    /// The same of a command that a server need not know, may refuse for any reason, or answer in a form of its own; only 421
    /// ends a session (RFC 959, 4.2.1).
    pub(super) fn optional<T>(&mut self, ask: impl FnOnce(&mut Ftp) -> FtpResult<T>) -> Result<Option<T>, Wire> {
        let understood = |ftp: &mut Ftp| match ask(ftp) {
            Err(FtpError::BadResponse) => Ok(None),
            result => result.map(Some),
        };
        match self.ask(understood) {
            Err(Wire::Refused(reply)) if reply.code != 421 => Ok(None),
            answer => answer,
        }
    }

    /// Bytes of a file (RFC 3659, 4), where the server tells.
    pub(super) fn size(&mut self, path: &str) -> Result<Option<u64>, Wire> {
        Ok(self.optional(|ftp| ftp.size(path))?.map(|size| size as u64))
    }

    /// When a file was written (RFC 3659, 3), where the server tells.
    pub(super) fn modified(&mut self, path: &str) -> Result<Option<DateTime<Utc>>, Wire> {
        Ok(self.optional(|ftp| ftp.mdtm(path))?.map(|time| time.and_utc()))
    }

    /// Opens a second connection for a command, from `offset` where it moves a file.
    pub(super) fn transfer(&mut self, command: &str, offset: u64) -> Result<Transfer<'_>, Wire> {
        let start = |ftp: &mut Ftp| {
            ftp.resume_transfer(usize::try_from(offset).unwrap_or(usize::MAX))?;
            ftp.custom_data_command(command, &[Status::AboutToSend, Status::AlreadyOpen])
        };
        self.sockets.data().take();
        let opened = match self.ask(start) {
            // Without a second connection, what failed is the way to one: a server that does not know EPSV says so in many ways
            // (also `227`, or with other signs around the port), and some firewalls let only PASV through.
            Err(Wire::Refused(Reply { code, .. })) if self.extended && code != 421 && self.sockets.data().is_none() => {
                self.extend(false);
                self.ask(start)
            }
            Err(Wire::NoData(words)) if self.extended => {
                tracing::debug!("{words}; asking by PASV");
                self.extend(false);
                self.ask(start)
            }
            opened => opened,
        };
        let (_, stream) = opened?;
        // What it took to come here is not the transfer's.
        self.sockets.pace.restart();
        Ok(Transfer { stream, session: self })
    }

    fn verdict(&mut self, stream: TransferStream<Channel>) -> Result<(), Wire> {
        // A second handle would keep it open, and the server waiting for its end.
        self.sockets.data().take();
        self.ask(|_| stream.finish())
    }

    /// What the server said last.
    pub(super) fn heard(&self) -> String {
        self.sockets.pace.heard()
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
    stream: TransferStream<Channel>,
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
        let wire = Wire::of_io(error, self.session.sockets.pace.limit());
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
        let pace = Arc::clone(&session.sockets.pace);
        let usual = pace.limit();
        pace.set_limit(GRACE.min(usual));
        // It has the right to call the transfer complete or cut: both end it.
        let goes_on =
            matches!(session.verdict(stream), Ok(()) | Err(Wire::Refused(_))) && session.ask(Ftp::noop).is_ok();
        pace.set_limit(usual);
        if !goes_on {
            session.hang_up();
        }
    }
}

/// Asks for the features. The crate's own request waits for a second line where there is only one (`211 no features`).
fn features(ftp: &mut Ftp) -> FtpResult<Vec<(String, String)>> {
    match ftp.custom_command("FEAT", &[]) {
        Err(FtpError::UnexpectedResponse(response)) if response.status == Status::System => Ok(named(&response)),
        answer => answer.map(|_| Vec::new()),
    }
}

/// The lines between the first and the last of the answer.
fn named(response: &Response) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(&response.body);
    let lines = text.lines().filter(|line| !line.starts_with("211")).map(str::trim);
    lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).map(|(name, of)| (name.into(), of.into())).collect()
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
