//! The tasks of the requests of an HTTP/2 connection, so that one of them can be ended and the others go on.

use std::sync::Arc;

use hyper::rt::Executor;

use super::connection::Connection;

/// Spawns what hyper asks for: right after a request was begun, the task that serves it.
#[derive(Clone)]
pub struct Streams(pub Arc<Connection>);

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, serving: F) {
        let task = tokio::spawn(serving);
        self.0.request_is_served_by(task.abort_handle());
    }
}
