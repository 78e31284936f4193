//! What the system is asked about sockets, and told.

use std::{os::fd::BorrowedFd, time::Duration};

use rustix::{
    ioctl::{Getter, Opcode, ioctl},
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::net::TcpListener;

/// `SIOCOUTQ` of Linux (tcp(7)).
const UNSENT_BYTES: Opcode = 0x5411;

/// After how long a silent peer is asked whether it is still there, how often, and how many times in vain.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASK_TIMES: u32 = 4;

/// What was written to a socket and its peer's machine has not acknowledged.
pub(super) fn unsent(socket: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the opcode is Linux's for this question on a TCP socket, and its answer is one `int`.
    let bytes = unsafe { ioctl(socket, Getter::<UNSENT_BYTES, i32>::new()) };
    bytes.ok().and_then(|bytes| u64::try_from(bytes).ok())
}

/// What the peer has not taken is dropped when the socket is closed: the kernel would keep it, and the connection, for minutes.
pub(super) fn forget_unsent(socket: BorrowedFd<'_>) {
    // Where it fails the kernel keeps it.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Has the kernel end connections whose peer is gone without a word: machines that lost their power or their network. Connections inherit
/// it from the socket that accepts them.
pub fn watch_for_dead_peers(listener: &TcpListener) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(listener, ASK_TIMES)?;
    Ok(())
}

/// Lets this process open as many files and sockets as the system allows it to; how many that is.
pub fn allow_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it is refused the old limit holds.
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}
