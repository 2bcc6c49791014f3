//! Who we are, in the words that the server asks for: Basic (RFC 7617), Digest (RFC 7616) or a bearer token (RFC 6750).
//!
//! The password itself is sent only if `auth` or, with `auto`, the server's own offer says so; and unencrypted only if `auth` does:
//! over plain HTTP anyone on the way can make such an offer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use digest_auth::{AuthContext, HttpMethod, WwwAuthenticateHeader};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use url::{Position, Url};

use crate::config::settings::{HttpScheme, WebdavLogin};
use crate::text::{MAX_NAME_CHARS, quote};

/// What is sent with each request.
pub(super) struct Credentials {
    login: WebdavLogin,
    encrypted: bool,
    state: State,
}

enum State {
    /// The server has not asked yet.
    Unasked,
    /// The same header each time.
    Fixed(HeaderValue),
    /// A header made of the server's challenge and each request.
    Digest {
        challenge: Box<WwwAuthenticateHeader>,
        /// Whether the server has accepted an answer to it.
        accepted: bool,
    },
}

/// What a 401 means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same request again, with other credentials.
    Again,
    /// The server knows no such user with that password, or that token.
    Refused,
    /// It wants the password itself, over a line that is not encrypted.
    Unencrypted,
    /// It wants another kind of proof: these.
    Other(String),
}

impl Credentials {
    /// Nothing is computed yet that needs the server; `encrypted` tells whether there is TLS.
    pub(super) fn new(login: &WebdavLogin, encrypted: bool) -> Self {
        let state = match login {
            WebdavLogin::Bearer(token) => fixed(&format!("Bearer {}", token.expose())),
            WebdavLogin::Password { scheme: HttpScheme::Basic, .. } => basic(login),
            WebdavLogin::Password { .. } => State::Unasked,
        };
        Credentials { login: login.clone(), encrypted, state }
    }

    /// The header of a request.
    pub(super) fn header(&mut self, method: &Method, url: &Url) -> Option<HeaderValue> {
        match (&mut self.state, &self.login) {
            (State::Unasked, _) => None,
            (State::Fixed(value), _) => Some(value.clone()),
            (State::Digest { challenge, .. }, WebdavLogin::Password { username, password, .. }) => {
                let target = &url[Position::BeforePath..Position::AfterQuery];
                let context = AuthContext::new_with_method(
                    username.as_str(),
                    password.expose(),
                    target,
                    Option::<&[u8]>::None,
                    HttpMethod(method.as_str().into()),
                );
                secret(&challenge.respond(&context).ok()?.to_header_string())
            }
            (State::Digest { .. }, WebdavLogin::Bearer(_)) => None,
        }
    }

    /// An answer that was no 401.
    pub(super) fn accepted(&mut self) {
        if let State::Digest { accepted, .. } = &mut self.state {
            *accepted = true;
        }
    }

    /// Takes in a 401.
    pub(super) fn challenged(&mut self, headers: &HeaderMap) -> Verdict {
        let offers: Vec<&str> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).map(str::trim).collect();
        let offered = |name: &str| offers.iter().find(|offer| scheme_of(offer).eq_ignore_ascii_case(name));
        let WebdavLogin::Password { scheme, .. } = &self.login else {
            return match offered("bearer").is_some() || offers.is_empty() {
                true => Verdict::Refused,
                false => Verdict::Other(schemes(&offers)),
            };
        };
        let digest = offered("digest").and_then(|offer| challenge(offer)).filter(|_| *scheme != HttpScheme::Basic);
        match (&self.state, digest) {
            (State::Unasked, Some(challenge)) => {
                self.state = State::Digest { challenge: Box::new(challenge), accepted: false };
                Verdict::Again
            }
            (State::Unasked, None) if *scheme == HttpScheme::Auto && offered("basic").is_some() => {
                if !self.encrypted {
                    return Verdict::Unencrypted;
                }
                self.state = basic(&self.login);
                Verdict::Again
            }
            // A challenge lives for minutes, and no longer than its server: what was right once is proven anew.
            (State::Digest { challenge: old, accepted }, Some(challenge))
                if challenge.nonce != old.nonce && (*accepted || challenge.stale) =>
            {
                self.state = State::Digest { challenge: Box::new(challenge), accepted: false };
                Verdict::Again
            }
            (State::Unasked, None) => Verdict::Other(schemes(&offers)),
            (State::Fixed(_), _) if !offers.is_empty() && offered("basic").is_none() => {
                Verdict::Other(schemes(&offers))
            }
            _ => Verdict::Refused,
        }
    }
}

