//! `/metrics`: numbers for Prometheus, in the text format of OpenMetrics 1.0.
//!
//! What happens all the time is counted as it happens ([`requests`]); everything else is asked for when somebody looks ([`scrape`]). Labels are
//! of bounded number: templates of paths, kinds, the first hundred models.

mod devices;
mod disk;
mod gathered;
pub mod requests;
pub mod scrape;
mod state;
pub mod traces;

pub use self::state::Metrics;
