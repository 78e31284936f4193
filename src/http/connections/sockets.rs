//! Socket options and queries of the operating system.

use std::{os::fd::BorrowedFd, time::Duration};

use rustix::{
    ioctl::{Getter, Opcode, ioctl},
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::net::TcpListener;

/// Linux's `SIOCOUTQ` (tcp(7)).
const UNSENT_BYTES: Opcode = 0x5411;

/// TCP keepalive: idle time before the first probe, interval, and number of unanswered probes.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASK_TIMES: u32 = 4;

/// Bytes written to a socket that the peer has not acknowledged.
pub(super) fn unsent(socket: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the opcode is Linux's for this query on a TCP socket, and its result is one `int`.
    let bytes = unsafe { ioctl(socket, Getter::<UNSENT_BYTES, i32>::new()) };
    bytes.ok().and_then(|bytes| u64::try_from(bytes).ok())
}

/// Discards unacknowledged data when the socket is closed: otherwise the kernel would keep it, and the connection, for minutes.
pub(super) fn forget_unsent(socket: BorrowedFd<'_>) {
    // If this fails, the kernel keeps it.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Makes the kernel close connections whose peer has disappeared: machines that lost power or their network. Accepted sockets inherit this
/// from the listening socket.
pub fn watch_for_dead_peers(listener: &TcpListener) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(listener, ASK_TIMES)?;
    Ok(())
}

/// Raises this process's limit of open files and sockets to the maximum that the system allows; returns it.
pub fn allow_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If this is refused, the old limit applies.
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}
