//! `archive check`: a checklist that tries everything, never stops at the first problem, and changes nothing that lasts.

mod cron;
mod destination;
mod local;
mod mail;
mod source;

use std::time::Duration;

use serde::Serialize;

use super::{config_failure, now};
use crate::cli::{CheckArgs, Verbosity};
use crate::config::{self, For, Loaded};
use crate::error::{Failure, chain_of, hint_of};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::step::Step;
use crate::text::Text;

/// How one line of the checklist came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// One line of the checklist.
#[derive(Clone, Debug, Serialize)]
struct Item {
    /// What it is about: `source`, `destination nas`.
    area: String,
    outcome: Outcome,
    /// What was found.
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What the process ends with if this is the first failure.
    #[serde(skip)]
    code: ExitCode,
}

/// The checklist while it grows; each line is shown as soon as it is known, for some take their time.
struct Checklist<'a> {
    output: &'a Output,
    items: Vec<Item>,
}

impl Checklist<'_> {
    fn add(&mut self, item: Item) {
        if !self.output.json {
            show(&item, self.output);
        }
        self.items.push(item);
    }

    fn ok(&mut self, area: &str, found: impl Into<String>) {
        self.add(Item::new(area, Outcome::Ok, found));
    }

    fn warn(&mut self, area: &str, found: impl Into<String>, hint: Option<Text>) {
        self.add(Item { hint: hint.map(|hint| hint.en), ..Item::new(area, Outcome::Warning, found) });
    }

    fn skip(&mut self, area: &str, why: impl Into<String>) {
        self.add(Item::new(area, Outcome::Skipped, why));
    }

    /// A failed check: the chain on one line each, and the hint.
    fn fail(&mut self, area: &str, error: &anyhow::Error, code: ExitCode) {
        let found = chain_of(error).join("\n");
        let hint = hint_of(error).map(|hint| hint.en.clone());
        self.add(Item { hint, code, ..Item::new(area, Outcome::Failed, found) });
    }
}

impl Item {
    fn new(area: &str, outcome: Outcome, found: impl Into<String>) -> Self {
        Item { area: area.to_owned(), outcome, found: found.into(), hint: None, code: ExitCode::Success }
    }
}

/// Goes through the whole list.
pub fn check(args: &CheckArgs, verbosity: Verbosity, output: &Output) -> Result<ExitCode, Failure> {
    let logging = crate::logging::init_console(verbosity.of_log());
    let purpose = if args.offline { For::Offline } else { For::Run };
    let mut list = Checklist { output, items: Vec::new() };
    let loaded = config::load(args.config.config.as_deref(), &purpose);
    if let Err(error) = &loaded {
        logging.protect(&error.salvaged.secrets);
    }
    let Loaded { settings, warnings, remarks } = match loaded {
        Ok(loaded) => loaded,
        Err(error) if output.json => {
            let failure = config_failure(error);
            list.fail("config", &failure.error, ExitCode::Config);
            return finish(&list, output);
        }
        Err(error) => return Err(config_failure(error)),
    };
    logging.protect(&settings.secrets());
    let interrupt = Interrupt::listen().map_err(|error| Failure::new(Step::Start, error))?;
    let destinations = settings.destinations.len();
    let plural = if destinations == 1 { "" } else { "s" };
    list.ok(
        "config",
        format!("`{}`: job `{}`, {destinations} destination{plural}", settings.config_path.display(), settings.name),
    );
    for warning in warnings.into_iter().chain(remarks) {
        list.warn("config", warning.en, None);
    }
    local::check(&settings, &mut list);
    if args.offline {
        for area in ["source", "destinations", "mail"] {
            list.skip(area, "not tried (--offline)");
        }
    } else {
        let zip_bytes = source::check(&settings, &interrupt, now(&settings).to_utc(), &mut list);
        for settings in &settings.destinations {
            if interrupt.exit_code().is_none() {
                destination::check(settings, &destination::Probing::of(&interrupt, zip_bytes), &mut list);
            }
        }
        mail::check(&settings, args.send_test_mail, &mut list);
    }
    cron::check(&settings, &mut list);
    match interrupt.exit_code() {
        Some(code) => Ok(code),
        None => finish(&list, output),
    }
}

/// The last line, and the first failure's code.
fn finish(list: &Checklist<'_>, output: &Output) -> Result<ExitCode, Failure> {
    let count = |outcome: Outcome| list.items.iter().filter(|item| item.outcome == outcome).count();
    let (failed, warnings) = (count(Outcome::Failed), count(Outcome::Warning));
    let first = list.items.iter().find(|item| item.outcome == Outcome::Failed);
    let code = first.map_or(ExitCode::Success, |item| item.code);
    if output.json {
        let text = serde_json::json!({ "ok": failed == 0, "exit_code": code.code(), "checks": list.items });
        super::print_result(&format!("{text:#}"), output)?;
    } else if !output.quiet {
        output.line("");
        output.line(&match (failed, warnings) {
            (0, 0) => "everything is ready for the first night".to_owned(),
            (0, 1) => "it will work; look at the warning".to_owned(),
            (0, n) => format!("it will work; look at the {n} warnings"),
            (1, _) => "1 problem to solve".to_owned(),
            (n, _) => format!("{n} problems to solve"),
        });
    }
    Ok(code)
}

fn show(item: &Item, output: &Output) {
    if output.quiet && item.outcome != Outcome::Failed {
        return;
    }
    let (mark, colour) = match item.outcome {
        Outcome::Ok => ("✓", "32"),
        Outcome::Warning => ("!", "33"),
        Outcome::Failed => ("✗", "31"),
        Outcome::Skipped => ("–", "2"),
    };
    let mut lines = item.found.lines();
    output.marked(mark, colour, &format!("{:<13} {}", item.area, lines.next().unwrap_or_default()));
    for line in lines {
        output.line(&format!("{:16}caused by: {line}", ""));
    }
    if let Some(hint) = &item.hint {
        output.line(&format!("{:16}→ {hint}", ""));
    }
}

/// How far a clock may be off before somebody should look.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(120);
