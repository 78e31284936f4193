//! Who may do what: keys of callers, what a key may do, and the secret that proves who holds it.

mod audit;
mod holder;
mod key;
mod new_key;
mod quotas;
mod scope;
mod secret;

pub use self::{
    audit::AuditRecord,
    holder::Holder,
    key::{Key, KeyState},
    new_key::NewKey,
    quotas::Quotas,
    scope::Scope,
    secret::{InvalidSecret, Secret, SecretDigest},
};
