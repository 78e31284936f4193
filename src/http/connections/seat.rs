//! A connection's entry in the registry, removed with the connection.

/// Removes the entry when dropped.
pub struct Seat(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Seat {
    pub fn new(leave: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(leave)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(leave) = self.0.take() {
            leave();
        }
    }
}
