//! Whom a server at `https://` must be vouched for by, and what is told of one that is not.

use std::{fs, io, path::Path};

use reqwest::{Certificate, Url};
use rustls::{CertificateError as Fault, Error};

use super::{failure::Failure, text::printable};

/// The certificates in `--ca-cert`, if it is given.
///
/// # Errors
/// The file cannot be read or holds none, or the server is not asked for one.
pub fn authorities(file: Option<&Path>, server: &Url) -> Result<Option<Vec<Certificate>>, Failure> {
    let Some(path) = file else {
        return Ok(None);
    };
    if server.scheme() != "https" {
        return Err(Failure::Usage(format!(
            "--ca-cert (FINETUNED_CA_CERT) is for a server at https://, and {server} is not asked to prove anything: write its address with \
            https://, or leave --ca-cert out"
        )));
    }
    let place = printable(&path.display().to_string());
    let text = fs::read(path).map_err(|source| Failure::File {
        path: place.clone(),
        source,
    })?;
    match Certificate::from_pem_bundle(&text) {
        Ok(found) if !found.is_empty() => Ok(Some(found)),
        _ => Err(Failure::Usage(format!(
            "{place} holds no certificate: it must be in PEM form, with a line `-----BEGIN CERTIFICATE-----`"
        ))),
    }
}

/// The failure of a request that TLS has ended.
pub fn failure(server: &Url, error: &reqwest::Error) -> Option<Failure> {
    tls_fault(error).map(|fault| untrusted(server, fault))
}

/// What TLS says, wherever the layers in between have put it.
fn tls_fault(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(fault) = cause {
        if let Some(fault) = fault.downcast_ref::<rustls::Error>() {
            return Some(fault);
        }
        // An I/O error does not name the error in it as its source.
        let inner = fault.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => fault.source(),
        };
    }
    None
}

fn untrusted(server: &Url, fault: &rustls::Error) -> Failure {
    let (reason, remedy) = match fault {
        // Two authorities may have one name.
        Error::InvalidCertificate(Fault::UnknownIssuer | Fault::BadSignature) => (
            "nobody who is trusted here has issued its certificate".to_owned(),
            "Name the file with the certificate of its issuer with --ca-cert or FINETUNED_CA_CERT",
        ),
        Error::InvalidCertificate(Fault::Expired | Fault::ExpiredContext { .. }) => (
            "its certificate has expired".to_owned(),
            "Whoever runs it has to renew the certificate; if it is a new one, look at this machine's clock",
        ),
        Error::InvalidCertificate(Fault::NotValidForName | Fault::NotValidForNameContext { .. }) => (
            "its certificate is for another name".to_owned(),
            "Write the address with a name that the certificate has",
        ),
        Error::InvalidCertificate(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "its certificate is one of a certificate authority (CA:TRUE)".to_owned(),
            "Whoever runs it has to make one for a server: `basicConstraints = CA:FALSE`",
        ),
        Error::InvalidMessage(_) => (
            "it does not speak TLS there".to_owned(),
            "Is its address one with http://?",
        ),
        other => (
            printable(&other.to_string()),
            "Look at the certificate, and at the address in --server",
        ),
    };
    Failure::Untrusted {
        server: server.to_string(),
        reason,
        remedy,
    }
}
