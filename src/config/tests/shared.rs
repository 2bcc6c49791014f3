//! What other users of the machine could change or read, and what runs on behalf of a config.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::error::Hinted as _;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn again(fixture: &Fixture) -> Result<Loaded, ConfigError> {
    load_in(&fixture.environment, None, &For::Run)
}

#[test]
fn a_config_that_others_can_write_is_refused_with_the_command_to_type() {
    let fixture = Fixture::new();
    fixture.load(&format!("{SOURCE}{LOCAL}")).unwrap();
    let (dir, file) = (fixture.dir.path().to_owned(), fixture.dir.path().join("archive.toml"));
    for (path, bad, good) in [(&file, 0o664, 0o644), (&file, 0o646, 0o600), (&dir, 0o775, 0o755), (&dir, 0o777, 0o1777)]
    {
        mode(path, bad);
        let error = again(&fixture).unwrap_err();
        assert!(error.to_string().contains("the config is not to be relied on"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.en.contains(&format!("chmod go-w {}", path.display())) && hint.fr.starts_with("lancez"), "{hint}");
        mode(path, good);
        again(&fixture).unwrap();
    }
    if fixture.environment.user == 0 {
        std::os::unix::fs::chown(&file, Some(1234), None).unwrap();
        let error = again(&fixture).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.en.contains("chown 0 ") && hint.en.contains("`--user 1234:"), "{hint}");
    }
}

#[test]
fn what_the_private_group_of_its_user_can_write_is_as_good_as_private() {
    let mut fixture = Fixture::new().file("token", "abcdefgh\n");
    let config = format!("{SOURCE}bearer_token = {{ file = \"token\" }}\n{LOCAL}");
    fixture.load(&config).unwrap();
    let dir = fixture.dir.path().to_owned();
    let files = [dir.clone(), dir.join("archive.toml"), dir.join("token")];
    // Only root can give files away.
    let user = if fixture.environment.user == 0 { 1234 } else { fixture.environment.user };
    for path in &files {
        if fixture.environment.user == 0 {
            std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
        }
        mode(path, 0o775);
    }
    if fs::metadata(&files[1]).unwrap().gid() != user {
        return;
    }
    (fixture.environment.user, fixture.environment.group) = (user, user);
    let warnings = again(&fixture).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.en.contains("chmod 600")), "{warnings:?}");
    fixture.environment.group = 100;
    again(&fixture).unwrap_err();
    fixture.environment.group = user;
    for path in &files {
        mode(path, 0o666 | 0o111);
        again(&fixture).unwrap_err();
        mode(path, 0o775);
    }
}

#[test]
fn root_does_not_look_into_the_current_directory() {
    let mut fixture = Fixture::new();
    fixture.load(&format!("{SOURCE}{LOCAL}")).unwrap();
    fixture.environment.is_root = true;
    let error = again(&fixture).unwrap_err().to_string();
    assert!(error.contains("root does not look into the current directory"), "{error}");
    assert!(load_in(&fixture.environment, Some(Path::new("archive.toml")), &For::Run).is_ok());
}

#[test]
fn a_secret_that_others_can_write_is_refused_and_one_that_they_can_read_is_a_warning() {
    let fixture = Fixture::new().file("token", "abcdefgh\n").file("key", "a key").file("ca.pem", "an authority");
    let config = format!(
        "{SOURCE}bearer_token = {{ file = \"token\" }}\nca_file = \"ca.pem\"\n[[destination]]\nname = \"nas\"\ntype = \"sftp\"\n\
         host = \"h\"\nusername = \"u\"\nprivate_key = \"key\"\nhost_key = \"SHA256:jPiqKGmPfkcuFTtYNMTuSrMPgtoKFUfk6JnrqJGJYHc\"\npath = \"/a\"\n"
    );
    let dir = fixture.dir.path();
    let loaded = fixture.load(&config).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    mode(&dir.join("token"), 0o644);
    mode(&dir.join("key"), 0o644);
    mode(&dir.join("ca.pem"), 0o664);
    let warnings = fixture.load(&config).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.en.contains("chmod 600 ")));
    mode(&dir.join("token"), 0o666);
    mode(&dir.join("key"), 0o660);
    mode(&dir.join("ca.pem"), 0o666);
    let error = fixture.load(&config).unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    assert!(
        error.problems.iter().all(|problem| problem.help.as_deref().is_some_and(|help| help.contains("chmod go-w")))
    );
}

#[test]
fn a_command_runs_only_where_its_secret_is_needed_and_never_for_a_broken_file() {
    let destination = |name: &str| {
        format!(
            "[[destination]]\nname = \"{name}\"\ntype = \"ftps\"\nhost = \"{name}\"\nusername = \"u\"\npath = \"/\"\n\
             password = {{ command = [\"sh\", \"-c\", \"touch ran-{name}; echo secret-of-{name}\"] }}\n"
        )
    };
    let source = "bearer_token = { command = [\"sh\", \"-c\", \"touch ran-source; echo secret-of-source\"] }\n";
    let config = format!("{SOURCE}{source}{}{}", destination("a"), destination("b"));
    let ran = |purpose: &For, config: &str| {
        let fixture = Fixture::new().variable("PATH", "/usr/bin:/bin").file("archive.toml", config);
        let loaded = load_in(&fixture.environment, None, purpose);
        assert_eq!(loaded.is_ok(), !config.contains("broken"));
        ["source", "a", "b"].map(|name| fixture.dir.path().join(format!("ran-{name}")).exists())
    };
    assert_eq!(ran(&For::Run, &config), [true; 3]);
    assert_eq!(ran(&For::Destinations(None), &config), [false, true, true]);
    assert_eq!(ran(&For::Destinations(Some("b".to_owned())), &config), [false, false, true]);
    assert_eq!(ran(&For::Offline, &config), [false; 3]);
    assert_eq!(ran(&For::Trust, &config), [false; 3]);
    assert_eq!(ran(&For::Run, &format!("{config}\nbroken\n")), [false; 3]);
}

#[test]
fn every_form_of_a_secret_is_known_and_a_word_of_ours_is_marked() {
    let settings = load(&format!(
        "{}username = \"me\"\npassword = \"archive\"\nproxy = \"http://u:pr%40xy-pass@proxy.example\"\n{LOCAL}",
        SOURCE.replace("a.zip", "a.zip?sig=Zm9vYmFyYmF6&kind=full")
    ));
    let secrets = settings.secrets();
    let find = |value: &str| secrets.iter().find(|secret| secret.expose() == value);
    assert!(find("archive").is_some_and(Secret::is_word));
    for form in ["bWU6YXJjaGl2ZQ==", "AG1lAGFyY2hpdmU=", "YXJjaGl2ZQ==", "Zm9vYmFyYmF6", "pr@xy-pass", "pr%40xy-pass"] {
        assert!(
            find(form).is_some_and(|secret| !secret.is_word()),
            "{form} in {:?}",
            secrets.iter().map(Secret::expose).collect::<Vec<_>>()
        );
    }
    assert!(find("full").is_none());
    let fixture = Fixture::new();
    let remarks = |password: &str| {
        let config = format!("{SOURCE}username = \"me\"\npassword = \"{password}\"\n{LOCAL}");
        fixture.load(&config).unwrap().remarks
    };
    assert!(remarks("Boutique")[0].en.contains("`source.password` is a common word"));
    assert_eq!(remarks("wrong").len(), 1);
    assert!(remarks("hunter22").is_empty() && remarks("qzjxkvwpgmtr").is_empty());
}
