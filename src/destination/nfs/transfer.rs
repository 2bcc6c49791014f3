//! Moving a file's bytes: one block after the other, each acknowledged.
//!
//! Blocks are written without waiting for the server's disk and committed in larger pieces (RFC 1813 §3.3.7, §3.3.21). The
//! server gives each answer a verifier; another one than before means that it was started anew and may have forgotten what was
//! not committed, which is then written again.

use nfs3_client::Nfs3Client;
use nfs3_client::io::{AsyncRead, AsyncWrite};
use nfs3_client::nfs3_types::nfs3::{COMMIT3args, READ3args, WRITE3args, fattr3, nfs_fh3, stable_how, writeverf3};
use nfs3_client::nfs3_types::xdr_codec::Opaque;

use super::errors::{Who, Wire, answered};
use super::socket::Patience;
use crate::destination::feed::Feed;
use crate::destination::{DestinationError, ErrorKind, Sink, Source};

/// The largest block that is asked for or sent; servers may want smaller ones.
pub(super) const BLOCK_BYTES: u32 = 1 << 20;
/// Committed together: what a restart of the server costs at most, and little enough for a slow disk to flush while no byte
/// moves on the line.
const PIECE_BYTES: u64 = 64 << 20;
/// How often one piece is written before it is given up.
const ATTEMPTS: u32 = 4;

/// What a transfer is about.
pub(super) struct Transfer<'a, IO> {
    pub(super) client: &'a mut Nfs3Client<IO>,
    pub(super) file: &'a nfs_fh3,
    pub(super) block_bytes: u32,
    pub(super) patience: &'a Patience,
    pub(super) who: Who,
    /// What is being done to what, for errors.
    pub(super) what: &'a dyn Fn() -> String,
}

