//! `type = "s3"`: a prefix of a bucket, at Amazon or at any server that speaks its protocol.

use std::path::PathBuf;

use url::{Host, Url};

use super::super::reader::{Item, Table};
use super::super::secret::Secret;

/// Storage classes that give nothing back before a restore of hours: no copy could be verified there.
const ASLEEP: [&str; 2] = ["DEEP_ARCHIVE", "GLACIER"];

/// `type = "s3"`
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// `bucket`
    pub bucket: String,
    /// `prefix`: what stands for the directory, without `/` at either end; empty for the whole bucket.
    pub prefix: String,
    /// `endpoint`: scheme, host and port, and a path if the server lies below one.
    pub endpoint: Url,
    /// `region`: part of every signature.
    pub region: String,
    /// Who signs.
    pub credentials: S3Credentials,
    /// `path_style`: the bucket is the first part of the path instead of the host's name.
    pub path_style: bool,
    /// `storage_class`
    pub storage_class: Option<String>,
    /// `server_side_encryption` and `kms_key_id`
    pub encryption: Option<S3Encryption>,
    /// `ca_file`: PEM authorities trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct S3Credentials {
    /// `access_key_id`; no secret.
    pub access_key_id: String,
    /// `secret_access_key`
    pub secret_access_key: Secret,
    /// `$AWS_SESSION_TOKEN`, which belongs to temporary keys.
    pub session_token: Option<Secret>,
}

/// `server_side_encryption`: with whose key the server encrypts what it stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// `AES256`: the server's own.
    ServerKey,
    /// `aws:kms`: a key of its key service, `kms_key_id` or the default one.
    Kms(Option<String>),
}

impl S3Settings {
    /// The prefix, written one way only.
    pub(in crate::config) fn place(&self) -> String {
        format!("{}/{}/{}", self.endpoint.as_str().trim_end_matches('/'), self.bucket, self.prefix)
    }

    /// `s3://s3.eu-west-3.amazonaws.com/bucket/prefix`
    pub fn location(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        let port = self.endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("s3://{host}{port}/{}{slash}{}", self.bucket, self.prefix)
    }

