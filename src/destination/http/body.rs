//! A request's body that is filled piece by piece by whoever holds the other end. A source can neither be sent to another
//! task nor outlive the call, as the client demands of a body; its bytes can.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The end that the client reads.
pub(super) struct Body {
    pieces: Receiver<io::Result<Bytes>>,
    left_bytes: u64,
}

/// Makes a body of exactly `len_bytes`, and the end that fills it; it holds one piece at a time.
pub(super) fn new(len_bytes: u64) -> (Body, Sender<io::Result<Bytes>>) {
    let (sender, pieces) = channel(1);
    (Body { pieces, left_bytes: len_bytes }, sender)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_recv(context).map(|piece| {
            let piece = piece?;
            if let Ok(bytes) = &piece {
                self.left_bytes = self.left_bytes.saturating_sub(bytes.len() as u64);
            }
            Some(piece.map(Frame::data))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
