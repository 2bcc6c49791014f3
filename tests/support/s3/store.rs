//! `s3s-fs`, and what it lacks: keys in listings are percent-encoded if asked for, unfinished uploads are listed, an account
//! may lack rights or room.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::{BUCKET, STRANGER};

/// How many bytes fit below `small/`.
const SMALL: u64 = 1 << 20;

pub struct Store {
    files: FileSystem,
    root: PathBuf,
    quirks: Quirks,
}

/// What servers do that is not in the book.
#[derive(Clone, Default)]
pub struct Quirks {
    /// `If-None-Match` has no effect and is not refused, as in Ceph up to 16.
    pub ignores_conditions: bool,
    /// The account may not delete, nor ask for the bucket as a whole.
    pub append_only: bool,
    /// So many of the next parts are answered with 503.
    pub busy_parts: Arc<AtomicUsize>,
}

impl Store {
    pub fn new(root: &Path, quirks: Quirks) -> Self {
        Self { files: FileSystem::new(root).expect("an existing directory"), root: root.to_owned(), quirks }
    }
}

/// Operations that only pass through; as `async_trait` writes them, since it does not look into macros.
macro_rules! pass {
    ($($operation:ident: $input:ty => $output:ty;)*) => {
        $(
            fn $operation<'s, 'a>(
                &'s self,
                request: S3Request<$input>,
            ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<$output>>> + Send + 'a>>
            where
                's: 'a,
                Self: 'a,
            {
                self.files.$operation(request)
            }
        )*
    };
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut response = self.files.list_objects_v2(request).await?;
        let output = &mut response.output;
        if output.encoding_type.is_some() {
            let keys = output.contents.iter_mut().flatten().filter_map(|object| object.key.as_mut());
            let prefixes = output.common_prefixes.iter_mut().flatten().filter_map(|prefix| prefix.prefix.as_mut());
            keys.chain(prefixes).for_each(|key| *key = encoded(key));
        }
        Ok(response)
    }

    /// A directory of the disk is no object.
    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        if self.root.join(&request.input.bucket).join(&request.input.key).is_dir() {
            return Err(s3_error!(NoSuchKey));
        }
        self.files.head_object(request).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut uploads = Vec::new();
        for file in std::fs::read_dir(&self.root).map_err(S3Error::internal_error)?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if let Some((key, id)) = upload_of(&name)
                && key.starts_with(&prefix)
            {
                let key = if input.encoding_type.is_some() { encoded(&key) } else { key };
                uploads.push(MultipartUpload { key: Some(key), upload_id: Some(id), ..Default::default() });
            }
        }
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            encoding_type: input.encoding_type,
            is_truncated: Some(false),
            uploads: Some(uploads),
            ..Default::default()
        }))
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        if self.quirks.ignores_conditions {
            request.input.if_none_match = None;
        }
        self.files.put_object(request).await
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        if self.quirks.ignores_conditions {
            request.input.if_none_match = None;
        }
        self.files.complete_multipart_upload(request).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let busy = |left: usize| left.checked_sub(1);
        if self.quirks.busy_parts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, busy).is_ok() {
            return Err(s3_error!(SlowDown, "Please reduce your request rate."));
        }
        self.files.upload_part(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        if self.quirks.append_only {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        self.files.delete_object(request).await
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        if self.quirks.append_only {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        self.files.head_bucket(request).await
    }

    pass! {
        abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput;
        create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput;
        get_object: GetObjectInput => GetObjectOutput;
    }
}

/// As Amazon does it: a blank is `+`, everything else but letters, digits and a few signs is `%XX`.
fn encoded(key: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'*').remove(b' ');
    utf8_percent_encode(key, KEPT).to_string().replace(' ', "+")
}

/// The name of the file that `s3s-fs` keeps for an unfinished upload.
pub fn metadata_name(key: &str, id: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!(".bucket-{}.object-{}.upload-{id}.metadata.json", encode(BUCKET), encode(key))
}

/// Key and id from the name of the file that `s3s-fs` keeps for an unfinished upload.
fn upload_of(name: &str) -> Option<(String, String)> {
    let (key, rest) = name.strip_prefix(".bucket-")?.split_once(".object-")?.1.split_once(".upload-")?;
    let key = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
    Some((key, rest.strip_suffix(".metadata.json")?.to_owned()))
}

/// Who may do what.
pub struct Rights;

#[async_trait::async_trait]
impl S3Access for Rights {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else { return Err(s3_error!(AccessDenied, "Access Denied")) };
        if credentials.access_key == STRANGER.0 {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let key = context.s3_path().as_object().map(|(_, key)| key.to_owned()).unwrap_or_default();
        let writes = !matches!(context.s3_op().name(), "GetObject" | "HeadObject" | "ListObjectsV2" | "HeadBucket");
        if writes && key.starts_with("read-only/") {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let bytes = context.headers().get("content-length").and_then(|bytes| bytes.to_str().ok()?.parse::<u64>().ok());
        if key.starts_with("small/") && bytes.is_some_and(|bytes| bytes > SMALL) {
            let words = "Storage backend has reached its minimum free drive threshold, the disk is full.";
            return Err(S3Error::with_message(S3ErrorCode::Custom("XMinioStorageFull".into()), words));
        }
        Ok(())
    }
}
