//! The built program, run as cron would: own directory, empty environment, a date if the test sets one.
//!
//! ```ignore
//! let dir = tempfile::tempdir()?;
//! let done = Archive::new(dir.path()).args(["run", "--config", "archive.toml"]).at("2026-11-20 01:00:00").run();
//! assert_eq!(done.code, 0, "{done}");
//! // Killed in the middle of the upload:
//! let done = Archive::new(dir.path()).args(["run"]).run_and_kill(Signal::KILL, || proxy.bytes_up() > 1_000_000);
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;

use super::wait;

/// A run longer than this hangs: it is killed and the test fails.
const LIMIT: Duration = Duration::from_secs(300);

/// One call of the program, or of another one (see [`Archive::program`]).
pub struct Archive {
    program: PathBuf,
    directory: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Vec<u8>,
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Done {
    pub stdout: String,
    pub stderr: String,
    /// The exit code; 128 + signal when a signal ended it, as a shell says it.
    pub code: i32,
    /// The largest resident memory that was seen, in bytes. Looked at every few milliseconds.
    pub peak_memory_bytes: u64,
    /// How long it ran.
    pub elapsed: Duration,
}

/// A run that is going on; killed when dropped.
pub struct Running {
    child: Child,
    readers: Option<[thread::JoinHandle<String>; 2]>,
    started: Instant,
    peak_memory_bytes: u64,
    line: String,
}

impl Archive {
    /// The program under test, in `directory`, with nothing but a plain `PATH` in its environment.
    pub fn new(directory: &Path) -> Self {
        Self::program(Path::new(env!("CARGO_BIN_EXE_archive")), directory)
    }

    /// Another program under the same conditions.
    pub fn program(program: &Path, directory: &Path) -> Self {
        Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            args: Vec::new(),
            environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            input: Vec::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable (later ones win).
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What the program reads on its standard input; nothing otherwise.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Starts the program at this local time (`2026-11-20 01:00:00`; local is `TZ`, or the machine's); its clock goes on
    /// from there. Needs [`Need::Faketime`](super::harness::Need::Faketime). Timers and the times of files stay real.
    pub fn at(self, local_time: &str) -> Self {
        let library = faketime_library().expect("the case names Need::Faketime");
        self.env("LD_PRELOAD", library)
            .env("FAKETIME", format!("@{local_time}"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1")
            .env("NO_FAKE_STAT", "1")
    }

    /// Starts it with a signal ignored (`HUP`), as `nohup` does.
    pub fn ignoring(mut self, signal: &str) -> Self {
        let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
        let program = std::mem::replace(&mut self.program, "/bin/sh".into());
        self.args.splice(..0, ["-c".into(), script.into(), program.into()]);
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.start().wait()
    }

    /// Runs it until `moment` holds, sends it `signal` then, and waits for its end. If it ends before, that is a failure.
    pub fn run_and_kill(self, signal: Signal, moment: impl FnMut() -> bool) -> Done {
        let mut running = self.start();
        running.signal_when(signal, moment);
        running.wait()
    }

    /// Starts it and returns at once.
    pub fn start(self) -> Running {
        let mut child = listening(&self.program)
            .args(&self.args)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", self.program.display()));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A program that ends without reading its input closes the pipe: not an error of the test.
        let _closed = stdin.write_all(&self.input);
        drop(stdin);
        let readers = [
            read_all(child.stdout.take().expect("stdout is piped")),
            read_all(child.stderr.take().expect("stderr is piped")),
        ];
        Running {
            child,
            readers: Some(readers),
            started: Instant::now(),
            peak_memory_bytes: 0,
            line: format!("{} {:?}", self.program.display(), self.args),
        }
    }
}

impl Running {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.look_at_memory();
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Sends a signal now.
    pub fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("the child is ours and not yet waited for");
    }

    /// Sends a signal as soon as `moment` holds.
    pub fn signal_when(&mut self, signal: Signal, mut moment: impl FnMut() -> bool) {
        wait::until("the moment of the signal", || {
            let now = moment();
            assert!(now || self.is_running(), "`{}` ended before the moment of the signal", self.line);
            now
        });
        self.signal(signal);
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Done {
        let status = wait::some_within(LIMIT, || {
            self.look_at_memory();
            self.child.try_wait().expect("the child is ours")
        });
        let hangs = status.is_none();
        if hangs {
            self.child.kill().expect("the child is ours");
        }
        let status = self.child.wait().expect("the child is ours");
        let [stdout, stderr] =
            self.readers.take().expect("only `wait` takes them").map(|reader| reader.join().unwrap());
        assert!(!hangs, "`{}` hangs; so far:\n{stdout}\n{stderr}", self.line);
        Done {
            stdout,
            stderr,
            code: status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
            peak_memory_bytes: self.peak_memory_bytes,
            elapsed: self.started.elapsed(),
        }
    }

    fn look_at_memory(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        if let Some(kilobytes) = kilobytes {
            self.peak_memory_bytes = self.peak_memory_bytes.max(kilobytes * 1024);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Where Debian's package `faketime` has its library (the directory names the architecture).
pub fn faketime_library() -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> =
        fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    directories.push("/usr/lib".into());
    directories.into_iter().map(|directory| directory.join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

fn read_all(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _cut = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A command that hears SIGINT. A shell without job control ignores it in what it puts into the background, tests and all,
/// and whoever is started by them would inherit that.
fn listening(program: &Path) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    if ignored & 1 << (Signal::INT.as_raw() - 1) == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal=INT,QUIT").arg(program);
    command
}
