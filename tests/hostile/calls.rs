//! System calls that no decoder needs.

use std::{arch::asm, io};

use crate::world::World;

/// What a call says: something, or why not.
pub fn answer(said: libc::c_long) -> io::Result<()> {
    match said {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A call with numbers; none of them may be an address, but 0.
pub fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: the kernel is given no memory.
    answer(unsafe { libc::syscall(number, a, b, c, d, 0, 0) })
}

pub fn mount(world: &World) -> io::Result<()> {
    let target = std::ffi::CString::new(world.own.to_str().unwrap()).unwrap();
    // SAFETY: all texts end with a zero.
    let mounted = unsafe {
        libc::mount(
            c"none".as_ptr(),
            target.as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    answer(mounted.into())
}

pub fn setns(_: &World) -> io::Result<()> {
    call(libc::SYS_setns, [-1, 0, 0, 0])
}

pub fn bpf(_: &World) -> io::Result<()> {
    call(libc::SYS_bpf, [0, 0, 0, 0])
}

pub fn module(_: &World) -> io::Result<()> {
    call(libc::SYS_finit_module, [-1, 0, 0, 0])
}

/// `getpid` by its number in another set.
pub fn x32(_: &World) -> io::Result<()> {
    const X32: libc::c_long = 0x4000_0000;
    call(X32 + libc::SYS_getpid, [0; 4])
}

/// `socket` as programs of 32 bits call it.
#[cfg(target_arch = "x86_64")]
pub fn in_32_bits(_: &World) -> io::Result<()> {
    const SOCKET: i64 = 359;
    let mut said: i64 = SOCKET;
    // SAFETY: the call has numbers only; `rbx` is put back, because the compiler uses it.
    unsafe {
        asm!(
            "xchg {a}, rbx",
            "int 0x80",
            "xchg {a}, rbx",
            a = inout(reg) 2i64 => _,
            inout("rax") said,
            in("rcx") 1i64,
            in("rdx") 0i64,
        );
    }
    match said as i32 {
        error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(()),
    }
}

/// Other processors have no such way around.
#[cfg(not(target_arch = "x86_64"))]
pub fn in_32_bits(world: &World) -> io::Result<()> {
    bpf(world)
}

pub fn unknown(_: &World) -> io::Result<()> {
    call(900, [0; 4])
}

pub fn io_uring(_: &World) -> io::Result<()> {
    let parameters = [0u8; 120];
    // SAFETY: the parameters are as large as the kernel's structure, which it fills in.
    answer(unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_ptr()) })
}

pub fn perf(_: &World) -> io::Result<()> {
    let about = [0u64; 16];
    // SAFETY: a description of zeros; its length says that it is the oldest.
    answer(unsafe { libc::syscall(libc::SYS_perf_event_open, about.as_ptr(), 0, -1, -1, 0) })
}

pub fn userfaultfd(_: &World) -> io::Result<()> {
    call(libc::SYS_userfaultfd, [0; 4])
}

pub fn keyring(_: &World) -> io::Result<()> {
    // `KEYCTL_GET_KEYRING_ID` of the session's.
    call(libc::SYS_keyctl, [0, -3, 1, 0])
}

pub fn shared_segment(_: &World) -> io::Result<()> {
    call(libc::SYS_shmget, [0, 4096, 0o1600, 0])
}

pub fn chroot(_: &World) -> io::Result<()> {
    // SAFETY: the path ends with a zero.
    answer(unsafe { libc::chroot(c"/".as_ptr()) }.into())
}

pub fn open_by_handle(_: &World) -> io::Result<()> {
    call(libc::SYS_open_by_handle_at, [libc::AT_FDCWD.into(), 0, 0, 0])
}

pub fn set_clock(_: &World) -> io::Result<()> {
    call(libc::SYS_clock_settime, [0, 0, 0, 0])
}
