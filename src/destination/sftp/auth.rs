//! Logging in: every way the configuration names, in its order, until one is accepted; otherwise what the server would take.
//!
//! Runs only after the host key was found right. No secret reaches an error or a log.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh2::{KeyboardInteractivePrompt, Prompt};

use super::errors::{ERROR_FILE, ERROR_PASSWORD_EXPIRED, Wire};
use super::greeting::expired_hint;
use super::link::Link;
use crate::config::secret::Secret;
use crate::config::settings::{SftpSettings, SshAuth};
use crate::destination::{DestinationError, ErrorKind};
use crate::text;
use crate::text::Text;

/// Why one way in was closed.
enum Refusal {
    /// The server said no: the next way may be open.
    No(String),
    /// The same, or it failed on this machine; with a hint that is nearer to the cause than a general one.
    Here(String, Text),
    /// The connection is gone: nothing further can be tried.
    Broken(Wire),
}

impl From<Wire> for Refusal {
    fn from(wire: Wire) -> Self {
        match wire.kind() {
            ErrorKind::Unreachable | ErrorKind::Local => Refusal::Broken(wire),
            _ => Refusal::No(wire.to_string()),
        }
    }
}

/// Logs in.
///
/// # Errors
/// `Auth` when no way is accepted, `Unreachable`.
pub(super) fn log_in(link: &Link, settings: &SftpSettings) -> Result<(), DestinationError> {
    let user = settings.username.as_str();
    let what = || format!("failed to log in as `{user}`");
    let accepted =
        link.run(|| link.session.auth_methods(user).map(str::to_owned)).map_err(|wire| wire.during(what()))?;
    if link.session.authenticated() {
        return Ok(());
    }
    let mut refusals: Vec<String> = Vec::new();
    let (mut asked, mut hint_here) = (false, None);
    for way in &settings.auth {
        // A way that is not offered may be after another one was accepted as the first of two.
        if !asked && !offers(&accepted, way) {
            refusals.push(format!("{} is not accepted", name_of(way)));
            continue;
        }
        asked = true;
        match try_way(link, user, way, &accepted) {
            Ok(()) => return Ok(()),
            Err(Refusal::No(why)) => refusals.push(why),
            Err(Refusal::Here(why, hint)) => {
                hint_here.get_or_insert(hint);
                refusals.push(why);
            }
            // A server that hangs up after a refusal has had enough of our attempts (MaxAuthTries); it can be reached.
            Err(Refusal::Broken(Wire::Ssh(_) | Wire::Gone)) if !refusals.is_empty() => {
                refusals.push(format!("the server closed the connection before {} was tried", name_of(way)));
                break;
            }
            Err(Refusal::Broken(wire)) => return Err(wire.during(what())),
        }
    }
    let shown = text::quote(&accepted, text::MAX_NAME_CHARS);
    let offered = shown.split(',').map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    Err(DestinationError::new(ErrorKind::Auth, format!("authentication as `{user}` was refused"))
        .caused_by(format!("the server accepts {offered}; {}", refusals.join("; ")))
        .with_hint(hint_here.unwrap_or_else(|| hint(&accepted, &settings.auth))))
}

fn name_of(way: &SshAuth) -> String {
    match way {
        SshAuth::PrivateKey { file, .. } => format!("the key `{}`", file.display()),
        SshAuth::Agent => "the SSH agent".to_owned(),
        SshAuth::Password(_) => "the password".to_owned(),
    }
}

fn offers(accepted: &str, way: &SshAuth) -> bool {
    let offered = |name: &str| accepted.split(',').any(|one| one == name);
    match way {
        SshAuth::PrivateKey { .. } | SshAuth::Agent => offered("publickey"),
        SshAuth::Password(_) => offered("password") || offered("keyboard-interactive"),
    }
}

fn key_hint() -> Text {
    text!(
        "check `private_key` and `passphrase` under `[[destination]]`, and that the account running this program may read the file"
            / "vérifiez `private_key` et `passphrase` sous `[[destination]]`, et que le compte qui exécute ce programme peut lire le fichier"
    )
}

fn hint(accepted: &str, ways: &[SshAuth]) -> Text {
    let keys = ways.iter().any(|way| !matches!(way, SshAuth::Password(_)));
    let password = ways.iter().any(|way| matches!(way, SshAuth::Password(_)));
    let takes = |name: &str| accepted.split(',').any(|one| one == name);
    let takes_password = takes("password") || takes("keyboard-interactive");
    match () {
        () if password && !takes_password && !keys => text!(
            "set `private_key` under `[[destination]]`, or allow passwords on the server"
                / "indiquez `private_key` sous `[[destination]]`, ou autorisez les mots de passe sur le serveur"
        ),
        () if keys && !takes("publickey") => text!(
            "set `password` under `[[destination]]`, or allow keys on the server"
                / "indiquez `password` sous `[[destination]]`, ou autorisez les clés sur le serveur"
        ),
        () if keys => text!(
            "check `username`, and that the key's public half stands in `~/.ssh/authorized_keys` of that account on the server"
                / "vérifiez `username`, et que la partie publique de la clé figure dans `~/.ssh/authorized_keys` de ce compte sur le serveur"
        ),
        () => text!("check `username` and `password`" / "vérifiez `username` et `password`"),
    }
}

