//! The addresses to listen on, the hub, and the clock, which the hub's answer is compared with.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use reqwest::{Client, header};

use super::{finding::Finding, place::Place};
use crate::{config::Config, domain::time::Timestamp};

/// Longest time that the hub has for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// 2026-01-01: this program did not exist before.
const EARLIEST: i64 = 1_767_225_600_000;
/// Certificates, and signatures of webhooks, allow for about as much.
const OFF: i64 = 5 * 60 * 1000;

pub fn ports(config: &Config, place: &Place) -> Vec<Finding> {
    let each = [Some(config.listen), config.health_listen];
    let addresses = each.into_iter().flatten();
    addresses.map(|address| port(address, place.is_served)).collect()
}

fn port(address: SocketAddr, is_served: bool) -> Finding {
    const CHECK: &str = "port";
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(CHECK, format!("{address} is free")),
        Err(error) => error,
    };
    let text = format!("cannot listen on {address}: {error}");
    match error.kind() {
        io::ErrorKind::AddrInUse if is_served => Finding::ok(
            CHECK,
            format!("{address} is in use, and a server runs on the data directory"),
        ),
        io::ErrorKind::AddrInUse => Finding::problem(
            CHECK,
            text,
            "another program listens there: stop it, or choose another address with --listen",
        ),
        io::ErrorKind::AddrNotAvailable => Finding::problem(
            CHECK,
            text,
            "this machine does not have the address: `ip address` lists those that it has",
        ),
        io::ErrorKind::PermissionDenied => Finding::problem(
            CHECK,
            text,
            "ports below 1024 need a privilege: choose a higher one, or put a proxy in front",
        ),
        _ => Finding::problem(CHECK, text, "choose another address with --listen"),
    }
}

/// What came of asking the hub.
pub struct Hub {
    pub finding: Finding,
    /// By its clock, in milliseconds.
    pub date: Option<i64>,
}

/// Without the token: whether it answers does not depend on it.
pub async fn hub(config: &Config) -> Hub {
    const CHECK: &str = "hub";
    let endpoint = &config.weights.hub_endpoint;
    if config.weights.offline {
        return Hub {
            finding: Finding::ok(CHECK, "not asked (--offline)"),
            date: None,
        };
    }
    match ask(endpoint).await {
        Ok(date) => Hub {
            finding: Finding::ok(CHECK, format!("{endpoint} answers")),
            date,
        },
        Err(error) => Hub {
            finding: Finding::warning(
                CHECK,
                format!("{endpoint} does not answer: {error:#}"),
                "weights that are not in the cache cannot be fetched: set HTTPS_PROXY or --hub-endpoint; without a network use --offline and \
                --weights-dir",
            ),
            date: None,
        },
    }
}

/// Any answer counts; the time in it, if it has one.
async fn ask(endpoint: &str) -> anyhow::Result<Option<i64>> {
    // A second one is refused, and that is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(PATIENCE).build()?;
    let answer = client.head(endpoint).send().await.map_err(|error| {
        // The innermost says why: "Connection refused".
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        match error.is_timeout() {
            true => anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()),
            false => anyhow::anyhow!("{cause}"),
        }
    })?;
    let date = answer.headers().get(header::DATE);
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    Ok(date.map(|date| date.timestamp().as_millisecond()))
}

/// Ids, lists and retention go by the clock. `newest`: the time of the newest row.
pub fn clock(newest: Option<Timestamp>, hub: Option<i64>) -> Finding {
    compare(Timestamp::now().0, newest.map(|newest| newest.0), hub)
}

fn compare(now: i64, newest: Option<i64>, hub: Option<i64>) -> Finding {
    const CHECK: &str = "clock";
    let shown = Timestamp(now).to_rfc3339();
    let advice = "set the clock, and keep it right with NTP (timedatectl set-ntp true)";
    if now < EARLIEST {
        return Finding::problem(CHECK, format!("{shown} is in the past"), advice);
    }
    if let Some(newest) = newest.filter(|newest| *newest > now + OFF) {
        let text = format!(
            "{shown}, and the database has something of {}",
            Timestamp(newest).to_rfc3339()
        );
        return Finding::warning(CHECK, text, advice);
    }
    if let Some(hub) = hub.filter(|hub| (now - hub).abs() > OFF) {
        let text = format!("{shown}, and the hub says {}", Timestamp(hub).to_rfc3339());
        return Finding::warning(CHECK, text, advice);
    }
    Finding::ok(CHECK, shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::doctor::finding::State;

    #[test]
    fn a_port_that_another_program_has_is_a_problem_and_that_of_our_server_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port(address, true).state, State::Ok);
        let problem = port(address, false);
        assert!(problem.state == State::Problem && problem.advice.unwrap().contains("--listen"));
        drop(taken);
        assert_eq!(port(address, false).state, State::Ok);
        // Of the range for documentation (RFC 5737).
        let elsewhere = port("192.0.2.1:8080".parse().unwrap(), false);
        assert!(elsewhere.advice.unwrap().contains("ip address"));
    }

    #[test]
    fn a_clock_that_is_far_off_is_noticed() {
        let now = EARLIEST + 1_000_000_000;
        assert_eq!(compare(now, Some(now - OFF), Some(now + OFF)).state, State::Ok);
        assert_eq!(compare(EARLIEST - 1, None, None).state, State::Problem);
        assert_eq!(compare(now, Some(now + OFF + 1), None).state, State::Warning);
        assert_eq!(compare(now, None, Some(now - OFF - 1)).state, State::Warning);
    }

    #[tokio::test]
    async fn a_hub_that_cannot_be_reached_is_a_warning_and_offline_is_none() {
        let mut config = Config::for_data_dir("nowhere");
        assert_eq!(hub(&config).await.finding.state, State::Ok);
        config.weights.offline = false;
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        config.weights.hub_endpoint = format!("http://{closed}");
        let asked = hub(&config).await;
        assert_eq!(asked.finding.state, State::Warning, "{:?}", asked.finding);
        assert!(asked.finding.advice.unwrap().contains("--offline"));
    }
}
