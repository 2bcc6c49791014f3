//! What a server's refusal means: its status and its words in XML, translated once into kinds and hints.

use std::fmt;
use std::time::Duration;

use super::xml::Words;
use crate::destination::{DestinationError, ErrorKind};
use crate::text;
use crate::text::{MAX_LINE_CHARS, MAX_NAME_CHARS, Text, quote};

/// An answer that is no success.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Not in answers to HEAD, nor from whatever else listens on the port.
    pub(super) words: Option<Words>,
    /// `x-amz-bucket-region`, which Amazon adds to redirects.
    pub(super) region: Option<String>,
    /// Whether there was a body that could have held words.
    pub(super) had_body: bool,
    /// When the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// An error in an answer whose status was sent before the server knew.
    pub(super) fn in_a_success(status: u16, words: Words) -> Self {
        Refusal { status, words: Some(words), region: None, had_body: true, retry_after: None }
    }

    /// The parts were joined, ended or thrown away already.
    pub(super) fn is_about_a_missing_upload(&self) -> bool {
        self.code() == "NoSuchUpload"
    }

    /// The server's word for it, or nothing.
    pub(super) fn code(&self) -> &str {
        self.words.as_ref().map_or("", |words| &words.code)
    }

    fn message(&self) -> &str {
        self.words.as_ref().map_or("", |words| &words.message)
    }

    /// The server may not know one of the headers.
    pub(super) fn may_be_about_a_header(&self) -> bool {
        self.status == 501 || matches!(self.code(), "NotImplemented" | "InvalidArgument" | "InvalidRequest")
    }

    /// A request that was signed for another hour than the server's.
    fn is_about_the_clock(&self) -> bool {
        let message = self.message();
        self.code() == "RequestTimeTooSkewed"
            || (self.code() == "AccessDenied" && (message.contains("expired") || message.contains("not yet valid")))
    }

    fn is_about_the_region(&self) -> bool {
        // A wrong region is one reason for the second group; the server's message then says so.
        match self.code() {
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidRegion" => true,
            "AuthorizationQueryParametersError" | "InvalidRequest" => self.message().contains("region"),
            _ => matches!(self.status, 301 | 307) && (self.words.is_some() || self.region.is_some()),
        }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        if self.is_about_the_clock() || self.is_about_the_region() {
            return ErrorKind::Other;
        }
        let code = self.code();
        // Ceph, MinIO and rented servers: `QuotaExceeded`, `XMinioAdminBucketQuotaExceeded`, `XMinioStorageFull`.
        if self.status == 507 || code.contains("Quota") || code.contains("StorageFull") {
            return ErrorKind::NoSpace;
        }
        match code {
            // `NotSignedUp` is what Amazon says of an account without S3, and `s3s` of an unknown key.
            "InvalidAccessKeyId"
            | "NotSignedUp"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "InvalidSecurity"
            | "Unauthorized" => ErrorKind::Auth,
            "AccessDenied" | "AccountProblem" | "AllAccessDisabled" | "InvalidObjectState" | "UnauthorizedAccess" => {
                ErrorKind::PermissionDenied
            }
            "NoSuchBucket" | "NoSuchKey" => ErrorKind::NotFound,
            "PreconditionFailed" => ErrorKind::AlreadyExists,
            // What the line changed is worth sending once more; and so is what another writer was in the way of
            // (Amazon's advice for a 409).
            "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody"
            | "RequestTimeout"
            | "SlowDown"
            | "InternalError"
            | "ServiceUnavailable"
            | "ConditionalRequestConflict"
            | "OperationAborted"
            | "NoSuchUpload" => ErrorKind::Unreachable,
            _ => match self.status {
                401 => ErrorKind::Auth,
                403 => ErrorKind::PermissionDenied,
                404 if !self.had_body => ErrorKind::NotFound,
                412 => ErrorKind::AlreadyExists,
                408 | 429 | 500 | 502..=504 | 520..=524 => ErrorKind::Unreachable,
                _ => ErrorKind::Other,
            },
        }
    }

    /// As the error of an operation of a destination.
    pub(super) fn during(self, what: impl Into<String>) -> DestinationError {
        let (kind, hint) = (self.kind(), self.hint());
        let later = self.retry_after.filter(|_| kind == ErrorKind::Unreachable);
        let error = DestinationError::new(kind, what).caused_by(self).retrying_after(later);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn hint(&self) -> Option<Text> {
        if self.is_about_the_clock() {
            return Some(text!(
                "compare this machine's clock with the server's: `timedatectl` should say that it is synchronised"
                    / "comparez l'horloge de cette machine avec celle du serveur : `timedatectl` doit indiquer qu'elle est synchronisée"
            ));
        }
        if self.is_about_the_region() {
            return Some(self.region_hint());
        }
        Some(match self.code() {
            "InvalidAccessKeyId" | "NotSignedUp" => text!(
                "check `access_key_id` (or `$AWS_ACCESS_KEY_ID`): this server does not know it; and that `endpoint` is the server that gave it"
                    / "vérifiez `access_key_id` (ou `$AWS_ACCESS_KEY_ID`) : ce serveur ne la connaît pas ; et que `endpoint` est le serveur qui l'a donnée"
            ),
            "SignatureDoesNotMatch" => text!(
                "check `secret_access_key` (or `$AWS_SECRET_ACCESS_KEY`): it does not belong to `access_key_id`; if it does, check `region`, `path_style` and whether a proxy changes the host's name"
                    / "vérifiez `secret_access_key` (ou `$AWS_SECRET_ACCESS_KEY`) : elle ne va pas avec `access_key_id` ; sinon, vérifiez `region`, `path_style` et si un proxy change le nom d'hôte"
            ),
            "InvalidToken" | "ExpiredToken" | "TokenRefreshRequired" => text!(
                "the temporary key of `$AWS_SESSION_TOKEN` has ended or does not belong to the other two variables: for a nightly job use a key that lasts"
                    / "la clé temporaire de `$AWS_SESSION_TOKEN` a expiré ou ne va pas avec les deux autres variables : pour un travail de nuit, utilisez une clé durable"
            ),
            "InvalidObjectState" => text!(
                "what is in an archival storage class must be restored before it can be read: choose another `storage_class`, or `verify = \"size\"`"
                    / "ce qui est dans une classe d'archivage doit être restauré avant d'être lu : choisissez une autre `storage_class`, ou `verify = \"size\"`"
            ),
            "NoSuchBucket" | "InvalidBucketName" => text!(
                "check `bucket`, and that `endpoint` and `region` are those it was made with; it must be there, it is not created"
                    / "vérifiez `bucket`, et que `endpoint` et `region` sont ceux de sa création ; il doit exister, il n'est pas créé"
            ),
            "SecondLevelDomainForbidden" | "PathStyleDomainForbidden" | "VirtualHostDomainRequired" => text!(
                "set `path_style = false`: this provider wants the bucket before the host's name"
                    / "renseignez `path_style = false` : ce fournisseur veut le bucket devant le nom d'hôte"
            ),
            "InvalidStorageClass" => {
                text!("this server has no such `storage_class`" / "ce serveur n'a pas cette `storage_class`")
            }
            "EntityTooLarge" => text!(
                "the server takes no objects of that size: raise its limit (a proxy before it may have one of its own)"
                    / "le serveur n'accepte pas d'objets de cette taille : augmentez sa limite (un proxy devant lui peut avoir la sienne)"
            ),
            code if code.starts_with("KMS.") => text!(
                "check `kms_key_id`: it must be there, enabled, and this access key must be allowed to use it"
                    / "vérifiez `kms_key_id` : elle doit exister, être activée, et cette clé d'accès doit pouvoir l'utiliser"
            ),
            _ => return self.hint_of_kind(),
        })
    }

    fn hint_of_kind(&self) -> Option<Text> {
        Some(match self.kind() {
            ErrorKind::Auth => text!(
                "check `access_key_id` and `secret_access_key`" / "vérifiez `access_key_id` et `secret_access_key`"
            ),
            ErrorKind::PermissionDenied => text!(
                "give this access key `s3:ListBucket` on the bucket, and `s3:GetObject`, `s3:PutObject` and `s3:AbortMultipartUpload` below `prefix`, with `retention` also `s3:DeleteObject`"
                    / "donnez à cette clé d'accès `s3:ListBucket` sur le bucket, et `s3:GetObject`, `s3:PutObject` et `s3:AbortMultipartUpload` sous `prefix`, avec `retention` aussi `s3:DeleteObject`"
            ),
            ErrorKind::NoSpace => text!(
                "make room on the server, raise the bucket's quota, or keep fewer archives (`retention`)"
                    / "libérez de la place sur le serveur, augmentez le quota du bucket, ou gardez moins d'archives (`retention`)"
            ),
            ErrorKind::Unreachable => text!(
                "the server is busy or in trouble; it may pass"
                    / "le serveur est surchargé ou en difficulté ; cela peut passer"
            ),
            ErrorKind::Other if self.words.is_none() => text!(
                "check `endpoint`: what answers there does not speak S3; on Amazon leave it out and set `region`"
                    / "vérifiez `endpoint` : ce qui y répond ne parle pas S3 ; chez Amazon, omettez-le et renseignez `region`"
            ),
            _ => return None,
        })
    }

    fn region_hint(&self) -> Text {
        let words = self.words.as_ref();
        let region = words.and_then(|words| words.region.as_ref()).or(self.region.as_ref());
        let short = |text: &String| quote(text, MAX_NAME_CHARS);
        match (region.map(short), words.and_then(|words| words.endpoint.as_ref()).map(short)) {
            (Some(region), _) => text!(
                "set `region = \"{region}\"`, and the `endpoint` of that region if you name one"
                    / "renseignez `region = \"{region}\"`, et l'`endpoint` de cette région si vous en indiquez un"
            ),
            (None, Some(endpoint)) => text!(
                "the bucket is at `{endpoint}`: check `region` and `endpoint`"
                    / "le bucket est à `{endpoint}` : vérifiez `region` et `endpoint`"
            ),
            (None, None) => text!(
                "check `region` and `endpoint`: the bucket is in another one"
                    / "vérifiez `region` et `endpoint` : le bucket est dans une autre"
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(words) = &self.words else {
            let reason = reqwest::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
            return write!(f, "the server answered `{} {}`", self.status, reason.unwrap_or_default());
        };
        // A server that quotes the request would quote its signature.
        let message = words.message.split("X-Amz-").next().unwrap_or_default();
        let message = quote(message.trim_end_matches('.'), MAX_LINE_CHARS);
        write!(f, "the server answered `{} {}`", self.status, quote(&words.code, MAX_NAME_CHARS))?;
        if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hinted as _;

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        let words = (!code.is_empty()).then(|| Words {
            code: code.to_owned(),
            message: message.to_owned(),
            ..Words::default()
        });
        Refusal { status, had_body: words.is_some(), words, region: None, retry_after: None }
    }

    #[test]
    fn a_server_that_says_when_to_come_back_is_heard() {
        for (status, code, heard) in [(503, "SlowDown", true), (429, "", true), (403, "AccessDenied", false)] {
            let wait = Some(Duration::from_secs(90));
            let error = Refusal { retry_after: wait, ..refusal(status, code, "") }.during("x");
            assert_eq!(error.retry_after(), wait.filter(|_| heard), "{status}");
        }
    }

    #[test]
    fn every_refusal_has_its_kind_and_names_the_setting() {
        use ErrorKind as K;
        for (status, code, message, kind, hint) in [
            (403, "InvalidAccessKeyId", "", K::Auth, "`access_key_id`"),
            (403, "SignatureDoesNotMatch", "", K::Auth, "`secret_access_key`"),
            (400, "ExpiredToken", "", K::Auth, "AWS_SESSION_TOKEN"),
            (401, "Unauthorized", "", K::Auth, "`access_key_id`"),
            (403, "AccessDenied", "Access Denied", K::PermissionDenied, "s3:PutObject"),
            (403, "AccessDenied", "Request has expired", K::Other, "clock"),
            (403, "RequestTimeTooSkewed", "", K::Other, "clock"),
            (403, "InvalidObjectState", "", K::PermissionDenied, "`storage_class`"),
            (404, "NoSuchBucket", "", K::NotFound, "`bucket`"),
            (404, "NoSuchKey", "", K::NotFound, ""),
            (301, "PermanentRedirect", "", K::Other, "`region` and `endpoint`"),
            (400, "AuthorizationHeaderMalformed", "", K::Other, "`region`"),
            (400, "AuthorizationQueryParametersError", "the region 'x' is wrong", K::Other, "`region`"),
            (400, "AuthorizationQueryParametersError", "X-Amz-Expires must be a number", K::Other, ""),
            (412, "PreconditionFailed", "", K::AlreadyExists, ""),
            (409, "ConditionalRequestConflict", "", K::Unreachable, "may pass"),
            (503, "SlowDown", "", K::Unreachable, "may pass"),
            (404, "NoSuchUpload", "", K::Unreachable, "may pass"),
            (403, "SecondLevelDomainForbidden", "", K::PermissionDenied, "`path_style = false`"),
            (500, "InternalError", "", K::Unreachable, "may pass"),
            (400, "BadDigest", "", K::Unreachable, "may pass"),
            (400, "EntityTooLarge", "", K::Other, "limit"),
            (403, "QuotaExceeded", "", K::NoSpace, "quota"),
            (400, "XMinioAdminBucketQuotaExceeded", "", K::NoSpace, "quota"),
            (507, "XMinioStorageFull", "", K::NoSpace, "make room"),
            (400, "KMS.DisabledException", "", K::Other, "`kms_key_id`"),
            (400, "InvalidStorageClass", "", K::Other, "`storage_class`"),
            (403, "", "", K::PermissionDenied, "s3:ListBucket"),
            (404, "", "", K::NotFound, ""),
            (412, "", "", K::AlreadyExists, ""),
            (429, "", "", K::Unreachable, "may pass"),
            (418, "", "", K::Other, "`endpoint`"),
        ] {
            let error = refusal(status, code, message).during("x");
            assert_eq!(error.kind, kind, "{status} {code}");
            let told = error.hint().map(|hint| hint.en).unwrap_or_default();
            assert!(told.contains(hint) && told.is_empty() == hint.is_empty(), "{status} {code}: {told}");
        }
        // A page of some web server is no missing object.
        assert_eq!(Refusal { had_body: true, ..refusal(404, "", "") }.kind(), K::Other);
    }

    #[test]
    fn the_right_region_is_told_where_the_server_tells_it() {
        let told = |refusal: Refusal| refusal.during("x").hint().unwrap().en;
        let mut redirect = refusal(301, "PermanentRedirect", "");
        redirect.region = Some("eu-west-3".to_owned());
        assert!(told(redirect).starts_with("set `region = \"eu-west-3\"`"));
        let mut redirect = refusal(301, "PermanentRedirect", "");
        redirect.words.as_mut().unwrap().endpoint = Some("b.s3.amazonaws.com".to_owned());
        assert!(told(redirect).starts_with("the bucket is at `b.s3.amazonaws.com`"));
    }

    #[test]
    fn a_server_s_words_are_cut_before_a_signature() {
        let told = refusal(403, "AccessDenied", "no: https://h/x?X-Amz-Credential=a&X-Amz-Signature=b").to_string();
        assert_eq!(told, "the server answered `403 AccessDenied`: no: https://h/x?");
        assert_eq!(refusal(502, "", "").to_string(), "the server answered `502 Bad Gateway`");
    }
}
