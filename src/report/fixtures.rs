//! One report for every kind of night, for the snapshots.

use std::path::PathBuf;

use chrono::TimeZone;

use super::summary::summarise;
use super::*;
use crate::step::Step;

/// Every kind, by name.
pub(crate) fn all() -> Vec<(&'static str, RunReport)> {
    vec![
        ("published", published()),
        ("published_with_warning", published_with_warning()),
        ("unchanged_under_warn", unchanged_under_warn()),
        ("download_404", download_404()),
        ("verify_incomplete", verify_incomplete()),
        ("upload_failed_at_one", upload_failed_at_one()),
        ("caught_up", caught_up()),
        ("purge_refused", purge_refused()),
        ("dry_run", dry_run()),
        ("interrupted", interrupted()),
    ]
}

fn steps(done: &[(Step, f64, Option<Text>)]) -> Vec<StepReport> {
    let mut steps: Vec<StepReport> = done
        .iter()
        .map(|(step, seconds, detail)| StepReport {
            step: *step,
            outcome: StepOutcome::Done,
            seconds: *seconds,
            detail: detail.clone(),
        })
        .collect();
    for step in &Step::ALL[steps.len()..7] {
        steps.push(StepReport { step: *step, outcome: StepOutcome::Skipped, seconds: 0.0, detail: None });
    }
    steps
}

fn good_steps() -> Vec<StepReport> {
    steps(&[
        (Step::Start, 0.1, None),
        (Step::Download, 12.4, Some(Text::new("271 MB, 21.9 MB/s", "271\u{a0}Mo, 21,9\u{a0}Mo/s"))),
        (Step::Verify, 1.6, Some(Text::new("complete", "complet"))),
        (Step::Compare, 0.3, Some(Text::new("new", "nouveau"))),
        (Step::Pack, 0.4, None),
        (Step::Upload, 200.0, Some(Text::new("2 destinations", "2\u{a0}destinations"))),
        (Step::Purge, 0.8, Some(Text::new("1 archive", "1\u{a0}archive"))),
    ])
}

fn destination(name: &str, location: &str, result: DestinationResult) -> DestinationReport {
    DestinationReport {
        name: name.into(),
        location: location.into(),
        result,
        caught_up: vec![],
        waiting: vec![],
        purged: vec![],
        purge_note: None,
        held: Some(Held {
            count: 37,
            bytes: 9_870_000_000,
            oldest: Some("20220101.tgz".into()),
            newest: Some("20261120.tgz".into()),
        }),
        free_bytes: Some(1_200_000_000_000),
    }
}

fn finished(mut report: RunReport) -> RunReport {
    report.summary = summarise(&report);
    report
}

pub(crate) fn published() -> RunReport {
    let sent =
        |verified_by| DestinationResult::Published { name: "20261120.tgz".into(), bytes: 271_000_000, verified_by };
    let mut nas =
        destination("nas", "sftp://archive@nas.example.org/srv/archives/boutique", sent(VerifiedBy::ServerChecksum));
    nas.purged = vec!["20261021.tgz".into()];
    let mut usb = destination("usb", "/mnt/usb/boutique", sent(VerifiedBy::ReadBack));
    usb.free_bytes = None;
    usb.purge_note =
        Some(Text::new("no `retention`: nothing is ever purged here", "pas de `retention` : rien n’est purgé ici"));
    finished(RunReport {
        job: "boutique".into(),
        run_id: "20261120-020000-7f3a".into(),
        host: "db1.example.org".into(),
        version: "0.1.0",
        dry_run: false,
        started: chrono_tz::Europe::Paris.with_ymd_and_hms(2026, 11, 20, 2, 0, 0).unwrap(),
        seconds: 216.2,
        status: Status::Ok,
        exit_code: ExitCode::Success,
        summary: Text::new("", ""),
        failures: vec![],
        warnings: vec![],
        steps: good_steps(),
        source: Some(SourceReport {
            url: "https://intranet.example.org/exports/boutique.zip".into(),
            zip_bytes: Some(271_000_000),
            not_modified: false,
            grounds: None,
            resumed: 1,
        }),
        dump: Some(DumpReport {
            entry: "boutique.sql".into(),
            bytes: 1_004_000_000,
            sha256: Digest([1; 32]),
            fingerprint: Digest([2; 32]),
            producer: "MariaDB dump".into(),
            completeness: Text::new("its last line is there", "sa dernière ligne est présente"),
            previous_bytes: Some(1_000_000_000),
        }),
        archive: Some(ArchiveReport {
            name: "20261120.tgz".into(),
            bytes: 271_000_000,
            sha256: Digest([3; 32]),
            reused_compression: true,
        }),
        destinations: vec![nas, usb],
        log_file: Some(PathBuf::from("/var/log/archive/archive-boutique-20261120.log")),
    })
}

