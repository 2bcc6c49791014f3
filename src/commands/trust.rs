//! `archive trust`: the way in for a host key. Shows what the server presents, asks, stores.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use anyhow::Context;

use super::{chosen, load};
use crate::cli::{TrustArgs, Verbosity};
use crate::config::For;
use crate::config::settings::{DestinationSettings, HostKey, Settings, SshServer};
use crate::destination::sftp::host_key::{self, HostKeyInfo, Standing, Stored};

use crate::destination::{self, Timeouts};
use crate::error::{Failure, explained, render, while_doing};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::step::Step;
use crate::text;

/// Shows and stores the host key of each destination that is reached over SSH.
pub fn trust(args: &TrustArgs, verbosity: Verbosity, output: &Output) -> Result<ExitCode, Failure> {
    let settings = load(&args.config, &For::Trust, verbosity, output)?;
    let interrupt = Interrupt::listen().map_err(|error| Failure::new(Step::Start, error))?;
    let mut code = ExitCode::Success;
    for destination in chosen(&settings, args.destination.as_deref())? {
        let Some(server) = destination.protocol.ssh_server() else {
            output.line(&format!("{}: no host key to trust, it is not reached over SSH", destination.name));
            continue;
        };
        if let Err(failure) = trust_one(&settings, destination, &server, args, &interrupt, output) {
            output.error(&render(&failure.error));
            if code == ExitCode::Success {
                code = failure.code;
            }
        }
    }
    Ok(code)
}

fn trust_one(
    settings: &Settings,
    destination: &DestinationSettings,
    server: &SshServer,
    args: &TrustArgs,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<(), Failure> {
    let timeouts = Timeouts { connect: destination.connect_timeout, stall: destination.stall_timeout };
    let shown = host_key::probe(server, timeouts, interrupt).map_err(|error| {
        Failure::new(Step::Upload, while_doing(format!("failed to ask `{}` for its host key", server.host))(error))
    })?;
    output.line(&format!("{}  {}", destination.name, destination::location(destination)));
    output.line(&format!("  the server shows   {} {}", shown.key_type(), shown.fingerprint()));
    let local = |error: anyhow::Error| Failure::new(Step::Start, error);
    let standing = shown.standing(&server.host_key).map_err(|error| local(error.into()))?;
    let replaces = match standing {
        Standing::Trusted => {
            output.line("  it is trusted already");
            return Ok(());
        }
        Standing::Revoked => {
            return Err(local(explained(
                format!("the key of `{}` is marked as revoked in `known_hosts`", server.host),
                text!(
                    "ask the server's administrator; remove the `@revoked` line by hand if it is wrong"
                        / "demandez à l'administrateur du serveur ; retirez la ligne `@revoked` à la main si elle est fausse"
                ),
            )));
        }
        Standing::Unknown => false,
        Standing::Changed { expected } if expected.is_empty() => false,
        Standing::Changed { expected } => {
            output.line(&format!("  the config expects {}", expected.join(" or ")));
            output.line("  THE KEY HAS CHANGED: either the server was installed anew, or somebody is posing as it");
            true
        }
    };
    output.line("  compare it with what the server's administrator says, or on the server itself:");
    output.line("    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub   (likewise ecdsa, rsa)");
    if !accepted(&shown.fingerprint(), replaces, args, output).map_err(local)? {
        output.line("  nothing stored");
        return Ok(());
    }
    let place = store(settings, destination, server, &shown, replaces).map_err(local)?;
    output.line(&format!("  stored in {place}"));
    Ok(())
}

/// Whether the key may be stored: by the fingerprint on the command line, by `--yes` for a server that is not known yet, or
/// because a person says so.
fn accepted(shown: &str, replaces: bool, args: &TrustArgs, output: &Output) -> anyhow::Result<bool> {
    match &args.fingerprint {
        Some(expected) if expected == shown => Ok(true),
        Some(expected) => Err(explained(
            format!("the server does not show `{expected}`, the key that `--fingerprint` expects"),
            text!(
                "nothing is stored; ask the server's administrator for the fingerprint of that key type"
                    / "rien n'est enregistré ; demandez à l'administrateur du serveur l'empreinte de ce type de clé"
            ),
        )),
        None if args.yes && replaces => Err(explained(
            "`--yes` does not replace a trusted key by another one",
            text!(
                "compare the fingerprint, then name it: `--fingerprint {shown}`"
                    / "comparez l'empreinte, puis indiquez-la : `--fingerprint {shown}`"
            ),
        )),
        None if args.yes => Ok(true),
        None => confirmed(replaces, output),
    }
}

/// A changed key must be confirmed in full words.
fn confirmed(replaces: bool, output: &Output) -> anyhow::Result<bool> {
    let question = if replaces { "  replace the trusted key? [yes/N]" } else { "  trust this key? [y/N]" };
    match output.ask(question).map(|answer| answer.to_lowercase()) {
        Some(answer) if replaces => Ok(matches!(answer.as_str(), "yes" | "oui")),
        Some(answer) => Ok(matches!(answer.as_str(), "y" | "yes" | "o" | "oui")),
        None => Err(explained(
            "nobody is there to confirm the key",
            text!(
                "run it on a terminal, or with `--fingerprint SHA256:…` as the server's administrator gave it"
                    / "lancez-la dans un terminal, ou avec `--fingerprint SHA256:…` tel que l'administrateur du serveur l'a donné"
            ),
        )),
    }
}

fn store(
    settings: &Settings,
    destination: &DestinationSettings,
    server: &SshServer,
    shown: &HostKeyInfo,
    replaces: bool,
) -> anyhow::Result<String> {
    match &server.host_key {
        HostKey::KnownHosts(file) => {
            let stored = host_key::store(file, shown, replaces)
                .with_context(|| format!("failed to write `{}`", file.display()))?;
            if let Stored::Differs(others) = stored {
                anyhow::bail!("`{}` holds other keys for this host: {}", file.display(), others.join(", "));
            }
            Ok(format!("`{}`", file.display()))
        }
        HostKey::Fingerprints(_) => {
            write_host_key(&settings.config_path, &destination.name, &shown.fingerprint())?;
            Ok(format!("`{}` as `host_key`", settings.config_path.display()))
        }
    }
}

/// Sets `host_key` of one destination in the config file, leaving every other character as it is.
fn write_host_key(config: &Path, destination: &str, fingerprint: &str) -> anyhow::Result<()> {
    let what = || format!("failed to write `host_key` into `{}`", config.display());
    let text = fs::read_to_string(config).with_context(what)?;
    let text = with_host_key(&text, destination, fingerprint).with_context(what)?;
    replace_keeping_rights(&config.canonicalize().with_context(what)?, text.as_bytes()).with_context(what)
}

/// Replaces a file in one step; owner and rights stay, for it may hold secrets of an account that is not ours.
fn replace_keeping_rights(path: &Path, content: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(content)?;
    let made = new.as_file().metadata()?;
    if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
        fchown(new.as_file(), Some(before.uid()), Some(before.gid()))?;
    }
    new.as_file().set_permissions(before.permissions())?;
    new.as_file().sync_all()?;
    new.persist(path).map(drop).map_err(|error| error.error)
}