/// A challenge that can be answered. The crate cuts text at bytes it counted as characters: ASCII only, as RFC 7616 has it.
fn challenge(offer: &str) -> Option<WwwAuthenticateHeader> {
    let (_, parameters) = offer.split_once(' ')?;
    digest_auth::parse(&format!("Digest {parameters}")).ok()
}

fn scheme_of(offer: &str) -> &str {
    offer.split([' ', ',']).next().unwrap_or_default()
}

/// The names of what is offered; what follows them is the server's business.
fn schemes(offers: &[&str]) -> String {
    let plain = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let names: Vec<String> = offers
        .iter()
        .map(|offer| scheme_of(offer))
        .filter(plain)
        .map(|name| format!("`{}`", quote(name, MAX_NAME_CHARS)))
        .take(8)
        .collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn basic(login: &WebdavLogin) -> State {
    match login {
        WebdavLogin::Password { username, password, .. } => {
            fixed(&format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
        }
        WebdavLogin::Bearer(_) => State::Unasked,
    }
}

fn fixed(value: &str) -> State {
    // A token with a line break in it cannot be sent; without it the server will ask for one.
    secret(value).map_or(State::Unasked, State::Fixed)
}

/// A header's value that no `Debug` shows.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    const DIGEST: &str = r#"Digest realm="archives", nonce="n1", algorithm=MD5, qop="auth""#;
    const BASIC: &str = "Basic realm=\"archives\"";

    fn credentials(scheme: HttpScheme) -> Credentials {
        let login = WebdavLogin::Password { username: "me".to_owned(), password: Secret::new("geheim"), scheme };
        Credentials::new(&login, true)
    }

    fn headers(challenges: &[&str]) -> HeaderMap {
        challenges.iter().map(|challenge| (WWW_AUTHENTICATE, challenge.parse().unwrap())).collect()
    }

    fn header(credentials: &mut Credentials) -> Option<String> {
        let value = credentials.header(&Method::PUT, &Url::parse("https://h/a%20b/x?y").unwrap())?;
        assert!(value.is_sensitive());
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn with_auto_the_server_s_best_offer_is_taken() {
        let mut both = credentials(HttpScheme::Auto);
        assert_eq!(header(&mut both), None);
        assert_eq!(both.challenged(&headers(&[BASIC, DIGEST])), Verdict::Again);
        let first = header(&mut both).unwrap();
        assert!(first.contains("uri=\"/a%20b/x?y\"") && first.contains("nc=00000001"), "{first}");
        assert!(header(&mut both).unwrap().contains("nc=00000002"));
        let mut basic = credentials(HttpScheme::Auto);
        assert_eq!(basic.challenged(&headers(&[BASIC])), Verdict::Again);
        assert_eq!(header(&mut basic).unwrap(), "Basic bWU6Z2VoZWlt");
        assert_eq!(basic.challenged(&headers(&[BASIC])), Verdict::Refused);
        let mut neither = credentials(HttpScheme::Auto);
        assert_eq!(neither.challenged(&headers(&["Negotiate"])), Verdict::Other("`Negotiate`".to_owned()));
        assert_eq!(neither.challenged(&headers(&[])), Verdict::Other("nothing".to_owned()));
    }

    #[test]
    fn unencrypted_the_password_is_sent_only_if_the_configuration_says_so() {
        let unencrypted = |scheme| {
            let login = WebdavLogin::Password { username: "me".to_owned(), password: Secret::new("geheim"), scheme };
            Credentials::new(&login, false)
        };
        let mut auto = unencrypted(HttpScheme::Auto);
        assert_eq!(auto.challenged(&headers(&[BASIC])), Verdict::Unencrypted);
        assert_eq!(header(&mut auto), None);
        assert_eq!(auto.challenged(&headers(&[DIGEST, BASIC])), Verdict::Again);
        assert!(header(&mut auto).unwrap().starts_with("Digest "));
        // Once the server has shown that it knows Digest, nothing weaker will do, encrypted or not.
        auto.accepted();
        assert_eq!(auto.challenged(&headers(&[BASIC])), Verdict::Refused);
        assert!(header(&mut unencrypted(HttpScheme::Basic)).unwrap().starts_with("Basic "));
    }

    #[test]
    fn with_digest_the_password_is_never_sent() {
        let mut digest = credentials(HttpScheme::Digest);
        assert_eq!(digest.challenged(&headers(&[BASIC])), Verdict::Other("`Basic`".to_owned()));
        assert_eq!(header(&mut digest), None);
    }

    #[test]
    fn with_basic_it_is_sent_at_once_and_a_challenge_for_something_else_says_so() {
        let mut basic = credentials(HttpScheme::Basic);
        assert!(header(&mut basic).unwrap().starts_with("Basic "));
        assert_eq!(basic.challenged(&headers(&[DIGEST])), Verdict::Other("`Digest`".to_owned()));
        assert_eq!(basic.challenged(&headers(&[DIGEST, BASIC])), Verdict::Refused);
    }

    #[test]
    fn a_stale_challenge_is_answered_anew_and_a_wrong_password_is_not() {
        let second = DIGEST.replace("n1", "n2");
        let mut wrong = credentials(HttpScheme::Auto);
        assert_eq!(wrong.challenged(&headers(&[DIGEST])), Verdict::Again);
        assert_eq!(wrong.challenged(&headers(&[&second])), Verdict::Refused);
        let mut stale = credentials(HttpScheme::Auto);
        assert_eq!(stale.challenged(&headers(&[DIGEST])), Verdict::Again);
        assert_eq!(stale.challenged(&headers(&[&format!("{second}, stale=true")])), Verdict::Again);
        assert!(header(&mut stale).unwrap().contains("nonce=\"n2\""));
        stale.accepted();
        assert_eq!(stale.challenged(&headers(&[&DIGEST.replace("n1", "n3")])), Verdict::Again);
        assert_eq!(stale.challenged(&headers(&[&DIGEST.replace("n1", "n3")])), Verdict::Refused);
    }

    #[test]
    fn a_challenge_that_is_broken_or_no_ascii_is_no_offer() {
        for broken in ["Digest", "Digest realm=\"x", "Digest realm=\"été\", nonce=\"n\"", "Digest nonce=\"n\""] {
            let mut credentials = credentials(HttpScheme::Auto);
            let headers =
                [(WWW_AUTHENTICATE, HeaderValue::from_bytes(broken.as_bytes()).unwrap())].into_iter().collect();
            assert!(matches!(credentials.challenged(&headers), Verdict::Other(_)), "{broken}");
        }
    }

    #[test]
    fn a_token_is_a_bearer_s() {
        let mut bearer = Credentials::new(&WebdavLogin::Bearer(Secret::new("tok")), true);
        assert_eq!(header(&mut bearer).unwrap(), "Bearer tok");
        assert_eq!(bearer.challenged(&headers(&["Bearer"])), Verdict::Refused);
        assert_eq!(bearer.challenged(&headers(&[BASIC])), Verdict::Other("`Basic`".to_owned()));
    }
}
