//! Which system calls a child must do without.
//!
//! A list of what is denied, not of what is allowed: libtorch, CUDA's driver and the C library change what they use with every release, and a
//! call that was forgotten in a list of allowed ones ends a training that ran for days. Nearly all denied calls fail with `EPERM`, which
//! libraries that only try something can live with. What no honest decoder, library or driver does at all ends the process.

use libc::c_long;
use seccompiler::{SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Calls and when they are meant; always, where there is no rule.
pub type Calls = Vec<(c_long, Vec<SeccompRule>)>;

/// Numbers of calls are given out in order, the same on all architectures; this is the first that is not thought about here (those before it:
/// up to Linux 6.12).
pub const FIRST_UNKNOWN: u32 = 463;

/// Of asm-generic/fcntl.h and sockios.h.
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
const FIOSETOWN: u32 = 0x8901;

/// What ends the process: other processes' memory, the kernel itself, and what the file system consists of.
pub fn killed() -> Calls {
    always(&[
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_setns,
    ])
}

/// What fails. `own` is the number of this process.
pub fn refused(own: u64) -> Calls {
    let mut calls = always(PROCESSES);
    calls.extend(always(KERNEL));
    calls.extend(always(SHARED));
    calls.extend(always(ATTRIBUTES));
    #[cfg(target_arch = "x86_64")]
    calls.extend(always(OF_X86));
    calls.extend(to_others(own));
    calls.extend(some_uses());
    calls
}

/// All that a socket is good for; one that is made cannot be used, and none can be made.
pub fn of_sockets() -> Calls {
    always(&[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
    ])
}

/// Other programs and other processes.
const PROCESSES: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_unshare,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_ioprio_set,
    libc::SYS_setpgid,
    libc::SYS_setsid,
];

/// Parts of the kernel that have nothing to do with computing, and that had the most holes.
const KERNEL: &[c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_chroot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_memfd_secret,
];

/// Memory and queues that other processes can open.
const SHARED: &[c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// What Landlock does not know: whom a file belongs to, who may use it, when it was changed. A child could otherwise take the database's
/// permissions away. And links, which the server would follow.
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
];

/// Older forms of the same, and what only this processor has.
#[cfg(target_arch = "x86_64")]
const OF_X86: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];

/// Calls that name a process: they may name this one. There will never be another of its own, because it cannot start any.
fn to_others(own: u64) -> Calls {
    let not_own = |argument| rule([differs(argument, own)]);
    // 0 is the caller.
    let neither = |argument| rule([differs(argument, 0), differs(argument, own)]);
    vec![
        (libc::SYS_kill, vec![not_own(0)]),
        (libc::SYS_tgkill, vec![not_own(0)]),
        (libc::SYS_prlimit64, vec![neither(0)]),
        (libc::SYS_sched_setaffinity, vec![neither(0)]),
        (libc::SYS_sched_setattr, vec![neither(0)]),
        (libc::SYS_sched_setparam, vec![neither(0)]),
        (libc::SYS_sched_setscheduler, vec![neither(0)]),
        // Of a process, not of a group or of a user.
        (
            libc::SYS_setpriority,
            vec![rule([differs(0, u64::from(libc::PRIO_PROCESS))]), neither(1)],
        ),
    ]
}

/// Calls of which only some uses are denied.
fn some_uses() -> Calls {
    // A new process, or one in other namespaces; threads are fine.
    let no_thread = rule([has_bits(0, libc::CLONE_THREAD as u32, 0)]);
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let namespaces = namespaces.map(|flag| rule([has_bits(0, flag as u32, flag as u32)]));
    // A file's owner is sent signals about it.
    let owners = [libc::F_SETOWN as u32, F_SETOWN_EX, F_SETSIG].map(|act| rule([is(1, act)]));
    // Typing into the terminal of whoever started the program by hand.
    let typing = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32, FIOSETOWN].map(|act| rule([is(1, act)]));
    // Outliving the server, and inviting others to trace.
    let ties = [libc::PR_SET_PDEATHSIG, libc::PR_SET_PTRACER].map(|act| rule([is(0, act as u32)]));
    vec![
        (libc::SYS_clone, [vec![no_thread], namespaces.to_vec()].concat()),
        (libc::SYS_fcntl, owners.to_vec()),
        (libc::SYS_ioctl, typing.to_vec()),
        (libc::SYS_prctl, ties.to_vec()),
    ]
}

fn always(calls: &[c_long]) -> Calls {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// All conditions at once.
fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> SeccompRule {
    SeccompRule::new(conditions.to_vec()).expect("there is a condition")
}

fn is(argument: u8, value: u32) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Eq, u64::from(value))
}

fn differs(argument: u8, value: u64) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Ne, value)
}

/// Of the bits of `mask`, exactly those in `value` are set.
fn has_bits(argument: u8, mask: u32, value: u32) -> SeccompCondition {
    condition(
        argument,
        SeccompCmpOp::MaskedEq(u64::from(mask)),
        u64::from(value),
    )
}

/// Numbers of processes, flags and commands all have 32 bits.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> SeccompCondition {
    SeccompCondition::new(argument, Dword, operator, value).expect("calls have six arguments")
}
