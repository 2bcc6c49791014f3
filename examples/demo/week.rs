//! The week: what happens each night, and how it has to end. A night that ends otherwise ends the demo.

use std::fs;

use anyhow::{Context as _, ensure};
use archive::report::Status;
use archive::text::Language;
use archive::units::show_size;
use chrono::{DateTime, Duration, TimeZone as _};
use chrono_tz::{Europe, Tz};
use sha2::{Digest as _, Sha256};

use super::export::Export;
use super::screen::{Look, Screen};
use super::world::{Listed, Morning, World};

/// What the source has that night.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Changed,
    Same,
    Broken,
}

/// One night of November 2026.
struct Night {
    day: u32,
    title: &'static str,
    source: Source,
    nas_up: bool,
    expected: Expected,
}

/// How a night has to end.
struct Expected {
    http_status: u16,
    exit_code: u8,
    status: Status,
    /// The archives on the server, by day.
    held: &'static [u32],
    /// The archives in the outbox, by day; there they have a unique ending.
    waiting: &'static [u32],
    /// The archives of earlier nights that were published tonight, by day.
    caught_up: &'static [u32],
    /// The archives that were purged, by day.
    purged: &'static [u32],
}

/// A night that ends well, with these archives on the server.
const fn good(held: &'static [u32]) -> Expected {
    Expected { http_status: 200, exit_code: 0, status: Status::Ok, held, waiting: &[], caught_up: &[], purged: &[] }
}

const WEEK: &[Night] = &[
    Night { day: 16, title: "the first night", source: Source::Changed, nas_up: true, expected: good(&[16]) },
    Night {
        day: 17,
        title: "the shop has sold: another dump",
        source: Source::Changed,
        nas_up: true,
        expected: good(&[16, 17]),
    },
    Night {
        day: 18,
        title: "nothing has changed, which is odd for a shop",
        source: Source::Same,
        nas_up: true,
        expected: Expected { http_status: 304, status: Status::Warning, ..good(&[16, 17]) },
    },
    Night {
        day: 19,
        title: "the export died half way, in a valid zip",
        source: Source::Broken,
        nas_up: true,
        expected: Expected { exit_code: 4, status: Status::Failed, ..good(&[16, 17]) },
    },
    Night {
        day: 20,
        title: "the archive server is down",
        source: Source::Changed,
        nas_up: false,
        expected: Expected { exit_code: 6, status: Status::Failed, waiting: &[20], ..good(&[16, 17]) },
    },
    Night {
        day: 21,
        title: "it is back: Friday's archive first, then tonight's",
        source: Source::Changed,
        nas_up: true,
        expected: Expected { caught_up: &[20], ..good(&[16, 17, 20, 21]) },
    },
    Night {
        day: 22,
        title: "Monday's archive is older than `keep_days = 6`",
        source: Source::Changed,
        nas_up: true,
        expected: Expected { purged: &[16], ..good(&[17, 20, 21, 22]) },
    },
];

/// Lives through the week; gives the dump of the last night. `full`: mails are shown to their last line.
pub fn live(world: &mut World, screen: &Screen, full: bool) -> anyhow::Result<Vec<u8>> {
    let mut last = Vec::new();
    for night in WEEK {
        let now = time_of(night.day, 1)?;
        if night.source != Source::Same {
            let exported = time_of(night.day, 0)? + Duration::seconds(30 * 60 + 7);
            let export = Export::at(exported, night.source == Source::Changed)?;
            world.publish(export.zip, exported.into());
            last = export.dump;
        }
        world.set_nas_up(night.nas_up)?;
        let morning = world.night(now)?;
        show(night, now, &morning, screen, full)?;
        if let Err(why) = night.check(&morning, world) {
            let (day, log) = (now.format("%A"), world.log_end());
            anyhow::bail!("{day} did not end as it should have: {why:#}\n\nthe end of the log:\n{log}");
        }
    }
    Ok(last)
}

