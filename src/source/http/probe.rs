//! Looks at the source without downloading it: the first four bytes tell size, validators, ranges and whether it is a zip.
//!
//! No HEAD: scripts that generate the file and links that are signed for GET often answer it wrongly or not at all.

use reqwest::StatusCode;

use super::super::{Probe, SourceError, SourceErrorKind, shown};
use super::content::{self, MAGIC_LEN};
use super::request::Ask;
use super::{HttpSource, headers};
use crate::text;

impl HttpSource {
    /// Asks once, without retries, for what `archive check` shows.
    ///
    /// # Errors
    /// As a download would fail, as far as four bytes can tell.
    pub fn probe(&self) -> Result<Probe, SourceError> {
        self.block_on(self.look())
    }

    async fn look(&self) -> Result<Probe, SourceError> {
        let ask = Ask { range: Some(format!("bytes=0-{}", MAGIC_LEN - 1)), ..Ask::default() };
        let mut answer = self.get(&self.settings.url, &ask).await?;
        let part = headers::content_range(answer.response.headers());
        let (size_bytes, ranges) = match (answer.response.status(), part) {
            (StatusCode::PARTIAL_CONTENT, Some(part)) if part.first == 0 => (Some(part.total), true),
            (StatusCode::OK, _) => (answer.response.content_length(), false),
            // The only range of an empty file that cannot be satisfied is every range.
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => return Err(content::not_a_zip(b"", &shown(&answer.url))),
            _ => return Err(self.bad_status(answer).await),
        };
        self.refuse_too_large(&answer.url, size_bytes.unwrap_or(0))?;
        let mut head = Vec::new();
        while head.len() < MAGIC_LEN {
            match self.piece(&mut answer, head.len() as u64, size_bytes).await? {
                Some(bytes) => head.extend_from_slice(&bytes),
                None => break,
            }
        }
        if content::start_of_zip(&head) != Some(0) {
            let page = if ranges { self.whole_page().await.unwrap_or(head) } else { head };
            let page = self.more_of_the_page(page, &mut answer).await;
            if content::start_of_zip(&page).is_none() {
                return Err(self.not_a_zip(&answer, &page));
            }
        }
        let all = answer.response.headers();
        Ok(Probe {
            size_bytes,
            validators: headers::validators(all),
            ranges,
            resumable: ranges && headers::strong_validator(all).is_some(),
            server_date: crate::http::server_date(all),
            redirects: answer.redirects,
            final_url: answer.url,
        })
    }

    /// Four bytes of a page say nothing: asked for again without `Range`.
    async fn whole_page(&self) -> Option<Vec<u8>> {
        let mut answer = self.get(&self.settings.url, &Ask::default()).await.ok()?;
        Some(self.more_of_the_page(Vec::new(), &mut answer).await)
    }

    /// The error for a server that gives whole files only.
    pub(super) fn no_ranges(&self) -> SourceError {
        SourceError::new(
            SourceErrorKind::NoRanges,
            text!("no ranges" / "pas de plages"),
            format!("`{}` ignores `Range`: parts of the file cannot be read", shown(&self.settings.url)),
        )
    }
}
