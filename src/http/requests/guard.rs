//! Who may talk to the server at all: a page of another site may not, under whatever name it reached us.
//!
//! Browsers let any page send requests to a loopback address; with DNS rebinding it may even read the answers. So the `Host` must be
//! an address, `localhost` or a configured name, and unsafe methods must not come from another origin (that part is tower-http's).

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

/// Refuses requests to host names that are not ours.
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
            let detail = "requests to this host name are not answered; add it with --allowed-host if it is the server's";
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

/// On every answer: nothing is sniffed, framed or loaded from elsewhere.
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
