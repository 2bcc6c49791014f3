//! An SFTP server that can be switched off and on again, as servers are. One user, one key, no shell.
//!
//! The file system part is in `sftp_files`. Knows nothing of archives.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::server::{Auth, Config, Handler, Msg, Server as _, Session};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::sftp_files::Files;

/// The only account.
pub const USERNAME: &str = "archive";

/// The server. Stops when dropped.
pub struct SftpServer {
    root: PathBuf,
    config: Arc<Config>,
    fingerprint: String,
    user_key: PrivateKey,
    port: u16,
    runtime: Option<Runtime>,
}

impl SftpServer {
    /// Starts on a free port of 127.0.0.1; clients see `root` as `/`.
    pub fn start(root: &Path) -> io::Result<Self> {
        let host_key = new_key()?;
        let fingerprint = host_key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let config = Config {
            keys: vec![host_key],
            // Without it each answer waits for the acknowledgement of the one before: 30 times slower.
            nodelay: true,
            auth_rejection_time: Duration::from_millis(100),
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..Config::default()
        };
        let mut server = SftpServer {
            root: root.to_owned(),
            config: Arc::new(config),
            fingerprint,
            user_key: new_key()?,
            port: 0,
            runtime: None,
        };
        // Not from the range that the system takes its own ports from: while the server is off, nobody else may get it.
        for _ in 0..100 {
            server.port = fastrand::u16(20_000..30_000);
            match server.switch_on() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result.map(|()| server),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port between 20000 and 30000 on 127.0.0.1"))
    }

    /// The port on 127.0.0.1; the same all along.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host key's fingerprint: `SHA256:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The private key that [`USERNAME`] logs in with, as OpenSSH writes it.
    pub fn user_key(&self) -> io::Result<String> {
        let text = self.user_key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        Ok(text.to_string())
    }

    /// Listens again, on the same port, unless it does already.
    pub fn switch_on(&mut self) -> io::Result<()> {
        if self.runtime.is_some() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let socket = runtime.block_on(TcpListener::bind(("127.0.0.1", self.port)))?;
        let mut door = Door { root: self.root.clone(), user_key: self.user_key.public_key().clone() };
        let config = Arc::clone(&self.config);
        runtime.spawn(async move { door.run_on_socket(config, &socket).await });
        self.runtime = Some(runtime);
        Ok(())
    }

    /// From now on connections are refused; those that exist are cut.
    pub fn switch_off(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

impl Drop for SftpServer {
    fn drop(&mut self) {
        self.switch_off();
    }
}

fn new_key() -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

struct Door {
    root: PathBuf,
    user_key: PublicKey,
}

impl russh::server::Server for Door {
    type Handler = Client;

    fn new_client(&mut self, _: Option<std::net::SocketAddr>) -> Client {
        Client { root: self.root.clone(), user_key: self.user_key.clone(), channels: Vec::new() }
    }
}

struct Client {
    root: PathBuf,
    user_key: PublicKey,
    channels: Vec<Channel<Msg>>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: &PublicKey) -> Result<Auth, Self::Error> {
        let welcome = user == USERNAME && key.key_data() == self.user_key.key_data();
        Ok(if welcome { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, _: &mut Session) -> Result<bool, Self::Error> {
        self.channels.push(channel);
        Ok(true)
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        let position = self.channels.iter().position(|channel| channel.id() == id);
        let Some(position) = position.filter(|_| name == "sftp") else {
            return session.channel_failure(id);
        };
        let channel = self.channels.swap_remove(position);
        session.channel_success(id)?;
        russh_sftp::server::run(channel.into_stream(), Files::new(&self.root)).await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, _: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        // No shell, as most archive accounts: the client must verify its copy by reading it back.
        session.channel_failure(id)
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.close(id)
    }
}
