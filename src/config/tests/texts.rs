//! What a technician reads at night about a bad config, kept word for word.

use super::*;

#[test]
fn all_problems_are_shown_at_once_in_the_order_of_the_file() {
    insta::assert_snapshot!(bad(r#"name = "bou tique"
timezone = "Europe/Pari"
nmae = "x"

[source]
url = "http://intranet.example.org/a.zip"
stall_timeout = 60
max_download = "100 gigs"

[dump]
on_unchanged = "warning"
min_size = "2 TB"

[[destination]]
name = "nas"
type = "sftp"
host = "sftp://nas.example.org"
port = 99999
username = "archive"
private_key = "missing_key"
share = "archives"
path = "/srv"
retention = { keep_days = 30, keep_last = 0, keep_mothly = 12 }

[[destination]]
name = "nas"
type = "azure"
bucket = "b"

[mail]
hots = "smtp.example.org"
security = "none"
username = "archive"
password = "geheim"
from = "archive@example.org"
to = "a@example.org, b@example.org"
subject = "{satus} of {job}"
"#), @r#"
    22 problems in `/etc/archive/archive.toml`

    /etc/archive/archive.toml:1:8: name: must not hold a space: only ASCII letters, digits, `-`, `_` and `.`
      |
    1 | name = "bou tique"
      |        ^^^^^^^^^^^
      = for example `bou-tique`

    /etc/archive/archive.toml:2:12: timezone: `Europe/Pari` is not a time zone
      |
    2 | timezone = "Europe/Pari"
      |            ^^^^^^^^^^^^^
      = did you mean `Europe/Paris`?

    /etc/archive/archive.toml:3:1: nmae: unknown key `nmae`
      |
    3 | nmae = "x"
      | ^^^^
      = did you mean `name`?

    /etc/archive/archive.toml:5:1: source.entry: missing key `entry`
      |
    5 | [source]
      | ^^^^^^^^
      = add for example `entry = "boutique.sql"`

    /etc/archive/archive.toml:6:7: source.url: plain `http` can be read and changed on its way
      |
    6 | url = "http://intranet.example.org/a.zip"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = use `https`, or add `allow_http = true` if the network is trusted

    /etc/archive/archive.toml:7:17: source.stall_timeout: must be a duration such as `"30s"`, found a whole number
      |
    7 | stall_timeout = 60
      |                 ^^
      = with its unit, for example `"60s"`

    /etc/archive/archive.toml:8:16: source.max_download: `100 gigs` is not a size; write for example `100 MB` or `2 GB`
      |
    8 | max_download = "100 gigs"
      |                ^^^^^^^^^^

    /etc/archive/archive.toml:11:16: dump.on_unchanged: `warning` is not one of `skip`, `warn`, `fail`, `archive`
       |
    11 | on_unchanged = "warning"
       |                ^^^^^^^^^
       = did you mean `warn`?

    /etc/archive/archive.toml:12:12: dump.min_size: `min_size` is above `max_size`: no dump could ever pass
       |
    12 | min_size = "2 TB"
       |            ^^^^^^

    /etc/archive/archive.toml:14:1: destination[nas]: says nothing about the server's host key
       |
    14 | [[destination]]
       | ^^^^^^^^^^^^^^^
       = add `host_key = "SHA256:…"` or `known_hosts = "/etc/archive/known_hosts"`; `archive trust` shows the server's key

    /etc/archive/archive.toml:17:8: destination[nas].host: must be a host name, not a URL
       |
    17 | host = "sftp://nas.example.org"
       |        ^^^^^^^^^^^^^^^^^^^^^^^^
       = leave out `…://` and the path

    /etc/archive/archive.toml:18:8: destination[nas].port: must be from 1 to 65535, not `99999`
       |
    18 | port = 99999
       |        ^^^^^

    /etc/archive/archive.toml:20:15: destination[nas].private_key: cannot read `/etc/archive/missing_key`: no such file or directory
       |
    20 | private_key = "missing_key"
       |               ^^^^^^^^^^^^^

    /etc/archive/archive.toml:21:1: destination[nas].share: `share` belongs to type `smb`, this destination is `sftp`
       |
    21 | share = "archives"
       | ^^^^^
       = remove it

    /etc/archive/archive.toml:23:43: destination[nas].retention.keep_last: must be from 1 to 1000000, not `0`
       |
    23 | retention = { keep_days = 30, keep_last = 0, keep_mothly = 12 }
       |                                           ^

    /etc/archive/archive.toml:23:46: destination[nas].retention.keep_mothly: unknown key `keep_mothly`
       |
    23 | retention = { keep_days = 30, keep_last = 0, keep_mothly = 12 }
       |                                              ^^^^^^^^^^^
       = did you mean `keep_monthly`?

    /etc/archive/archive.toml:26:8: destination[nas].name: another destination is called `nas` already
       |
    26 | name = "nas"
       |        ^^^^^

    /etc/archive/archive.toml:27:8: destination[nas].type: `azure` is not one of `sftp`, `ftps`, `ftp`, `smb`, `webdav`, `s3`, `nfs`, `rsync`, `local`
       |
    27 | type = "azure"
       |        ^^^^^^^

    /etc/archive/archive.toml:31:1: mail.hots: unknown key `hots`
       |
    31 | hots = "smtp.example.org"
       | ^^^^
       = did you mean `host`?

    /etc/archive/archive.toml:32:12: mail.security: would send the password in clear
       |
    32 | security = "none"
       |            ^^^^^^
       = use `starttls` or `tls`, or add `allow_plaintext = true` if the network is trusted

    /etc/archive/archive.toml:36:6: mail.to: holds several addresses; write them as a list, `["a@example.org", "b@example.org"]`
       |
    36 | to = "a@example.org, b@example.org"
       |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    /etc/archive/archive.toml:37:11: mail.subject: `{satus}` is unknown; did you mean `{status}`?
       |
    37 | subject = "{satus} of {job}"
       |           ^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_misspelt_key_is_named_with_the_one_that_was_meant() {
    let text = format!(
        "{SOURCE}pasword = \"geheim\"\nwork_dir = \"/x\"\n{LOCAL}host = \"a\"\n[log]\nfrom = \"me\"\n[sorce]\n"
    );
    insta::assert_snapshot!(bad(&text), @r#"
    5 problems in `/etc/archive/archive.toml`

    /etc/archive/archive.toml:5:1: source.pasword: unknown key `pasword`
      |
    5 | pasword = *****
      | ^^^^^^^
      = did you mean `password`?

    /etc/archive/archive.toml:6:1: source.work_dir: unknown key `work_dir`
      |
    6 | work_dir = "/x"
      | ^^^^^^^^
      = `work_dir` belongs at the top of the file, before the first `[table]`

    /etc/archive/archive.toml:11:1: destination[share].host: `host` belongs to type `ftp`, `ftps`, `nfs`, `rsync`, `sftp`, `smb`, this destination is `local`
       |
    11 | host = "a"
       | ^^^^
       = remove it

    /etc/archive/archive.toml:13:1: log.from: unknown key `from`
       |
    13 | from = "me"
       | ^^^^
       = `from` belongs under `[mail]`

    /etc/archive/archive.toml:14:2: sorce: unknown key `sorce`
       |
    14 | [sorce]
       |  ^^^^^
       = did you mean `source`?
    "#);
}

#[test]
fn a_value_of_the_wrong_type_says_what_is_expected() {
    let text = format!(
        "name = 12\n[source]\nurl = \"https://h.example/a.zip\"\nentry = \"a.sql\"\nretries = \"4\"\nallow_http = \"yes\"\n\
         password = 1234\nusername = \"me\"\n[dump]\nmax_shrink = 50\nvolatile_lines = [\"^--\", \"(\"]\n{LOCAL}\
         [archive]\ncompression = 10\n[mail]\nfrom = []\n"
    );
    insta::assert_snapshot!(bad(&text), @r#"
    10 problems in `/etc/archive/archive.toml`

    /etc/archive/archive.toml:1:8: name: must be a string, found a whole number
      |
    1 | name = 12
      |        ^^
      = put it in quotes

    /etc/archive/archive.toml:5:11: source.retries: must be a whole number, found a string
      |
    5 | retries = "4"
      |           ^^^
      = remove the quotes

    /etc/archive/archive.toml:6:14: source.allow_http: must be `true` or `false`, found a string
      |
    6 | allow_http = "yes"
      |              ^^^^^

    /etc/archive/archive.toml:7:12: source.password: must be a string or a table such as `{ file = "/path" }`, found a whole number
      |
    7 | password = *****
      |            ^^^^^
      = put it in quotes

    /etc/archive/archive.toml:10:14: dump.max_shrink: must be a percentage in quotes
       |
    10 | max_shrink = 50
       |              ^^
       = write for example `"50%"`, or `"off"`

    /etc/archive/archive.toml:11:26: dump.volatile_lines[2]: is not a regular expression: unclosed group
       |
    11 | volatile_lines = ["^--", "("]
       |                          ^^^

    /etc/archive/archive.toml:17:15: archive.compression: must be from 1 to 9, not `10`
       |
    17 | compression = 10
       |               ^^

    /etc/archive/archive.toml:18:1: mail.host: missing key `host`
       |
    18 | [mail]
       | ^^^^^^
       = add for example `host = "smtp.example.org"`

    /etc/archive/archive.toml:18:1: mail.to: missing key `to`
       |
    18 | [mail]
       | ^^^^^^
       = add for example `to = ["exploitation@example.org"]`

    /etc/archive/archive.toml:19:8: mail.from: must be a string, found a list
       |
    19 | from = []
       |        ^^
    "#);
}

#[test]
fn secrets_that_cannot_be_read_name_their_key_and_what_was_tried() {
    let fixture = Fixture::new().file("empty", "\n").file("two", "one\ntwo\n").variable("EMPTY", "");
    let text = format!(
        r#"name = "boutique"
[source]
url = "https://host.example/a.zip"
entry = "a.sql"
username = "me"
password = {{ env = "NAS_PASSWORD" }}
zip_password = {{ file = "/etc/archive/zip.password" }}
[source.headers]
A = {{ env = "EMPTY" }}
B = {{ file = "empty" }}
C = {{ file = "two" }}
D = {{ command = ["sh", "-c", "echo first >&2; echo 'gpg: no secret key' >&2; exit 3"] }}
E = {{ command = ["no-such-program"] }}
F = {{ credential = "nas" }}
G = {{ fil = "x" }}
H = {{ env = "HOME", file = "empty" }}
I = ""
J = {{ command = "pass show nas" }}
{LOCAL}"#
    );
    insta::assert_snapshot!(fixture.bad(&text), @r#"
    13 problems in `/etc/archive/archive.toml`

    /etc/archive/archive.toml:6:20: source.password.env: the variable `NAS_PASSWORD` is not set
      |
    6 | password = { env = "NAS_PASSWORD" }
      |                    ^^^^^^^^^^^^^^
      = cron starts jobs with few variables: set it in the crontab, or use `{ file = … }`

    /etc/archive/archive.toml:7:25: source.zip_password.file: cannot read `/etc/archive/zip.password`: no such file or directory
      |
    7 | zip_password = { file = "/etc/archive/zip.password" }
      |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    /etc/archive/archive.toml:9:13: source.headers.A.env: the variable is empty
      |
    9 | A = { env = "EMPTY" }
      |             ^^^^^^^

    /etc/archive/archive.toml:10:14: source.headers.B.file: the file is empty
       |
    10 | B = { file = "empty" }
       |              ^^^^^^^

    /etc/archive/archive.toml:11:14: source.headers.C.file: the file has 2 lines, a secret is a single one
       |
    11 | C = { file = "two" }
       |              ^^^^^
       = leave only the secret itself in it

    /etc/archive/archive.toml:12:17: source.headers.D.command: `sh` failed with exit code 3: gpg: no secret key
       |
    12 | D = { command = ["sh", "-c", "echo first >&2; echo 'gpg: no secret key' >&2; exit 3"] }
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    /etc/archive/archive.toml:13:17: source.headers.E.command: `no-such-program` could not be started: no such file or directory
       |
    13 | E = { command = ["no-such-program"] }
       |                 ^^^^^^^^^^^^^^^^^^^

    /etc/archive/archive.toml:14:20: source.headers.F.credential: `$CREDENTIALS_DIRECTORY` is not set
       |
    14 | F = { credential = "nas" }
       |                    ^^^^^
       = systemd sets it for units with `LoadCredential=nas:/path`; elsewhere use `{ file = … }`

    /etc/archive/archive.toml:15:5: source.headers.G: says nowhere to read the secret from
       |
    15 | G = { fil = ***** }
       |     ^^^^^^^^^^^^^^^
       = write one of `{ env = … }`, `{ file = … }`, `{ command = [ … ] }` and `{ credential = … }`

    /etc/archive/archive.toml:15:7: source.headers.G.fil: unknown key `fil`
       |
    15 | G = { fil = ***** }
       |       ^^^
       = did you mean `file`?

    /etc/archive/archive.toml:16:5: source.headers.H: names more than one place to read from
       |
    16 | H = { env = "HOME", file = "empty" }
       |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = write one of `{ env = … }`, `{ file = … }`, `{ command = [ … ] }` and `{ credential = … }`

    /etc/archive/archive.toml:17:5: source.headers.I: must not be empty
       |
    17 | I = *****
       |     ^^^^^

    /etc/archive/archive.toml:18:17: source.headers.J.command: must be a list: the program and its arguments, found a string
       |
    18 | J = { command = "pass show nas" }
       |                 ^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn syntax_errors_are_shown_together_and_show_no_secret() {
    insta::assert_snapshot!(bad(r#"name = boutique
[source
url = "https://me:geheim@host.example/a.zip"
entry = "a.sql
entry = "b.sql"
password = "geheim
broken
[mail]
port =
port = 25 26
"#), @r#"
    8 problems in `/etc/archive/archive.toml`

    /etc/archive/archive.toml:1:8: this value is not understood
      |
    1 | name = boutique
      |        ^^^^^^^^
      = put text in quotes: `key = "text"`

    /etc/archive/archive.toml:2:8: the header of this table lacks its `]`
      |
    2 | [source
      |        ^

    /etc/archive/archive.toml:4:15: this text lacks its closing quote
      |
    4 | entry = "a.sql
      |               ^
      = a text begins and ends with `"` on the same line

    /etc/archive/archive.toml:6:19: this text lacks its closing quote
      |
    6 | password = *****
      |                 ^
      = a text begins and ends with `"` on the same line

    /etc/archive/archive.toml:7:7: a key without `=` and a value
      |
    7 | broken
      |       ^
      = write `key = value`, or `#` before a remark

    /etc/archive/archive.toml:9:7: the value is missing
      |
    9 | port =
      |       ^

    /etc/archive/archive.toml:10:1: this key is there twice
       |
    10 | port = 25 26
       | ^^^^
       = keep one of the two

    /etc/archive/archive.toml:10:8: this value is not understood
       |
    10 | port = 25 26
       |        ^^^^^
       = put text in quotes: `key = "text"`
    "#);
}

#[test]
fn what_is_missing_is_said_at_the_header_of_its_table() {
    insta::assert_snapshot!(bad("[source]\n[destination]\nname = \"nas\"\ntype = \"sftp\"\nhost = \"nas\"\n[mail]\n"), @r#"
    11 problems in `/etc/archive/archive.toml`

    /etc/archive/archive.toml:1:1: source.url: missing key `url`
      |
    1 | [source]
      | ^^^^^^^^
      = add for example `url = "https://intranet.example.org/exports/boutique.zip"`

    /etc/archive/archive.toml:1:1: source.entry: missing key `entry`
      |
    1 | [source]
      | ^^^^^^^^
      = add for example `entry = "boutique.sql"`

    /etc/archive/archive.toml:2:1: destination: there may be several destinations
      |
    2 | [destination]
      | ^^^^^^^^^^^^^
      = write `[[destination]]`, with two brackets

    /etc/archive/archive.toml:2:1: destination[nas].username: missing key `username`
      |
    2 | [destination]
      | ^^^^^^^^^^^^^
      = add for example `username = "archive"`

    /etc/archive/archive.toml:2:1: destination[nas].path: missing key `path`
      |
    2 | [destination]
      | ^^^^^^^^^^^^^
      = add for example `path = "/srv/archives/boutique"`

    /etc/archive/archive.toml:2:1: destination[nas]: says no way to log in
      |
    2 | [destination]
      | ^^^^^^^^^^^^^
      = add `private_key = "/etc/archive/id_ed25519"`, `password` or `agent = true`

    /etc/archive/archive.toml:2:1: destination[nas]: says nothing about the server's host key
      |
    2 | [destination]
      | ^^^^^^^^^^^^^
      = add `host_key = "SHA256:…"` or `known_hosts = "/etc/archive/known_hosts"`; `archive trust` shows the server's key

    /etc/archive/archive.toml:6:1: mail.host: missing key `host`
      |
    6 | [mail]
      | ^^^^^^
      = add for example `host = "smtp.example.org"`

    /etc/archive/archive.toml:6:1: mail.from: missing key `from`
      |
    6 | [mail]
      | ^^^^^^
      = add for example `from = "archive@example.org"`

    /etc/archive/archive.toml:6:1: mail.to: missing key `to`
      |
    6 | [mail]
      | ^^^^^^
      = add for example `to = ["exploitation@example.org"]`

    name: missing key `name`
      = add for example `name = "boutique"`
    "#);
}

#[test]
fn an_empty_file_names_the_tables_that_are_needed() {
    insta::assert_snapshot!(bad(""), @r#"
    3 problems in `/etc/archive/archive.toml`

    name: missing key `name`
      = add for example `name = "boutique"`

    source: missing table `[source]`
      = it needs at least `url` and `entry`

    destination: missing table `[[destination]]`
      = an archive needs a place to go: add a `[[destination]]` with `name`, `type` and the keys of that type
    "#);
}
