//! Multipart uploads. The object appears when the upload is completed.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use futures::FutureExt;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart, path::Path};

use super::{
    Oss,
    failure::{failed, generic},
};

/// Multipart upload in progress.
#[derive(Debug)]
pub(super) struct Upload {
    oss: Oss,
    path: Path,
    id: String,
    parts: i32,
    done: Arc<Mutex<Vec<CompletedPart>>>,
}

/// Starts an upload to `path`.
pub(super) async fn start(oss: &Oss, path: &Path) -> Result<Upload> {
    let request = oss.client().await.create_multipart_upload().bucket(&oss.bucket).key(path.as_ref());
    let started = request.send().await.map_err(|error| failed(path, &error))?;
    let id = started.upload_id.ok_or_else(|| generic(format!("{path}: the upload has no id")))?;
    Ok(Upload { oss: oss.clone(), path: path.clone(), id, parts: 0, done: Arc::default() })
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        let (oss, id) = (self.oss.clone(), self.id.clone());
        let (number, path, done) = (self.parts, self.path.clone(), Arc::clone(&self.done));
        async move {
            let request = oss
                .client()
                .await
                .upload_part()
                .bucket(&oss.bucket)
                .key(path.as_ref())
                .upload_id(id)
                .part_number(number)
                .body(ByteStream::from(Bytes::from(data)));
            let sent = request.send().await.map_err(|error| failed(&path, &error))?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build();
            done.lock().unwrap_or_else(PoisonError::into_inner).push(part);
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut parts = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        if parts.len() != usize::try_from(self.parts).unwrap_or(0) {
            return Err(generic(format!(
                "{}: {} of {} parts were uploaded",
                self.path,
                parts.len(),
                self.parts
            )));
        }
        parts.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self
            .oss
            .client()
            .await
            .complete_multipart_upload()
            .bucket(&self.oss.bucket)
            .key(self.path.as_ref())
            .upload_id(&self.id)
            .multipart_upload(parts);
        let done = request.send().await.map_err(|error| failed(&self.path, &error))?;
        Ok(PutResult { e_tag: done.e_tag, version: done.version_id })
    }

    async fn abort(&mut self) -> Result<()> {
        let request =
            self.oss.client().await.abort_multipart_upload().bucket(&self.oss.bucket).key(self.path.as_ref());
        request.upload_id(&self.id).send().await.map(drop).map_err(|error| failed(&self.path, &error))
    }
}
