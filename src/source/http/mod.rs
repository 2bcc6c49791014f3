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
mod tests;

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;

use self::client::Clients;
use self::retry::Backoff;
use super::SourceError;
use crate::config::secret::Secret;
use crate::config::settings::{HttpAuth, SourceSettings};
use crate::http::{Ended, authority, bounded};
use crate::interrupt::{Interrupt, is_time_limit};
use crate::logging::Redactor;

pub use ranges::RangeReader;
pub use spool::discard;

/// A zip behind a URL. It must not be used from inside an async runtime.
pub struct HttpSource {
    settings: SourceSettings,
    clients: Clients,
    interrupt: Interrupt,
    backoff: Backoff,
    redactor: Redactor,
    /// `None` only while it is being dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl HttpSource {
    /// Prepares the connections; nothing is sent yet. From now on `time_limit` runs.
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
        let interrupt = interrupt.with_time_limit(settings.time_limit);
        let redactor = Redactor::new(&sent(settings));
        Ok(HttpSource { settings: settings.clone(), clients, interrupt, backoff, redactor, runtime: Some(runtime) })
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("the runtime is taken in drop only").block_on(future)
    }

    async fn bounded<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Ended> {
        bounded(&self.interrupt, limit, future).await
    }

    /// Does nothing for a while.
    async fn pause(&self, duration: Duration) -> Result<(), SourceError> {
        match self.bounded(duration, std::future::pending::<()>()).await {
            Ok(()) | Err(Ended::Stalled) => Ok(()),
            Err(Ended::Interrupted) => Err(self.stopped()),
        }
    }

    /// Why a wait was ended: by a signal, or by `time_limit`.
    fn stopped(&self) -> SourceError {
        match self.interrupt.check() {
            Err(error) if is_time_limit(&error) => {
                SourceError::too_long(&authority(&self.settings.url), self.settings.time_limit)
            }
            _ => SourceError::interrupted(),
        }
    }
}

/// What the server is told and may repeat, but nobody else may read: redacted before a quotation is cut, for half a secret is
/// no secret that anything would know again.
fn sent(settings: &SourceSettings) -> Vec<Secret> {
    let mut sent: Vec<Secret> = settings.headers.iter().map(|(_, value)| value.clone()).collect();
    match &settings.auth {
        Some(auth @ HttpAuth::Basic { password, .. }) => {
            sent.push(password.clone());
            sent.extend(request::authorization(auth).strip_prefix("Basic ").map(Secret::new));
        }
        Some(HttpAuth::Bearer(token)) => sent.push(token.clone()),
        None => {}
    }
    sent.extend(settings.url.query().map(Secret::new));
    sent.extend(settings.url.query_pairs().map(|(_, value)| Secret::new(value)));
    sent
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        // Not a plain drop: that waits for the name resolution, which the C library may hold up for half a minute.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
