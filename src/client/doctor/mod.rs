//! `finetuned doctor`: looks at everything that a server needs before one is started, or while one runs, and says what to do.
//!
//! It takes the settings of `finetuned serve` and changes nothing: what it writes to try the disk is removed again. Each line is one finding.

mod database;
mod disk;
mod finding;
mod limits;
mod network;
mod place;
mod sandbox;
mod weights;
mod worker;

pub use self::finding::{Report, State};
use self::{finding::Finding, place::Place};
use crate::config::Config;

/// Looks at everything; what cannot be looked at is a finding.
pub async fn examine(config: &Config) -> Report {
    let place = Place::of(&config.data_dir);
    let mut findings = vec![settings(config)];
    findings.extend(worker::examine(config).await);
    findings.extend(disk::examine(config, &place));
    let database = database::examine(&place).await;
    findings.extend(database.findings);
    findings.extend(network::ports(config, &place));
    findings.extend(limits::examine(config));
    findings.push(sandbox::examine(config));
    findings.push(weights::examine(config));
    let hub = network::hub(config).await;
    findings.push(network::clock(database.newest, hub.date));
    findings.push(hub.finding);
    Report::of(findings)
}

/// What a start would refuse before it looks at anything else.
fn settings(config: &Config) -> Finding {
    const CHECK: &str = "settings";
    match config.check() {
        Ok(()) => Finding::ok(CHECK, "fit together"),
        Err(error) => Finding::problem(
            CHECK,
            format!("{error:#}"),
            "the server does not start with them: see docs/SETTINGS.md",
        ),
    }
}

#[cfg(test)]
mod tests;