impl<IO: AsyncRead + AsyncWrite + Send> Transfer<'_, IO> {
    /// Writes `source` from `offset` to its end; all of it is on the server's disk afterwards.
    pub(super) async fn send(&mut self, source: &mut dyn Source, offset: u64) -> Result<(), DestinationError> {
        let mut committed = offset;
        let mut attempts = 0;
        loop {
            let mut feed = Feed::start(source, committed)?;
            let reached = self.send_pieces(&mut feed, committed).await?;
            if feed.left() == 0 && reached.all_committed {
                return feed.finish();
            }
            attempts = if reached.offset > committed { 1 } else { attempts + 1 };
            committed = reached.offset;
            if attempts >= ATTEMPTS {
                return Err(DestinationError::new(ErrorKind::Unreachable, (self.what)())
                    .caused_by("the server was restarted again and again, and forgot what it had not yet stored"));
            }
            tracing::warn!("{}: the server was restarted; going on from byte {committed}", (self.what)());
        }
    }

    /// Writes piece after piece until all is committed or the server was restarted.
    async fn send_pieces(&mut self, feed: &mut Feed<'_>, offset: u64) -> Result<Reached, DestinationError> {
        let mut block = vec![0; self.block_bytes as usize];
        let mut committed = offset;
        loop {
            let (mut position, mut verifier) = (committed, None);
            while position < committed + PIECE_BYTES {
                self.patience
                    .check()
                    .map_err(|stop| DestinationError::new(ErrorKind::Local, (self.what)()).caused_by(stop))?;
                let count = feed.read(&mut block)?;
                if count == 0 {
                    break;
                }
                if !self.write(&block[..count], position, &mut verifier).await? {
                    return Ok(Reached { offset: committed, all_committed: false });
                }
                position += count as u64;
            }
            // Also without a byte: an empty file is committed like any other.
            let told = self.commit().await?;
            if verifier.is_some_and(|verifier| verifier != told) {
                return Ok(Reached { offset: committed, all_committed: false });
            }
            committed = position;
            if feed.left() == 0 {
                return Ok(Reached { offset: committed, all_committed: true });
            }
        }
    }

    /// Writes one block, in as many requests as the server wants; false once a verifier is another than the one before.
    async fn write(
        &mut self,
        mut block: &[u8],
        mut offset: u64,
        verifier: &mut Option<writeverf3>,
    ) -> Result<bool, DestinationError> {
        while !block.is_empty() {
            let arguments = WRITE3args {
                file: self.file.clone(),
                offset,
                count: block.len() as u32,
                stable: stable_how::UNSTABLE,
                data: Opaque::borrowed(block),
            };
            let written = answered(self.client.write(&arguments).await).map_err(|wire| self.failed(wire))?;
            let count = (written.count as usize).min(block.len());
            if count == 0 {
                return Err(DestinationError::new(ErrorKind::Other, (self.what)())
                    .caused_by("the server stored nothing of what it was sent"));
            }
            if *verifier.get_or_insert(written.verf) != written.verf {
                return Ok(false);
            }
            (block, offset) = (&block[count..], offset + count as u64);
        }
        Ok(true)
    }

    async fn commit(&mut self) -> Result<writeverf3, DestinationError> {
        // A count of zero: to the end of the file.
        let arguments = COMMIT3args { file: self.file.clone(), offset: 0, count: 0 };
        Ok(answered(self.client.commit(&arguments).await).map_err(|wire| self.failed(wire))?.verf)
    }

    /// Reads from `offset` to the end.
    pub(super) async fn receive(
        &mut self,
        attributes: &fattr3,
        offset: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), DestinationError> {
        let local = |what: String, error| DestinationError::new(ErrorKind::Local, what).caused_by(error);
        let mut reached = offset;
        loop {
            self.patience.check().map_err(|stop| local((self.what)(), stop))?;
            let arguments = READ3args { file: self.file.clone(), offset: reached, count: self.block_bytes };
            let read = answered(self.client.read(&arguments).await).map_err(|wire| self.failed(wire))?;
            if read.data.len() > self.block_bytes as usize {
                let why =
                    format!("the server sent {} bytes where {} were asked for", read.data.len(), self.block_bytes);
                return Err(DestinationError::new(ErrorKind::Other, (self.what)()).caused_by(why));
            }
            reached += read.data.len() as u64;
            if reached > attributes.size {
                let why = format!("it goes on after the {} bytes that it has", attributes.size);
                return Err(DestinationError::new(ErrorKind::Other, (self.what)()).caused_by(why));
            }
            sink(&read.data).map_err(|error| local((self.what)(), error))?;
            if read.eof || read.data.is_empty() {
                break;
            }
        }
        match reached < attributes.size {
            true => Err(DestinationError::new(ErrorKind::Other, (self.what)())
                .caused_by(format!("it ended after {reached} of {} bytes", attributes.size))),
            false => Ok(()),
        }
    }

    fn failed(&self, wire: Wire) -> DestinationError {
        wire.during((self.what)(), self.who)
    }
}