fn time_of(day: u32, hour: u32) -> anyhow::Result<DateTime<Tz>> {
    Europe::Paris.with_ymd_and_hms(2026, 11, day, hour, 0, 0).single().context("no such time")
}

fn name_of(day: &u32) -> String {
    format!("202611{day:02}.tgz")
}

fn look_of(status: Status) -> Look {
    match status {
        Status::Ok => Look::Green,
        Status::Warning => Look::Yellow,
        Status::Failed => Look::Red,
    }
}

fn show(night: &Night, now: DateTime<Tz>, morning: &Morning, screen: &Screen, full: bool) -> anyhow::Result<()> {
    let report = &morning.report;
    screen.heading(&now.format("%a %e %b %H:%M").to_string(), night.title)?;
    let (looks, rest): (Vec<_>, Vec<_>) = morning.requests.iter().partition(|request| request.status == 206);
    if !looks.is_empty() {
        let bytes = looks.iter().map(|request| request.body_bytes_sent).sum();
        let text = format!("{} of the zip's directory first: another dump", size(bytes));
        screen.row("came in", Look::Plain, &text)?;
    }
    for request in rest {
        let sent = match request.body_bytes_sent {
            0 => "no body".to_owned(),
            bytes => size(bytes),
        };
        let dump = report.dump.as_ref().filter(|_| request.status == 200);
        let dump = dump.map(|dump| format!("; {} of {}", dump.entry, size(dump.bytes))).unwrap_or_default();
        let text = format!("{} {}: {}, {sent}{dump}", request.method, request.path, request.status);
        screen.row("came in", Look::Plain, &text)?;
    }
    let text = format!("{}, exit code {}, {:.1} s", report.status.word(), report.exit_code.code(), report.seconds);
    screen.row("result", look_of(report.status), &text)?;
    show_files(screen, "on the server", &morning.held)?;
    if !morning.waiting.is_empty() {
        show_files(screen, "in the outbox", &morning.waiting)?;
    }
    for mail in &morning.mails {
        let mut body = match full {
            true => mail.text.trim_end().to_owned(),
            // One mail with everything but its foot is enough.
            false => shortened(&mail.text, if night.day == WEEK[0].day { &[] } else { &DETAILS }),
        };
        for (name, bytes) in &mail.attachments {
            body.push_str(&format!("\n[attached: {name}, {}]", size(*bytes as u64)));
        }
        screen.mail("mail", look_of(report.status), &mail.subject, &body)?;
    }
    Ok(())
}

