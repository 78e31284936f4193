//! `X-Forwarded-Prefix`: the path that a proxy in front has cut off. A `Location` in the response begins with it, so that it leads back
//! through the proxy.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Prepends the prefix to a `Location` on this server. A client that makes a prefix up misleads only itself: no response is cached.
pub async fn restore(request: Request, next: Next) -> Response {
    let prefix = prefix(request.headers());
    let mut response = next.run(request).await;
    if let Some(prefix) = prefix
        && let Some(location) = response.headers().get(header::LOCATION)
        && let Ok(path) = location.to_str()
        && path.starts_with('/')
        && let Ok(restored) = HeaderValue::from_str(&format!("{prefix}{path}"))
    {
        response.headers_mut().insert(header::LOCATION, restored);
    }
    response
}

/// The prefix without a slash at its end, if it is a plain path.
pub fn prefix(headers: &HeaderMap) -> Option<String> {
    let prefix = headers
        .get(FORWARDED_PREFIX)?
        .to_str()
        .ok()?
        .trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-%".contains(c);
    let is_path = prefix.starts_with('/') && !prefix.starts_with("//") && prefix.chars().all(plain);
    (is_path && prefix.len() <= 256).then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_on_this_host() {
        let of = |value: &'static str| {
            prefix(&HeaderMap::from_iter([(
                FORWARDED_PREFIX,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(of("/tools").as_deref(), Some("/tools"));
        assert_eq!(of("/tools/finetuned/").as_deref(), Some("/tools/finetuned"));
        for wrong in [
            "",
            "/",
            "tools",
            "//evil.test",
            "/a b",
            "/a\"b",
            "https://evil.test",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(prefix(&HeaderMap::new()), None);
    }
}
