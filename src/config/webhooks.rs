//! Settings of webhooks: which addresses the server may post to.

use std::{fmt, str::FromStr};

use clap::Args;
use reqwest::Url;

/// Where webhooks may go.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookConfig {
    /// Where webhooks may post to (comma-separated): a host, such as `hooks.example.org`, means `https://` there; a URL, such
    /// as `http://10.0.0.5:8000/hooks`, means that and what is below its path. Without any, there are no webhooks
    #[arg(
        long = "webhook-target",
        env = "FINETUNED_WEBHOOK_TARGETS",
        value_delimiter = ','
    )]
    pub webhook_targets: Vec<Target>,
    /// Allow webhooks to private, loopback and link-local addresses, which are refused otherwise, also where a name stands for one
    #[arg(long, env = "FINETUNED_WEBHOOK_ALLOW_PRIVATE")]
    pub webhook_allow_private: bool,
}

impl WebhookConfig {
    pub fn allows(&self, url: &Url) -> bool {
        self.webhook_targets.iter().any(|target| target.covers(url))
    }
}

/// A part of the web: one scheme, host and port, and the paths below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// Whether an address is in it. Both were normalised as browsers do it, so `..` in a path leads nowhere.
    pub fn covers(&self, url: &Url) -> bool {
        let is_there = url.scheme() == self.0.scheme()
            && url.host_str() == self.0.host_str()
            && url.port_or_known_default() == self.0.port_or_known_default();
        let prefix = self.0.path();
        let is_below = match url.path().strip_prefix(prefix) {
            Some(rest) => rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
            None => false,
        };
        is_there && is_below && is_plain(url)
    }
}

/// Whether an address has nothing in it that is not sent, or that another reader could take for something else.
fn is_plain(url: &Url) -> bool {
    let path = url.path().to_ascii_lowercase();
    url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        // A slash or a dot in disguise, which a server behind a proxy may undo.
        && !["%2f", "%5c", "%2e"].iter().any(|code| path.contains(code))
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("{what}; write it as HOST, HOST:PORT, or as the beginning of a URL, https://HOST/PATH")
        };
        let address = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let url = Url::parse(&address).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it begins neither with https:// nor with http://"));
        }
        if url.query().is_some() || !is_plain(&url) {
            return Err(wrong(
                "it must end with its path and must not have a name or a password",
            ));
        }
        if !text.contains("://") && url.path() != "/" {
            return Err(wrong("a path needs the scheme before it"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(target: &str, url: &str) -> bool {
        let target: Target = target.parse().unwrap();
        Url::parse(url).is_ok_and(|url| target.covers(&url))
    }

    #[test]
    fn a_host_is_https_there_and_nowhere_else() {
        for inside in [
            "https://hooks.example.org",
            "https://hooks.example.org:443/a/b?c=d",
            "https://HOOKS.example.org/",
        ] {
            assert!(covers("hooks.example.org", inside), "{inside}");
        }
        for outside in [
            "http://hooks.example.org/",
            "https://hooks.example.org:8443/",
            "https://hooks.example.org.evil.example/",
            "https://evil.example/hooks.example.org",
            "https://hooks.example.org@evil.example/",
            "https://user:word@hooks.example.org/",
            "https://hooks.example.org/#a",
            "https://other.hooks.example.org/",
            "file://hooks.example.org/",
        ] {
            assert!(!covers("hooks.example.org", outside), "{outside}");
        }
        assert!(covers(
            "hooks.example.org:8443",
            "https://hooks.example.org:8443/"
        ));
    }

    #[test]
    fn a_url_is_what_is_below_it() {
        let target = "http://10.0.0.5:8000/hooks";
        for inside in ["http://10.0.0.5:8000/hooks", "http://10.0.0.5:8000/hooks/a?b"] {
            assert!(covers(target, inside), "{inside}");
        }
        for outside in [
            "http://10.0.0.5:8000/",
            "http://10.0.0.5:8000/hooksmore",
            "http://10.0.0.5:8000/hooks/../admin",
            "http://10.0.0.5:8000/hooks/%2e%2e/admin",
            "http://10.0.0.5:8000/hooks/..%2fadmin",
            "http://10.0.0.5:8000/hooks\\..\\admin",
            "http://10.0.0.5/hooks",
            "https://10.0.0.5:8000/hooks",
        ] {
            assert!(!covers(target, outside), "{outside}");
        }
        // Another spelling of the same address.
        assert!(covers("http://127.0.0.1/", "http://2130706433/"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "ftp://a.example",
            "https://u:p@a.example",
            "https://a.example/?q",
            "https://a.example/#f",
            "a.example/path",
            "a b",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
