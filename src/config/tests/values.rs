//! Where the file is found, what its values mean, and what is refused.

use super::*;
use crate::config::settings::*;
use crate::text::Language;

#[test]
fn a_missing_config_says_where_it_was_looked_for() {
    let fixture = Fixture::new();
    let error = load_in(&fixture.environment, None, &For::Run).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(fixture.dir.path().to_str().unwrap(), "DIR"), @"no config file: `--config` was not given, `$ARCHIVE_CONFIG` is not set, and neither `DIR/archive.toml` nor `DIR/etc/archive.toml` exists");
    assert_eq!(error.hint().unwrap().en, "write one with `archive init`, or name yours with `--config`");
    let error = load_in(&fixture.environment, Some(Path::new("other.toml")), &For::Run).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(fixture.dir.path().to_str().unwrap(), "DIR"), @"cannot read `DIR/other.toml` (named by `--config`): no such file or directory");
}

#[test]
fn the_flag_goes_before_the_variable_before_here_before_the_system() {
    let mut fixture = Fixture::new();
    fs::create_dir(fixture.dir.path().join("etc")).unwrap();
    let named = |name: &str| format!("{SOURCE}{LOCAL}").replace("\"boutique\"", &format!("\"{name}\""));
    let job = |fixture: &Fixture, path: Option<&str>| {
        load_in(&fixture.environment, path.map(Path::new), &For::Run).unwrap().settings.name
    };
    fixture = fixture.file("etc/archive.toml", &named("system"));
    assert_eq!(job(&fixture, None), "system");
    fixture = fixture.file("archive.toml", &named("here"));
    assert_eq!(job(&fixture, None), "here");
    fixture = fixture.file("b.toml", &named("variable")).variable("ARCHIVE_CONFIG", "b.toml");
    assert_eq!(job(&fixture, None), "variable");
    fixture = fixture.file("c.toml", &named("flag"));
    assert_eq!(job(&fixture, Some("c.toml")), "flag");
    fixture = fixture.variable("ARCHIVE_CONFIG", "gone.toml");
    let error = load_in(&fixture.environment, None, &For::Run).unwrap_err().to_string();
    assert!(error.contains("gone.toml` (named by `$ARCHIVE_CONFIG`): no such file"), "{error}");
}

