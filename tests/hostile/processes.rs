//! Other processes, and more of them.

use std::{
    io::{self, Write},
    mem,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
    ptr, thread,
};

use crate::{
    calls::{answer, call},
    world::World,
};

pub fn threads(_: &World) -> io::Result<()> {
    let sum: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|number| scope.spawn(move || number * number))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sum, 140);
    Ok(())
}

/// As `abort` does.
pub fn signal_itself(_: &World) -> io::Result<()> {
    // SAFETY: numbers only; this signal is ignored.
    unsafe {
        answer(libc::raise(libc::SIGCHLD).into())?;
        answer(libc::kill(libc::getpid(), libc::SIGCHLD).into())
    }
}

pub fn trace(world: &World) -> io::Result<()> {
    // SAFETY: numbers only.
    answer(unsafe { libc::ptrace(libc::PTRACE_SEIZE, world.victim, 0, 0) })
}

pub fn read_memory(world: &World) -> io::Result<()> {
    transfer(libc::SYS_process_vm_readv, world.victim)
}

pub fn write_memory(world: &World) -> io::Result<()> {
    transfer(libc::SYS_process_vm_writev, world.victim)
}

/// The address is one of ours: the victim is the same program, but it does not matter whether there is something.
fn transfer(number: libc::c_long, process: i32) -> io::Result<()> {
    let mut byte = 0u8;
    let part = libc::iovec {
        iov_base: ptr::from_mut(&mut byte).cast(),
        iov_len: 1,
    };
    let part = ptr::from_ref(&part);
    // SAFETY: both lists have one entry, which describes a byte of this function.
    answer(unsafe { libc::syscall(number, process, part, 1, part, 1, 0) })
}

pub fn kill(world: &World) -> io::Result<()> {
    // SAFETY: numbers only, here and below.
    answer(unsafe { libc::kill(world.victim, libc::SIGKILL) }.into())
}

pub fn kill_thread(world: &World) -> io::Result<()> {
    call(
        libc::SYS_tgkill,
        [world.victim.into(), world.victim.into(), libc::SIGKILL.into(), 0],
    )?;
    call(libc::SYS_tkill, [world.victim.into(), libc::SIGKILL.into(), 0, 0])
}

/// With a signal that does nothing.
pub fn kill_everybody(_: &World) -> io::Result<()> {
    answer(unsafe { libc::kill(-1, 0) }.into())
}

pub fn kill_by_descriptor(world: &World) -> io::Result<()> {
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, world.victim, 0) };
    answer(descriptor)?;
    call(
        libc::SYS_pidfd_send_signal,
        [descriptor, libc::SIGKILL.into(), 0, 0],
    )
}

pub fn queue_signal(world: &World) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: ptr::null_mut(),
    };
    answer(unsafe { libc::sigqueue(world.victim, libc::SIGTERM, value) }.into())
}

/// The kernel tells a pipe's owner when there is something to read, by a signal that ends programs that do not expect it.
pub fn signal_by_pipe(world: &World) -> io::Result<()> {
    let (input, mut output) = io::pipe()?;
    unsafe {
        answer(libc::fcntl(input.as_raw_fd(), libc::F_SETOWN, world.victim).into())?;
        answer(libc::fcntl(input.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC).into())?;
    }
    output.write_all(b"now")
}

pub fn limit(world: &World) -> io::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is a local; the old one is not asked for.
    answer(unsafe { libc::prlimit(world.victim, libc::RLIMIT_NOFILE, &none, ptr::null_mut()) }.into())
}

pub fn slow_down(world: &World) -> io::Result<()> {
    answer(unsafe { libc::setpriority(libc::PRIO_PROCESS, world.victim as u32, 19) }.into())
}

pub fn bind(world: &World) -> io::Result<()> {
    // SAFETY: a set of cores is bits, all of which may be zero; its size is given.
    unsafe {
        let mut cores: libc::cpu_set_t = mem::zeroed();
        answer(libc::sched_getaffinity(0, size_of_val(&cores), &mut cores).into())?;
        answer(libc::sched_setaffinity(world.victim, size_of_val(&cores), &cores).into())
    }
}

pub fn start_program(_: &World) -> io::Result<()> {
    Command::new("/bin/true").status().map(drop)
}

pub fn become_program(_: &World) -> io::Result<()> {
    Err(Command::new("/bin/true").exec())
}

pub fn fork(_: &World) -> io::Result<()> {
    // SAFETY: the child does nothing but leave.
    match unsafe { libc::fork() } {
        0 => unsafe { libc::_exit(0) },
        child => answer(child.into()),
    }
}

/// Without the C library, in the old way and in the new one.
pub fn clone(_: &World) -> io::Result<()> {
    let old = [libc::c_long::from(libc::SIGCHLD), 0, 0, 0];
    let children = [
        // SAFETY: without a stack of its own the child goes on here, as after `fork`.
        unsafe { libc::syscall(libc::SYS_clone, old[0], old[1], old[2], old[3], 0) },
        // SAFETY: the description is 64 bytes of zeros, which is the smallest that the kernel takes.
        unsafe { libc::syscall(libc::SYS_clone3, [0u64; 8].as_ptr(), 64) },
    ];
    if children.contains(&0) {
        // SAFETY: the child does nothing but leave.
        unsafe { libc::_exit(0) }
    }
    // One way would be enough.
    match children.iter().any(|child| *child > 0) {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

pub fn leave_session(_: &World) -> io::Result<()> {
    answer(unsafe { libc::setsid() }.into())
}

pub fn outlive(_: &World) -> io::Result<()> {
    answer(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }.into())
}

pub fn namespaces(_: &World) -> io::Result<()> {
    answer(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET) }.into())
}

/// For a program that is run as root the privilege to do so is gone.
pub fn become_another(_: &World) -> io::Result<()> {
    // SAFETY: numbers only.
    unsafe {
        if libc::getuid() == 0 {
            return answer(libc::setresuid(1000, 1000, 1000).into());
        }
    }
    Err(io::Error::from(io::ErrorKind::PermissionDenied))
}
