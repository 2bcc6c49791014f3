//! The command line: structures and help texts only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "archive",
    version,
    long_version = crate::version::long(),
    about = "Fetches a zip every night, proves that the SQL dump in it is whole and new, and archives it as YYYYMMDD.tgz",
    after_help = "\
Start here:  archive init && $EDITOR archive.toml && archive trust && archive check && archive run

Exit codes: 0 published or unchanged, 2 configuration, 3 download, 4 verify, 5 pack or local disk, 6 upload, 7 purge, \
8 report not sent, 9 unchanged (on_unchanged = \"fail\"), 10 locked, 130/143 interrupted, 1 anything else.",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to say.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// How much to say on the terminal; the log file does not depend on it.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Verbosity {
    /// Show the log on stderr; twice for debugging details
    #[arg(short, long, action = clap::ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Show errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Verbosity {
    /// What the terminal shows of the log.
    pub fn of_log(self) -> crate::logging::Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => crate::logging::Verbosity::Quiet,
            (false, 0) => crate::logging::Verbosity::Normal,
            (false, 1) => crate::logging::Verbosity::Verbose,
            (false, _) => crate::logging::Verbosity::Debug,
        }
    }
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigArg {
    /// The configuration [default: $ARCHIVE_CONFIG, ./archive.toml (not for root), /etc/archive/archive.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the job: download, verify, compare, pack, upload, purge, report
    Run(RunArgs),
    /// Check everything and change nothing that lasts
    Check(CheckArgs),
    /// List the archives at the destinations
    List(ListArgs),
    /// Purge by hand, after the plan was shown
    Prune(PruneArgs),
    #[cfg(feature = "sftp")]
    /// Show a server's host key fingerprint and store it once confirmed
    Trust(TrustArgs),
    /// Write a commented configuration
    Init(InitArgs),
}

/// `archive run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Stop before the upload and say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

/// `archive check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Do not connect to anything
    #[arg(long)]
    pub offline: bool,
    /// Also send a mail to everybody who gets the reports
    #[arg(long, conflicts_with = "offline")]
    pub send_test_mail: bool,
    /// Print the checklist as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

/// `archive list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Print one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

/// `archive prune`
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Only show the plan
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
}

/// `archive trust`
#[cfg(feature = "sftp")]
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Only this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Do not ask, unless the key has changed; for a server that nobody can have replaced, as in a test
    #[arg(long)]
    pub yes: bool,
    /// Store the key if this is its fingerprint, known or changed; for scripts
    #[arg(long, value_name = "SHA256:…")]
    pub fingerprint: Option<String>,
}

/// `archive init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file to write
    #[arg(default_value = "archive.toml")]
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
