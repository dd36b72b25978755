//! Serving certificates in files, which are followed while the server runs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{Tls, TlsError};
use crate::watched_file;

/// Where the serving certificate, its key and the authorities of clients are. All PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain that clients are shown.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities whose certificates clients are asked for.
    pub client_authorities: PathBuf,
}

impl TlsFiles {
    async fn read(&self) -> Result<[String; 3], TlsError> {
        let mut texts = [const { String::new() }; 3];
        let paths = [&self.certificate, &self.key, &self.client_authorities];
        for (text, path) in texts.iter_mut().zip(paths) {
            let read = tokio::fs::read_to_string(path).await;
            *text = read.map_err(|error| TlsError::new(&path.display().to_string(), error))?;
        }
        Ok(texts)
    }
}

/// TLS by files: [`follow`](Self::follow) takes over what is written into them, without a restart.
#[derive(Debug)]
pub struct FollowedTls {
    files: TlsFiles,
    tls: Tls,
    seen: Mutex<[String; 3]>,
}

impl FollowedTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let texts = files.read().await?;
        let [certificate, key, authorities] = &texts;
        Ok(Self { tls: Tls::new(certificate, key, authorities)?, files, seen: Mutex::new(texts) })
    }

    /// What connections are secured with: for [`Listener::bind`](super::Listener::bind).
    #[must_use]
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Reads the files again; tells whether they are new.
    ///
    /// # Errors
    /// One can't be read, or they don't fit one another, as while they are being replaced: nothing changes then, and the
    /// next call looks again.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let texts = self.files.read().await?;
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == texts {
            return Ok(false);
        }
        let [certificate, key, authorities] = &texts;
        self.tls.replace(certificate, key, authorities)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = texts;
        Ok(true)
    }

    /// Follows the files until cancelled.
    pub async fn follow(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(watched_file::INTERVAL) => {}
            }
            match self.reload().await {
                Ok(false) => {}
                Ok(true) => tracing::info!("the serving certificate was read anew"),
                Err(error) => tracing::warn!(%error, "the serving certificate stays as it was"),
            }
        }
    }
}
