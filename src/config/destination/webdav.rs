//! `type = "webdav"`: a collection on a WebDAV server.

use std::path::PathBuf;

use url::Url;

use super::super::reader::{Item, Table};
use super::super::secret::Secret;

/// `type = "webdav"`
#[derive(Clone, Debug)]
pub struct WebdavSettings {
    /// `url`: of the collection that holds the archives; its path ends in `/`.
    pub url: Url,
    /// Who we are.
    pub login: WebdavLogin,
    /// `ca_file`: PEM authorities trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// How to log in over HTTP.
#[derive(Clone, Debug)]
pub enum WebdavLogin {
    /// `username` and `password`
    Password {
        /// Name at the server.
        username: String,
        /// Its password.
        password: Secret,
        /// `auth`
        scheme: HttpScheme,
    },
    /// `bearer_token`
    Bearer(Secret),
}

/// `auth`: how a password is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpScheme {
    /// What the server offers, Digest first.
    Auto,
    /// The password itself (RFC 7617).
    Basic,
    /// A hash of the password and of what the server asks (RFC 7616).
    Digest,
}

impl WebdavSettings {
    /// The collection, written one way only.
    pub(in crate::config) fn place(&self) -> String {
        self.url.to_string()
    }

    /// `https://cloud.example.org/remote.php/dav/files/archive/boutique/`
    pub fn location(&self) -> String {
        crate::http::shown(&self.url)
    }

    /// The password or the token.
    pub(in crate::config) fn secrets(&self) -> Vec<&Secret> {
        match &self.login {
            WebdavLogin::Password { password, .. } => vec![password],
            WebdavLogin::Bearer(token) => vec![token],
        }
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<WebdavSettings> {
    let allow_http = table.boolean("allow_http", false);
    let url = table
        .required("url", "\"https://cloud.example.org/remote.php/dav/files/archive/boutique/\"")
        .and_then(|item| url(&item, allow_http));
    let login = login(table);
    let ca_file = table.file("ca_file");
    Some(WebdavSettings { url: url?, login: login?, ca_file })
}

fn url(item: &Item<'_>, allow_http: bool) -> Option<Url> {
    let text = item.string()?;
    // The text is never quoted: it may hold a password.
    let mut url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(error) => {
            let help = "write the whole address, for example `https://nas.example.org/dav/archives/`";
            item.problem(format!("is not a URL: {}", error.to_string().to_lowercase()), Some(help.to_owned()));
            return None;
        }
    };
    let problem = match url.scheme() {
        "http" if !allow_http => {
            let help = "use `https`, or add `allow_http = true` if the network is trusted";
            Some(("plain `http` can be read and changed on its way".to_owned(), help))
        }
        "https" | "http" => None,
        "davs" | "dav" | "webdav" | "webdavs" => {
            Some((format!("`{}` is no scheme of the web", url.scheme()), "write `https://…`"))
        }
        other => Some((format!("`{other}` is not supported"), "a WebDAV server is `https://…`")),
    };
    let problem = problem.or_else(|| {
        if !url.username().is_empty() || url.password().is_some() {
            return Some(("must not hold credentials".to_owned(), "write `username` and `password` beside it"));
        }
        let more = url.query().is_some() || url.fragment().is_some();
        more.then(|| {
            (
                "must end with its path".to_owned(),
                "remove what begins with `?` or `#`; in a name they are `%3F` and `%23`",
            )
        })
    });
    if let Some((message, help)) = problem {
        item.problem(message, Some(help.to_owned()));
        return None;
    }
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

fn login(table: &Table<'_>) -> Option<WebdavLogin> {
    let username = table.item("username").and_then(|item| username(&item));
    let password = table.secret("password");
    let token = table.secret("bearer_token");
    let schemes = [("auto", HttpScheme::Auto), ("basic", HttpScheme::Basic), ("digest", HttpScheme::Digest)];
    let scheme = table.choice("auth", &schemes, HttpScheme::Auto);
    let other = ["username", "password", "auth"].into_iter().find(|key| table.has(key));
    if let Some((item, other)) = table.item("bearer_token").zip(other) {
        item.key_problem(format!("excludes `{other}`"), Some("keep one way to log in".to_owned()));
        return None;
    }
    for (one, other) in [("username", "password"), ("password", "username")] {
        if !table.has(other)
            && let Some(item) = table.item(one)
        {
            item.key_problem(format!("needs `{other}` beside it"), None);
        }
    }
    if !["username", "password", "bearer_token"].into_iter().any(|key| table.has(key)) {
        let help = "add `username` and `password`, or `bearer_token`";
        table.problem("", "says no way to log in", Some(help.to_owned()));
    }
    match (username, password, token) {
        (Some(username), Some(password), _) => Some(WebdavLogin::Password { username, password, scheme }),
        (_, _, Some(token)) => Some(WebdavLogin::Bearer(token)),
        _ => None,
    }
}

/// Basic sends name and password with `:` between them (RFC 7617 §2).
fn username(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    if name.contains(':') || name.chars().any(char::is_control) {
        item.problem("must hold neither `:` nor a control character", None);
        return None;
    }
    Some(name)
}
