//! The routes, as a hyper service for one connection.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery},
};
use hyper::{body::Incoming, service::Service};
use tower::ServiceExt;

use super::{
    body::{Answer, Awaited},
    connection::{Connection, Protocol},
    framing::FramingFault,
    ongoing::{Ongoing, UntilAnswered},
    shares::Permits,
};

/// Serves the requests of a connection, and passes its identity to the routes.
pub struct Served {
    pub router: Router,
    pub connection: Arc<Connection>,
    /// Requests of HTTP/2 of all connections: each counts as a connection of HTTP/1.1 would.
    pub places: Permits,
}

impl Service<Request<Incoming>> for Served {
    type Response = Response<Answer<Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (mut fault, mut crowded, mut place) = (None, false, None);
        if self.connection.protocol() == Protocol::Http2 {
            fault = as_in_http_1(&mut request).err();
            place = self.places.take(self.connection.peer()).ok();
            crowded = place.is_none();
        }
        let ongoing = Ongoing::begin(&self.connection, fault, crowded);
        let until = UntilAnswered::new(ongoing.clone(), place);
        let mut request = request.map(|body| Awaited::new(body, ongoing.clone()));
        request.extensions_mut().insert(ongoing);
        let answer = self.router.clone().oneshot(request);
        Box::pin(async move {
            let mut response = answer.await?;
            // HTTP/2 has no such header: its connections close when everything is answered.
            if until.request.is_closing() && until.request.protocol() == Protocol::Http1 {
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answer::new(body, until)))
        })
    }
}

/// Gives a request of HTTP/2 the form of one of HTTP/1.1, so that nothing behind this has to know two: `:authority` becomes `Host`.
///
/// # Errors
/// It has no host, or two that are not the same (RFC 9113, section 8.3.1).
fn as_in_http_1<B>(request: &mut Request<B>) -> Result<(), FramingFault> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (named, another) = (hosts.next().cloned(), hosts.next().is_some());
    let authority = request
        .uri()
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let host = match (authority, named) {
        _ if another => return Err(FramingFault::Hosts),
        (Some(authority), Some(named)) if !authority.as_bytes().eq_ignore_ascii_case(named.as_bytes()) => {
            return Err(FramingFault::Hosts);
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(FramingFault::Hosts),
    };
    request.headers_mut().insert(header::HOST, host);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_http_2_is_the_host() {
        let read = |uri: &str, hosts: &[&'static str]| {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            for host in hosts {
                request
                    .headers_mut()
                    .append(header::HOST, HeaderValue::from_static(host));
            }
            as_in_http_1(&mut request)?;
            let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
            Ok((host, request.uri().to_string()))
        };
        let expected = Ok(("a.test:1".to_owned(), "/v1/jobs?limit=1".to_owned()));
        assert_eq!(read("https://a.test:1/v1/jobs?limit=1", &[]), expected);
        assert_eq!(read("https://a.test:1/v1/jobs?limit=1", &["A.test:1"]), expected);
        assert_eq!(read("/v1/jobs?limit=1", &["a.test:1"]), expected);
        for (uri, hosts) in [
            ("/", &[][..]),
            ("https://a.test/", &["b.test"]),
            ("https://a.test/", &["a.test", "a.test"]),
        ] {
            assert_eq!(read(uri, hosts), Err(FramingFault::Hosts), "{uri} {hosts:?}");
        }
    }
}
