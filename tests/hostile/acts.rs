//! All acts, and how each must end in a sandbox.

use std::io;

use crate::{calls, files, processes, sockets, world::World};

pub struct Act {
    pub name: &'static str,
    pub play: fn(&World) -> io::Result<()>,
    pub end: End,
    pub by: By,
    /// It may fail without a sandbox, too, for want of privileges or of something in the kernel.
    pub needs_privileges: bool,
    /// The child has had a network before.
    pub after_fetching: bool,
    pub on_a_thread: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Refused,
    /// By the kernel, for a system call.
    Killed,
}

/// What prevents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// From this version on.
    Landlock(u32),
    Seccomp,
    Either,
    /// It is allowed.
    Nobody,
}

const fn act(name: &'static str, play: fn(&World) -> io::Result<()>, end: End, by: By) -> Act {
    Act {
        name,
        play,
        end,
        by,
        needs_privileges: false,
        after_fetching: false,
        on_a_thread: false,
    }
}

const fn allowed(name: &'static str, play: fn(&World) -> io::Result<()>) -> Act {
    act(name, play, End::Done, By::Nobody)
}

/// A file that Landlock keeps closed.
const fn closed(name: &'static str, play: fn(&World) -> io::Result<()>) -> Act {
    act(name, play, End::Refused, By::Landlock(1))
}

/// A system call that fails.
const fn refused(name: &'static str, play: fn(&World) -> io::Result<()>) -> Act {
    act(name, play, End::Refused, By::Seccomp)
}

/// A system call that ends the process.
const fn killed(name: &'static str, play: fn(&World) -> io::Result<()>) -> Act {
    act(name, play, End::Killed, By::Seccomp).privileged()
}

impl Act {
    const fn privileged(self) -> Self {
        Self {
            needs_privileges: true,
            ..self
        }
    }

    const fn on_a_thread(self) -> Self {
        Self {
            on_a_thread: true,
            ..self
        }
    }

    const fn after_fetching(self) -> Self {
        Self {
            after_fetching: true,
            ..self
        }
    }

    const fn by(self, by: By) -> Self {
        Self { by, ..self }
    }
}

pub static ACTS: &[Act] = &[
    allowed("read-the-input", files::read_input),
    allowed("work-in-its-folder", files::work),
    allowed("read-about-the-processor", files::about_the_host),
    allowed("compute-on-threads", processes::threads),
    allowed("signal-itself", processes::signal_itself),
    allowed("use-pipes", sockets::pipes),
    // Sockets.
    refused("connect-tcp", sockets::connect),
    refused("connect-tcp-on-a-thread", sockets::connect).on_a_thread(),
    refused("connect-tcp-after-fetching", sockets::connect).after_fetching(),
    refused("listen-tcp", sockets::listen),
    refused("send-udp", sockets::udp),
    refused("connect-unix", sockets::unix),
    refused("connect-abstract", sockets::abstract_unix),
    refused("pair-of-sockets", sockets::pair),
    refused("netlink", sockets::netlink),
    // The server's files.
    closed("read-the-database", files::read_database),
    closed("read-the-database-on-a-thread", files::read_database).on_a_thread(),
    closed("write-the-database", files::write_database),
    act(
        "truncate-the-database",
        files::truncate_database,
        End::Refused,
        By::Landlock(3),
    ),
    closed("remove-the-database", files::remove_database),
    closed("replace-the-database", files::replace_database),
    refused("change-who-may-use-the-database", files::chmod_database),
    refused("change-when-the-database-was-written", files::touch_database),
    refused("label-the-database", files::xattr_database).privileged(),
    closed("read-another-blob", files::read_blob),
    closed("list-the-data-directory", files::list_data),
    closed("write-the-input", files::write_input),
    refused("change-who-may-use-the-input", files::chmod_input),
    closed("write-beside-its-folder", files::write_beside),
    closed("reach-the-database-over-its-folder", files::over_its_folder),
    closed("reach-the-database-over-its-root", files::over_its_root),
    // What the server would follow.
    act(
        "link-a-blob-into-its-folder",
        files::link,
        End::Refused,
        By::Either,
    ),
    act("point-from-its-folder", files::symlink, End::Refused, By::Either),
    act(
        "put-a-pipe-into-its-folder",
        files::fifo,
        End::Refused,
        By::Either,
    ),
    // The host's files.
    closed("read-accounts", files::accounts),
    closed("list-the-root", files::list_root),
    closed("list-processes", files::list_processes),
    closed("write-shared-memory", files::shared_memory),
    // The server's process.
    closed("read-the-servers-environment", files::environment),
    closed("open-the-servers-memory", files::memory),
    closed("list-the-servers-open-files", files::open_files),
    killed("trace-a-process", processes::trace),
    killed("read-a-processs-memory", processes::read_memory),
    killed("write-a-processs-memory", processes::write_memory),
    refused("kill-a-process", processes::kill),
    refused("kill-a-process-on-a-thread", processes::kill).on_a_thread(),
    refused("kill-a-thread-of-a-process", processes::kill_thread),
    refused("kill-everybody", processes::kill_everybody),
    refused("kill-a-process-by-its-descriptor", processes::kill_by_descriptor),
    refused("queue-a-signal", processes::queue_signal),
    act(
        "have-a-pipe-signal-a-process",
        processes::signal_by_pipe,
        End::Refused,
        By::Either,
    ),
    refused("limit-a-process", processes::limit),
    refused("slow-a-process-down", processes::slow_down),
    refused("bind-a-process-to-a-core", processes::bind),
    // More processes.
    refused("start-a-program", processes::start_program),
    refused("become-a-program", processes::become_program),
    refused("fork", processes::fork),
    refused("clone", processes::clone),
    refused("leave-the-session", processes::leave_session).privileged(),
    refused("outlive-the-server", processes::outlive),
    refused("new-namespaces", processes::namespaces).privileged(),
    // The kernel.
    killed("mount", calls::mount),
    killed("enter-namespaces", calls::setns),
    killed("load-a-bpf-program", calls::bpf),
    killed("load-a-module", calls::module),
    killed("call-as-x32", calls::x32),
    killed("call-as-32-bit", calls::in_32_bits),
    refused("a-call-of-the-future", calls::unknown).privileged(),
    refused("io-uring", calls::io_uring).privileged(),
    refused("performance-events", calls::perf).privileged(),
    refused("user-faults", calls::userfaultfd).privileged(),
    refused("keyring", calls::keyring).privileged(),
    refused("shared-segment", calls::shared_segment).privileged(),
    refused("change-the-root", calls::chroot).privileged(),
    refused("open-by-handle", calls::open_by_handle).privileged(),
    refused("set-the-clock", calls::set_clock).privileged(),
    closed("become-another-user", processes::become_another)
        .privileged()
        .by(By::Nobody),
];
