//! What a server says where it should begin to speak SFTP: a login script that prints, a password that must be changed.

use std::io::Read as _;
use std::time::{Duration, Instant};

use ssh2::{Channel, EXTENDED_DATA_STDERR};

use super::errors::Wire;
use super::exec::wait_until;
use super::link::Link;
use crate::destination::{DestinationError, ErrorKind};
use crate::text;
use crate::text::Text;

/// How long it may take to say it.
const LIMIT: Duration = Duration::from_secs(2);
/// Enough to recognise it by.
const MOST_BYTES: usize = 1024;

/// What is said without being asked on a fresh connection that is logged in, as it may be shown; `None` if that is nothing, as it
/// should be: in SFTP the client begins. OpenSSH passes on what a command says on its standard error, but not what a subsystem
/// does, and that is where it says that a password must be changed.
pub(super) fn said_instead(link: &Link) -> Option<String> {
    let (mut said, has_ended) = listen(link, |channel| channel.subsystem("sftp")).ok()?;
    // SFTP that is there waits for us: then the first connection was merely cut.
    if said.is_empty() && has_ended {
        said = listen(link, |channel| channel.exec("true")).ok()?.0;
    }
    // The first byte of a packet is that of its length, and no text holds a zero.
    let text = said.split(|byte| *byte == 0).next().unwrap_or_default();
    let shown = text::quote(String::from_utf8_lossy(text).trim(), text::MAX_LINE_CHARS);
    (!shown.is_empty()).then_some(shown)
}

/// What comes, and whether the server has ended it.
fn listen(link: &Link, start: impl Fn(&mut Channel) -> Result<(), ssh2::Error>) -> Result<(Vec<u8>, bool), Wire> {
    let end = Instant::now() + LIMIT;
    let mut channel = link.run(|| link.session.channel_session())?;
    link.run(|| start(&mut channel))?;
    let (mut said, mut buffer, mut has_ended) = (Vec::new(), [0; 256], false);
    for stream in [0, EXTENDED_DATA_STDERR] {
        let mut stream = channel.stream(stream);
        while said.len() < MOST_BYTES {
            match link.try_io(|| stream.read(&mut buffer)) {
                Ok(Some(0)) => {
                    has_ended = true;
                    break;
                }
                Err(_) => break,
                Ok(Some(count)) => said.extend_from_slice(&buffer[..count]),
                Ok(None) if !wait_until(link, end)? => break,
                Ok(None) => {}
            }
        }
        if !said.is_empty() {
            break;
        }
    }
    Ok((said, has_ended))
}

/// The error of a server that says this instead of SFTP.
pub(super) fn refusal(said: &str, username: &str) -> DestinationError {
    let lower = said.to_lowercase();
    let is_password =
        lower.contains("password") && ["expire", "change", "aged"].iter().any(|word| lower.contains(word));
    let (kind, message, hint) = match is_password {
        true => (ErrorKind::Auth, format!("the password of `{username}` has expired"), expired_hint()),
        false => (
            ErrorKind::Other,
            format!("the server prints text before it offers SFTP to `{username}`"),
            text!(
                "a login script of the account (`~/.bashrc`, `/etc/profile`) or a forced command prints this: let it print in interactive shells only"
                    / "un script de connexion du compte (`~/.bashrc`, `/etc/profile`) ou une commande imposée affiche ce texte : qu'il ne l'affiche que dans les shells interactifs"
            ),
        ),
    };
    DestinationError::new(kind, message).caused_by(format!("it said `{said}`")).with_hint(hint)
}

pub(super) fn expired_hint() -> Text {
    text!(
        "set another password for the account on the server (`passwd`), or use `private_key`; for an account of a program, passwords had better not expire (`chage -M -1`)"
            / "donnez un autre mot de passe au compte sur le serveur (`passwd`), ou utilisez `private_key` ; pour le compte d'un programme, mieux vaut un mot de passe sans expiration (`chage -M -1`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hinted as _;

    #[test]
    fn an_expired_password_and_a_talkative_script_are_told_apart() {
        let expired =
            refusal("WARNING: Your password has expired. Password change required but no TTY available.", "a");
        assert_eq!(expired.kind, ErrorKind::Auth);
        let printed = refusal("Welcome to the server", "a");
        assert_eq!(printed.kind, ErrorKind::Other);
        assert!(printed.hint().unwrap().en.contains(".bashrc"));
    }
}
