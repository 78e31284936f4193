//! Reads a certificate chain and its key, and says in one line why they cannot be used.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail};
use rustls::{
    CertificateError, Error, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use crate::{config::TlsFiles, domain::time::Timestamp};

/// More than any chain of certificates has.
const MOST_BYTES: u64 = 1 << 20;

pub struct Loaded {
    pub config: ServerConfig,
    /// What is wrong and does not keep the server from starting.
    pub warnings: Vec<String>,
}

/// # Errors
/// The files cannot be read, hold something else, or do not belong together.
pub fn load(files: &TlsFiles) -> anyhow::Result<Loaded> {
    let chain = certificates(&files.certificate)?;
    let key = key(&files.key)?;
    let mut warnings = doubts(&chain, &files.certificate)?;
    warnings.extend(readable_by_others(&files.key));
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| misfit(&error, files))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config, warnings })
}

fn misfit(error: &Error, files: &TlsFiles) -> anyhow::Error {
    let (certificate, key) = (shown(&files.certificate), shown(&files.key));
    match error {
        Error::InconsistentKeys(_) => anyhow!(
            "the certificate in {certificate} (--tls-cert) and the key in {key} (--tls-key) do not belong together: name the key that the \
            certificate was made for, and put the server's own certificate first in the file"
        ),
        error => anyhow!("the key in {key} (--tls-key) cannot be used with {certificate}: {error}"),
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path, "certificate", "--tls-cert")?;
    let shown = shown(path);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain =
        chain.map_err(|error| anyhow!("the certificate in {shown} (--tls-cert) is damaged: {error}"))?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    if PrivateKeyDer::from_pem_slice(&bytes).is_ok() {
        bail!(
            "{shown} (--tls-cert) holds a key and no certificate: are --tls-cert and --tls-key interchanged?"
        );
    }
    if bytes.starts_with(&[0x30]) {
        bail!(
            "{shown} (--tls-cert) is not in PEM form: convert it with `openssl x509 -inform der -in {shown} -out cert.pem`"
        );
    }
    bail!(
        "{shown} (--tls-cert) holds no certificate: it must be in PEM form, with a line `-----BEGIN CERTIFICATE-----`"
    );
}

fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let bytes = read(path, "key", "--tls-key")?;
    let shown = shown(path);
    let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    if holds("BEGIN ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") {
        bail!(
            "the key in {shown} (--tls-key) is encrypted, and the server has nobody to ask for its password: write it without one with \
            `openssl pkey -in {shown} -out key.pem`, readable by the server alone"
        );
    }
    // What the library says of a damaged key may contain some of it.
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(_) if holds("PRIVATE KEY-----") => bail!("the key in {shown} (--tls-key) is damaged"),
        Err(_) if holds("BEGIN CERTIFICATE") => {
            bail!(
                "{shown} (--tls-key) holds a certificate and no key: are --tls-cert and --tls-key interchanged?"
            )
        }
        Err(_) if bytes.starts_with(&[0x30]) => {
            bail!(
                "{shown} (--tls-key) is not in PEM form: convert it with `openssl pkey -inform der -in {shown} -out key.pem`"
            )
        }
        Err(_) => bail!(
            "{shown} (--tls-key) holds no key: it must be in PEM form, with a line `-----BEGIN PRIVATE KEY-----`"
        ),
    }
}

fn read(path: &Path, what: &str, flag: &str) -> anyhow::Result<Vec<u8>> {
    let shown = shown(path);
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("the {what} {shown} ({flag}) does not exist"),
        _ => anyhow!("cannot read the {what} {shown} ({flag}): {error}"),
    })?;
    if !about.is_file() {
        bail!("the {what} {shown} ({flag}) is not a file");
    }
    if about.len() > MOST_BYTES {
        bail!("the {what} {shown} ({flag}) is larger than 1 MiB: it is something else");
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read the {what} {shown} ({flag})"))?;
    if bytes.trim_ascii().is_empty() {
        bail!("the {what} {shown} ({flag}) is empty");
    }
    Ok(bytes)
}

/// What clients will not like about the server's own certificate. Without any issuer to compare it with, its dates and its purpose are looked
/// at, and that nobody has issued it comes last.
fn doubts(chain: &[CertificateDer<'static>], path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = shown(path);
    let own = chain.first().context("a chain without a certificate")?;
    let parsed = ParsedCertificate::try_from(own)
        .map_err(|error| anyhow!("the first certificate in {shown} (--tls-cert) cannot be read: {error}"))?;
    let looked = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        ring::default_provider().signature_verification_algorithms.all,
    );
    let day = |time: &UnixTime| {
        let milliseconds = i64::try_from(time.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX);
        Timestamp(milliseconds).to_rfc3339()
    };
    let Err(Error::InvalidCertificate(fault)) = looked else {
        return Ok(Vec::new());
    };
    Ok(match fault {
        CertificateError::ExpiredContext { not_after, .. } => vec![format!(
            "the certificate in {shown} expired at {}: clients refuse it; renew it, which needs no restart",
            day(&not_after)
        )],
        CertificateError::NotValidYetContext { not_before, .. } => vec![format!(
            "the certificate in {shown} is valid from {} on: until then clients refuse it, unless this machine's clock is wrong",
            day(&not_before)
        )],
        fault if fault.to_string().contains("CaUsedAsEndEntity") => vec![format!(
            "the certificate in {shown} is one of a certificate authority (CA:TRUE), which many clients refuse for a server: make it with \
            `basicConstraints = CA:FALSE`"
        )],
        _ => Vec::new(),
    })
}

fn readable_by_others(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let shown = shown(path);
        format!("the key in {shown} is open to every user of this machine: `chmod o= {shown}`")
    })
}

/// A path, as it is told.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
