//! `/v1/webhooks`: who is told how jobs and datasets ended, and the log of what they were told.

pub mod deliveries;
pub mod webhook;
