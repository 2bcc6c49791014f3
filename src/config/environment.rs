//! What the process was started with, read once: variables, directories, who we are. Tests hand in their own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono_tz::Tz;

use super::{destination, timezone};
use crate::text;
use crate::text::{MAX_NAME_CHARS, Text, quote};

/// What a program that we start may know of our environment. The rest may hold secrets (`{ env = … }`, an agent's socket).
const HANDED_ON: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "TZ",
    "TMPDIR",
    // Where msmtp looks for its configuration.
    "XDG_CONFIG_HOME",
];

/// A program to start, with the few variables that programs need as a rule.
pub(crate) fn bare_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(HANDED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}

/// The surroundings that a configuration is read in.
pub(super) struct Environment {
    pub(super) variables: BTreeMap<String, OsString>,
    pub(super) current_dir: PathBuf,
    /// The last place where a config file is looked for.
    pub(super) system_config: PathBuf,
    pub(super) is_root: bool,
    /// Who we are; what belongs to others is not relied on.
    pub(super) user: u32,
    /// Our own group; write access for it is harmless where nobody else is in it.
    pub(super) group: u32,
    /// The home directory that the user database knows; under cron, `$HOME` may be missing.
    pub(super) account_home: Option<PathBuf>,
    /// The machine's time zone, as an IANA name.
    pub(super) machine_zone: Option<String>,
    /// How long the command behind a secret may take.
    pub(super) command_timeout: Duration,
    /// The types of destination that this program was built without.
    pub(super) missing_types: Vec<&'static str>,
}

impl Environment {
    /// This process.
    pub(super) fn of_process() -> Self {
        let uid = rustix::process::geteuid();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Environment {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            system_config: PathBuf::from("/etc/archive/archive.toml"),
            is_root: uid.is_root(),
            user: uid.as_raw(),
            group: rustix::process::getegid().as_raw(),
            account_home: home_of(&passwd, uid.as_raw()),
            machine_zone: iana_time_zone::get_timezone()
                .ok()
                .or_else(|| timezone::zone_of_file(Path::new("/etc/localtime")).map(|zone| zone.name().to_owned())),
            command_timeout: Duration::from_secs(30),
            missing_types: destination::missing_types(),
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.get(name).filter(|value| !value.is_empty())
    }

    /// The first directory of a variable such as `$STATE_DIRECTORY`, which systemd may fill with several, `:` between them.
    pub(super) fn directory(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name)?.to_str()?;
        value.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
    }

    /// Where state lives unless the file says otherwise; `None` if nobody knows a home directory.
    pub(super) fn default_work_dir(&self, job: &str) -> Option<PathBuf> {
        if let Some(dir) = self.directory("STATE_DIRECTORY") {
            return Some(dir);
        }
        if self.is_root {
            return Some(Path::new("/var/lib/archive").join(job));
        }
        let absolute = |dir: &PathBuf| dir.is_absolute();
        let state = self.variable("XDG_STATE_HOME").map(PathBuf::from).filter(absolute).or_else(|| {
            let home = self.variable("HOME").map(PathBuf::from).filter(absolute).or_else(|| self.account_home.clone());
            home.map(|home| home.join(".local/state"))
        });
        state.map(|state| state.join("archive").join(job))
    }

    /// The time zone unless the file names one, UTC if there is no better, and then what to say about that.
    pub(super) fn default_zone(&self) -> (Tz, Option<Text>) {
        let machine = self.machine_zone.as_deref().and_then(|name| name.parse().ok());
        // Empty is a value here, that of UTC.
        let Some(value) = self.variables.get("TZ") else {
            return match machine {
                Some(zone) => (zone, None),
                None => (Tz::UTC, Some(unknown_machine_zone())),
            };
        };
        let value = value.to_string_lossy();
        match timezone::zone_of(&value, machine) {
            Some(zone) => (zone, None),
            None => (Tz::UTC, Some(unknown_zone(&quote(&value, MAX_NAME_CHARS)))),
        }
    }
}

fn unknown_machine_zone() -> Text {
    text!(
        "this machine's time zone is unknown, so dates are in UTC: add `timezone` to the config"
            / "le fuseau horaire de cette machine est inconnu, les dates sont donc en UTC : ajoutez `timezone` à la configuration"
    )
}

fn unknown_zone(value: &str) -> Text {
    text!(
        "the variable `TZ` is `{value}`, which is no time zone known here, so dates are in UTC: add for example `timezone = \"Europe/Paris\"` to the config"
            / "la variable `TZ` vaut `{value}`, qui n'est pas un fuseau horaire connu, les dates sont donc en UTC : ajoutez par exemple `timezone = \"Europe/Paris\"` à la configuration"
    )
}

/// The home directory of a user, from the text of `/etc/passwd`.
fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    let uid = uid.to_string();
    let entry =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.get(2) == Some(&&*uid))?;
    entry.get(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect(),
            current_dir: PathBuf::from("/nowhere"),
            system_config: PathBuf::from("/nowhere/archive.toml"),
            is_root: false,
            user: 0,
            group: 0,
            account_home: None,
            machine_zone: Some("Europe/Zurich".to_owned()),
            command_timeout: Duration::from_secs(30),
            missing_types: Vec::new(),
        }
    }

    #[test]
    fn the_work_dir_is_systemds_then_the_users_and_roots_own() {
        let dir = |variables: &[(&str, &str)]| environment(variables).default_work_dir("job");
        assert_eq!(dir(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("HOME", "/h")]), Some("/var/lib/a".into()));
        assert_eq!(dir(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), Some("/x/archive/job".into()));
        assert_eq!(
            dir(&[("XDG_STATE_HOME", "not/absolute"), ("HOME", "/h")]),
            Some("/h/.local/state/archive/job".into())
        );
        assert_eq!(dir(&[("HOME", "")]), None);
        let mut cron = environment(&[]);
        cron.account_home = home_of("root:x:0:0::/root:/bin/sh\narchive:x:998:998::/srv/archive:/bin/sh", 998);
        assert_eq!(cron.default_work_dir("job"), Some("/srv/archive/.local/state/archive/job".into()));
        cron.is_root = true;
        assert_eq!(cron.default_work_dir("job"), Some("/var/lib/archive/job".into()));
    }

    #[test]
    fn the_zone_is_the_variables_then_the_machines() {
        let zone = |tz: &str| environment(&[("TZ", tz)]).default_zone();
        assert_eq!(zone("America/Montreal"), (Tz::America__Montreal, None));
        assert_eq!(zone(":/etc/localtime"), (Tz::Europe__Zurich, None));
        assert_eq!(zone(""), (Tz::UTC, None));
        assert_eq!(environment(&[]).default_zone(), (Tz::Europe__Zurich, None));
        let (utc, doubt) = zone("nonsense");
        assert_eq!(utc, Tz::UTC);
        assert!(doubt.unwrap().en.starts_with("the variable `TZ` is `nonsense`"));
    }
}
