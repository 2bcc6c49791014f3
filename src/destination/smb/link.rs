//! One connection to a share, driven so that a stall and a signal are both noticed.
//!
//! The library runs on a runtime of its own that lives on this thread, and only while something is waited for. Its handles
//! close themselves by a task when they are dropped: whoever may drop one must hold [`Link::context`].
//!
//! The library loses the credits that come with an answer `STATUS_PENDING`, with which a server whose disk is slow says that the
//! real answer is to follow; when all are lost it waits for ever. That is [`Wire::Starved`]: another connection can go on.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use smb::connection::EncryptionMode;
use smb::{Connection, ConnectionConfig, Dialect, Guid, Session, Tree, UncPath};
use sspi::{AuthIdentity, Username};
use tokio::runtime::{EnterGuard, Handle, Runtime};

use super::errors::{ACCESS_DENIED, BAD_NETWORK_NAME, Wire, disagreement};
use super::socket::{Pulse, Socket};
use crate::config::settings::{SmbEncryption, SmbSettings};
use crate::destination::dial::{authority, dial};
use crate::destination::limits::StallTimer;
use crate::destination::{DestinationError, ErrorKind, Timeouts};
use crate::interrupt::Interrupt;
use crate::text;

/// The longest sleep between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(250);
/// What is due and does not leave for so long, while nothing moves, never will.
const STARVED_AFTER: Duration = Duration::from_secs(1);
/// After so many answers with which credits were lost, a connection begins nothing new.
const WORN_AFTER: u64 = 16;
/// MS-SMB2 2.2.4: every server reads, writes and lists so many bytes at once.
const MIN_BYTES: u32 = 64 << 10;
/// Credits (MS-SMB2 3.2.4.1.5: one for each 64 KiB on its way) to ask for: as many as servers give.
const CREDITS: u16 = 8192;
/// Once a signal has come, an answer is waited for this long: enough to tidy up on a server that is well.
const GRACE: Duration = Duration::from_secs(3);

/// A share that is open.
pub(super) struct Link {
    speaker: Option<Speaker>,
    pulse: Arc<Pulse>,
    limit: Cell<Duration>,
    starved: Cell<bool>,
    interrupt: Interrupt,
    runtime: Runtime,
}

/// What must be dropped within the runtime's context.
struct Speaker {
    tree: Tree,
    _session: Session,
    connection: Connection,
}

impl Link {
    /// Connects, agrees on how to speak, logs in and opens the share.
    pub(super) fn connect(
        settings: &SmbSettings,
        timeouts: Timeouts,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let limit = timeouts.connect;
        let introduced = match introduce(settings, EncryptionMode::Required, limit, interrupt)? {
            // The library encrypts with `Allowed` only if the server insists, hence first the other way.
            Err(Wire::Unencrypted) if settings.encryption == SmbEncryption::IfOffered => {
                introduce(settings, EncryptionMode::Allowed, limit, interrupt)?
            }
            other => other,
        };
        let server = authority(&settings.host, settings.port);
        let Introduced { connection, handle, mut link } =
            introduced.map_err(|wire| disagreement(wire, &server, settings.port))?;
        let _context = handle.enter();
        // A binding of its own, so that it is dropped before the context on every way out.
        let connection = connection;
        let session = link.log_in(&connection, settings)?;
        let tree = link.open_share(&session, settings)?;
        if let Some(info) = connection.conn_info() {
            tracing::debug!(
                "`{server}` speaks {:?}, encryption {:?}, reads {} bytes at once",
                info.negotiation.dialect_rev,
                info.negotiation.encryption_cipher,
                info.negotiation.max_read_size,
            );
        }
        let most = connection.conn_info().map(|info| &info.negotiation);
        if most.is_some_and(|most| most.max_read_size.min(most.max_write_size).min(most.max_transact_size) < MIN_BYTES)
        {
            let message = format!("`{server}` lets less than {MIN_BYTES} bytes be read or written at once");
            return Err(DestinationError::new(ErrorKind::Other, message).with_hint(text!(
                "leave `smb2 max read`, `smb2 max write` and `smb2 max trans` at what the server has by itself"
                    / "laissez `smb2 max read`, `smb2 max write` et `smb2 max trans` aux valeurs d'origine du serveur"
            )));
        }
        link.speaker = Some(Speaker { tree, _session: session, connection });
        link.limit.set(timeouts.stall);
        Ok(link)
    }

