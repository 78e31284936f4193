//! Refuses requests that web pages of other sites make through a visitor's browser, whatever host name they use.
//!
//! Browsers let any page send requests to a loopback address; with DNS rebinding it can even read the responses. So the `Host` must be an
//! IP address, `localhost` or a configured name (except where only the server's health is asked for), and unsafe methods must not come from another origin (tower-http checks the latter).

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use crate::{
    config::{Config, PublicUrl},
    error::{Error, Kind},
    http::App,
};

/// Paths that say only whether the server is up. Who asks knows it by a name of a network of containers, or by none (HTTP/1.0).
const HEALTH: [&str; 5] = [
    "/healthz",
    "/readyz",
    "/ping",
    "/v2/health/live",
    "/v2/health/ready",
];

/// Refuses requests with an unknown `Host`, except those about the server's health.
pub async fn host(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Error> {
    if HEALTH.contains(&request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let named = request.uri().authority().cloned().or_else(|| {
        let value = request.headers().get(header::HOST)?;
        value.to_str().ok()?.parse::<Authority>().ok()
    });
    match named {
        Some(authority) if is_ours(authority.host(), app.config()) => {
            if !matches!(app.config().listen.port(), 80 | 443) {
                restore_port(&authority, request.headers_mut());
            }
            Ok(next.run(request).await)
        }
        named => Err(not_allowed(named.as_ref())),
    }
}

fn not_allowed(named: Option<&Authority>) -> Error {
    let detail = match named {
        Some(authority) => {
            let host: String = authority.host().chars().take(80).collect();
            format!(
                "the host name `{host}` is not allowed; if it belongs to the server, start the server with `--allowed-host {host}`"
            )
        }
        None => "the request has no `Host` header with the name of the server".to_owned(),
    };
    Error::new(Kind::Forbidden, "host-not-allowed", detail)
}

/// Gives a `Host` the port back that a proxy has dropped (nginx: `proxy_set_header Host $host`), from the `Origin` of the same host: the
/// check of the origin compares both with their ports. A browser never drops it, unless the server itself listens on a default port.
///
/// Pages on other ports of that host are then taken for our own, where a browser does not say `Sec-Fetch-Site`.
fn restore_port(host: &Authority, headers: &mut HeaderMap) {
    if host.port().is_some() {
        return;
    }
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://")?.1.parse::<Authority>().ok());
    if let Some(origin) = origin
        && origin.port().is_some()
        && origin.host().eq_ignore_ascii_case(host.host())
        && let Ok(restored) = HeaderValue::from_str(origin.as_str())
    {
        headers.insert(header::HOST, restored);
    }
}

fn is_ours(host: &str, config: &Config) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let public = config.public_url.as_ref().map(PublicUrl::host);
    let mut allowed = config.allowed_hosts.iter().map(String::as_str).chain(public);
    address.parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || allowed.any(|name| name.eq_ignore_ascii_case(host))
}

/// Security headers of every response: no sniffing, no framing, no resources from elsewhere.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
            base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
        ),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_the_same_host_is_restored() {
        let restored = |host: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            restore_port(&host.parse().unwrap(), &mut headers);
            headers[header::HOST].to_str().unwrap().to_owned()
        };
        assert_eq!(
            restored("models.example.org", "https://models.example.org:8443"),
            "models.example.org:8443"
        );
        assert_eq!(
            restored("Models.example.org", "http://models.example.org:81"),
            "models.example.org:81"
        );
        assert_eq!(restored("[::1]", "http://[::1]:9000"), "[::1]:9000");
        for (host, origin) in [
            ("models.example.org", "https://evil.test:8443"),
            ("models.example.org", "https://models.example.org.evil.test:8443"),
            ("models.example.org:8080", "https://models.example.org:8443"),
            ("models.example.org", "https://models.example.org"),
            ("models.example.org", "null"),
            ("models.example.org", "https://user@evil.test:1"),
        ] {
            assert_eq!(restored(host, origin), host, "{origin}");
        }
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        let mut config = Config::for_data_dir(".");
        config.allowed_hosts = vec!["models.example.org".to_owned()];
        config.public_url = Some("https://public.example.org/models".parse().unwrap());
        for host in [
            "127.0.0.1",
            "[::1]",
            "10.1.2.3",
            "localhost",
            "LOCALHOST",
            "models.example.org",
            "public.example.org",
        ] {
            assert!(is_ours(host, &config), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil",
            "127.0.0.1.evil",
            "models.example.org.evil",
            "",
        ] {
            assert!(!is_ours(host, &config), "{host}");
        }
    }
}
