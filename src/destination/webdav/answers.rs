//! What a status that is no success means: its kind, the server's own words, and what to do.

use reqwest::StatusCode;
use reqwest::header::LOCATION;
use url::Url;

use super::super::http::Answer;
use crate::config::settings::{HttpScheme, WebdavLogin};
use crate::destination::{DestinationError, ErrorKind};
use crate::http::shown;
use crate::text;
use crate::text::{MAX_LINE_CHARS, Text, quote};

/// The error of an answer that is no success; `url` is what was asked for.
pub(super) fn refused(answer: &mut Answer<'_>, url: &Url, what: String) -> DestinationError {
    let status = answer.status();
    let page = answer.beginning();
    let redirected = answer.headers().get(LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
    let (kind, why, hint) = meaning(status, redirected.as_ref());
    let mut cause = format!("the server answered `{status}`");
    for more in [why, words(&page)].into_iter().flatten() {
        cause = format!("{cause}: {more}");
    }
    let later = crate::http::retry_after(answer.headers()).filter(|_| kind == ErrorKind::Unreachable);
    let error = DestinationError::new(kind, what).caused_by(cause).retrying_after(later);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Whether something between us and the server lost its patience or the answer: then the request may have been done, or is
/// still under way. 520 to 524 are Cloudflare's.
pub(super) fn is_from_a_gateway(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502 | 504 | 520 | 522 | 524)
}

fn meaning(status: StatusCode, redirected: Option<&Url>) -> (ErrorKind, Option<String>, Option<Text>) {
    let why = |text: &str| Some(text.to_owned());
    match status.as_u16() {
        300..=399 => match redirected {
            Some(to) => {
                let to = quote(&shown(to), MAX_LINE_CHARS);
                let hint = text!(
                    "`url` should be `{to}`; a redirect to a login page means that this is not the WebDAV address"
                        / "`url` devrait être `{to}` ; une redirection vers une page de connexion signifie que ce n'est pas l'adresse WebDAV"
                );
                (ErrorKind::Other, Some(format!("it redirects to `{to}`")), Some(hint))
            }
            None => (ErrorKind::Other, None, Some(no_webdav_hint())),
        },
        403 => (ErrorKind::PermissionDenied, None, Some(rights_hint())),
        404 => (ErrorKind::NotFound, None, None),
        405 | 501 => (ErrorKind::Other, why("it does not offer that at this address"), Some(no_webdav_hint())),
        409 => (
            ErrorKind::Other,
            why("the directory above is missing, or the name is a directory's"),
            Some(Text::new(
                "check the path in `url`: was the directory moved or deleted?",
                "vérifiez le chemin dans `url` : le répertoire a-t-il été déplacé ou supprimé ?",
            )),
        ),
        411 => (ErrorKind::Other, why("something on the way removed the length of what was sent"), None),
        413 => (
            ErrorKind::Other,
            why("the file is larger than the server takes"),
            Some(Text::new(
                "raise the server's limit on the size of a request: `client_max_body_size` (nginx), `LimitRequestBody` (Apache), \
                 and `upload_max_filesize` behind them (Nextcloud, ownCloud)",
                "augmentez la taille maximale d'une requête sur le serveur : `client_max_body_size` (nginx), `LimitRequestBody` \
                 (Apache), et `upload_max_filesize` derrière eux (Nextcloud, ownCloud)",
            )),
        ),
        // Nextcloud and ownCloud answer it for a while to the next attempt after one that was cut (owncloud/core#31843).
        423 => (
            ErrorKind::Unreachable,
            why("it is locked by another client"),
            Some(Text::new(
                "close what has it open, or remove the lock on the server; a lock of a client that died expires by itself",
                "fermez ce qui l'utilise, ou retirez le verrou sur le serveur ; le verrou d'un client disparu expire tout seul",
            )),
        ),
        507 => (
            ErrorKind::NoSpace,
            why("its disk is full, or the account's quota is used up"),
            Some(Text::new(
                "make room on the server, raise the account's quota, or keep fewer archives (`retention`)",
                "libérez de la place sur le serveur, augmentez le quota du compte, ou gardez moins d'archives (`retention`)",
            )),
        ),
        429 => (
            ErrorKind::Unreachable,
            why("it is asked too often"),
            Some(Text::new(
                "raise the server's limit on requests for this account or address, or let the job run at another time",
                "relevez sur le serveur la limite de requêtes pour ce compte ou cette adresse, ou lancez le travail à une autre heure",
            )),
        ),
        408 | 425 | 500 | 502..=504 | 520..=524 => (
            ErrorKind::Unreachable,
            None,
            Some(Text::new(
                "look at the server's error log at this time; if it is about rights, the web server's own account may not write \
                 in the directory behind `url`",
                "regardez le journal d'erreurs du serveur à cette heure-ci ; s'il parle de droits, le compte du serveur web n'a \
                 pas le droit d'écrire dans le répertoire derrière `url`",
            )),
        ),
        _ => (ErrorKind::Other, None, Some(no_webdav_hint())),
    }
}

/// The error of a login that the server did not accept, or of one that we do not offer: `schemes` is what it accepts.
pub(super) fn unauthorized(login: &WebdavLogin, schemes: Option<&str>, place: &str, what: String) -> DestinationError {
    let (cause, hint) = match (login, schemes) {
        (WebdavLogin::Password { username, .. }, None) => (
            format!("the login of `{username}` was refused by `{place}`"),
            Text::new(
                "check `username` and `password`; an account with two-factor login needs a password for applications",
                "vérifiez `username` et `password` ; un compte à double authentification demande un mot de passe d'application",
            ),
        ),
        (WebdavLogin::Bearer(_), None) => (
            format!("the token was refused by `{place}`"),
            Text::new(
                "check `bearer_token`: it may have expired, or belong to another server",
                "vérifiez `bearer_token` : il a peut-être expiré, ou appartient à un autre serveur",
            ),
        ),
        (WebdavLogin::Password { scheme: HttpScheme::Auto, .. }, Some(offered)) => (
            format!("`{place}` accepts {offered}; a password can be proven by `Basic` and `Digest`"),
            Text::new(
                "have the server accept one of these for this account, or use `bearer_token`",
                "faites accepter l'un des deux par le serveur pour ce compte, ou utilisez `bearer_token`",
            ),
        ),
        (WebdavLogin::Password { .. }, Some(offered)) => (
            format!("`{place}` accepts {offered}, not what `auth` says"),
            Text::new(
                "set `auth` to what the server accepts, or leave it out",
                "mettez dans `auth` ce que le serveur accepte, ou retirez cette clé",
            ),
        ),
        (WebdavLogin::Bearer(_), Some(offered)) => (
            format!("`{place}` accepts {offered}, not a token"),
            Text::new(
                "use `username` and `password` instead of `bearer_token`",
                "utilisez `username` et `password` à la place de `bearer_token`",
            ),
        ),
    };
    DestinationError::new(ErrorKind::Auth, what).caused_by(cause).with_hint(hint)
}

/// The error of a server that asks for the password itself although anyone on the way could read it, or be asking.
pub(super) fn unencrypted(place: &str, what: String) -> DestinationError {
    DestinationError::new(ErrorKind::Auth, what)
        .caused_by(format!("`{place}` asks for the password itself, and the connection is not encrypted"))
        .with_hint(Text::new(
            "use `https` in `url`, or Digest on the server; `auth = \"basic\"` sends the password all the same, and anyone on \
             the way can read it",
            "utilisez `https` dans `url`, ou Digest sur le serveur ; `auth = \"basic\"` envoie quand même le mot de passe, que \
             tout intermédiaire peut lire",
        ))
}

/// The error of a file that the server lists and does not give out.
pub(super) fn listed_but_not_found(what: String) -> DestinationError {
    DestinationError::new(ErrorKind::Other, what)
        .caused_by("the server lists this file, yet answers `404 Not Found` when asked for its content")
        .with_hint(Text::new(
            "IIS gives out only files of known types: add the MIME type `application/octet-stream` for `.part`, `.tgz` and \
             `.sha256` (`staticContent`), and let request filtering pass them",
            "IIS ne donne que les fichiers de types connus : ajoutez le type MIME `application/octet-stream` pour `.part`, `.tgz` et \
             `.sha256` (`staticContent`), et laissez-les passer le filtrage des requêtes",
        ))
}

/// For an address where something else answers.
pub(super) fn no_webdav_hint() -> Text {
    Text::new(
        "check `url`: it must be the WebDAV address of a directory; at Nextcloud and ownCloud that is \
         `https://…/remote.php/dav/files/USER/…`",
        "vérifiez `url` : elle doit être l'adresse WebDAV d'un répertoire ; chez Nextcloud et ownCloud, c'est \
         `https://…/remote.php/dav/files/UTILISATEUR/…`",
    )
}

fn rights_hint() -> Text {
    Text::new(
        "give this account the right to write in the directory of `url` on the server, or choose another `url`",
        "donnez à ce compte le droit d'écrire dans le répertoire de `url` sur le serveur, ou choisissez une autre `url`",
    )
}

/// What the server says itself: the message of an XML error (Sabre's, as Nextcloud sends it), or a page's first paragraph.
fn words(page: &str) -> Option<String> {
    let tags = [("<s:message>", "</s:message>"), ("<p>", "</p>")];
    let (start, end) = tags.into_iter().find_map(|(open, close)| {
        let start = page.find(open)? + open.len();
        Some((start, start + page[start..].find(close)?))
    })?;
    let mut words = String::new();
    let mut inside = false;
    for c in page[start..end].chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if inside || c.is_control() && !c.is_whitespace() => {}
            c => words.push(c),
        }
    }
    let words: Vec<&str> = words.split_whitespace().collect();
    let words = words.join(" ").replace("&quot;", "\"").replace("&#39;", "'");
    let words = quote(words.trim_end_matches('.'), MAX_LINE_CHARS);
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_own_words_are_found() {
        let apache = "<html><title>423 Locked</title><h1>Locked</h1>\n<p>The requested resource is currently\nlocked.<br /></p><hr>";
        assert_eq!(words(apache).unwrap(), "The requested resource is currently locked");
        let sabre =
            "<d:error xmlns:d=\"DAV:\"><s:exception>X</s:exception><s:message>Quota exceeded</s:message></d:error>";
        assert_eq!(words(sabre).unwrap(), "Quota exceeded");
        assert_eq!(words("<html><center><h1>500</h1></center></html>"), None);
    }

    #[test]
    fn every_status_has_its_kind() {
        let kind = |status| meaning(StatusCode::from_u16(status).unwrap(), None).0;
        for (status, expected) in [
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (405, ErrorKind::Other),
            (409, ErrorKind::Other),
            (413, ErrorKind::Other),
            (423, ErrorKind::Unreachable),
            (524, ErrorKind::Unreachable),
            (429, ErrorKind::Unreachable),
            (500, ErrorKind::Unreachable),
            (503, ErrorKind::Unreachable),
            (507, ErrorKind::NoSpace),
            (302, ErrorKind::Other),
            (418, ErrorKind::Other),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
        let to = Url::parse("https://h/new/?token=secret").unwrap();
        let (_, why, hint) = meaning(StatusCode::FOUND, Some(&to));
        assert_eq!(why.unwrap(), "it redirects to `https://h/new/?…`");
        assert!(hint.unwrap().en.starts_with("`url` should be `https://h/new/"));
    }
}