    fn log_in(&self, connection: &Connection, settings: &SmbSettings) -> Result<Session, DestinationError> {
        let what = || format!("logging in as `{}` failed", settings.account());
        let hint = || {
            text!(
                "check `username`, `password` and `domain`: the account must exist on the server, and be allowed to log on over the network"
                    / "vérifiez `username`, `password` et `domain` : le compte doit exister sur le serveur, et avoir le droit d'ouvrir une session réseau"
            )
        };
        let refused = |why: String| DestinationError::new(ErrorKind::Auth, what()).caused_by(why).with_hint(hint());
        let username = Username::new(&settings.username, settings.domain.as_deref()).map_err(|_| {
            refused("the user's name is not of the form `user`, `DOMAIN\\user` or `user@domain`".to_owned())
        })?;
        let identity = AuthIdentity { username, password: settings.password.expose().to_owned().into() };
        self.wait(connection.authenticate(identity)).map_err(|wire| match &wire {
            Wire::Status(_) if wire.kind() != ErrorKind::Unreachable => refused(wire.to_string()),
            Wire::Library(words) if words.contains("guest") || words.contains("signed") => {
                refused("the server does not know this user, and offers to be a guest instead".to_owned())
            }
            Wire::Library(_) => refused(wire.to_string()),
            _ => wire.during(what()),
        })
    }

    fn open_share(&self, session: &Session, settings: &SmbSettings) -> Result<Tree, DestinationError> {
        let share = &settings.share;
        let what = || format!("failed to open the share `{share}` at `{}`", authority(&settings.host, settings.port));
        // Colons are for streams in such a path; Windows writes addresses of IPv6 this way.
        let server = match settings.host.contains(':') {
            true => format!("{}.ipv6-literal.net", settings.host.replace(':', "-")),
            false => settings.host.clone(),
        };
        let path = UncPath::new(&server)
            .and_then(|path| path.with_share(share))
            .map_err(|error| Wire::from(error).during(what()))?;
        self.wait(session.tree_connect(&path)).map_err(|wire| match wire.status() {
            Some(BAD_NETWORK_NAME) => wire.during(what()).with_hint(text!(
                "check `share`: the server has none of that name (`smbclient -L` shows its shares)"
                    / "vérifiez `share` : le serveur n'en a aucun de ce nom (`smbclient -L` montre ses partages)"
            )),
            Some(ACCESS_DENIED) => wire.during(what()).with_hint(text!(
                "give the account `{}` rights on the share `{share}`, or check `username` and `share`"
                    / "donnez au compte `{}` des droits sur le partage `{share}`, ou vérifiez `username` et `share`",
                settings.username
            )),
            _ => wire.during(what()),
        })
    }

