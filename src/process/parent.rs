//! A thread for each child, to be its parent: it starts the child and lives as long as anybody cares for it.
//!
//! A child asks the kernel to be killed with its parent, and to the kernel that is the thread that started it, not the process. The
//! threads of the runtime come and go as there is work for them, and would take their children along.

use std::{
    convert::Infallible,
    io,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use tokio::{runtime::Handle, sync::oneshot};

/// Of a thread that does nothing but start a program.
const STACK_BYTES: usize = 256 << 10;

/// Keeps a child's parent alive; with it goes the child.
pub struct Parent(#[allow(dead_code)] Sender<Infallible>);

/// Has a new thread `start` a child. What it makes must hold the [`Parent`] that it gets. If nobody waits for it any more, it is dropped.
///
/// # Errors
/// There can be no more threads, and what `start` fails with.
pub async fn have_started<T: Send + 'static>(
    start: impl FnOnce(Parent) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (parent, until_dropped) = channel();
    let (done, started) = oneshot::channel();
    let runtime = Handle::current();
    let begin = move || {
        let entered = runtime.enter();
        let _ = done.send(start(Parent(parent)));
        drop(entered);
        wait(until_dropped);
    };
    thread::Builder::new()
        .name("parent".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(begin)?;
    started.await.map_err(io::Error::other)?
}

fn wait(until_dropped: Receiver<Infallible>) {
    let Err(_) = until_dropped.recv();
}
