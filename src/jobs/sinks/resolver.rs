//! Looks names up for webhooks, and gives only addresses that they may reach.
//!
//! The connection goes to what was looked at here: a name that stands for another address a moment later changes nothing. An address in the
//! place of a name never comes here; [`check_literal`] is for those.

use std::net::{IpAddr, SocketAddr};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::addresses::is_public;

/// A host that webhooks may not reach.
#[derive(Debug, thiserror::Error)]
#[error(
    "its address is private, of this machine or of this network's link; --webhook-allow-private allows such targets"
)]
pub struct Private;

/// The resolver of the client.
pub struct Resolver {
    pub allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            // The port is the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found = reachable(found.collect(), allow_private)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Those addresses of a host that may be reached.
///
/// # Errors
/// None of them may.
fn reachable(mut found: Vec<SocketAddr>, allow_private: bool) -> Result<Vec<SocketAddr>, Private> {
    found.retain(|address| allow_private || is_public(address.ip()));
    match found.is_empty() {
        true => Err(Private),
        false => Ok(found),
    }
}

/// # Errors
/// The host of a URL is an address that may not be reached.
pub fn check_literal(url: &Url, allow_private: bool) -> Result<(), Private> {
    let host = url.host_str().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) if !allow_private && !is_public(address) => Err(Private),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_private_addresses_is_reached_by_the_others_only() {
        let of =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let both = of(&["10.0.0.1:0", "1.1.1.1:0"]);
        assert_eq!(reachable(both.clone(), false).unwrap(), of(&["1.1.1.1:0"]));
        assert_eq!(reachable(both.clone(), true).unwrap(), both);
        assert!(reachable(of(&["127.0.0.1:0", "[::1]:0"]), false).is_err());
        assert!(reachable(Vec::new(), true).is_err());
    }

    #[test]
    fn an_address_is_judged_however_it_is_written() {
        let check = |text: &str, allow| check_literal(&Url::parse(text).unwrap(), allow).is_ok();
        for private in [
            "http://127.0.0.1:80/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
        ] {
            assert!(!check(private, false) && check(private, true), "{private}");
        }
        assert!(check("https://1.1.1.1/", false) && check("https://a.example/", false));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let resolve = async |allow_private| {
            let name = "localhost".parse().unwrap();
            Resolver { allow_private }
                .resolve(name)
                .await
                .map(|found| found.count())
        };
        assert!(resolve(true).await.unwrap() > 0);
        let refused = resolve(false).await.unwrap_err();
        assert!(refused.is::<Private>(), "{refused}");
    }
}
