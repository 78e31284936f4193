//! Settings of TLS.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

/// Both or none.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsConfig {
    /// Certificate of the server in PEM form, followed by those of its issuers: with it, the server speaks HTTPS only, HTTP/1.1 and HTTP/2. It is
    /// read again when its file changes
    #[arg(long, env = "FINETUNED_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate in PEM form, without a password
    #[arg(long, env = "FINETUNED_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
}

/// A certificate and its key, which belong together.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TlsConfig {
    /// None: the server speaks plain HTTP.
    ///
    /// # Errors
    /// One of the two is missing.
    pub fn files(&self) -> anyhow::Result<Option<TlsFiles>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (None, None) => Ok(None),
            (Some(_), None) => bail!("--tls-cert needs --tls-key, the file with the certificate's key"),
            (None, Some(_)) => bail!("--tls-key needs --tls-cert, the file with the key's certificate"),
        }
    }
}