#[test]
fn a_host_that_a_program_would_take_for_an_option_is_refused() {
    let option = "must be a host name, which does not begin with `-`";
    for (host, reason) in [("--rsh=x", option), ("[-x]", option), ("a\\u001bb", "is no name of a host")] {
        let error = bad(&format!("{SOURCE}{LOCAL}[mail]\nhost = \"{host}\"\nfrom = \"a@x.org\"\nto = \"a@x.org\"\n"));
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_with_its_line() {
    let fixture = Fixture::new();
    fs::write(fixture.dir.path().join("archive.toml"), b"name = \"a\"\n# caf\xe9\n").unwrap();
    let error = load_in(&fixture.environment, None, &For::Run).unwrap_err().to_string();
    assert!(error.ends_with("line 2 is not UTF-8; save the file as UTF-8"), "{error}");
}

#[test]
fn the_smallest_config_has_the_specified_defaults() {
    let settings = load(&format!("{SOURCE}{LOCAL}"));
    assert_eq!((settings.name.as_str(), settings.timezone), ("boutique", Tz::Europe__Paris));
    assert_eq!(settings.work_dir, Path::new("/home/me/.local/state/archive/boutique"));
    assert_eq!(settings.source.url.as_str(), "https://host.example/a.zip");
    assert_eq!(Ok(settings.archive.name), crate::archive_name::NamePattern::parse("%Y%m%d.tgz"));
    assert_eq!((settings.archive.compression, settings.archive.sidecar), (Compression::Reuse, true));
    assert!(settings.mail.is_none());
    let source = format!("{:?}", settings.source);
    let source = source.split_once("entry").unwrap().1;
    let tables = format!("{source}\n{:?}\n{:?}\n{:?}", settings.dump, settings.destinations, settings.log);
    insta::assert_snapshot!(tables.replace(", ", ",\n"), @r#"
    : "a.sql",
    auth: None,
    headers: [],
    ca_file: None,
    client_cert: None,
    proxy: None,
    max_redirects: 5,
    allow_http: false,
    connect_timeout: 15s,
    stall_timeout: 60s,
    time_limit: 43200s,
    retries: 4,
    max_download: 100000000000,
    trust_directory: true,
    zip_password: None }
    DumpSettings { complete: Auto,
    min_size: 1000,
    max_size: 1000000000000,
    max_shrink_percent: 50,
    volatile_lines: Auto,
    on_unchanged: Warn,
    frozen_after: Some(604800s) }
    [DestinationSettings { name: "share",
    protocol: Local(LocalSettings { path: "/mnt/a",
    require_mount: false,
    marker: None }),
    verify: Checksum,
    bandwidth_limit: None,
    connect_timeout: 15s,
    stall_timeout: 60s,
    time_limit: 43200s,
    retries: 4,
    retention: None }]
    LogSettings { dir: "/home/me/.local/state/archive/boutique/log",
    level: Level(Info),
    format: Text,
    keep: 7776000s }
    "#);
}

#[test]
fn every_secret_can_be_given_in_five_ways() {
    let fixture = Fixture::new().variable("TOKEN", "from env").file("t", "from file\r\n");
    let dir = fixture.dir.path().to_str().unwrap().to_owned();
    let fixture = fixture.variable("CREDENTIALS_DIRECTORY", &dir);
    for (value, expected) in [
        ("\"in clear\"", "in clear"),
        ("{ env = \"TOKEN\" }", "from env"),
        ("{ file = \"t\" }", "from file"),
        ("{ command = [\"echo\", \"from command\"] }", "from command"),
        ("{ command = [\"cat\", \"t\"] }", "from file"),
        ("{ credential = \"t\" }", "from file"),
    ] {
        let loaded = fixture.load(&format!("{SOURCE}bearer_token = {value}\n{LOCAL}")).unwrap();
        match loaded.settings.source.auth {
            Some(HttpAuth::Bearer(token)) => assert_eq!(token.expose(), expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_command_that_does_not_end_is_stopped() {
    let mut fixture = Fixture::new();
    fixture.environment.command_timeout = std::time::Duration::from_millis(100);
    let error =
        fixture.load(&format!("{SOURCE}bearer_token = {{ command = [\"sleep\", \"600\"] }}\n{LOCAL}")).unwrap_err();
    assert_eq!(messages(&error), ["source.bearer_token.command: `sleep` did not end within 0.1 s"]);
}

#[test]
fn a_secret_in_clear_is_a_warning_once_others_can_read_the_file() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("archive.toml");
    let warnings = |key: &str, mode: u32| {
        fixture.load(&format!("{SOURCE}{key}\n{LOCAL}")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        load_in(&fixture.environment, None, &For::Run).unwrap().warnings
    };
    assert!(warnings("bearer_token = \"x\"", 0o600).is_empty());
    assert!(warnings("bearer_token = { env = \"HOME\" }", 0o644).is_empty());
    assert!(warnings("proxy = \"http://proxy.example:3128\"", 0o644).is_empty());
    assert_eq!(warnings("proxy = \"http://me:x@proxy.example:3128\"", 0o644).len(), 1);
    let warning = warnings("bearer_token = \"x\"", 0o640).remove(0);
    assert!(warning.en.contains("(`source.bearer_token`)") && warning.en.contains("(mode 0640)"), "{warning}");
    assert!(warning.fr.contains("contient un secret en clair"), "{}", warning.fr);
}

#[test]
fn a_bad_config_still_tells_whom_to_write_to() {
    let mail = "[mail]\nhost = \"smtp.example\"\nfrom = \"a@example.org\"\nto = \"b@example.org\"\n";
    let error = Fixture::new().load(&format!("{SOURCE}{LOCAL}{mail}whn = 1\n[log]\nlevel = \"debug\"\n")).unwrap_err();
    assert_eq!(error.problems.len(), 1);
    assert_eq!(error.salvaged.job.as_deref(), Some("boutique"));
    assert_eq!(error.salvaged.work_dir, Some("/home/me/.local/state/archive/boutique".into()));
    assert_eq!(error.salvaged.log.map(|log| log.level), Some(tracing::Level::DEBUG));
    assert_eq!(error.salvaged.mail.map(|mail| mail.to.len()), Some(1));
    // A broken line elsewhere, too.
    let error = Fixture::new().load(&format!("{SOURCE}broken\n{LOCAL}{mail}")).unwrap_err();
    assert!(error.salvaged.mail.is_some());
    // A login without its password would be refused by the server: no mail.
    let error = Fixture::new().load(&format!("{SOURCE}{LOCAL}{mail}username = \"me\"\n")).unwrap_err();
    assert!(error.salvaged.mail.is_none());
}

#[test]
fn no_error_shows_a_secret() {
    for key in
        ["password = \"geheim\"\nx = 1", "paswd = \"geheim\"", "bearer_token = [\"geheim\"]", "api_key = \"geheim\" 1"]
    {
        let text = bad(&format!("{SOURCE}{key}\n{LOCAL}"));
        assert!(!text.contains("geheim"), "{text}");
    }
    for url in ["https://me:geheim@host.example/a", "http//me:geheim@h", "ftp://me:geheim@h/a", "https://me:geheim@:x"]
    {
        let text = bad(&format!("{SOURCE}{LOCAL}").replace("https://host.example/a.zip", url));
        assert!(!text.contains("geheim"), "{text}");
        let text = bad(&format!("{SOURCE}proxy = \"{}\"\n{LOCAL}", url.replace("https", "gopher")));
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[test]
fn an_sftp_destination_needs_a_way_in_and_a_host_key() {
    let fixture = Fixture::new().file("key", "k").file("known", "k");
    let sftp = "[[destination]]\nname = \"nas\"\ntype = \"sftp\"\nhost = \"nas\"\nusername = \"me\"\npath = \"a\"\n";
    let fingerprint = format!("SHA256:{}", "A".repeat(43));
    let load = |keys: &str| fixture.load(&format!("{SOURCE}{sftp}{keys}\n"));
    let protocol = |keys: &str| match load(keys).unwrap().settings.destinations.remove(0).protocol {
        Protocol::Sftp(sftp) => sftp,
        other => panic!("{other:?}"),
    };
    let all = protocol(&format!(
        "password = \"p\"\nagent = true\nprivate_key = \"key\"\npassphrase = \"q\"\nhost_key = [\"{fingerprint}\", \"{fingerprint}=\"]"
    ));
    assert!(matches!(
        &all.auth[..],
        [SshAuth::PrivateKey { passphrase: Some(_), .. }, SshAuth::Agent, SshAuth::Password(_)]
    ));
    assert_eq!(all.host_key, HostKey::Fingerprints(vec![fingerprint.clone(), fingerprint.clone()]));
    assert_eq!(all.port, 22);
    assert_eq!((all.connections, all.server_checksum), (None, true));
    // The size proves nothing of what goes over several channels.
    let way_in = "agent = true\nknown_hosts = \"known\"\nserver_checksum = false\nverify = \"size\"\n";
    assert_eq!((protocol(way_in).connections, protocol(way_in).server_checksum), (Some(1), false));
    assert_eq!(protocol(&format!("{way_in}connections = 4")).connections, Some(4));
    let known = protocol("password = \"p\"\nknown_hosts = \"known\"");
    assert_eq!(known.host_key, HostKey::KnownHosts(fixture.dir.path().join("known")));

    for (keys, message) in [
        ("known_hosts = \"known\"", "destination[nas]: says no way to log in"),
        ("agent = true", "destination[nas]: says nothing about the server's host key"),
        (
            &format!("agent = true\nknown_hosts = \"known\"\nhost_key = \"{fingerprint}\""),
            "destination[nas].host_key: excludes `known_hosts`",
        ),
        (
            "agent = true\nhost_key = \"MD5:00:11\"",
            "destination[nas].host_key: is not a fingerprint: `SHA256:` and 43 characters, as `archive trust` and `ssh-keygen -lf` show it",
        ),
        ("agent = true\nhost_key = []", "destination[nas].host_key: must not be empty"),
        (
            "agent = true\nknown_hosts = \"known\"\npassphrase = \"x\"",
            "destination[nas].passphrase: needs `private_key` beside it",
        ),
    ] {
        assert_eq!(messages(&load(keys).unwrap_err()), [message]);
    }
}

#[test]
fn a_share_needs_its_name_a_user_and_a_password() {
    let fixture = Fixture::new();
    let smb = "[[destination]]\nname = \"nas\"\ntype = \"smb\"\nhost = \"nas\"\n";
    let load = |keys: &str| fixture.load(&format!("{SOURCE}{smb}{keys}\n"));
    let all = "share = \"backup\"\npath = \"a/b\"\nusername = \"me\"\npassword = \"geheim\"\n";
    let protocol = |keys: &str| match load(&format!("{all}{keys}")).unwrap().settings.destinations.remove(0).protocol {
        Protocol::Smb(smb) => smb,
        other => panic!("{other:?}"),
    };
    let plain = protocol("");
    assert_eq!((plain.port, &plain.path[..]), (445, &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!((plain.domain.as_deref(), plain.encryption), (None, SmbEncryption::Required));
    assert_eq!((plain.location(), plain.account()), ("smb://me@nas/backup/a/b".to_owned(), "me".to_owned()));
    let other = protocol("port = 4445\ndomain = \"EXAMPLE\"\nencryption = \"if_offered\"");
    assert_eq!(
        (other.location(), other.account()),
        ("smb://me@nas:4445/backup/a/b".to_owned(), "EXAMPLE\\me".to_owned())
    );
    assert_eq!(other.encryption, SmbEncryption::IfOffered);
    assert!(!format!("{other:?}").contains("geheim"));

    let without = |key: &str| all.lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
    for (keys, message) in [
        (without("password"), "destination[nas].password: missing key `password`"),
        (without("share"), "destination[nas].share: missing key `share`"),
        (all.replace("\"backup\"", "'backup\\a'"), "destination[nas].share: must be the share's name alone"),
        (all.replace("a/b", "a:b"), "destination[nas].path: `a:b` holds `:`, which a name on a Windows share must not"),
        (all.replace("a/b", "../b"), "destination[nas].path: must not hold `..`"),
        (
            format!("{}\ndomain = \"EXAMPLE\"", all.replace("\"me\"", "\"me@example.org\"")),
            "destination[nas].username: holds a domain already, and `domain` is there too",
        ),
        (
            format!("{all}encryption = \"off\""),
            "destination[nas].encryption: `off` is not one of `required`, `if_offered`",
        ),
    ] {
        assert_eq!(messages(&load(&keys).unwrap_err()), [message]);
    }
}

#[test]
fn trust_may_read_a_config_without_a_host_key() {
    let fixture = Fixture::new();
    let sftp = "[[destination]]\nname = \"nas\"\ntype = \"sftp\"\nhost = \"nas\"\nusername = \"me\"\npath = \"a\"\nagent = true\n";
    for (key, expected) in [
        ("", HostKey::Fingerprints(Vec::new())),
        ("known_hosts = \"later\"", HostKey::KnownHosts(fixture.dir.path().join("later"))),
    ] {
        assert!(fixture.load(&format!("{SOURCE}{sftp}{key}\n")).is_err());
        let settings = load_in(&fixture.environment, None, &For::Trust).unwrap().settings;
        assert!(matches!(&settings.destinations[0].protocol, Protocol::Sftp(sftp) if sftp.host_key == expected));
    }
}

#[test]
fn a_password_over_an_open_line_needs_consent() {
    let mail =
        "[mail]\nhost = \"smtp.example\"\nfrom = \"a@example.org\"\nto = \"b@example.org\"\nsecurity = \"none\"\n";
    let login = "username = \"me\"\npassword = \"x\"\n";
    let port = |text: &str| match load(&format!("{SOURCE}{LOCAL}{text}")).mail.unwrap().transport {
        MailTransport::Smtp(smtp) => smtp.port,
        other => panic!("{other:?}"),
    };
    assert_eq!(port(mail), 25);
    assert_eq!(port(&mail.replace("none", "tls")), 465);
    assert_eq!(port(&mail.replace("none", "starttls")), 587);
    assert_eq!(port(&format!("{mail}{login}allow_plaintext = true\n")), 25);
    let error = Fixture::new().load(&format!("{SOURCE}{LOCAL}{mail}{login}")).unwrap_err();
    assert_eq!(messages(&error), ["mail.security: would send the password in clear"]);
    assert!(error.salvaged.mail.is_none());
    // The same for plain http.
    let http = format!("{SOURCE}{LOCAL}").replace("https://", "http://");
    assert!(Fixture::new().load(&http).is_err());
    assert!(load(&http.replace("entry", "allow_http = true\nentry")).source.allow_http);
}

#[test]
fn keys_of_the_wrong_transport_and_of_exclusive_logins_are_refused() {
    let sendmail = "[mail]\ntransport = \"sendmail\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n";
    let settings = load(&format!("{SOURCE}{LOCAL}{sendmail}language = \"en\"\n"));
    let mail = settings.mail.unwrap();
    assert_eq!(mail.language, Language::En);
    assert!(
        matches!(mail.transport, MailTransport::Sendmail { command } if command == Path::new("/usr/sbin/sendmail"))
    );
    for (text, expected) in [
        (
            format!("{SOURCE}{LOCAL}{sendmail}host = \"x\"\n"),
            "mail.host: `host` belongs to transport `smtp`, `transport` is `sendmail`",
        ),
        (
            format!("{SOURCE}{LOCAL}{sendmail}command = \"sendmail\"\n"),
            "mail.command: must be the whole path of a program, without arguments",
        ),
        (
            format!("{SOURCE}username = \"a\"\npassword = \"b\"\nbearer_token = \"c\"\n{LOCAL}"),
            "source.bearer_token: excludes `username`",
        ),
        (format!("{SOURCE}username = \"a\"\n{LOCAL}"), "source.username: needs `password` beside it"),
        (
            format!("{SOURCE}headers = {{ Range = \"bytes=0-\" }}\n{LOCAL}"),
            "source.headers.Range: `Range` is set by the download itself",
        ),
        (
            format!("{SOURCE}{LOCAL}retention = {{ max_purge = 3 }}\n"),
            "destination[share].retention: says nothing about what to keep",
        ),
        (
            format!("{SOURCE}{LOCAL}bandwidth_limit = \"20 Mbit/s\"\n"),
            "destination[share].bandwidth_limit: `20 Mbit/s` is not a rate; write for example `20 MB/s` (bytes, not bits)",
        ),
        (
            format!("{SOURCE}{LOCAL}[dump]\ncomplete = \"none\"\n"),
            "dump.complete: `none` would be the text that a dump must end with",
        ),
        (format!("{SOURCE}{LOCAL}[log]\ndir = \"~/log\"\n"), "log.dir: `~` and variables are not expanded in paths"),
    ] {
        assert_eq!(messages(&Fixture::new().load(&text).unwrap_err()), [expected]);
    }
}

#[test]
fn values_are_read_as_they_are_meant() {
    let settings = load(&format!(
        "{SOURCE}{LOCAL}bandwidth_limit = \"20 MB/s\"\nretention = {{ keep_days = 30 }}\n\
         [dump]\ncomplete = \"-- fin\"\nmax_shrink = \"off\"\nfrozen_after = \"off\"\nmin_size = 0\nvolatile_lines = [\"^-- \"]\n\
         [archive]\ncompression = 9\nsidecar = false\n[log]\ndir = \"logs\"\n"
    ));
    let destination = &settings.destinations[0];
    assert_eq!(destination.bandwidth_limit, Some(20_000_000));
    let retention = destination.retention.as_ref().unwrap();
    assert_eq!((retention.keep_days, retention.keep_last, retention.max_purge), (Some(30), 3, 31));
    assert_eq!(settings.dump.complete, Complete::Literal("-- fin".to_owned()));
    assert_eq!((settings.dump.max_shrink_percent, settings.dump.frozen_after, settings.dump.min_size), (100, None, 0));
    assert!(
        matches!(&settings.dump.volatile_lines, VolatileLines::Patterns(patterns) if patterns[0].is_match(b"-- x"))
    );
    assert_eq!(settings.archive.compression, Compression::Level(9));
    assert!(!settings.archive.sidecar);
    assert_eq!(settings.log.dir, settings.config_path.parent().unwrap().join("logs"));
}

#[test]
fn a_second_address_in_one_string_is_no_silent_loss() {
    let mail = |to: &str| {
        let text = format!("{SOURCE}{LOCAL}[mail]\nhost = \"h\"\nfrom = \"a@example.org\"\nto = {to}\n");
        Fixture::new().load(&text).map(|loaded| loaded.settings.mail.unwrap().to.len()).ok()
    };
    assert_eq!(mail("'\"Doe, John\" <j@example.org>'"), Some(1));
    assert_eq!(mail("[\"a@example.org\", \"B <b@example.org>\"]"), Some(2));
    let text = format!(
        "{SOURCE}{LOCAL}[mail]\nhost = \"h\"\nfrom = \"a@example.org\"\nto = \"a@example.org, b@example.org\"\n"
    );
    let error = Fixture::new().load(&text).unwrap_err();
    assert!(error.problems[0].message.starts_with("holds several addresses"), "{error}");
    for bad in ["\"a@example.org, b@example.org\"", "\"a@example.org b@example.org\"", "\"root\"", "[]", "[\"a@\"]"] {
        assert_eq!(mail(bad), None, "{bad}");
    }
}

#[test]
fn an_unknown_machine_zone_is_utc_and_a_warning() {
    let mut fixture = Fixture::new();
    fixture.environment.machine_zone = None;
    let loaded = fixture.load(&format!("{SOURCE}{LOCAL}")).unwrap();
    assert_eq!((loaded.settings.timezone, loaded.warnings.len()), (Tz::UTC, 1));
    let loaded = fixture.load(&format!("timezone = \"Asia/Tokyo\"\n{SOURCE}{LOCAL}")).unwrap();
    assert_eq!((loaded.settings.timezone, loaded.warnings.len()), (Tz::Asia__Tokyo, 0));
}

#[test]
fn an_nfs_destination_needs_a_host_and_an_export() {
    let nfs = "[[destination]]\nname = \"nas\"\ntype = \"nfs\"\n";
    let load = |keys: &str| Fixture::new().load(&format!("{SOURCE}{nfs}{keys}\n"));
    let good = |keys: &str| match load(keys).unwrap().settings.destinations.remove(0).protocol {
        Protocol::Nfs(nfs) => nfs,
        other => panic!("{other:?}"),
    };
    let least = good("host = \"NAS\"\nexport = \"/srv/\"");
    assert_eq!((least.path.as_str(), least.uid, least.port, least.privileged_port), ("", None, None, None));
    assert_eq!((least.location(), least.place()), ("nfs://NAS/srv".to_owned(), "nas/srv".to_owned()));
    let all = good(
        "host = \"::1\"\nexport = \"/\"\npath = \"//a/./b/\"\nuid = 0\ngid = 7\nport = 2050\nmount_port = 3\nprivileged_port = false",
    );
    assert_eq!((all.location().as_str(), all.path.as_str()), ("nfs://[::1]:2050/a/b", "a/b"));
    assert_eq!((all.uid, all.gid, all.port, all.mount_port), (Some(0), Some(7), Some(2050), Some(3)));
    assert_eq!(all.privileged_port, Some(false));
    let bad = |keys: &str| messages(&load(keys).unwrap_err());
    assert_eq!(
        bad("").join("\n"),
        "destination[nas].host: missing key `host`\ndestination[nas].export: missing key `export`"
    );
    assert_eq!(
        bad("host = \"nas\"\nexport = \"nas:/srv\"\npath = \"a/../b\"\nuid = -1\nconnections = 2"),
        [
            "destination[nas].export: must be the exported path as the server names it, beginning with `/`",
            "destination[nas].path: must not hold `..`",
            "destination[nas].uid: must be from 0 to 4294967294, not `-1`",
            "destination[nas].connections: `connections` belongs to type `sftp`, this destination is `nfs`",
        ]
    );
}

#[test]
fn a_webdav_destination_needs_an_address_and_one_way_to_log_in() {
    let webdav = "[[destination]]\nname = \"cloud\"\ntype = \"webdav\"\n";
    let load = |keys: &str| Fixture::new().file("ca.pem", "x").load(&format!("{SOURCE}{webdav}{keys}\n"));
    let good = |keys: &str| match load(keys).unwrap().settings.destinations.remove(0).protocol {
        Protocol::Webdav(webdav) => webdav,
        other => panic!("{other:?}"),
    };
    let login = "username = \"me\"\npassword = \"geheim\"\n";
    let least = good(&format!("url = \"https://Cloud.example:443/dav/d\u{e9}p\u{f4}t a//\"\n{login}"));
    assert_eq!(least.url.as_str(), "https://cloud.example/dav/d%C3%A9p%C3%B4t%20a/");
    assert_eq!(least.location(), least.place());
    assert!(matches!(&least.login, WebdavLogin::Password { scheme: HttpScheme::Auto, .. }) && least.ca_file.is_none());
    assert!(!format!("{least:?}").contains("geheim"));
    let all =
        good(&format!("url = \"http://h:8080\"\nallow_http = true\nauth = \"digest\"\nca_file = \"ca.pem\"\n{login}"));
    assert_eq!(all.location(), "http://h:8080/");
    assert!(matches!(&all.login, WebdavLogin::Password { scheme: HttpScheme::Digest, .. }) && all.ca_file.is_some());
    let token = good("url = \"https://h/\"\nbearer_token = \"geheim\"");
    assert!(matches!(&token.login, WebdavLogin::Bearer(_)) && token.secrets().len() == 1);

    let bad = |keys: &str| messages(&load(keys).unwrap_err()).join("\n");
    assert_eq!(bad(""), "destination[cloud].url: missing key `url`\ndestination[cloud]: says no way to log in");
    for (url, message) in [
        ("h/dav", "is not a URL: relative url without a base"),
        ("http://h/dav", "plain `http` can be read and changed on its way"),
        ("davs://h/dav", "`davs` is no scheme of the web"),
        ("ftp://h/dav", "`ftp` is not supported"),
        ("https://me:geheim@h/dav", "must not hold credentials"),
        ("https://h/dav?x=geheim", "must end with its path"),
        ("https://h/dav#x", "must end with its path"),
    ] {
        assert_eq!(bad(&format!("url = \"{url}\"\n{login}")), format!("destination[cloud].url: {message}"), "{url}");
    }
    for (keys, message) in [
        ("username = \"me\"", "destination[cloud].username: needs `password` beside it"),
        ("password = \"x\"", "destination[cloud].password: needs `username` beside it"),
        (
            "username = \"a:b\"\npassword = \"x\"",
            "destination[cloud].username: must hold neither `:` nor a control character",
        ),
        ("bearer_token = \"x\"\nauth = \"basic\"", "destination[cloud].bearer_token: excludes `auth`"),
        (
            "username = \"me\"\npassword = \"x\"\nbearer_token = \"y\"",
            "destination[cloud].bearer_token: excludes `username`",
        ),
        (
            "username = \"me\"\npassword = \"x\"\nauth = \"ntlm\"",
            "destination[cloud].auth: `ntlm` is not one of `auto`, `basic`, `digest`",
        ),
    ] {
        assert_eq!(bad(&format!("url = \"https://h/\"\n{keys}")), message);
    }
}

fn s3(fixture: &Fixture, keys: &str) -> Result<S3Settings, ConfigError> {
    let table = "[[destination]]\nname = \"cloud\"\ntype = \"s3\"\n";
    match fixture.load(&format!("{SOURCE}{table}{keys}\n"))?.settings.destinations.remove(0).protocol {
        Protocol::S3(s3) => Ok(s3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_s3_destination_finds_its_server_and_its_credentials() {
    let own = "bucket = \"backups\"\naccess_key_id = \"AK\"\nsecret_access_key = \"geheim\"\n";
    let amazon =
        s3(&Fixture::new(), &format!("{own}region = \"eu-west-3\"\nprefix = \"/archives/boutique/\"")).unwrap();
    assert_eq!(amazon.location(), "s3://s3.eu-west-3.amazonaws.com/backups/archives/boutique");
    assert!(!amazon.path_style && amazon.credentials.session_token.is_none());
    assert!(!format!("{amazon:?}").contains("geheim"));
    let server = s3(&Fixture::new(), &format!("{own}endpoint = \"https://minio.example:9000\"")).unwrap();
    assert_eq!((server.location().as_str(), server.region.as_str()), ("s3://minio.example:9000/backups", "us-east-1"));
    assert!(server.path_style);
    let china = s3(&Fixture::new(), &format!("{own}region = \"cn-north-1\"")).unwrap();
    assert_eq!(china.endpoint.as_str(), "https://s3.cn-north-1.amazonaws.com.cn/");
    // The certificate of Amazon's hosts is good for one label before `s3`.
    assert!(
        s3(&Fixture::new(), &format!("{}region = \"eu-west-3\"", own.replace("backups", "back.ups")))
            .unwrap()
            .path_style
    );

    let environment = Fixture::new()
        .variable("AWS_ACCESS_KEY_ID", "ENV")
        .variable("AWS_SECRET_ACCESS_KEY", "from env")
        .variable("AWS_SESSION_TOKEN", "token")
        .variable("AWS_DEFAULT_REGION", "eu-west-1");
    let of_environment = s3(&environment, "bucket = \"backups\"").unwrap();
    assert_eq!(of_environment.region, "eu-west-1");
    assert_eq!(of_environment.credentials.access_key_id, "ENV");
    assert_eq!(
        of_environment.credentials.session_token.map(|token| token.expose().to_owned()).as_deref(),
        Some("token")
    );
    // A token belongs to the keys beside it, not to those of the file.
    assert!(s3(&environment, own).unwrap().credentials.session_token.is_none());

    let kms = "server_side_encryption = \"aws:kms\"\nkms_key_id = \"k\"\nstorage_class = \"STANDARD_IA\"";
    let kept = s3(&environment, &format!("{own}{kms}")).unwrap();
    assert_eq!(kept.encryption, Some(S3Encryption::Kms(Some("k".to_owned()))));
    assert_eq!(kept.storage_class.as_deref(), Some("STANDARD_IA"));
    assert!(s3(&environment, &format!("{own}storage_class = \"GLACIER\"\nverify = \"size\"")).is_ok());
}

#[test]
fn a_bad_s3_destination_says_which_key_it_is() {
    let good = "bucket = \"backups\"\nregion = \"r\"\naccess_key_id = \"AK\"\nsecret_access_key = \"geheim\"";
    let endpoint = |value: &str| format!("{good}\nendpoint = \"{value}\"");
    for (keys, expected) in [
        (good.replace("\"backups\"", "\"s3://backups/a/b\""), "bucket: must be the name alone"),
        (good.replace("\"backups\"", "\"back ups\""), "bucket: `back ups` is no name of a bucket"),
        (good.replace("region = \"r\"\n", ""), "region: missing key `region`"),
        (
            good.replace("\"r\"", "\"Paris (France)\""),
            "region: `Paris (France)` is no region; write for example `eu-west-3`",
        ),
        (good.replace("access_key_id = \"AK\"\n", ""), "secret_access_key: needs `access_key_id` beside it"),
        ("bucket = \"backups\"\nregion = \"r\"".to_owned(), ": says no way to log in"),
        (format!("{good}\nprefix = \"a/../b\""), "prefix: must not hold `//`, `.` or `..`"),
        (format!("{good}\nprefix = \"a//b\""), "prefix: must not hold `//`, `.` or `..`"),
        (endpoint("minio.example:9000"), "endpoint: needs `https://` before the host"),
        (endpoint("minio.example"), "endpoint: needs `https://` before the host"),
        (
            endpoint("http://minio.example"),
            "endpoint: over plain `http`, archives can be read and changed on their way",
        ),
        (endpoint("https://AK:geheim@minio.example"), "endpoint: must not hold credentials"),
        (endpoint("https://backups.s3.eu-west-3.amazonaws.com"), "endpoint: must not hold the bucket `backups`"),
        (endpoint("https://minio.example/backups"), "endpoint: must not hold the bucket `backups`"),
        (endpoint("ftp://minio.example"), "endpoint: `ftp` is not supported"),
        (
            format!("{}\npath_style = false", endpoint("https://192.0.2.1:9000")),
            "path_style: must be `true`: no bucket's name can stand before an address",
        ),
        (
            format!("{good}\nstorage_class = \"DEEP_ARCHIVE\""),
            "storage_class: what is in `DEEP_ARCHIVE` cannot be read back, so no copy could be verified",
        ),
        (format!("{good}\nstorage_class = \"cold\""), "storage_class: `cold` is no storage class"),
        (format!("{good}\nkms_key_id = \"k\""), "kms_key_id: needs `server_side_encryption = \"aws:kms\"` beside it"),
        (
            format!("{good}\nserver_side_encryption = \"aes\""),
            "server_side_encryption: `aes` is not one of `AES256`, `aws:kms`",
        ),
    ] {
        let error = s3(&Fixture::new(), &keys).expect_err(&keys);
        let separator = if expected.starts_with(':') { "" } else { "." };
        assert_eq!(messages(&error), [format!("destination[cloud]{separator}{expected}")], "{keys}");
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}

#[test]
fn an_ftp_destination_says_whether_and_when_tls_begins() {
    let fixture = Fixture::new().file("ca.pem", "authority");
    let ftp = |keys: &str| {
        let text = format!("{SOURCE}[[destination]]\nname = \"space\"\n{keys}\n");
        fixture.load(&text).map(|loaded| match &loaded.settings.destinations[0].protocol {
            Protocol::Ftp(ftp) => (ftp.clone(), loaded.settings.secrets().len()),
            other => panic!("{other:?}"),
        })
    };
    let access = "host = \"Nas\"\nusername = \"me\"\npassword = \"hidden-one\"\npath = \"a/b\"\n";
    let read = |keys: &str| ftp(&format!("{keys}\n{access}")).unwrap_or_else(|error| panic!("{error}"));

    let (explicit, secrets) = read("type = \"ftps\"");
    assert_eq!((explicit.security, explicit.port, secrets), (FtpSecurity::Explicit, 21, 1));
    assert_eq!(explicit.location(), "ftps://me@Nas/~/a/b");
    assert!(!format!("{explicit:?}").contains("hidden-one"));
    let (implicit, _) = read("type = \"ftps\"\nimplicit = true\nca_file = \"/etc/archive/ca.pem\"");
    assert_eq!((implicit.security, implicit.port), (FtpSecurity::Implicit, 990));
    assert!(implicit.ca_file.is_some());
    let (clear, _) = read("type = \"ftp\"\nallow_plaintext = true\nport = 2121");
    assert_eq!((clear.security, clear.location().as_str()), (FtpSecurity::None, "ftp://me@Nas:2121/~/a/b"));

    let refused = |keys: &str| messages(&ftp(keys).unwrap_err());
    let in_clear = "destination[space].type: would send the password and the archives in clear";
    assert_eq!(refused(&format!("type = \"ftp\"\n{access}")), [in_clear]);
    assert_eq!(refused(&format!("type = \"ftp\"\nallow_plaintext = false\n{access}")), [in_clear]);
    assert_eq!(
        refused("type = \"ftps\"\nport = 0"),
        [
            "destination[space].host: missing key `host`",
            "destination[space].username: missing key `username`",
            "destination[space].password: missing key `password`",
            "destination[space].path: missing key `path`",
            "destination[space].port: must be from 1 to 65535, not `0`",
        ]
    );
    let text = refused(&format!("type = \"ftps\"\nallow_plaintext = true\n{access}"));
    assert!(text[0].contains("belongs to type `ftp`"), "{text:?}");
    let text = refused(&format!("type = \"ftp\"\nallow_plaintext = true\nimplicit = true\n{access}"));
    assert!(text[0].contains("belongs to type `ftps`"), "{text:?}");
    let text = refused("type = \"ftps\"\nhost = \"nas\"\nusername = \"a\\nb\"\npassword = \"p\"\npath = \"/\"");
    assert_eq!(text, ["destination[space].username: must be a single line"]);
}

#[test]
fn an_rsync_destination_goes_over_ssh_or_to_a_module() {
    let fixture = Fixture::new().file("key", "x").file("known", "");
    let rsync = "[[destination]]\nname = \"nas\"\ntype = \"rsync\"\nhost = \"NAS\"\n";
    let load = |keys: &str| fixture.load(&format!("{SOURCE}{rsync}{keys}\n"));
    let good = |keys: &str| match load(keys)
        .unwrap_or_else(|error| panic!("{error}"))
        .settings
        .destinations
        .remove(0)
        .protocol
    {
        Protocol::Rsync(rsync) => rsync,
        other => panic!("{other:?}"),
    };
    let ssh = good("username = \"me\"\nprivate_key = \"key\"\nknown_hosts = \"known\"\npath = \"~/a/\"");
    assert_eq!((ssh.port, ssh.location().as_str()), (22, "rsync+ssh://me@NAS/~/a/"));
    assert_eq!(ssh.place(), "me@nas:22/a");
    assert!(ssh.secrets().is_empty() && ssh.server().is_some());
    let daemon = good("module = \"archives\"\nusername = \"me\"\npassword = \"geheim\"\npath = \"/a/b/\"");
    assert_eq!((daemon.port, daemon.location().as_str()), (873, "rsync://me@NAS/archives/a/b"));
    assert_eq!(daemon.secrets().len(), 1);
    assert!(daemon.server().is_none() && !format!("{daemon:?}").contains("geheim"));
    let open = good("module = \"archives\"\nport = 8730");
    assert_eq!(open.location(), "rsync://NAS:8730/archives");
    let bad = |keys: &str| messages(&load(keys).unwrap_err());
    assert_eq!(
        bad(""),
        [
            "destination[nas].username: missing key `username`",
            "destination[nas].path: missing key `path`",
            "destination[nas]: says no way to log in",
            "destination[nas]: says nothing about the server's host key",
        ]
    );
    assert_eq!(
        bad("username = \"me\"\npassword = \"geheim\"\nknown_hosts = \"known\"\npath = \"a*b\""),
        [
            "destination[nas].password: cannot be given to `rsync` over SSH",
            "destination[nas].path: must not hold `*`, which rsync takes for a pattern",
        ]
    );
    assert_eq!(
        bad("module = \"a/b\"\nusername = \"a b\"\npassword = \"x\"\nagent = true\npath = \"../x\""),
        [
            "destination[nas].module: must be the name of a module",
            "destination[nas].username: must not hold ` `",
            "destination[nas].agent: is for rsync over SSH, and `module` names an rsync daemon",
            "destination[nas].path: must not hold `..`",
        ]
    );
    assert_eq!(bad("module = \"a\"\nusername = \"b\""), ["destination[nas].username: needs `password` beside it"]);
    assert_eq!(bad("module = \"a\"\npassword = \"b\""), ["destination[nas].password: needs `username` beside it"]);
}

#[test]
fn a_type_that_this_program_was_built_without_is_refused_by_name() {
    let mut fixture = Fixture::new();
    fixture.environment.missing_types = vec!["ftps", "s3"];
    let load = |kind: &str| fixture.load(&format!("{SOURCE}[[destination]]\nname = \"nas\"\ntype = \"{kind}\"\n"));
    let have = "it has `sftp`, `ftp`, `smb`, `webdav`, `nfs`, `rsync`, `local`";
    for (kind, feature) in [("s3", "s3"), ("ftps", "ftp")] {
        let error = load(kind).unwrap_err();
        assert_eq!(
            messages(&error),
            [format!("destination[nas].type: this program was built without `{kind}`; {have}")]
        );
        assert!(error.to_string().contains(&format!("--features {feature}`")), "{error}");
    }
}
