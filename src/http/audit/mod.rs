//! The audit log of requests that change something: noted around the routes ([`layer`]), written down behind them ([`journal`]), so that no
//! request waits for it and none fails because of it.

mod file;
mod flood;
mod journal;
pub mod layer;
pub mod list;
mod slip;
mod thing;

pub use self::{journal::Journal, slip::Slip, thing::id_of};
