//! A webhook: its address, what it wants to be told, and whether it still listens.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::EventType;
use crate::{
    domain::{id::WebhookId, time::Timestamp},
    error::FieldError,
};

/// Why a webhook is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Somebody switched it off.
    Paused,
    /// Its target answered 410: it wants no more.
    Gone,
    /// Every attempt has failed for five days.
    Failing,
}

impl DisabledReason {
    pub fn as_str(self) -> &'static str {
        match self {
            DisabledReason::Paused => "paused",
            DisabledReason::Gone => "gone",
            DisabledReason::Failing => "failing",
        }
    }
}

/// An address that is told how jobs and datasets ended.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Webhook {
    pub id: WebhookId,
    /// Always `webhook`.
    #[schema(example = "webhook")]
    pub object: String,
    /// Where messages are posted to.
    #[schema(example = "https://hooks.example.org/finetuned")]
    pub url: String,
    pub events: Vec<EventType>,
    pub description: Option<String>,
    /// Whether it is told anything.
    pub enabled: bool,
    /// Why not; null while it is.
    pub disabled_reason: Option<DisabledReason>,
    pub created_at: Timestamp,
    /// Since when every attempt has failed; null if the last one did not.
    pub failing_since: Option<Timestamp>,
    /// Messages that are still to be delivered.
    pub pending: u64,
}

impl Webhook {
    /// Most webhooks.
    pub const MOST: u32 = 100;
    /// Most messages that wait for one webhook: those that come then are given up at once.
    pub const MOST_PENDING: u32 = 1000;
    /// Most messages of one webhook that are remembered after they were delivered or given up.
    pub const MOST_ENDED: u32 = 1000;
    /// How long every attempt has to have failed until the server stops trying.
    pub const FAILING_MILLISECONDS: i64 = 5 * 24 * 3600 * 1000;
    /// How long what is sent is signed with the secret before, too.
    pub const OLD_SECRET_MILLISECONDS: i64 = 24 * 3600 * 1000;
    const LONGEST_URL: usize = 2048;
    const LONGEST_DESCRIPTION: usize = 500;
}

/// A webhook that somebody asks for. Whether the address is permitted is another question.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWebhook {
    pub url: String,
    /// At least one, each once, in their order.
    pub events: Vec<EventType>,
    pub description: Option<String>,
}

/// A change of a webhook; none: it stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookEdit {
    pub url: Option<String>,
    pub events: Option<Vec<EventType>>,
    pub description: Option<Option<String>>,
    pub enabled: Option<bool>,
}

impl NewWebhook {
    /// Reads a request.
    ///
    /// # Errors
    /// Every fault of the document.
    pub fn parse(document: &Value) -> Result<Self, Vec<FieldError>> {
        let (edit, mut faults) = read(document, &["url", "events", "description"]);
        for (pointer, is_missing) in [("/url", edit.url.is_none()), ("/events", edit.events.is_none())] {
            if is_missing && !faults.iter().any(|fault| fault.pointer.starts_with(pointer)) {
                let rule = match pointer {
                    "/url" => "say where messages are to be posted to, such as `https://hooks.example.org/finetuned`".to_owned(),
                    _ => format!("name at least one of {}", offered()),
                };
                faults.push(FieldError::new(pointer, "missing", rule));
            }
        }
        match (edit.url, edit.events) {
            (Some(url), Some(events)) if faults.is_empty() => Ok(Self {
                url,
                events,
                description: edit.description.flatten(),
            }),
            _ => Err(faults),
        }
    }
}

impl WebhookEdit {
    /// Reads a merge patch, in which null removes the description.
    ///
    /// # Errors
    /// Every fault of the document.
    pub fn parse(document: &Value) -> Result<Self, Vec<FieldError>> {
        let (edit, faults) = read(document, &["url", "events", "description", "enabled"]);
        match faults.is_empty() {
            true => Ok(edit),
            false => Err(faults),
        }
    }
}

