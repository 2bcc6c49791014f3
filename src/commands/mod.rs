//! The commands: each takes its arguments and an [`Output`], and ends in an exit code.

mod check;
mod init;
mod list;
mod prune;
mod run;
#[cfg(feature = "sftp")]
mod trust;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::cli::{Cli, Command, ConfigArg, Verbosity};
use crate::config::settings::{DestinationSettings, Settings};
use crate::config::{self, For, Loaded};
use crate::error::{Explained, Failure, Hinted as _, Sheet, explained, render};
use crate::exit_code::ExitCode;
use crate::output::Output;
use crate::step::Step;
use crate::text;
use crate::text::harmless;
use crate::work_dir::WorkDir;
use crate::work_dir::state::State;

/// Runs the command; everything that went wrong has been shown when this returns.
pub fn execute(cli: &Cli) -> ExitCode {
    config::secret::keep_out_of_dumps();
    // One TLS implementation for everybody; an error only says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let json = match &cli.command {
        Command::Run(args) => args.json,
        Command::Check(args) => args.json,
        Command::List(args) => args.json,
        Command::Prune(_) | Command::Init(_) => false,
        #[cfg(feature = "sftp")]
        Command::Trust(_) => false,
    };
    let output = Output::new(cli.verbosity, json);
    let result = match &cli.command {
        Command::Run(args) => run::run(args, cli.verbosity, &output),
        Command::Check(args) => check::check(args, cli.verbosity, &output),
        Command::List(args) => list::list(args, cli.verbosity, &output),
        Command::Prune(args) => prune::prune(args, cli.verbosity, &output),
        #[cfg(feature = "sftp")]
        Command::Trust(args) => trust::trust(args, cli.verbosity, &output),
        Command::Init(args) => init::init(args, &output),
    };
    result.unwrap_or_else(|failure| {
        output.error(&render(&failure.error));
        failure.code
    })
}

/// The configuration, or a failure that shows all its problems. From here on nothing that is printed holds a secret.
fn load(args: &ConfigArg, purpose: &For, verbosity: Verbosity, output: &Output) -> Result<Settings, Failure> {
    let logging = crate::logging::init_console(verbosity.of_log());
    let loaded = config::load(args.config.as_deref(), purpose);
    if let Err(error) = &loaded {
        logging.protect(&error.salvaged.secrets);
    }
    let Loaded { settings, warnings, .. } = loaded.map_err(config_failure)?;
    logging.protect(&settings.secrets());
    if !output.quiet {
        for warning in warnings {
            output.error(&format!("warning: {}\n", harmless(&warning.en)));
        }
    }
    Ok(settings)
}

fn config_failure(error: config::ConfigError) -> Failure {
    let hint = error.hint();
    let sheet = anyhow::Error::new(Sheet(error.to_string()));
    let message = "the configuration cannot be used";
    let error = match hint {
        Some(hint) => sheet.context(Explained::new(message, hint)),
        None => sheet.context(message),
    };
    Failure::new(Step::Start, error).with_code(ExitCode::Config)
}

/// The destinations that `--destination` names: all of them, or one.
fn chosen<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Vec<&'a DestinationSettings>, Failure> {
    let all = &settings.destinations;
    let Some(name) = name else { return Ok(all.iter().collect()) };
    let known: Vec<String> = all.iter().map(|destination| format!("`{}`", destination.name)).collect();
    let known = known.join(", ");
    match all.iter().find(|destination| destination.name == name) {
        Some(destination) => Ok(vec![destination]),
        None => Err(Failure::new(
            Step::Start,
            explained(
                format!("there is no destination `{name}` in `{}`", settings.config_path.display()),
                text!("it has {known}" / "elle contient {known}"),
            ),
        )),
    }
}

/// The time in the job's time zone.
fn now(settings: &Settings) -> DateTime<Tz> {
    Utc::now().with_timezone(&settings.timezone)
}

/// What the last run knew, for commands that only look; nothing is moved aside or written.
fn peek_state(settings: &Settings) -> State {
    let path = WorkDir::at(&settings.work_dir).state_file();
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Prints what `--json` asked for.
fn print_result(text: &str, output: &Output) -> Result<(), Failure> {
    output.result(text).map_err(|error| {
        let error = anyhow::Error::new(error).context("failed to write the result to standard output");
        Failure::new(Step::Report, error).with_code(ExitCode::Other)
    })
}

/// The machine's name, for reports.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
