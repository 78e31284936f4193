//! One attempt to deliver a message: an HTTP request as Standard Webhooks has it (<https://www.standardwebhooks.com>), signed, without redirects,
//! within a time.
//!
//! Nothing here names a URL in an error or a log: the path of one may be a secret.

use std::{
    error::Error as StdError,
    time::{Duration, Instant},
};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
    redirect::Policy,
};

use super::{
    resolver::{Private, Resolver, check_literal},
    signing::SigningSecret,
};
use crate::{
    config::WebhookConfig,
    domain::{id::DeliveryId, sinks::Attempt, time::Timestamp},
};

/// How long an answer may take, from the lookup of the name on.
const PATIENCE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, so that its connection can be used again. Nothing looks at them.
const ANSWER: usize = 16 << 10;
/// Longest error that is remembered.
const LONGEST_ERROR: usize = 300;

/// Sends messages. Its connections are kept for the next one.
pub struct Sender {
    client: Client,
    config: WebhookConfig,
}

/// A message as it is sent.
pub struct Message<'m> {
    pub id: DeliveryId,
    pub url: &'m str,
    pub payload: &'m str,
    /// The current secret, and the one before while that counts too.
    pub secrets: &'m [SigningSecret],
}

/// What came of it.
pub struct Sent {
    pub attempt: Attempt,
    /// Seconds until the next one, if the target says so.
    pub retry_after: Option<u64>,
}

impl Sent {
    /// An attempt that came to nothing before anything was sent.
    pub fn failed(why: &str) -> Self {
        Self {
            attempt: Attempt {
                at: Timestamp::now(),
                milliseconds: 0,
                status: None,
                error: Some(why.to_owned()),
            },
            retry_after: None,
        }
    }
}

impl Sender {
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(config: WebhookConfig) -> reqwest::Result<Self> {
        // A second one is refused, and that is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .dns_resolver(Resolver {
                allow_private: config.webhook_allow_private,
            })
            // A proxy would look names up itself, and reach what must not be reached.
            .no_proxy()
            // A redirect would lead out of what the settings allow.
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { client, config })
    }

    /// Tries once. What it fails of is in the attempt.
    pub async fn send(&self, message: Message<'_>) -> Sent {
        let (at, begun) = (Timestamp::now(), Instant::now());
        let answered = self.answer(&message, at).await;
        let (status, error, retry_after) = match answered {
            Ok(response) => judge(response).await,
            Err(error) => (None, Some(error), None),
        };
        Sent {
            attempt: Attempt {
                at,
                milliseconds: begun.elapsed().as_millis() as u64,
                status,
                error,
            },
            retry_after,
        }
    }

    async fn answer(&self, message: &Message<'_>, at: Timestamp) -> Result<Response, String> {
        // Again, because the settings may have changed since the webhook was made.
        let url = check(&self.config, message.url)?;
        let seconds = at.0 / 1000;
        let signatures: Vec<String> = message
            .secrets
            .iter()
            .map(|secret| secret.sign(message.id, seconds, message.payload.as_bytes()))
            .collect();
        let request = self
            .client
            .post(url)
            .header(USER_AGENT, concat!("finetuned/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id.to_string())
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signatures.join(" "))
            .body(message.payload.to_owned());
        request.send().await.map_err(|error| told(&error))
    }
}

/// The address of a webhook, if the settings allow it.
///
/// # Errors
/// Why they do not.
pub fn check(config: &WebhookConfig, url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("it is no URL: {error}"))?;
    if !config.allows(&url) {
        return Err(
            "it is not among the targets that the server's settings allow: --webhook-target (FINETUNED_WEBHOOK_TARGETS)".to_owned(),
        );
    }
    check_literal(&url, config.webhook_allow_private).map_err(|private| private.to_string())?;
    Ok(url)
}

async fn judge(response: Response) -> (Option<u16>, Option<String>, Option<u64>) {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let error = match status {
        success if success.is_success() => None,
        StatusCode::GONE => Some("the target wants no more messages (410)".to_owned()),
        moved if moved.is_redirection() => Some(format!(
            "the target answers {}; redirects are not followed: give the webhook the other address",
            moved.as_u16()
        )),
        other => Some(format!("the target answers {}", other.as_u16())),
    };
    drain(response).await;
    (Some(status.as_u16()), error, retry_after)
}

/// Reads a short answer to its end, and lets go of a long one. It came in time, so what is wrong with it changes nothing.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER {
            return;
        }
    }
}

/// The innermost cause says why: "Connection refused".
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} seconds", PATIENCE.as_secs());
    }
    let mut cause: &(dyn StdError + 'static) = error;
    while let Some(deeper) = cause.source() {
        if deeper.is::<Private>() {
            return deeper.to_string();
        }
        cause = deeper;
    }
    let text = match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request failed".to_owned(),
        None => cause.to_string(),
    };
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_ERROR)
        .collect()
}
