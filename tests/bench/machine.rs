//! On what it was measured, with what.

use std::fs;
use std::process::Command;

/// Processor, cores, memory, system.
pub fn machine() -> String {
    let field = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once([':', '=']).map_or("unknown".to_owned(), |(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} cores, {} of memory, {}, Linux {}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        field("/etc/os-release", "PRETTY_NAME"),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()
    )
}

/// The first line that each of the other programs says of itself.
pub fn versions() -> Vec<String> {
    let all = [
        ("curl", "--version"),
        ("unzip", "-v"),
        ("tar", "--version"),
        ("gzip", "--version"),
        ("pigz", "--version"),
        ("bsdtar", "--version"),
        ("ssh", "-V"),
        ("rclone", "--version"),
        ("lftp", "--version"),
    ];
    all.iter()
        .map(|(program, argument)| match Command::new(program).arg(argument).output() {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let line = String::from_utf8_lossy(&said).lines().find(|line| !line.is_empty()).map(str::to_owned);
                line.unwrap_or_else(|| (*program).to_owned())
            }
            Err(_) => format!("{program}: not installed"),
        })
        .collect()
}
