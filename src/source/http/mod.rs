//! The zip behind a URL, over HTTP/1.1 and TLS. The rooms: `client` builds the connections, `request` makes one request and
//! follows redirects, `fetch` downloads with retries and resuming, `probe` and `ranges` look without downloading.
//!
//! The API is synchronous; inside, everything runs on a private current-thread runtime, for only there can each phase have
//! its own limit: reqwest's blocking client cannot end a read that gets no answer.

mod classify;
mod client;
mod content;
mod fetch;
mod headers;
mod probe;
mod ranges;
mod request;
mod retry;
mod spool;

#[cfg(test)]
mod responder;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, timeout};

use self::client::Clients;
use self::retry::Backoff;
use super::SourceError;
use crate::config::settings::SourceSettings;
use crate::interrupt::Interrupt;

pub use ranges::RangeReader;

/// How often a wait asks whether it should end.
const POLL: Duration = Duration::from_millis(200);

/// A zip behind a URL. It must not be used from inside an async runtime.
pub struct HttpSource {
    settings: SourceSettings,
    clients: Clients,
    interrupt: Interrupt,
    backoff: Backoff,
    /// `None` only while it is being dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

/// Why a wait ended before what it waited for.
enum Ended {
    Stalled,
    Interrupted,
}

impl HttpSource {
    /// Prepares the connections; nothing is sent yet.
    ///
    /// # Errors
    /// `ca_file`, `client_cert_file`, `client_key_file` or `proxy` that cannot be read or used, or no trusted authority at all.
    pub fn new(settings: &SourceSettings, interrupt: Interrupt) -> anyhow::Result<Self> {
        Self::build(settings, interrupt, Backoff::default(), true)
    }

    fn build(
        settings: &SourceSettings,
        interrupt: Interrupt,
        backoff: Backoff,
        system_proxy: bool,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime of the network")?;
        let clients = Clients::build(settings, system_proxy)?;
        Ok(HttpSource { settings: settings.clone(), clients, interrupt, backoff, runtime: Some(runtime) })
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("the runtime is taken in drop only").block_on(future)
    }

    /// Waits for `future`, but no longer than `limit`, and not beyond an interruption.
    async fn bounded<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Ended> {
        let mut future = pin!(future);
        let deadline = Instant::now() + limit;
        loop {
            self.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if let Ok(value) = timeout(left.min(POLL), future.as_mut()).await {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                return Err(Ended::Stalled);
            }
        }
    }

    /// Does nothing for a while.
    async fn pause(&self, duration: Duration) -> Result<(), SourceError> {
        match self.bounded(duration, std::future::pending::<()>()).await {
            Ok(()) | Err(Ended::Stalled) => Ok(()),
            Err(Ended::Interrupted) => Err(SourceError::interrupted()),
        }
    }

    fn check(&self) -> Result<(), Ended> {
        self.interrupt.check().map_err(|_| Ended::Interrupted)
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        // Not a plain drop: that waits for the name resolution, which the C library may hold up for half a minute.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
