//! Who may ask for what. One layer around all routes ([`gate`]) finds out who asks, and compares that with the table of what each route
//! needs ([`rules`]): a route that is not in the table is refused, whoever asks.
//!
//! As long as there is no key nobody needs one, and a server without keys listens to its own machine only, unless it is told otherwise.
//! From the first key on every request needs one, also after the last key was revoked.

mod allowed;
mod challenge;
mod credentials;
pub mod description;
pub mod gate;
mod keyring;
pub mod keys;
mod presented;
mod quota;
mod rate;
mod reach;
pub mod rules;
pub mod session;
mod sessions;
mod tries;

pub use self::{
    allowed::Allowed,
    keyring::Keyring,
    rate::{Passed, Rate},
    reach::check_job,
    sessions::Sessions,
    tries::Tries,
};
