//! Refuses requests that web pages of other sites make through a visitor's browser, whatever host name they use.
//!
//! Browsers let any page send requests to a loopback address; with DNS rebinding it can even read the responses. So the `Host` must be an
//! IP address, `localhost` or a configured name, and unsafe methods must not come from another origin (tower-http checks the latter).

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use crate::{
    error::{Error, Kind},
    http::App,
};

/// Refuses requests with an unknown `Host`.
pub async fn host(State(app): State<App>, request: Request, next: Next) -> Result<Response, Error> {
    let named = request.uri().authority().cloned().or_else(|| {
        let value = request.headers().get(header::HOST)?;
        value.to_str().ok()?.parse::<Authority>().ok()
    });
    match named {
        Some(authority) if is_ours(authority.host(), &app.config().allowed_hosts) => {
            Ok(next.run(request).await)
        }
        _ => {
            let detail =
                "this host name is not allowed; if it belongs to the server, add it with --allowed-host";
            Err(Error::new(Kind::Forbidden, "host-not-allowed", detail))
        }
    }
}

fn is_ours(host: &str, allowed: &[String]) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
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
    fn addresses_localhost_and_configured_names_are_ours() {
        let allowed = ["models.example.org".to_owned()];
        for host in [
            "127.0.0.1",
            "[::1]",
            "10.1.2.3",
            "localhost",
            "LOCALHOST",
            "models.example.org",
        ] {
            assert!(is_ours(host, &allowed), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil",
            "127.0.0.1.evil",
            "models.example.org.evil",
            "",
        ] {
            assert!(!is_ours(host, &allowed), "{host}");
        }
    }
}