    /// The key, and what belongs to it.
    pub(in crate::config) fn secrets(&self) -> Vec<&Secret> {
        let credentials = &self.credentials;
        std::iter::once(&credentials.secret_access_key).chain(&credentials.session_token).collect()
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<S3Settings> {
    let bucket = table.required("bucket", "\"backups\"").and_then(|item| bucket(&item));
    let prefix = match table.item("prefix") {
        Some(item) => prefix(&item),
        None => Some(String::new()),
    };
    let credentials = credentials(table);
    let region = region(table);
    let allow_http = table.boolean("allow_http", false);
    let endpoint = match table.item("endpoint") {
        Some(item) => endpoint(&item, bucket.as_deref(), allow_http),
        None => region.as_ref().and_then(|region| Url::parse(&amazon(region)).ok()),
    };
    // An own server rarely has a name for each bucket, and the certificate of Amazon's hosts covers no bucket with a dot.
    let usual_style = table.has("endpoint") || bucket.as_ref().is_some_and(|bucket| bucket.contains('.'));
    let path_style = table.boolean("path_style", usual_style);
    if let (false, Some(endpoint)) = (path_style, &endpoint)
        && !matches!(endpoint.host(), Some(Host::Domain(_)))
        && let Some(item) = table.item("path_style")
    {
        item.problem("must be `true`: no bucket's name can stand before an address", None);
    }
    Some(S3Settings {
        storage_class: table.item("storage_class").and_then(|item| storage_class(&item, table)),
        encryption: encryption(table),
        ca_file: table.file("ca_file"),
        bucket: bucket?,
        prefix: prefix?,
        endpoint: endpoint?,
        region: region?,
        credentials: credentials?,
        path_style,
    })
}

fn amazon(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{china}/")
}

/// Amazon's rules, and the capital letters and underscores of its first years.
fn bucket(item: &Item<'_>) -> Option<String> {
    let name = item.string()?;
    if let Some((bucket, rest)) = name.trim_start_matches("s3://").trim_matches('/').split_once('/') {
        let help = format!("write `bucket = \"{bucket}\"` and `prefix = \"{rest}\"`");
        item.problem("must be the name alone", Some(help));
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if !(3..=255).contains(&name.len()) || !name.chars().all(plain) || name.contains("..") || name.starts_with('.') {
        let help = "3 to 63 small letters, digits, `-` and `.`, without `s3://`";
        item.problem(format!("`{name}` is no name of a bucket"), Some(help.to_owned()));
        return None;
    }
    Some(name)
}

fn prefix(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    let prefix = text.trim_matches('/');
    // Such parts would be taken out of a URL, and then point elsewhere.
    if prefix.split('/').any(|part| part == "." || part == ".." || (part.is_empty() && !prefix.is_empty())) {
        item.problem("must not hold `//`, `.` or `..`", Some("for example `archives/boutique`".to_owned()));
        return None;
    }
    if prefix.chars().any(char::is_control) {
        item.problem("holds a line break or another control character", None);
        return None;
    }
    Some(prefix.to_owned())
}

fn endpoint(item: &Item<'_>, bucket: Option<&str>, allow_http: bool) -> Option<Url> {
    let text = item.string()?;
    let example = "for example `https://s3.example.org`";
    let url = match Url::parse(text.trim()) {
        Ok(url) if ["https", "http"].contains(&url.scheme()) && url.has_host() => url,
        Ok(url) if !text.contains("://") || url.cannot_be_a_base() => {
            item.problem("needs `https://` before the host", Some(example.to_owned()));
            return None;
        }
        Ok(url) => {
            item.problem(format!("`{}` is not supported", url.scheme()), Some(example.to_owned()));
            return None;
        }
        Err(error) => {
            let message = match text.contains("://") {
                true => format!("is not a URL: {}", error.to_string().to_lowercase()),
                false => "needs `https://` before the host".to_owned(),
            };
            item.problem(message, Some(example.to_owned()));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let help = "write `access_key_id` and `secret_access_key`";
        item.problem("must not hold credentials", Some(help.to_owned()));
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        item.problem("must end with the host or a path", Some(example.to_owned()));
        return None;
    }
    if url.scheme() == "http" && !allow_http {
        item.problem(
            "over plain `http`, archives can be read and changed on their way",
            Some("use `https`, or add `allow_http = true` if the network is trusted".to_owned()),
        );
        return None;
    }
    let twice = |bucket: &str| {
        url.host_str().is_some_and(|host| host.starts_with(&format!("{bucket}.")))
            || url.path().trim_matches('/') == bucket
    };
    if let Some(bucket) = bucket.filter(|bucket| twice(bucket)) {
        item.problem(
            format!("must not hold the bucket `{bucket}`"),
            Some("write the server's address alone".to_owned()),
        );
        return None;
    }
    Some(url)
}

fn region(table: &Table<'_>) -> Option<String> {
    if let Some(item) = table.item("region") {
        return item.parse(|text| match text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            true => Ok(text.to_owned()),
            false => Err(format!("`{text}` is no region; write for example `eu-west-3`")),
        });
    }
    let environment = table.context.environment;
    let set = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| environment.variable(name)?.to_str());
    match set {
        Some(region) => Some(region.to_owned()),
        // What servers that know no regions expect.
        None if table.has("endpoint") => Some("us-east-1".to_owned()),
        None => {
            let help = "add for example `region = \"eu-west-3\"`, or `endpoint` for a server that is not Amazon's";
            table.problem("region", "missing key `region`", Some(help.to_owned()));
            None
        }
    }
}

fn credentials(table: &Table<'_>) -> Option<S3Credentials> {
    let id = table.string("access_key_id");
    let secret = table.secret("secret_access_key");
    for (one, other) in [("access_key_id", "secret_access_key"), ("secret_access_key", "access_key_id")] {
        if !table.has(other)
            && let Some(item) = table.item(one)
        {
            item.key_problem(format!("needs `{other}` beside it"), None);
        }
    }
    if table.has("access_key_id") || table.has("secret_access_key") {
        return Some(S3Credentials { access_key_id: id?, secret_access_key: secret?, session_token: None });
    }
    let variable = |name| table.context.environment.variable(name)?.to_str().map(str::to_owned);
    let (Some(access_key_id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) else {
        let help =
            "add `access_key_id` and `secret_access_key`, or set `$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`";
        table.problem("", "says no way to log in", Some(help.to_owned()));
        return None;
    };
    let session_token = variable("AWS_SESSION_TOKEN").map(Secret::new);
    Some(S3Credentials { access_key_id, secret_access_key: Secret::new(secret), session_token })
}

fn storage_class(item: &Item<'_>, table: &Table<'_>) -> Option<String> {
    let class = item.string()?;
    if class.is_empty() || !class.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
        item.problem(format!("`{class}` is no storage class"), Some("for example `STANDARD_IA`".to_owned()));
        return None;
    }
    let reads_back = table.item("verify").is_none_or(|verify| verify.text() != Some("size"));
    if ASLEEP.contains(&class.as_str()) && reads_back {
        let help =
            "use `GLACIER_IR`, let a lifecycle rule of the bucket move the archives later, or add `verify = \"size\"`";
        item.problem(
            format!("what is in `{class}` cannot be read back, so no copy could be verified"),
            Some(help.to_owned()),
        );
        return None;
    }
    Some(class)
}

fn encryption(table: &Table<'_>) -> Option<S3Encryption> {
    let kms_key_id = table.string("kms_key_id");
    let choices = [("AES256", false), ("aws:kms", true)];
    let kms = table.item("server_side_encryption").and_then(|item| item.choice(&choices));
    if kms != Some(true)
        && let Some(item) = table.item("kms_key_id")
    {
        item.key_problem("needs `server_side_encryption = \"aws:kms\"` beside it", None);
    }
    Some(match kms? {
        true => S3Encryption::Kms(kms_key_id),
        false => S3Encryption::ServerKey,
    })
}
