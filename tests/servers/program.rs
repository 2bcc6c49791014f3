//! The harness itself, and how a program is run.

use std::path::Path;

use anyhow::ensure;

use crate::support::binary::{Archive, Signal};
use crate::support::harness::{Need, Suite, find_program};

pub fn register(suite: &mut Suite) {
    suite.case("harness::a_missing_program_is_named_with_its_package", &[], || {
        let missing = Need::Program("no-such-program", "no-such-package").missing().unwrap_or_default();
        ensure!(missing == "`no-such-program` is missing (package `no-such-package`)", "{missing}");
        ensure!(Need::program("sh").missing().is_none(), "there is a shell");
        Ok(())
    });

    suite.case("binary::the_program_runs_and_its_output_is_kept", &[], || {
        let directory = tempfile::tempdir()?;
        let done = Archive::new(directory.path()).arg("--no-such-option").run();
        ensure!(done.code != 101, "{done}");
        Ok(())
    });

    suite.case("binary::environment_directory_input_and_exit_code", &[], || {
        let directory = tempfile::tempdir()?;
        let done = shell(directory.path(), "pwd; cat; echo x${HOME}x${A}x; echo problem >&2; exit 7")
            .env("A", "1")
            .stdin("input\n")
            .run();
        let expected = format!("{}\ninput\nxx1x\n", directory.path().canonicalize()?.display());
        ensure!(done.stdout == expected && done.stderr == "problem\n" && done.code == 7, "{done}");
        Ok(())
    });

    suite.case("binary::a_signal_at_a_moment", &[], || {
        let directory = tempfile::tempdir()?;
        let sign = directory.path().join("sign");
        for (signal, code) in [(Signal::TERM, 143), (Signal::KILL, 137), (Signal::INT, 130)] {
            let done = shell(directory.path(), "echo > sign; exec sleep 1000").run_and_kill(signal, || sign.exists());
            ensure!(done.code == code, "{done}");
            std::fs::remove_file(&sign)?;
        }
        Ok(())
    });

    suite.case("binary::peak_memory_is_seen", &[Need::program("python3")], || {
        let python = find_program("python3").unwrap_or_default();
        let directory = tempfile::tempdir()?;
        let code = "b = bytearray(b'x') * 90_000_000; print('ready', flush=True); input()";
        let mut running = Archive::program(&python, directory.path()).args(["-c", code]).stdin("").start();
        while running.is_running() {}
        let done = running.wait();
        let megabytes = done.peak_memory_bytes / 1_000_000;
        ensure!((90..160).contains(&megabytes), "{megabytes} MB, {done}");
        Ok(())
    });

    suite.case("binary::the_date_is_set_and_goes_on", &[Need::Faketime], || {
        let directory = tempfile::tempdir()?;
        let done = shell(directory.path(), "date '+%F %H:%M'; date +%Z")
            .env("TZ", "Europe/Paris")
            .at("2031-02-03 04:05:00")
            .run();
        ensure!(done.stdout == "2031-02-03 04:05\nCET\n", "{done}");
        Ok(())
    });
}

fn shell(directory: &Path, script: &str) -> Archive {
    Archive::program(Path::new("/bin/sh"), directory).args(["-c", script])
}