fn with_host_key(text: &str, destination: &str, fingerprint: &str) -> anyhow::Result<String> {
    let mut document: toml_edit::DocumentMut = text.parse()?;
    let tables = document.get_mut("destination").and_then(|item| item.as_array_of_tables_mut());
    let table = tables.and_then(|tables| {
        tables.iter_mut().find(|table| table.get("name").and_then(|name| name.as_str()) == Some(destination))
    });
    let Some(table) = table else { anyhow::bail!("it has no `[[destination]]` named `{destination}`") };
    table["host_key"] = toml_edit::value(fingerprint);
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_added_and_nothing_else_changes() {
        let text = "# top\nname = 'x'\n\n[[destination]]\nname = \"a\" # keep\ntype = \"sftp\"\n\n[[destination]]\nname = \"b\"\n# end\n";
        assert_eq!(
            with_host_key(text, "a", "SHA256:k").unwrap(),
            "# top\nname = 'x'\n\n[[destination]]\nname = \"a\" # keep\ntype = \"sftp\"\nhost_key = \"SHA256:k\"\n\n[[destination]]\nname = \"b\"\n# end\n"
        );
        assert!(with_host_key(text, "c", "SHA256:k").is_err());
    }

    #[test]
    fn a_changed_key_takes_the_old_ones_place() {
        let text = "[[destination]]\nname = \"a\"\nhost_key = \"SHA256:old\" # nas\nport = 22\n";
        assert_eq!(
            with_host_key(text, "a", "SHA256:new")
                .unwrap()
                .replace("SHA256:new", "SHA256:old")
                .matches("SHA256")
                .count(),
            1
        );
    }
}
