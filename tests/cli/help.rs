//! The help is what a technician reads first.

use anyhow::ensure;

use crate::says;
use crate::support::binary::{Archive, Done};
use crate::support::harness::Suite;

const COMMANDS: [&str; 6] = ["run", "check", "list", "prune", "trust", "init"];

fn archive(args: &[&str]) -> Done {
    let dir = tempfile::tempdir().expect("a temporary directory");
    Archive::new(dir.path()).args(args).run()
}

pub fn cases(suite: &mut Suite) {
    suite.case("help::of_the_program_and_of_each_command", &[], || {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| -> anyhow::Result<()> {
            let done = archive(&["--help"]);
            ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
            let mut all = format!("$ archive --help\n{}\n", done.stdout);
            for command in COMMANDS {
                let done = archive(&[command, "--help"]);
                ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
                all.push_str(&format!("\n$ archive {command} --help\n{}\n", done.stdout));
            }
            insta::assert_snapshot!("help", all);
            Ok(())
        })
    });

    suite.case("help::a_usage_error_is_exit_code_2_and_goes_to_stderr", &[], || {
        let wrong: [(&[&str], &str); 6] = [
            (&[], "Usage: archive"),
            (&["rnu"], "unrecognized subcommand 'rnu'"),
            (&["run", "--dryrun"], "'--dry-run'"),
            (&["run", "extra"], "unexpected argument 'extra'"),
            (&["prune", "--yes", "--dry-run"], "cannot be used with"),
            (&["-q", "-v", "check"], "cannot be used with"),
        ];
        for (args, expected) in wrong {
            let done = archive(args);
            ensure!(done.code == 2 && done.stdout.is_empty(), "{args:?}: {done}");
            says(&done.stderr, &[expected])?;
        }
        Ok(())
    });

    suite.case("help::the_version_is_one_line_and_the_long_one_names_the_c_libraries", &[], || {
        let line = format!("archive {}\n", env!("CARGO_PKG_VERSION"));
        let done = archive(&["-V"]);
        ensure!(done.code == 0 && done.stdout == line, "{done}");
        let done = archive(&["--version"]);
        ensure!(done.code == 0 && done.stdout.starts_with(&line) && done.stdout.lines().count() == 2, "{done}");
        says(&done.stdout, &["C libraries: OpenSSL ", "libssh2", "zstd 1."])
    });

    suite.case("help::without_any_config_every_command_says_where_it_looked", &[], || {
        for command in ["run", "check", "list", "prune", "trust"] {
            let done = archive(&[command]);
            ensure!(done.code == 2 && done.stdout.is_empty(), "{command}: {done}");
            says(
                &done.stderr,
                &["no config file", "archive.toml", "/etc/archive/archive.toml", "hint:", "archive init"],
            )?;
        }
        Ok(())
    });
}