pub(crate) fn published_with_warning() -> RunReport {
    let mut report = published();
    report.status = Status::Warning;
    report.destinations[0].result = DestinationResult::Published {
        name: "20261120-2.tgz".into(),
        bytes: 271_000_000,
        verified_by: VerifiedBy::Size,
    };
    report.warnings = vec![Warning {
        step: Step::Upload,
        destination: Some("nas".into()),
        text: Text::new(
            "`20261120.tgz` was there with other content; published as `20261120-2.tgz`",
            "`20261120.tgz` existait avec un autre contenu\u{202f}; publiée sous `20261120-2.tgz`",
        ),
    }];
    finished(report)
}

pub(crate) fn unchanged_under_warn() -> RunReport {
    let mut report = published();
    let since = NaiveDate::from_ymd_opt(2026, 11, 17).unwrap();
    report.status = Status::Warning;
    report.archive = None;
    report.steps.truncate(4);
    report.steps = steps(&[
        (Step::Start, 0.1, None),
        (Step::Download, 0.2, Some(Text::new("not modified", "inchangé"))),
        (Step::Verify, 0.0, None),
        (Step::Compare, 0.3, Some(Text::new("unchanged", "inchangé"))),
    ]);
    report.steps[3].outcome = StepOutcome::Warning;
    let source = report.source.as_mut().unwrap();
    source.not_modified = true;
    source.grounds = Some(Text::new("the server says it has not changed", "inchangé selon le serveur"));
    report.dump.as_mut().unwrap().previous_bytes = None;
    for destination in &mut report.destinations {
        destination.result = DestinationResult::Unchanged { name: "20261117.tgz".into(), since };
        destination.purged.clear();
    }
    report.warnings = vec![Warning {
        step: Step::Compare,
        destination: None,
        text: Text::new(
            "the dump has not changed since 17 Nov 2026; check that the export still runs",
            "l’export n’a pas changé depuis le 17/11/2026\u{202f}; vérifiez qu’il fonctionne encore",
        ),
    }];
    finished(report)
}

fn failed(step: Step, destination: Option<&str>, summary: &str, what: &str, causes: &[&str], hint: Text) -> RunReport {
    let mut report = published();
    report.status = Status::Failed;
    report.exit_code = ExitCode::of_step(step);
    report.failures = vec![FailureReport {
        step,
        destination: destination.map(str::to_owned),
        summary: summary.into(),
        what: what.into(),
        causes: causes.iter().map(|cause| (*cause).to_owned()).collect(),
        hint: Some(hint),
        exit_code: ExitCode::of_step(step),
    }];
    let at = Step::ALL.iter().position(|s| *s == step).unwrap();
    let mut done = good_steps();
    done.truncate(at + 1);
    report.steps = steps(&done.into_iter().map(|step| (step.step, step.seconds, step.detail)).collect::<Vec<_>>());
    report.steps[at].outcome = StepOutcome::Failed;
    report.steps[at].detail = None;
    report
}

fn before_upload(mut report: RunReport) -> RunReport {
    report.archive = None;
    for destination in &mut report.destinations {
        destination.result = DestinationResult::NotTried;
        destination.purged.clear();
        destination.purge_note = None;
        destination.held = None;
        destination.free_bytes = None;
    }
    finished(report)
}

