//! Any JSON as what callers ask for: specs of jobs of every kind, previews, splits, options of reading, keys, webhooks. What is taken and
//! shown with its defaults is itself such a document, and means the same; what is refused has faults that say where and why.

#![no_main]

use std::fmt::Debug;

use finetuned_fuzz::{
    domain::{
        access::NewKey,
        datasets::reading::ReadOptions,
        sinks::{NewWebhook, WebhookEdit},
        spec::{Circumstances, JobKind, JobSpec, PreviewSpec, Spec, parse_split},
        time::Timestamp,
    },
    error::FieldError,
    faults,
    http::requests::json,
};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = json::parse(bytes) else {
        return;
    };
    for kind in JobKind::ALL {
        let mut document = document.clone();
        if let Some(fields) = document.as_object_mut() {
            fields.insert("kind".to_owned(), kind.as_str().into());
        }
        let spec = means_itself(&document, Spec::parse);
        assert!(spec.is_none_or(|spec| spec.kind() == *kind));
    }
    means_itself(&document, JobSpec::parse);
    means_itself(&document, parse_split);
    with_circumstances(&document);
    without_nulls(bytes, &document);
    others(&document);
});

/// What was taken, if it was.
fn means_itself<T: Serialize + Debug + PartialEq>(
    document: &Value,
    parse: impl Fn(&Value) -> Result<T, Vec<FieldError>>,
) -> Option<T> {
    let spec = taken(parse(document))?;
    let shown = serde_json::to_value(&spec).expect("it is JSON");
    let again = parse(&shown).unwrap_or_else(|faults| panic!("{shown} is refused: {faults:?}"));
    assert_eq!(again, spec, "{shown}");
    assert_eq!(serde_json::to_value(&again).expect("it is JSON"), shown);
    Some(spec)
}

fn taken<T>(outcome: Result<T, Vec<FieldError>>) -> Option<T> {
    outcome.inspect_err(|told| faults::are_told(told)).ok()
}

/// What `auto` has chosen stays chosen, whatever the server has become meanwhile, and the database gives it back as it was.
fn with_circumstances(document: &Value) {
    let of = |train_images, has_gpu| Circumstances {
        train_images,
        has_gpu,
    };
    for circumstances in [of(None, false), of(Some(100), false), of(Some(5000), true)] {
        let Some(spec) = taken(Spec::parse_in(document, Some(&circumstances))) else {
            continue;
        };
        let shown = serde_json::to_value(&spec).expect("it is JSON");
        assert_eq!(Spec::parse(&shown).as_ref(), Ok(&spec), "{shown}");
        let stored: Spec = serde_json::from_value(shown).expect("it was written so");
        assert_eq!(stored, spec);
    }
}

/// A field that is null is as if it were absent.
fn without_nulls(bytes: &[u8], document: &Value) {
    let bare = json::parse_set(bytes).expect("it is JSON");
    if let (Some(with), Some(without)) = (taken(Spec::parse(document)), taken(Spec::parse(&bare))) {
        assert_eq!(with, without);
    }
}

fn others(document: &Value) {
    if let Some(preview) = taken(PreviewSpec::parse(document, "flowers")) {
        let shown = serde_json::to_value(&preview).expect("it is JSON");
        let stored: PreviewSpec = serde_json::from_value(shown).expect("it was written so");
        assert_eq!(stored, preview);
    }
    let now = Timestamp(1_800_000_000_000);
    if let Some(key) = taken(NewKey::parse(document, now)) {
        let scopes = &key.scopes;
        assert!(!scopes.is_empty() && scopes.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(key.expires_at.is_none_or(|end| end > now));
        assert_eq!(key.clone().checked(now), Ok(key));
    }
    if let Some(webhook) = taken(NewWebhook::parse(document)) {
        assert!(!webhook.events.is_empty());
    }
    taken(WebhookEdit::parse(document));
    if let Ok(options) = serde_json::from_value::<ReadOptions>(document.clone()) {
        let shown = serde_json::to_value(&options).expect("it is JSON");
        let again: ReadOptions = serde_json::from_value(shown).expect("it was written so");
        assert_eq!(again, options);
        let found = options.faults();
        if !found.is_empty() {
            faults::are_told(&found);
        }
    }
}
