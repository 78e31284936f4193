//! The address under which clients know the server, where it is not the one that it listens on.

use std::str::FromStr;

use reqwest::Url;

/// Such as `https://models.example.org/finetuned`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    host: String,
    is_https: bool,
    prefix: String,
}

/// What a path is to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within<'p> {
    No,
    /// The prefix itself, without a slash at its end.
    Root,
    /// The path behind the prefix, with the slash at its beginning.
    Path(&'p str),
}

impl PublicUrl {
    /// As browsers send it: `https://models.example.org`, without a default port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Without a slash at its end; none: the server has the whole host.
    pub fn prefix(&self) -> Option<&str> {
        (!self.prefix.is_empty()).then_some(self.prefix.as_str())
    }

    pub fn within<'p>(&self, path: &'p str) -> Within<'p> {
        match self.prefix().and_then(|prefix| path.strip_prefix(prefix)) {
            Some("") => Within::Root,
            Some(rest) if rest.starts_with('/') => Within::Path(rest),
            _ => Within::No,
        }
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("{what}; write it as https://HOST, https://HOST:PORT or https://HOST/PREFIX")
        };
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it begins neither with https:// nor with http://"));
        }
        let Some(host) = url.host_str() else {
            return Err(wrong("it names no host"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must not have a name or a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end with its path"));
        }
        let prefix = url.path().trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-%".contains(c);
        if prefix.contains("//") || !prefix.chars().all(plain) || prefix.len() > 256 {
            return Err(wrong("its path is not a plain one"));
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            host: host.to_owned(),
            is_https: url.scheme() == "https",
            prefix: prefix.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_and_a_prefix() {
        let parsed = |text: &str| text.parse::<PublicUrl>().unwrap();
        let url = parsed("https://Models.example.org:443/tools/finetuned/");
        assert_eq!(url.origin(), "https://models.example.org");
        assert_eq!((url.host(), url.is_https()), ("models.example.org", true));
        assert_eq!(url.prefix(), Some("/tools/finetuned"));
        assert_eq!(url.within("/tools/finetuned"), Within::Root);
        assert_eq!(url.within("/tools/finetuned/v1/jobs"), Within::Path("/v1/jobs"));
        assert_eq!(url.within("/tools/finetuned2/v1/jobs"), Within::No);
        assert_eq!(url.within("/v1/jobs"), Within::No);
        let url = parsed("http://10.0.0.1:8080");
        assert_eq!((url.origin(), url.prefix()), ("http://10.0.0.1:8080", None));
        assert_eq!(url.within("/v1/jobs"), Within::No);
        for wrong in [
            "models.example.org",
            "ftp://models.example.org",
            "https://",
            "https://user@models.example.org",
            "https://models.example.org/?a",
            "https://models.example.org/#a",
            "https://models.example.org//a",
            "https://models.example.org/a;b",
        ] {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }
}