fn read(document: &Value, known: &[&str]) -> (WebhookEdit, Vec<FieldError>) {
    let (mut edit, mut faults) = (WebhookEdit::default(), Vec::new());
    let Some(fields) = document.as_object() else {
        return (edit, vec![FieldError::new("", "type", "must be an object")]);
    };
    for (field, value) in fields {
        match (field.as_str(), value) {
            (unknown, _) if !known.contains(&unknown) => {
                let shown: String = unknown.chars().filter(|c| !c.is_control()).take(80).collect();
                let pointer = format!("/{}", shown.replace('~', "~0").replace('/', "~1"));
                let rule = format!("unknown field; there are {}", known.join(", "));
                faults.push(FieldError::new(pointer, "unknown_field", rule));
            }
            ("description", Value::Null) => edit.description = Some(None),
            (_, Value::Null) => {}
            ("url", value) => edit.url = text(value, field, Webhook::LONGEST_URL, &mut faults),
            ("description", value) => {
                edit.description = text(value, field, Webhook::LONGEST_DESCRIPTION, &mut faults).map(Some);
            }
            ("events", value) => edit.events = events(value, &mut faults),
            (_, Value::Bool(enabled)) => edit.enabled = Some(*enabled),
            _ => faults.push(FieldError::new("/enabled", "type", "must be true or false")),
        }
    }
    (edit, faults)
}

fn text(value: &Value, field: &str, most: usize, faults: &mut Vec<FieldError>) -> Option<String> {
    let pointer = format!("/{field}");
    let Some(text) = value.as_str() else {
        faults.push(FieldError::new(pointer, "type", "must be a string"));
        return None;
    };
    if text.len() > most || text.chars().any(char::is_control) {
        let rule = format!("must have at most {most} bytes and no control characters");
        faults.push(FieldError::new(pointer, "range", rule));
        return None;
    }
    Some(text.to_owned())
}

fn events(value: &Value, faults: &mut Vec<FieldError>) -> Option<Vec<EventType>> {
    let find = |word: &Value| {
        EventType::OFFERED
            .into_iter()
            .find(|event| word == event.as_str())
    };
    let read: Option<Vec<EventType>> = value
        .as_array()
        .and_then(|words| words.iter().map(find).collect());
    let Some(mut events) = read.filter(|events| !events.is_empty()) else {
        let rule = format!("must be a list of at least one of {}", offered());
        faults.push(FieldError::new("/events", "range", rule));
        return None;
    };
    events.sort_unstable();
    events.dedup();
    Some(events)
}

fn offered() -> String {
    EventType::OFFERED
        .map(|event| format!("`{}`", event.as_str()))
        .join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(document: Value) -> Vec<(String, String)> {
        let mut faults: Vec<_> = NewWebhook::parse(&document)
            .unwrap_err()
            .into_iter()
            .map(|fault| (fault.pointer, fault.code))
            .collect();
        faults.sort();
        faults
    }

    #[test]
    fn a_webhook_needs_an_address_and_an_event() {
        let asked =
            json!({"url": "https://a.example/", "events": ["job.failed", "job.succeeded", "job.failed"]});
        let new = NewWebhook::parse(&asked).unwrap();
        assert_eq!(new.events, [EventType::JobSucceeded, EventType::JobFailed]);
        assert_eq!(new.description, None);
        let of = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        assert_eq!(
            faults(json!({})),
            [of("/events", "missing"), of("/url", "missing")]
        );
        assert_eq!(
            faults(json!({"url": 7, "events": ["webhook.test"], "secret": "x", "description": "a\u{7}"})),
            [
                of("/description", "range"),
                of("/events", "range"),
                of("/secret", "unknown_field"),
                of("/url", "type")
            ]
        );
        assert!(faults(json!([])).contains(&of("", "type")));
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let edit = WebhookEdit::parse(&json!({"description": null, "enabled": false})).unwrap();
        let expected = WebhookEdit {
            description: Some(None),
            enabled: Some(false),
            ..WebhookEdit::default()
        };
        assert_eq!(edit, expected);
        assert_eq!(WebhookEdit::parse(&json!({})).unwrap(), WebhookEdit::default());
        assert_eq!(
            WebhookEdit::parse(&json!({"enabled": 1, "events": []}))
                .unwrap_err()
                .len(),
            2
        );
    }
}