    /// To be held while handles of the library may be dropped.
    pub(super) fn context(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Bytes that one request may read, and write.
    pub(super) fn most_bytes(&self) -> (u32, u32) {
        let info = self.speaker.as_ref().and_then(|speaker| speaker.connection.conn_info());
        info.map_or((1 << 16, 1 << 16), |info| (info.negotiation.max_read_size, info.negotiation.max_write_size))
    }

    pub(super) fn server_time(&self) -> Option<DateTime<Utc>> {
        self.pulse.server_time()
    }

    /// Asks something of the share.
    pub(super) fn ask<T>(&self, question: impl AsyncFnOnce(&Tree) -> smb::Result<T>) -> Result<T, Wire> {
        let speaker = self.speaker.as_ref().ok_or_else(|| Wire::Gone("the share is not open".to_owned()))?;
        self.wait(question(&speaker.tree))
    }

    /// Requests that were handed to the line so far.
    pub(super) fn sent(&self) -> u64 {
        self.pulse.sent()
    }

    /// Whether it is gone only for want of credits.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// Whether it may run out of credits soon; asked while nothing is on its way.
    pub(super) fn is_worn(&self) -> bool {
        self.pulse.received().saturating_sub(self.sent()) > WORN_AFTER && self.pulse.broken().is_none()
    }

    /// Waits for the answer to a request that `future` is to send, as long as bytes move.
    pub(super) fn wait<T, E: Into<Wire>>(&self, future: impl Future<Output = Result<T, E>>) -> Result<T, Wire> {
        self.wait_for(self.sent() + 1, future)
    }

    /// Waits for answers as long as bytes move; for them, `due` requests must have been sent over this connection.
    pub(super) fn wait_for<T, E: Into<Wire>>(
        &self,
        due: u64,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Wire> {
        if let Some(reason) = self.pulse.broken() {
            return Err(Wire::Gone(reason.to_owned()));
        }
        let begun = Instant::now();
        let (mut timer, mut moved) = (StallTimer::new(self.limit.get()), self.pulse.moved_bytes());
        let answer = self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                match tokio::time::timeout(SLICE, &mut future).await {
                    Ok(answer) => return answer.map_err(Into::into),
                    Err(_) => {
                        let now = self.pulse.moved_bytes();
                        timer.moved(now - std::mem::replace(&mut moved, now));
                        self.may_go_on(begun, &timer, due)?;
                    }
                }
            }
        });
        match (&answer, self.pulse.broken()) {
            // The socket knows better why the library lost it.
            (Err(Wire::Gone(_)), Some(reason)) => Err(Wire::Gone(reason.to_owned())),
            (Err(wire), None) if matches!(wire, Wire::Gone(_)) => {
                self.hang_up(&wire.to_string());
                answer
            }
            _ => answer,
        }
    }

    fn may_go_on(&self, begun: Instant, timer: &StallTimer, due: u64) -> Result<(), Wire> {
        if let Some(reason) = self.pulse.broken() {
            return Err(Wire::Gone(reason.to_owned()));
        }
        if begun.elapsed() >= GRACE
            && let Err(stop) = self.interrupt.check()
        {
            self.hang_up("given up after a signal");
            return Err(Wire::Interrupted(stop));
        }
        if self.sent() < due && self.pulse.moved_at().max(begun).elapsed() >= STARVED_AFTER {
            self.starved.set(true);
            self.hang_up(&Wire::Starved.to_string());
            return Err(Wire::Starved);
        }
        if timer.is_stalled() {
            let silent = Wire::Silent(self.limit.get());
            self.hang_up(&silent.to_string());
            return Err(silent);
        }
        Ok(())
    }

    /// Nothing is asked of this connection any more.
    pub(super) fn hang_up(&self, why: &str) {
        self.pulse.give_up(why);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _context = self.runtime.enter();
        // No farewell: a server that is silent must not be waited for, and all end their sessions with the connection.
        self.speaker = None;
    }
}

struct Introduced {
    // Before the link: it is dropped first, within the context that `handle` gives.
    connection: Connection,
    handle: Handle,
    link: Link,
}

/// Connects and negotiates; no credential yet.
fn introduce(
    settings: &SmbSettings,
    encryption: EncryptionMode,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Result<Introduced, Wire>, DestinationError> {
    let unprepared = |error: io::Error| {
        DestinationError::new(ErrorKind::Other, "failed to prepare an SMB connection").caused_by(error)
    };
    let stream = dial(&settings.host, settings.port, limit)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unprepared)?;
    let handle = runtime.handle().clone();
    let context = handle.enter();
    let (socket, pulse) = Socket::new(stream).map_err(unprepared)?;
    let link = Link {
        speaker: None,
        pulse,
        limit: Cell::new(limit),
        starved: Cell::new(false),
        interrupt: interrupt.clone(),
        runtime,
    };
    let config = ConnectionConfig {
        // Nothing but ours: that one counts from the request, whatever moves meanwhile.
        timeout: Some(Duration::ZERO),
        min_dialect: Some(Dialect::Smb030),
        encryption_mode: encryption,
        smb2_only_negotiate: true,
        disable_notifications: true,
        credits_backlog: Some(CREDITS),
        client_name: Some("archive".to_owned()),
        ..ConnectionConfig::default()
    };
    let connection = link.wait(Connection::from_transport(Box::new(socket), &settings.host, Guid::generate(), config));
    let introduced = connection.map(|connection| (connection, link));
    drop(context);
    Ok(introduced.map(|(connection, link)| Introduced { connection, handle, link }))
}
