//! An S3 server: `s3s` for the protocol, signatures and all, and `s3s-fs` for the objects, which are files that tests can look
//! at. It runs in this process, over plain HTTP or TLS.
//!
//! ```ignore
//! let server = S3Server::start(None);
//! let tls = S3Server::start(Some(ca.good().server_config()));
//! server.endpoint(), server.path("data/boutique")         // the bucket is `BUCKET`
//! let again = S3Server::start_timeless(&directory, port); // the same objects by the same port, after an outage
//! ```
//!
//! `S3Server::start_timeless` looks at no signature, for programs that live on another day: signatures hold the time.
//! Keys below `read-only/` can be read and not written, below `small/` there is room for a megabyte; the key of `STRANGER` may do
//! nothing at all.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

mod store;

pub use store::Quirks;

/// The one bucket.
pub const BUCKET: &str = "archives";
/// The access key that may do everything, and its secret.
pub const OWNER: (&str, &str) = ("AKIDOWNER", "owner-secret/+=wJalrXUtnFEMI");
/// One that is known and may do nothing.
pub const STRANGER: (&str, &str) = ("AKIDSTRANGER", "stranger-secret/K7MDENGbPxRfiCY");

/// The server; it ends when it is dropped.
pub struct S3Server {
    runtime: Option<Runtime>,
    port: u16,
    tls: bool,
    root: PathBuf,
    frozen: Arc<AtomicBool>,
    _own: Option<TempDir>,
}

impl S3Server {
    /// An empty bucket, on a free port.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::start_with(tls, Quirks::default())
    }

    /// The same of a server with quirks.
    pub fn start_with(tls: Option<Arc<ServerConfig>>, quirks: Quirks) -> Self {
        let own = tempfile::tempdir().expect("a temp directory");
        let mut server = Self::start_at(own.path(), 0, tls, false, quirks);
        server._own = Some(own);
        server
    }

    /// What `root` holds, on a port of the caller's or a free one for 0, for everybody at any time.
    pub fn start_timeless(root: &Path, port: u16) -> Self {
        Self::start_timeless_with(root, port, Quirks::default())
    }

    /// The same of a server with quirks.
    pub fn start_timeless_with(root: &Path, port: u16, quirks: Quirks) -> Self {
        Self::start_at(root, port, None, true, quirks)
    }

    fn start_at(root: &Path, port: u16, tls: Option<Arc<ServerConfig>>, timeless: bool, quirks: Quirks) -> Self {
        let root = root.canonicalize().expect("an existing directory");
        std::fs::create_dir_all(root.join(BUCKET)).expect("own directory");
        let service = {
            let mut builder = S3ServiceBuilder::new(store::Store::new(&root, quirks));
            let mut auth = SimpleAuth::new();
            for (id, secret) in [OWNER, STRANGER] {
                auth.register(id.to_owned(), secret.into());
            }
            if !timeless {
                builder.set_auth(auth);
                builder.set_access(store::Rights);
            }
            Front { service: builder.build(), timeless }
        };
        // Just after an outage, the port may still be on its way to being free.
        let listener = super::wait::some("the server's port", || TcpListener::bind(("127.0.0.1", port)).ok());
        listener.set_nonblocking(true).expect("a fresh socket");
        let port = listener.local_addr().expect("bound").port();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("two threads");
        let frozen = Arc::new(AtomicBool::new(false));
        let is_tls = tls.is_some();
        runtime.spawn(accept(listener, service, tls.map(TlsAcceptor::from), Arc::clone(&frozen)));
        Self { runtime: Some(runtime), port, tls: is_tls, root, frozen, _own: None }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What goes into the configuration.
    pub fn endpoint(&self) -> String {
        endpoint(self.tls, self.port)
    }

    /// Where the objects below a prefix lie.
    pub fn path(&self, prefix: &str) -> PathBuf {
        self.root.join(BUCKET).join(prefix)
    }

    /// Parts of uploads that were neither finished nor aborted.
    pub fn unfinished_parts(&self) -> usize {
        let files = std::fs::read_dir(&self.root).expect("own directory");
        let names = files.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload_id-")).count()
    }

    /// Leaves a part of `key`, as a client that was killed does.
    pub fn leave_unfinished(&self, key: &str) {
        let id = format!("{:08x}-0000-4000-8000-{:012x}", fastrand::u32(..), fastrand::u32(..));
        let write = |name: String, content: &str| std::fs::write(self.root.join(name), content).expect("own directory");
        write(format!(".upload-{id}.json"), &format!("\"{}\"", OWNER.0));
        write(store::metadata_name(key, &id), "{}");
        write(format!(".upload_id-{id}.part-1"), "part");
    }

    /// Nothing is read or written any more; connections stay.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The endpoint on a port of this machine.
pub fn endpoint(tls: bool, port: u16) -> String {
    format!("http{}://127.0.0.1:{port}", if tls { "s" } else { "" })
}

async fn accept(listener: TcpListener, service: Front, tls: Option<TlsAcceptor>, frozen: Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("inside the runtime");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _only_slower = stream.set_nodelay(true);
        let stream = Freezable { stream, frozen: Arc::clone(&frozen) };
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            let _ended = match tls {
                None => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

/// The service, which may be kept from seeing signatures.
#[derive(Clone)]
struct Front {
    service: S3Service,
    timeless: bool,
}

impl Service<Request<Incoming>> for Front {
    type Response = <S3Service as Service<Request<Incoming>>>::Response;
    type Error = <S3Service as Service<Request<Incoming>>>::Error;
    type Future = <S3Service as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if self.timeless {
            let query = request.uri().query().unwrap_or_default();
            let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
            let uri = format!("{}?{}", request.uri().path(), kept.join("&"));
            *request.uri_mut() = uri.parse().expect("it was one before");
        }
        Service::call(&self.service, request)
    }
}

/// A connection on which nothing moves any more once the flag is set. Nobody wakes it: it stays like that.
struct Freezable {
    stream: tokio::net::TcpStream,
    frozen: Arc<AtomicBool>,
}

impl Freezable {
    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }
}

impl AsyncRead for Freezable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ready = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.is_frozen() { Poll::Pending } else { ready }
    }
}

impl AsyncWrite for Freezable {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        // The client may still be sending what was refused early. To close at once would be a reset, and that could overtake
        // the answer: what comes is thrown away until the client has seen it and closes.
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        let mut unwanted = [0; 16 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut unwanted);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
