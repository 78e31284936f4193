//! The audit log: who changed what, when and from where. It has no bodies and no secrets.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Holder, Secret};
use crate::domain::{
    id::{AuditId, KeyId},
    time::Timestamp,
};

/// A change, or a try of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    pub id: AuditId,
    /// Always `audit_record`.
    #[schema(example = "audit_record")]
    pub object: String,
    /// When the request began.
    pub at: Timestamp,
    /// The key it was made with; null where no key was needed, or none was let in.
    pub key: Option<Holder>,
    /// The method of HTTP, or `COMMAND` for one of `finetuned keys`.
    #[schema(example = "DELETE")]
    pub method: String,
    /// The template of the path, or the command.
    #[schema(example = "/v1/datasets/{dataset}")]
    pub route: String,
    /// The dataset, upload, job, model or key that was made or that the address names, by its id; an alias, and what was not found or not
    /// looked for, as it was named.
    pub thing: Option<String>,
    /// The status of the response; null for a command, and where the client left before it was answered.
    pub status: Option<u16>,
    /// The address of the client; behind a trusted proxy, the one that it forwards for. Null for a command.
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    pub address: Option<IpAddr>,
    /// As in the response and in the server's log.
    pub request_id: Option<String>,
    /// How many refused requests before this one were too many to be recorded.
    pub skipped: u64,
}

impl AuditRecord {
    /// The method of records that are of no request.
    pub const COMMAND: &'static str = "COMMAND";
    /// Longest name of a thing that has no id, in characters.
    const LONGEST_NAME: usize = 128;

    /// A change that begins now.
    pub fn new(method: &str, route: &str) -> Self {
        Self {
            id: AuditId::new(),
            object: "audit_record".to_owned(),
            at: Timestamp::now(),
            key: None,
            method: method.to_owned(),
            route: route.to_owned(),
            thing: None,
            status: None,
            address: None,
            request_id: None,
            skipped: 0,
        }
    }

    /// What a command has done to a key.
    pub fn command(command: &str, key: KeyId) -> Self {
        Self {
            thing: Some(key.to_string()),
            ..Self::new(Self::COMMAND, command)
        }
    }

    /// Whether it was refused or has failed: this costs a client nothing, so there may be any number of it.
    pub fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
    }

    /// What a caller calls a thing, as it may be kept: short, and without what looks like a key.
    pub fn name_of_thing(text: &str) -> String {
        let hidden = Secret::hidden_in(text);
        let plain = hidden.chars().filter(|c| !c.is_control());
        plain.take(Self::LONGEST_NAME).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_keeps_no_secret() {
        let mut record = AuditRecord::command("keys create", KeyId::new());
        record.address = Some("2001:db8::7".parse().unwrap());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AuditRecord>(&text).unwrap(), record);
        assert!(!record.has_failed());
        let secret = Secret::draw().unwrap();
        let named = AuditRecord::name_of_thing(&format!("a\n{}{}", secret.reveal(), "é".repeat(200)));
        assert!(
            named.starts_with("aft_…é") && named.chars().count() == 128,
            "{named}"
        );
    }
}