pub(crate) fn download_404() -> RunReport {
    let mut report = failed(
        Step::Download,
        None,
        "404 Not Found",
        "failed to download `https://intranet.example.org/exports/boutique.zip`",
        &["the server answered `404 Not Found`"],
        Text::new(
            "check `source.url`: nothing is there any more",
            "vérifiez `source.url`\u{a0}: il n’y a plus rien à cette adresse",
        ),
    );
    report.source = None;
    report.dump = None;
    before_upload(report)
}

pub(crate) fn verify_incomplete() -> RunReport {
    let mut report = failed(
        Step::Verify,
        None,
        "the dump is incomplete",
        "failed to verify `boutique.sql` in the zip",
        &["the dump is incomplete", "a MariaDB dump ends with `-- Dump completed`, this one with `INSERT INTO `t` VA`"],
        Text::new(
            "the export was cut: look at the job that writes it, and at its free space",
            "l’export a été coupé\u{a0}: voyez la tâche qui l’écrit et son espace disque",
        ),
    );
    report.dump = None;
    before_upload(report)
}

pub(crate) fn upload_failed_at_one() -> RunReport {
    let mut report = failed(
        Step::Upload,
        Some("nas"),
        "connection refused",
        "failed to upload `20261120.tgz` to `sftp://archive@nas.example.org/srv/archives/boutique`",
        &["failed to connect to `nas.example.org:22`", "connection refused"],
        Text::new(
            "check that the server runs, and `host` and `port` of the destination",
            "vérifiez que le serveur est en marche, puis `host` et `port` de la destination",
        ),
    );
    report.steps[6] = StepReport {
        step: Step::Purge,
        outcome: StepOutcome::Done,
        seconds: 0.1,
        detail: Some(Text::new("0 archives", "0\u{a0}archive")),
    };
    let nas = &mut report.destinations[0];
    nas.result = DestinationResult::Failed { waiting: true };
    nas.waiting = vec!["20261119.tgz".into(), "20261120.tgz".into()];
    nas.purged.clear();
    nas.held = None;
    nas.free_bytes = None;
    finished(report)
}

pub(crate) fn caught_up() -> RunReport {
    let mut report = published();
    report.destinations[0].caught_up = vec!["20261118.tgz".into(), "20261119.tgz".into()];
    finished(report)
}

pub(crate) fn purge_refused() -> RunReport {
    let mut report = failed(
        Step::Purge,
        Some("nas"),
        "permission denied",
        "failed to remove `20261021.tgz` at `nas`",
        &["permission denied"],
        Text::new(
            "give `archive` the right to delete in this directory",
            "donnez à `archive` le droit de supprimer dans ce répertoire",
        ),
    );
    report.destinations[0].purged.clear();
    report.destinations[0].purge_note =
        Some(Text::new("1 archive could not be deleted", "1\u{a0}archive n’a pas pu être supprimée"));
    finished(report)
}

pub(crate) fn dry_run() -> RunReport {
    let mut report = published();
    report.dry_run = true;
    report.steps.truncate(5);
    for destination in &mut report.destinations {
        destination.result = DestinationResult::NotTried;
        destination.purged.clear();
    }
    finished(report)
}

pub(crate) fn interrupted() -> RunReport {
    let mut report = failed(
        Step::Upload,
        Some("nas"),
        "stopped by a signal",
        "failed to upload `20261120.tgz` to `nas`",
        &["stopped by a signal"],
        Text::new("run it again: it goes on where it was", "relancez-la\u{a0}: elle reprendra où elle en était"),
    );
    report.exit_code = ExitCode::Interrupted;
    report.destinations[0].result = DestinationResult::Failed { waiting: true };
    report.destinations[0].waiting = vec!["20261120.tgz".into()];
    report.destinations[1].result = DestinationResult::NotTried;
    for destination in &mut report.destinations {
        destination.purged.clear();
        destination.purge_note = None;
        destination.held = None;
        destination.free_bytes = None;
    }
    finished(report)
}
