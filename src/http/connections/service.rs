//! The routes, as a hyper service for one connection.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header},
};
use hyper::{body::Incoming, service::Service};
use tower::ServiceExt;

use super::{
    body::{Answer, Awaited},
    connection::Connection,
};

/// Serves the requests of a connection, and passes its identity to the routes.
pub struct Served {
    pub router: Router,
    pub connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for Served {
    type Response = Response<Answer<Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let connection = self.connection.clone();
        connection.request_begins();
        let mut request = request.map(|body| Awaited::new(body, connection.clone()));
        request.extensions_mut().insert(connection.clone());
        let answer = self.router.clone().oneshot(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if connection.is_closing() {
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answer { body, connection }))
        })
    }
}