/// How far a transfer came.
struct Reached {
    /// Up to here the server has promised to keep everything.
    offset: u64,
    all_committed: bool,
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};
    use std::time::Duration;

    use nfs3_client::nfs3_types::nfs3::{COMMIT3resok, NFS_PROGRAM, Nfs3Result, WRITE3resok, wcc_data};
    use nfs3_client::nfs3_types::rpc::{
        accept_stat_data, accepted_reply, fragment_header, msg_body, opaque_auth, reply_body, rpc_msg,
    };
    use nfs3_client::nfs3_types::xdr_codec::{Pack, Unpack};

    use super::*;
    use crate::interrupt::Interrupt;

    /// A server without a network, which forgets what was not committed when it is restarted.
    #[derive(Default)]
    struct Server {
        stored: Vec<u8>,
        uncommitted: Vec<(u64, Vec<u8>)>,
        verifier: u8,
        /// Before which requests, counted from 1, it is restarted.
        restarts: Vec<usize>,
        requests: usize,
        /// Of each block it stores only so many bytes.
        takes: usize,
        request: Vec<u8>,
        answer: Cursor<Vec<u8>>,
    }

    impl Server {
        fn new(restarts: &[usize]) -> Self {
            Server { restarts: restarts.to_vec(), takes: usize::MAX, ..Server::default() }
        }

        fn serve(&mut self) -> Vec<u8> {
            self.requests += 1;
            if self.restarts.contains(&self.requests) {
                self.uncommitted.clear();
                self.verifier += 1;
            }
            let mut request = Cursor::new(self.request.split_off(4));
            self.request.clear();
            let (message, _) = rpc_msg::unpack(&mut request).unwrap();
            let msg_body::CALL(call) = message.body else { panic!("a call") };
            let body = reply_body::MSG_ACCEPTED(accepted_reply {
                verf: opaque_auth::default(),
                reply_data: accept_stat_data::SUCCESS,
            });
            let mut answer = vec![0; 4];
            rpc_msg { xid: message.xid, body: msg_body::REPLY(body) }.pack(&mut answer).unwrap();
            let verf = writeverf3([self.verifier; 8]);
            if call.proc == NFS_PROGRAM::NFSPROC3_WRITE as u32 {
                let (write, _) = WRITE3args::unpack(&mut request).unwrap();
                let data = &write.data[..write.data.len().min(self.takes)];
                self.uncommitted.push((write.offset, data.to_vec()));
                let done = WRITE3resok {
                    file_wcc: wcc_data::default(),
                    count: data.len() as u32,
                    committed: stable_how::UNSTABLE,
                    verf,
                };
                Nfs3Result::<_, wcc_data>::Ok(done).pack(&mut answer).unwrap();
            } else {
                for (offset, data) in self.uncommitted.drain(..) {
                    let end = offset as usize + data.len();
                    self.stored.resize(self.stored.len().max(end), 0);
                    self.stored[offset as usize..end].copy_from_slice(&data);
                }
                let done = COMMIT3resok { file_wcc: wcc_data::default(), verf };
                Nfs3Result::<_, wcc_data>::Ok(done).pack(&mut answer).unwrap();
            }
            let header = fragment_header::new(answer.len() as u32 - 4, true).into_xdr_buf();
            answer[..4].copy_from_slice(&header);
            answer
        }
    }

    impl AsyncWrite for &mut Server {
        async fn async_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The client hands over one whole message.
            self.request.extend_from_slice(bytes);
            self.answer = Cursor::new(self.serve());
            Ok(bytes.len())
        }
    }

    impl AsyncRead for &mut Server {
        async fn async_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            io::Read::read(&mut self.answer, buffer)
        }
    }

    fn send(server: &mut Server, content: &[u8], offset: u64) -> Result<(), DestinationError> {
        let mut transfer = Transfer {
            client: &mut Nfs3Client::new(server),
            file: &nfs_fh3::default(),
            block_bytes: 4096,
            patience: &Patience::new(Duration::from_secs(1), &Interrupt::default()),
            who: Who { uid: 1, gid: 1 },
            what: &|| "failed to write".to_owned(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(transfer.send(&mut Cursor::new(content), offset))
    }

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i / 7) as u8).collect()
    }

    #[test]
    fn what_a_restarted_server_forgot_is_written_again() {
        // Five blocks and a commit: a restart before each of these, and twice in a row.
        let content = content(5 * 4096 - 10);
        let restarts: Vec<Vec<usize>> = (1..=6).map(|n| vec![n]).chain([vec![3, 9], vec![6, 12]]).collect();
        for restarts in restarts {
            let mut server = Server::new(&restarts);
            send(&mut server, &content, 0).unwrap();
            assert_eq!(server.stored, content, "restarted before {restarts:?}");
        }
    }

    #[test]
    fn a_server_that_always_restarts_is_given_up() {
        let mut server = Server::new(&(1..1000).collect::<Vec<_>>());
        let error = send(&mut server, &content(20_000), 0).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(server.requests < 20, "{} requests", server.requests);
    }

    #[test]
    fn a_server_may_store_less_than_it_was_sent() {
        let content = content(10_000);
        let mut server = Server { takes: 1000, stored: content[..500].to_vec(), ..Server::new(&[]) };
        send(&mut server, &content, 500).unwrap();
        assert_eq!(server.stored, content);
        server.takes = 0;
        assert_eq!(send(&mut server, &content, 0).unwrap_err().kind, ErrorKind::Other);
    }

    #[test]
    fn an_empty_file_is_committed_too() {
        let mut server = Server::new(&[]);
        send(&mut server, b"", 0).unwrap();
        assert_eq!(server.requests, 1);
    }
}
