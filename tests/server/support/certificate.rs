//! Certificates, made for one test.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// The file with the certificate of the authority, beside the server's own.
pub const AUTHORITY: &str = "ca.pem";

/// An authority, and the certificate of a server with its key, in files.
pub struct Certificate {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Certificate {
    /// For `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        fs::write(folder.path().join(AUTHORITY), own.pem()).unwrap();
        let made = Self {
            folder,
            authority: Issuer::new(params, key),
        };
        made.renew();
        made
    }

    /// Writes another certificate with another key.
    pub fn renew(&self) {
        self.issue(|_| {});
    }

    /// Writes a certificate that differs from the usual one.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.authority).unwrap();
        // As tools for certificates do: a new file in the place of the old one.
        let put = |name: &str, text: String, mode: u32| {
            let new = self.folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
            fs::rename(&new, self.folder.path().join(name)).unwrap();
        };
        put("cert.pem", own.pem(), 0o644);
        put("key.pem", key.serialize_pem(), 0o600);
    }

    pub fn expire(&self) {
        self.issue(|params| params.not_after = date_time_ymd(2020, 2, 3));
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    pub fn authority(&self) -> PathBuf {
        self.folder.path().join(AUTHORITY)
    }
}
