//! How a request looks from outside, before the proxies in front: whose it is, under which host and below which path, and whether its client
//! speaks TLS. The first layer around all routes, which need not know of any proxy.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::forwarded;
use crate::{
    config::{PublicUrl, Within},
    http::{
        App,
        connections::{Caller, Ongoing},
    },
};

/// What cookies and redirects need to know; among the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// Whether the client speaks TLS, with this server or with a trusted proxy.
    pub is_https: bool,
    /// The path before the server's own, without a slash at its end.
    pub prefix: Option<String>,
}

/// Gives a request the form that it would have without proxies, and its response the path that they have cut off.
pub async fn see(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let config = app.config();
    let peer = Caller::of(request.extensions()).0;
    let speaks_tls = request
        .extensions()
        .get::<Ongoing>()
        .is_some_and(Ongoing::is_secure);
    let said = forwarded::believed(peer, request.headers(), &config.trusted_proxies);
    let public = config.public_url.as_ref();
    // What the proxy does not say is as the operator says; who comes by another way is not concerned.
    let by_public = public.filter(|_| peer.is_proxy());
    let is_https = said
        .is_https
        .unwrap_or(speaks_tls || by_public.is_some_and(PublicUrl::is_https));
    if let Some(host) = said.host {
        take_host(&mut request, host);
    }
    let prefix = match cut(&mut request, public) {
        Cut::No => said.prefix.or_else(|| by_public?.prefix().map(str::to_owned)),
        Cut::Yes(prefix) => Some(prefix),
        Cut::Redirected(response) => return response,
    };
    let extensions = request.extensions_mut();
    extensions.insert(Caller(said.client));
    extensions.insert(Outside {
        is_https,
        prefix: prefix.clone(),
    });
    let mut response = next.run(request).await;
    if let Some(prefix) = prefix {
        put_before(&prefix, &mut response);
    }
    response
}

/// The host that the client asked for is the one that counts: for the names that are allowed, and for pages of the same origin.
fn take_host(request: &mut Request, host: HeaderValue) {
    request.headers_mut().insert(header::HOST, host);
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
}

enum Cut {
    No,
    Yes(String),
    Redirected(Response),
}

/// Cuts the prefix of the public address off, where no proxy has done it.
fn cut(request: &mut Request, public: Option<&PublicUrl>) -> Cut {
    let Some((public, prefix)) = public.and_then(|public| Some((public, public.prefix()?))) else {
        return Cut::No;
    };
    let path = match public.within(request.uri().path()) {
        Within::No => return Cut::No,
        // The addresses of the dashboard are relative: without the slash they would lead elsewhere.
        Within::Root if request.method().is_safe() => {
            let location = [(header::LOCATION, format!("{prefix}/"))];
            return Cut::Redirected((StatusCode::PERMANENT_REDIRECT, location).into_response());
        }
        Within::Root => "/",
        Within::Path(path) => path,
    };
    let query = request.uri().query().map(|query| format!("?{query}"));
    let rest = format!("{path}{}", query.unwrap_or_default());
    let Ok(rest) = PathAndQuery::try_from(rest) else {
        return Cut::No;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(rest);
    let Ok(uri) = Uri::from_parts(parts) else {
        return Cut::No;
    };
    *request.uri_mut() = uri;
    Cut::Yes(prefix.to_owned())
}

/// Prepends the prefix to a `Location` on this server, so that it leads back through the proxy.
fn put_before(prefix: &str, response: &mut Response) {
    if let Some(location) = response.headers().get(header::LOCATION)
        && let Ok(path) = location.to_str()
        && path.starts_with('/')
        && let Ok(restored) = HeaderValue::from_str(&format!("{prefix}{path}"))
    {
        response.headers_mut().insert(header::LOCATION, restored);
    }
}
