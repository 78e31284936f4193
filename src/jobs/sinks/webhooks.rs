//! What the API needs of webhooks besides their rows: whether an address is permitted, secrets, and a message to try one.

use std::{path::Path, sync::Arc};

use super::{
    sender::{Message, Sender, Sent, check},
    server_key::ServerKey,
    signing::SigningSecret,
};
use crate::{
    config::WebhookConfig,
    domain::{
        id::{DeliveryId, WebhookId},
        sinks::{Delivery, EventType, Webhook, payload},
        time::Timestamp,
    },
    error::{Error, FieldError, Kind, Result},
    jobs::blocking::blocking,
    store::{DueDelivery, SecretOf, Store},
};

/// Why a message cannot be signed.
const OTHER_KEY: &str = "webhooks.key in the data directory is not the one that the webhook's secret was made of: give it another secret";

/// The server's webhooks.
pub struct Webhooks {
    store: Store,
    config: WebhookConfig,
    key: Arc<ServerKey>,
    /// None: there are no targets, or the system's certificates cannot be read.
    sender: Option<Sender>,
}

impl Webhooks {
    pub fn new(store: Store, config: WebhookConfig, data_dir: &Path) -> Self {
        let sender = (!config.webhook_targets.is_empty()).then(|| Sender::new(config.clone()));
        let sender = sender.and_then(|made| {
            made.inspect_err(|error| tracing::error!(%error, "webhooks cannot be sent"))
                .ok()
        });
        Self {
            store,
            config,
            key: ServerKey::of(data_dir).into(),
            sender,
        }
    }

    /// Whether there are any targets.
    pub fn are_on(&self) -> bool {
        !self.config.webhook_targets.is_empty()
    }

    /// Refuses addresses that the settings do not allow.
    ///
    /// # Errors
    /// `webhooks-off`, or `invalid` with the reason.
    pub fn check_url(&self, url: &str) -> Result<()> {
        if !self.are_on() {
            let detail = "webhooks are off: name the hosts that they may post to in --webhook-target (FINETUNED_WEBHOOK_TARGETS) and start \
                the server again";
            return Err(Error::new(Kind::Conflict, "webhooks-off", detail));
        }
        match check(&self.config, url) {
            Ok(_) => Ok(()),
            Err(rule) => {
                let fault = FieldError::new("/url", "range", rule);
                Err(Error::fields(
                    "the webhook's address is not permitted",
                    vec![fault],
                ))
            }
        }
    }

    /// The secret of this number.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub async fn secret(&self, webhook: WebhookId, number: u32) -> Result<SigningSecret> {
        let key = self.key.clone();
        let key = blocking(move || Ok(key.get()?)).await?;
        Ok(SigningSecret::of(&key, webhook, number))
    }

    /// Gives a webhook another secret. The one before counts for another day.
    ///
    /// # Errors
    /// `secret-changed`; the key cannot be read or made.
    pub async fn change_secret(&self, webhook: WebhookId) -> Result<SigningSecret> {
        let before = self.store.webhook_secret(webhook).await?;
        let number = before.number.saturating_add(1);
        let secret = self.secret(webhook, number).await?;
        let was_ours = self.secret(webhook, before.number).await?.digest() == before.digest;
        let until = Timestamp(Timestamp::now().0 + Webhook::OLD_SECRET_MILLISECONDS);
        let now = SecretOf {
            number,
            digest: secret.digest(),
            old_until: was_ours.then_some(until),
        };
        self.store
            .change_webhook_secret(webhook, before.number, now)
            .await?;
        Ok(secret)
    }

    /// Sends a message at once, once, and writes it down.
    ///
    /// # Errors
    /// The webhook is gone, or its secret cannot be made. That it did not arrive is none: the delivery says so.
    pub async fn test(&self, webhook: &Webhook) -> Result<Delivery> {
        self.check_url(&webhook.url)?;
        let id = DeliveryId::new();
        let data = serde_json::json!({"object": "webhook", "id": webhook.id});
        let payload = payload(EventType::Test, Timestamp::now(), &data).map_err(Error::internal)?;
        let sent = self.send(id, webhook.id, &webhook.url, &payload).await?;
        self.store.note_test(id, webhook.id, payload, sent.attempt).await
    }

    pub(super) async fn deliver(&self, due: &DueDelivery) -> Result<Sent> {
        self.send(due.id, due.webhook, &due.url, &due.payload).await
    }

    async fn send(&self, id: DeliveryId, webhook: WebhookId, url: &str, payload: &str) -> Result<Sent> {
        let secrets = match self.secrets(webhook).await {
            Ok(secrets) => secrets,
            Err(error) if error.kind() == Kind::NotFound => return Err(error),
            Err(error) => {
                tracing::error!(%webhook, %error, "cannot sign a message to a webhook");
                return Ok(Sent::failed("the server cannot read its key; see its log"));
            }
        };
        let (Some(sender), false) = (&self.sender, secrets.is_empty()) else {
            let why = if secrets.is_empty() {
                OTHER_KEY
            } else {
                "the server cannot read the system's certificates; see its log"
            };
            return Ok(Sent::failed(why));
        };
        let message = Message {
            id,
            url,
            payload,
            secrets: &secrets,
        };
        Ok(sender.send(message).await)
    }

    /// What a message is signed with; nothing where the key is another one than the webhook knows.
    async fn secrets(&self, webhook: WebhookId) -> Result<Vec<SigningSecret>> {
        let of = self.store.webhook_secret(webhook).await?;
        let current = self.secret(webhook, of.number).await?;
        if current.digest() != of.digest {
            return Ok(Vec::new());
        }
        let mut secrets = vec![current];
        if of.old_until.is_some_and(|until| until > Timestamp::now()) {
            secrets.push(self.secret(webhook, of.number.saturating_sub(1)).await?);
        }
        Ok(secrets)
    }
}