fn try_way(link: &Link, user: &str, way: &SshAuth, accepted: &str) -> Result<(), Refusal> {
    match way {
        SshAuth::PrivateKey { file, passphrase } => by_key(link, user, file, passphrase.as_ref()),
        SshAuth::Agent => by_agent(link, user),
        SshAuth::Password(password) => by_password(link, user, password, accepted),
    }
}

fn by_key(link: &Link, user: &str, file: &Path, passphrase: Option<&Secret>) -> Result<(), Refusal> {
    let name = file.display();
    let here = |why: String| Refusal::Here(why, key_hint());
    // Read here, for libssh2 has one message for a missing file, a forbidden one and one that is no key.
    let key = std::fs::read(file).map_err(|error| here(format!("failed to read the private key `{name}`: {error}")))?;
    let key = String::from_utf8_lossy(&key);
    if let Some(problem) = problem_with(&key, passphrase.is_some()) {
        return Err(here(format!("the private key `{name}` {problem}")));
    }
    let tried = link.run(|| link.session.userauth_pubkey_memory(user, None, &key, passphrase.map(Secret::expose)));
    tried.map_err(|wire| match wire.session_code() {
        // libssh2 says the same of a wrong passphrase and of a sort of key that it does not know.
        Some(ERROR_FILE) => {
            let needs = if passphrase.is_some() { "the `passphrase` is wrong" } else { "it needs a `passphrase`" };
            here(format!("the private key `{name}` cannot be opened: {needs}, or its sort is not known here"))
        }
        _ if wire.kind() == ErrorKind::Auth && is_rsa(&key) => {
            Refusal::Here(format!("the RSA key `{name}` was refused"), rsa_hint())
        }
        _ if wire.kind() == ErrorKind::Auth => Refusal::No(format!("the key `{name}` was refused")),
        _ => wire.into(),
    })
}

/// What can be told from the text of a key file.
fn problem_with(key: &str, has_passphrase: bool) -> Option<&'static str> {
    let head = key.trim_start();
    if head.starts_with("PuTTY-User-Key-File") {
        return Some("is in PuTTY's format; convert it with `puttygen KEY -O private-openssh -o NEW`");
    }
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| head.starts_with(start)) {
        return Some("is the public half; the private one is the file without `.pub`");
    }
    if !head.contains("PRIVATE KEY-----") {
        return Some("is not a private key in OpenSSH or PEM format");
    }
    (is_encrypted(head) && !has_passphrase).then_some("is protected: set `passphrase`")
}

/// PEM says it in a header, OpenSSH's format by the name of a cipher (PROTOCOL.key).
fn is_encrypted(key: &str) -> bool {
    if key.contains("Proc-Type: 4,ENCRYPTED") || key.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return true;
    }
    opened(key).strip_prefix(b"openssh-key-v1\0").is_some_and(|rest| !rest.starts_with(b"\0\0\0\x04none"))
}

/// The beginning of a key in OpenSSH's format; empty for any other.
fn opened(key: &str) -> Vec<u8> {
    let body: String = key
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN OPENSSH"))
        .skip(1)
        .take_while(|line| !line.starts_with('-'))
        .take(3)
        .collect();
    body.get(..body.len() / 4 * 4).and_then(|body| STANDARD.decode(body).ok()).unwrap_or_default()
}

/// By PEM's title, or by the name at the head of OpenSSH's format: its public half is not encrypted.
fn is_rsa(key: &str) -> bool {
    key.contains("BEGIN RSA PRIVATE KEY") || opened(key).windows(7).any(|at| at == b"ssh-rsa")
}

fn rsa_hint() -> Text {
    text!(
        "check `username`, and that the key's public half stands in `~/.ssh/authorized_keys` of that account; a server of before 2016 (OpenSSH 7.1) takes RSA keys with SHA-1 only, which is not offered: use an ed25519 or ECDSA key there"
            / "vérifiez `username`, et que la partie publique de la clé figure dans `~/.ssh/authorized_keys` de ce compte ; un serveur d'avant 2016 (OpenSSH 7.1) n'accepte les clés RSA qu'avec SHA-1, qui n'est pas proposé : utilisez-y une clé ed25519 ou ECDSA"
    )
}

