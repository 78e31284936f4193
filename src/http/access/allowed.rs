//! What the caller of a request may do, for handlers that have to look closer than the table of routes can.

use std::{sync::Arc, time::Instant};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{keyring::HeldKey, quota::Spent};
use crate::{
    domain::{
        access::{Holder, Key},
        name::GivenName,
    },
    error::{Error, Kind, Result},
    http::App,
};

/// Who was let in.
#[derive(Clone)]
pub enum Allowed {
    /// Anybody: there is no key.
    Everything,
    /// The holder of this key, which is good.
    ByKey(Arc<HeldKey>),
}

impl Allowed {
    /// The caller's key; none if none is needed.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Allowed::Everything => None,
            Allowed::ByKey(held) => Some(&held.key),
        }
    }

    /// Whose the things are that the request makes; nobody's if no key is needed.
    pub fn owner(&self) -> Option<Holder> {
        self.key().map(Key::holder)
    }

    /// Takes a request from what the key may make in a second, if that is limited.
    pub fn spend(&self, now: Instant) -> Option<Spent> {
        match self {
            Allowed::Everything => None,
            Allowed::ByKey(held) => held.spend(now),
        }
    }

    /// # Errors
    /// `key-limited` if the key may not use datasets of this name.
    pub fn check_dataset(&self, name: &str) -> Result<()> {
        match self.key() {
            Some(key) if !key.may_use_dataset(name) => Err(limited()),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// `key-limited` if the key may not use models, or the alias, of this name.
    pub fn check_model(&self, name: &str) -> Result<()> {
        match self.key() {
            Some(key) if !key.may_use_model(name) => Err(limited()),
            _ => Ok(()),
        }
    }

    /// For the name of a new dataset: one that was derived may get a number, and would then be another one.
    ///
    /// # Errors
    /// `key-limited`
    pub fn check_new_dataset(&self, name: &GivenName) -> Result<()> {
        let has_limit = self.key().is_some_and(|key| key.datasets.is_some());
        match name {
            GivenName::Derived(_) if has_limit => {
                let detail = "this key is limited to named datasets: choose one of them with `?name=`";
                Err(Error::new(Kind::Forbidden, "key-limited", detail))
            }
            name => self.check_dataset(name.name().as_str()),
        }
    }

    /// Waits until the caller may no longer do what it does: its key was revoked or has expired.
    pub async fn ends(&self) {
        match self {
            Allowed::Everything => std::future::pending().await,
            Allowed::ByKey(held) => held.ends().await,
        }
    }
}

/// It does not say whether there is what was asked for.
pub fn limited() -> Error {
    let detail = "this key is limited to named datasets or models, and what was asked for is or reaches something else";
    Error::new(Kind::Forbidden, "key-limited", detail)
}

impl FromRequestParts<App> for Allowed {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let allowed = parts.extensions.get::<Self>().cloned();
        // A route that lets everybody in does not know whom.
        allowed.ok_or_else(|| Error::internal(anyhow::anyhow!("this route asks nobody who they are")))
    }
}
