//! What the messages to one webhook are signed with, as Standard Webhooks has it: `whsec_` and Base64 of 32 bytes, HMAC-SHA256.
//!
//! It is made of the server's key and of the webhook's id, so it need not be kept. Nothing here prints it: it has neither `Debug` nor a JSON
//! form.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    domain::id::{DeliveryId, WebhookId},
    files::digest,
};

/// A secret that its receiver has too.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; 32]);

impl SigningSecret {
    /// The secret of this number of a webhook, by a server's key.
    pub fn of(server_key: &[u8; 32], webhook: WebhookId, number: u32) -> Self {
        let text = format!("webhook secret {number} of {webhook}");
        Self(code(server_key, &[text.as_bytes()]))
    }

    /// As its receiver configures it.
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// SHA-256 of that text, by which another secret is told from this one.
    pub fn digest(&self) -> String {
        digest::of_bytes(self.reveal().as_bytes())
    }

    /// One word of the header `webhook-signature`. `at`: seconds since 1970, as in `webhook-timestamp`.
    pub fn sign(&self, message: DeliveryId, at: i64, body: &[u8]) -> String {
        let head = format!("{message}.{at}.");
        let code = code(&self.0, &[head.as_bytes(), body]);
        format!("v1,{}", STANDARD.encode(code))
    }
}

fn code(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is one.
    let mut hmac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(hmac) => hmac,
        Err(impossible) => unreachable!("{impossible}"),
    };
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_id_time_and_body() {
        // RFC 4231, test case 1, with a key that is filled up with zeros, as HMAC does.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let hexadecimal: String = code(&key, &[b"Hi ", b"There"])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hexadecimal, expected);

        // By Python: base64.b64encode(hmac.digest(b"\x0b" * 20 + b"\0" * 12, b"msg_….1764000000.{}", "sha256"))
        let message: DeliveryId = "msg_019ab3c4d5e67f8091a2b3c4d5e6f708".parse().unwrap();
        let signature = SigningSecret(key).sign(message, 1_764_000_000, b"{}");
        assert_eq!(signature, "v1,gmK6jfrFqSK8/2OPPhNkxRbtpu47H9j0IuZQZcDsSsE=");
    }

    #[test]
    fn every_webhook_and_every_number_has_a_secret_of_its_own() {
        let (one, other) = (WebhookId::new(), WebhookId::new());
        let key = [7; 32];
        let first = SigningSecret::of(&key, one, 1);
        assert!(first == SigningSecret::of(&key, one, 1));
        assert!(first.reveal().starts_with("whsec_") && first.reveal().len() == 6 + 44);
        for secret in [
            SigningSecret::of(&key, one, 2),
            SigningSecret::of(&key, other, 1),
            SigningSecret::of(&[8; 32], one, 1),
        ] {
            assert!(secret != first && secret.digest() != first.digest());
        }
    }
}