fn by_agent(link: &Link, user: &str) -> Result<(), Refusal> {
    let no_agent = |error: ssh2::Error| {
        Refusal::Here(
            format!("no SSH agent answers: {}", error.message()),
            text!(
                "start an SSH agent and hand over `SSH_AUTH_SOCK` (cron has none), or use `private_key`"
                    / "lancez un agent SSH et transmettez `SSH_AUTH_SOCK` (cron n'en a pas), ou utilisez `private_key`"
            ),
        )
    };
    let mut agent = link.session.agent().map_err(no_agent)?;
    agent.connect().map_err(no_agent)?;
    agent.list_identities().map_err(no_agent)?;
    let identities = agent.identities().map_err(no_agent)?;
    if identities.is_empty() {
        return Err(Refusal::No("the SSH agent holds no key".to_owned()));
    }
    let total = identities.len();
    for (tried, identity) in identities.iter().enumerate() {
        match link.run(|| agent.userauth(user, identity)) {
            Ok(()) => return Ok(()),
            // Each key counts as an attempt (MaxAuthTries).
            Err(Wire::Ssh(_)) if tried > 0 && link.is_gone() => {
                return Err(Refusal::Here(
                    format!("the server closed the connection after {tried} of the SSH agent's {total} keys"),
                    text!(
                        "the agent holds more keys than the server lets anybody try (`MaxAuthTries`): name the right one by `private_key`, or give this job an agent that holds it alone"
                            / "l'agent contient plus de clés que le serveur n'en laisse essayer (`MaxAuthTries`) : indiquez la bonne par `private_key`, ou donnez à cette tâche un agent qui ne contient qu'elle"
                    ),
                ));
            }
            Err(wire) if wire.kind() == ErrorKind::Unreachable => return Err(Refusal::Broken(wire)),
            Err(_) => {}
        }
    }
    Err(Refusal::No(format!("the SSH agent's keys ({}) were refused", identities.len())))
}

fn by_password(link: &Link, user: &str, password: &Secret, accepted: &str) -> Result<(), Refusal> {
    let takes = |name: &str| accepted.split(',').any(|one| one == name);
    let mut refusal = Refusal::No("the password was refused".to_owned());
    if takes("password") || !takes("keyboard-interactive") {
        match link.run(|| link.session.userauth_password(user, password.expose())) {
            Ok(()) => return Ok(()),
            Err(wire) if wire.session_code() == Some(ERROR_PASSWORD_EXPIRED) => {
                return Err(Refusal::Here("the password has expired".to_owned(), expired_hint()));
            }
            Err(wire) if wire.kind() == ErrorKind::Auth => {}
            Err(wire) => refusal = wire.into(),
        }
        if let Refusal::Broken(_) = refusal {
            return Err(refusal);
        }
    }
    if takes("keyboard-interactive") {
        let mut answers = Answers(password);
        match link.run(|| link.session.userauth_keyboard_interactive(user, &mut answers)) {
            Ok(()) => return Ok(()),
            Err(wire) if wire.kind() == ErrorKind::Auth => {}
            Err(wire) => refusal = wire.into(),
        }
    }
    Err(refusal)
}

/// Gives the password to every question that hides its answer; a question that shows it is not about the password.
struct Answers<'a>(&'a Secret);

impl KeyboardInteractivePrompt for Answers<'_> {
    fn prompt(&mut self, _username: &str, _instructions: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        prompts.iter().map(|prompt| if prompt.echo { String::new() } else { self.0.expose().to_owned() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openssh(cipher: &str) -> String {
        let mut body = b"openssh-key-v1\0".to_vec();
        body.extend((cipher.len() as u32).to_be_bytes());
        body.extend(cipher.as_bytes());
        body.extend([0; 60]);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n", STANDARD.encode(body))
    }

    #[test]
    fn what_is_wrong_with_a_key_file_is_said_before_the_server_is_asked() {
        assert!(problem_with("PuTTY-User-Key-File-3: ssh-ed25519", false).unwrap().contains("puttygen"));
        assert!(problem_with("ssh-ed25519 AAAA me@here", false).unwrap().contains("public half"));
        assert!(problem_with("hello", false).unwrap().contains("not a private key"));
        assert!(problem_with(&openssh("aes256-ctr"), false).unwrap().contains("passphrase"));
        assert_eq!(problem_with(&openssh("aes256-ctr"), true), None);
        assert_eq!(problem_with(&openssh("none"), false), None);
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        assert!(problem_with(pem, false).unwrap().contains("passphrase"));
    }

    #[test]
    fn the_hint_follows_what_the_server_takes_and_what_was_tried() {
        let password = [SshAuth::Password(Secret::new("x"))];
        assert!(hint("publickey", &password).en.contains("set `private_key`"));
        assert!(hint("publickey,password", &password).en.contains("check `username` and `password`"));
        let key = [SshAuth::PrivateKey { file: "/k".into(), passphrase: None }];
        assert!(hint("password", &key).en.contains("set `password`"));
        assert!(hint("publickey", &key).en.contains("authorized_keys"));
    }
}
