//! Who must not get in, does not, learns why, and is not asked again.

use anyhow::{Result, ensure};
use archive::destination;
use archive::interrupt::Interrupt;

use crate::server::{Server, refused, says};

/// With patience configured, what cannot pass must not be tried again.
pub fn is_refused_at_once(server: &dyn Server, what: &str) -> Result<()> {
    let refusal = server.refusal(what);
    let proxy = server.proxy();
    let mut settings = server.redirected(&refusal.settings, proxy.port());
    settings.retries = 3;
    let told = refused(server, destination::connect(&settings, &Interrupt::default()), refusal.kind)?;
    says(&told, refusal.words)?;
    let hint = told.split_once("; hint: ").map(|(_, hint)| hint).unwrap_or_default();
    ensure!(hint.contains(refusal.hint), "the hint should hold `{}`: {told}", refusal.hint);
    ensure!(!told.contains("gave up after"), "{told}");
    let connections = proxy.connections();
    ensure!(connections <= refusal.connections, "{connections} connections for {told}");
    for secret in server.secrets() {
        ensure!(!format!("{settings:?}").contains(&secret), "the settings show a secret");
    }
    Ok(())
}