/// Archives one by one, each with its sidecar on the same line; any other file too.
fn show_files(screen: &Screen, title: &str, files: &[Listed]) -> anyhow::Result<()> {
    let mut title = title;
    for (name, bytes) in files {
        let owner = name.strip_suffix(".sha256");
        if owner.is_some_and(|owner| files.iter().any(|(other, _)| other == owner)) {
            continue;
        }
        let sidecar = files.iter().any(|(other, _)| *other == format!("{name}.sha256"));
        let sidecar = if sidecar { "  + .sha256" } else { "" };
        screen.row(title, Look::Plain, &format!("{name}  {:>8}{sidecar}", size(*bytes)))?;
        title = "";
    }
    if files.is_empty() {
        screen.row(title, Look::Plain, "nothing")?;
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    show_size(bytes, Language::En)
}

/// The paragraphs of a mail that say in detail what the rows above it say in short.
const DETAILS: [&str; 4] = ["Steps\n", "Étapes\n", "What came in\n", "Ce qui est arrivé\n"];

/// A mail without the lines at its foot, without empty lines, and with `[…]` in place of these paragraphs.
fn shortened(text: &str, without: &[&str]) -> String {
    let text = text.split("\n-- \n").next().unwrap_or_default();
    let shown =
        |paragraph| if without.iter().any(|start| str::starts_with(paragraph, start)) { "[…]" } else { paragraph };
    let mut paragraphs: Vec<&str> = text.trim().split("\n\n").map(shown).collect();
    paragraphs.dedup();
    paragraphs.join("\n")
}

impl Night {
    fn check(&self, morning: &Morning, world: &World) -> anyhow::Result<()> {
        let expected = &self.expected;
        let report = &morning.report;
        let code = report.exit_code.code();
        ensure!(code == expected.exit_code, "the exit code is {code} instead of {}", expected.exit_code);
        ensure!(report.status == expected.status, "the status is {:?} instead of {:?}", report.status, expected.status);

        let answers: Vec<u16> = morning.requests.iter().map(|request| request.status).collect();
        // A look at the zip's directory, in a few small parts, may come before the download.
        let last: Vec<u16> = answers.iter().copied().filter(|status| *status != 206).collect();
        ensure!(last == [expected.http_status], "the source answered {answers:?}, not {} once", expected.http_status);
        let sent: u64 = morning.requests.iter().map(|request| request.body_bytes_sent).sum();
        ensure!((sent == 0) == (expected.http_status == 304), "the source sent {sent} bytes");

        let named = |files: &[Listed]| -> Vec<String> { files.iter().map(|(name, _)| name.clone()).collect() };
        let held: Vec<String> =
            expected.held.iter().map(name_of).flat_map(|name| [name.clone(), format!("{name}.sha256")]).collect();
        ensure!(named(&morning.held) == held, "the server holds {:?} instead of {held:?}", named(&morning.held));
        let waiting: Vec<String> =
            named(&morning.waiting).iter().filter_map(|name| Some(name.get(..8)?.to_owned())).collect();
        let wanted: Vec<String> = expected.waiting.iter().map(|day| format!("202611{day:02}")).collect();
        ensure!(waiting == wanted, "the outbox holds archives of {waiting:?} instead of {wanted:?}");
        expected.held.iter().try_for_each(|day| check_sidecar(world, &name_of(day)))?;
        let [nas] = &report.destinations[..] else {
            anyhow::bail!("there are {} destinations in the report", report.destinations.len());
        };
        let caught_up: Vec<String> = expected.caught_up.iter().map(name_of).collect();
        ensure!(nas.caught_up == caught_up, "caught up: {:?} instead of {caught_up:?}", nas.caught_up);
        if let (Some(late), Some(new)) = (caught_up.first(), expected.held.last().map(name_of)) {
            let written = |name: &str| fs::metadata(world.archives().join(name))?.modified();
            ensure!(written(late)? < written(&new)?, "`{late}` did not go before `{new}`");
        }
        let purged: Vec<String> = expected.purged.iter().map(name_of).collect();
        ensure!(nas.purged == purged, "purged: {:?} instead of {purged:?}", nas.purged);

        let [mail] = &morning.mails[..] else {
            anyhow::bail!("{} mails came instead of one", morning.mails.len());
        };
        let word = format!("[{}] boutique", expected.status.word());
        ensure!(mail.subject.starts_with(&word), "the mail's subject is `{}`", mail.subject);
        ensure!(mail.to.contains("exploitation@example.org"), "the mail went to `{}`", mail.to);
        for failure in &report.failures {
            let hint = failure.hint.as_ref().context("a failure without a hint")?;
            ensure!(mail.text.contains(&failure.what), "the mail does not say that {}", failure.what);
            let told = [&hint.en, &hint.fr].iter().any(|hint| mail.text.contains(hint.as_str()));
            ensure!(told, "the mail does not say what to do: {hint}");
        }
        Ok(())
    }
}

/// The archive is the one that its sidecar speaks of.
fn check_sidecar(world: &World, name: &str) -> anyhow::Result<()> {
    let archive = fs::read(world.archives().join(name))?;
    let sidecar = fs::read_to_string(world.archives().join(format!("{name}.sha256")))?;
    let line = format!("{}  {name}\n", hex::encode(Sha256::digest(archive)));
    ensure!(sidecar == line, "`{name}.sha256` does not belong to `{name}`");
    Ok(())
}
