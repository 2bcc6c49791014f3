//! The Python that runs the servers from PyPI, in `target/test-venv`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::harness::repository;

/// The interpreter with what `tests/run.sh` has installed.
pub fn python() -> Option<PathBuf> {
    let given = std::env::var_os("ARCHIVE_TEST_PYTHON").map(PathBuf::from);
    given.or_else(|| Some(repository().join("target/test-venv/bin/python"))).filter(|path| path.exists())
}

/// Why a module cannot be imported there, if it cannot; tried once.
pub fn module_missing(module: &'static str) -> Option<String> {
    static WORKS: OnceLock<Mutex<HashMap<&'static str, bool>>> = OnceLock::new();
    let mut known = WORKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let works = *known.entry(module).or_insert_with(|| {
        python().is_some_and(|python| {
            let import = Command::new(python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
            import.is_ok_and(|status| status.success())
        })
    });
    (!works).then(|| format!("Python with `{module}` is missing (`tests/run.sh` makes `target/test-venv`)"))
}
