use super::*;
use chrono::TimeZone;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tracing::subscriber::with_default;

fn fixed() -> DateTime<Utc> {
    // Half past midnight in Paris: the day before, in UTC.
    Utc.with_ymd_and_hms(2026, 11, 19, 23, 30, 0).unwrap()
}

fn settings(dir: &Path, format: LogFormat) -> LogSettings {
    LogSettings { dir: dir.to_owned(), level: Level::INFO, format, keep: Duration::from_secs(90 * 86_400) }
}

fn opened(dir: &Path, format: LogFormat, secrets: &[Secret]) -> Logging {
    let logging = Logging::new(Verbosity::Normal);
    logging.lock().now = fixed;
    logging.open(&settings(dir, format), chrono_tz::Europe::Paris, "shop", "7f3a", secrets);
    logging
}

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_file_is_named_for_the_local_day_and_holds_what_the_memory_holds() {
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Text, &[]);
    with_default(logging.subscriber(), || {
        let _step = tracing::info_span!("step", step = "upload").entered();
        let _destination = tracing::info_span!("destination", destination = "nas").entered();
        tracing::info!(bytes = 271_u64, "published `{}`", "20261120.tgz");
        tracing::debug!("not at this level");
    });
    let path = dir.path().join("archive-shop-20261120.log");
    assert_eq!(logging.file().as_deref(), Some(path.as_path()));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "2026-11-20T00:30:00.000+01:00 INFO  7f3a upload[nas]: published `20261120.tgz` bytes=271\n");
    assert_eq!(logging.run_lines(), text);
    assert_eq!(logging.warning(), None);
}

#[test]
fn lines_of_several_threads_keep_their_own_destination() {
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Text, &[]);
    let dispatch = tracing::Dispatch::new(logging.subscriber());
    std::thread::scope(|scope| {
        for name in ["nas", "s3"] {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    let _span = tracing::info_span!("step", step = "upload", destination = name).entered();
                    (0..50).for_each(|_| tracing::info!("hello from {name}"));
                });
            });
        }
    });
    let lines = logging.run_lines();
    assert_eq!(lines.matches("upload[nas]: hello from nas\n").count(), 50);
    assert_eq!(lines.matches("upload[s3]: hello from s3\n").count(), 50);
}

#[test]
fn a_secret_appears_nowhere_whatever_field_it_comes_in() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let dir = tempfile::tempdir().unwrap();
        let logging = opened(dir.path(), format, &[Secret::new("hunter\"22\n")]);
        let screen = Screen::default();
        logging.set_console(Box::new(screen.clone()));
        logging.lock().verbosity = Verbosity::Verbose;
        with_default(logging.subscriber(), || {
            let secret = "hunter\"22";
            let _span = tracing::info_span!("step", step = "upload", destination = secret, url = secret).entered();
            tracing::info!(display = %secret, debug = ?secret, plain = secret, "login with {secret} refused");
        });
        let all = logging.run_lines() + &screen.text() + &fs::read_to_string(logging.file().unwrap()).unwrap();
        assert!(!all.contains("hunter"), "{all}");
        assert!(all.contains(REDACTED), "{all}");
    }
}

#[test]
fn libraries_are_heard_from_warnings_on_only() {
    assert!(layer::is_ours("archive") && layer::is_ours("archive::pipeline"));
    assert!(!layer::is_ours("archive_utils") && !layer::is_ours("hyper::client"));
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Text, &[]);
    with_default(logging.subscriber(), || {
        tracing::info!(target: "hyper", "chatter");
        tracing::warn!(target: "hyper", "trouble");
    });
    assert!(logging.run_lines().ends_with("-: trouble\n"));
    assert!(!logging.run_lines().contains("chatter"));
}

#[test]
fn a_quiet_level_keeps_the_step_of_the_lines_that_remain() {
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Text, &[]);
    logging.lock().level = Level::WARN;
    with_default(logging.subscriber(), || {
        let _step = tracing::info_span!("step", step = "purge").entered();
        tracing::info!("left out");
        tracing::warn!("kept");
    });
    assert_eq!(logging.run_lines(), "2026-11-20T00:30:00.000+01:00 WARN  7f3a purge: kept\n");
}

#[test]
fn the_terminal_has_its_own_level() {
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Json, &[]);
    let screen = Screen::default();
    logging.set_console(Box::new(screen.clone()));
    with_default(logging.subscriber(), || {
        tracing::info!("nothing without -v");
        logging.lock().verbosity = Verbosity::Debug;
        tracing::debug!("seen with -vv");
    });
    assert_eq!(screen.text(), "00:30:00 DEBUG seen with -vv\n");
    assert!(!logging.run_lines().contains("-vv"));
}

#[test]
fn a_log_that_cannot_be_written_is_a_warning_and_the_memory_still_works() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    fs::write(&blocked, "").unwrap();
    let logging = Logging::new(Verbosity::Normal);
    let screen = Screen::default();
    logging.set_console(Box::new(screen.clone()));
    logging.open(&settings(&blocked.join("log"), LogFormat::Text), Tz::UTC, "shop", "7f3a", &[]);
    with_default(logging.subscriber(), || tracing::info!("still here"));
    assert_eq!(logging.file(), None);
    assert!(logging.warning().unwrap().fr.starts_with("le journal ne peut pas être écrit"));
    assert!(screen.text().starts_with("warning: the log cannot be written"));
    assert!(logging.run_lines().ends_with("-: still here\n"));
}

#[test]
fn a_message_of_several_lines_is_indented() {
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Text, &[]);
    with_default(logging.subscriber(), || tracing::error!("first\nsecond\n"));
    assert!(logging.run_lines().ends_with("7f3a -: first\n    second\n"));
}

#[test]
fn a_secret_across_the_end_of_what_is_shown_is_masked_before_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let logging = opened(dir.path(), LogFormat::Text, &[Secret::new("hunter22-across-the-cut")]);
    let padded = |most: usize| format!("{}hunter22-across-the-cut", "x".repeat(most - 12));
    with_default(logging.subscriber(), || tracing::info!("{}", padded(MOST_OF_A_FIELD)));
    assert!(!logging.run_lines().contains("hunter22"));
    assert!(logging.run_lines().len() < MOST_OF_A_FIELD + 200);
}
