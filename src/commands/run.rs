//! `archive run`: the pipeline, its report, and what the terminal shows of it.

use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{config_failure, host_name, now};
use crate::cli::{RunArgs, Verbosity};
use crate::config::{self, ConfigError, For, Loaded};
use crate::error::Failure;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::logging::{self, Logging};
use crate::output::Output;
use crate::pipeline::context::Context;
use crate::pipeline::report::Reporting;
use crate::pipeline::{Ended, Run};
use crate::progress::Progress;
use crate::report::{FailureReport, RunReport, Status, StepOutcome, StepReport, terminal};
use crate::step::Step;
use crate::text;
use crate::text::Text;
use crate::work_dir::WorkDir;

/// Runs the job once.
pub fn run(args: &RunArgs, verbosity: Verbosity, output: &Output) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let interrupt = Interrupt::listen().map_err(|error| Failure::new(Step::Start, error))?;
    let logging = logging::init_console(verbosity.of_log());
    let Loaded { settings, warnings, .. } = match config::load(args.config.config.as_deref(), &For::Run) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(report_bad_config(error, args, begun, &logging, output)),
    };
    let now = now(&settings);
    let run_id = run_id(now);
    make_private(&settings.work_dir);
    logging.open(&settings.log, settings.timezone, &settings.name, &run_id, &settings.secrets());
    tracing::info!(
        "archive {} begins job `{}`, config `{}`",
        env!("CARGO_PKG_VERSION"),
        settings.name,
        settings.config_path.display()
    );
    let progress = output.progress();
    let host = host_name();
    let cx = Context { settings: &settings, now, dry_run: args.dry_run, interrupt: &interrupt, progress: &progress };
    let pipeline = Run { cx, run_id: &run_id, host: &host };
    let ended = pipeline.run(warnings);
    let work_dir = WorkDir::at(&settings.work_dir);
    let reporting = Reporting { mail: settings.mail.as_ref(), logging: &logging, work_dir: &work_dir };
    let mut report = reporting.report(ended);
    report.seconds = begun.elapsed().as_secs_f64();
    report.steps.iter().filter(|step| step.step == Step::Report).for_each(|step| progress.ended(step));
    drop(progress);
    show(&report, output)
}

/// The log lies in the work dir by default and would make it with its own, wider rights. What goes wrong here goes wrong
/// again in `start`, which says so.
fn make_private(work_dir: &Path) {
    let _ = WorkDir::prepare(work_dir);
}

/// A config that cannot be used is reported as well as its usable parts allow.
fn report_bad_config(
    error: ConfigError,
    args: &RunArgs,
    begun: Instant,
    logging: &Logging,
    output: &Output,
) -> ExitCode {
    let salvaged = error.salvaged.clone();
    logging.protect(&salvaged.secrets);
    let timezone = salvaged.timezone.unwrap_or(Tz::UTC);
    let now = Utc::now().with_timezone(&timezone);
    let run_id = run_id(now);
    let job = salvaged.job.unwrap_or_else(|| "archive".to_owned());
    if let Some(log) = &salvaged.log {
        salvaged.work_dir.iter().for_each(|work_dir| make_private(work_dir));
        logging.open(log, timezone, &job, &run_id, &salvaged.secrets);
    }
    let failure = config_failure(error)
        .summed_up(text!("the configuration cannot be used" / "la configuration est inutilisable"));
    let mut report = RunReport {
        job,
        run_id,
        host: host_name(),
        version: env!("CARGO_PKG_VERSION"),
        dry_run: args.dry_run,
        started: now,
        seconds: begun.elapsed().as_secs_f64(),
        status: Status::Failed,
        exit_code: failure.code,
        summary: Text::new("", ""),
        failures: vec![FailureReport::new(&failure, None)],
        warnings: Vec::new(),
        steps: vec![StepReport { step: Step::Start, outcome: StepOutcome::Failed, seconds: 0.0, detail: None }],
        source: None,
        dump: None,
        archive: None,
        destinations: Vec::new(),
        log_file: None,
    };
    report.settle();
    let work_dir = WorkDir::at(&salvaged.work_dir.unwrap_or_default());
    let reporting = Reporting { mail: salvaged.mail.as_ref(), logging, work_dir: &work_dir };
    let report = reporting.report(Ended { report, state: None, lock: None });
    // The problems themselves, as `check` shows them, are better than any summary.
    if output.json {
        return show(&report, output).unwrap_or(report.exit_code);
    }
    output.error(&crate::error::render(&failure.error));
    report.exit_code
}

/// Sorts by time, and tells two runs of one second apart.
fn run_id(now: DateTime<Tz>) -> String {
    format!("{}-{:04x}", now.format("%Y%m%d-%H%M%S"), fastrand::u16(..))
}

/// Under cron nothing on success, the cause on failure; on a terminal a summary.
fn show(report: &RunReport, output: &Output) -> Result<ExitCode, Failure> {
    if output.json {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::new(Step::Report, error).with_code(ExitCode::Other))?;
        super::print_result(&text, output)?;
    } else if output.watched && !output.quiet {
        output.painted(&terminal::by_hand(report, output.color));
    } else if let Some(text) = terminal::under_cron(report) {
        output.error(&text);
    }
    Ok(report.exit_code)
}
