//! What the kernel offers for a sandbox.

use std::ptr;

use rustix::thread::no_new_privs;
use seccompiler::TargetArch;
use serde::Serialize;
use utoipa::ToSchema;

/// What the kernel offers for the sandbox of children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SandboxSupport)]
pub struct Support {
    /// Whether system calls can be filtered.
    pub seccomp: bool,
    /// Version of Landlock's interface, which confines files; 0: there is none. From 4 on it closes TCP, from 6 on signals and abstract
    /// sockets (which the filter of system calls closes, too).
    pub landlock_abi: u32,
    /// What is not offered, and what that leaves open; a sentence each.
    pub missing: Vec<String>,
}

impl Support {
    /// Looks at the running kernel; takes microseconds.
    pub fn of_this_kernel() -> Self {
        Self::of(has_seccomp(), landlock_abi())
    }

    fn of(seccomp: bool, landlock_abi: u32) -> Self {
        let mut missing = Vec::new();
        if !seccomp {
            let what = "seccomp filters are not offered (CONFIG_SECCOMP_FILTER, on x86-64, aarch64 or riscv64): children may use sockets, start \
                        programs and signal other processes";
            missing.push(what.to_owned());
        }
        match landlock_abi {
            0 => missing.push(
                "Landlock is not offered (CONFIG_SECURITY_LANDLOCK, and `landlock` in the kernel's list `lsm=`; Linux 5.13): children can \
                 open all files of the server's user"
                    .to_owned(),
            ),
            1 | 2 => missing.push(
                "Landlock is older than version 3 (Linux 6.2): children can truncate files that they may not write".to_owned(),
            ),
            _ => {}
        }
        Self {
            seccomp,
            landlock_abi,
            missing,
        }
    }

    /// # Errors
    /// What is missing, in one line.
    pub fn complete(&self) -> Result<(), String> {
        match self.missing.is_empty() {
            true => Ok(()),
            false => Err(self.missing.join("; ")),
        }
    }
}

fn has_seccomp() -> bool {
    let known = TargetArch::try_from(std::env::consts::ARCH).is_ok();
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call reads four bytes at the address of a local; it changes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            ptr::from_ref(&action),
        )
    };
    known && answer == 0 && no_new_privs().is_ok()
}

fn landlock_abi() -> u32 {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag there is no structure to read and nothing is made: the answer is a number, or an error.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0usize,
            VERSION,
        )
    };
    u32::try_from(answer).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(Support::of(true, 7).complete(), Ok(()));
        let old = Support::of(true, 2).complete().unwrap_err();
        assert!(old.contains("truncate"), "{old}");
        let none = Support::of(false, 0);
        assert_eq!(none.missing.len(), 2);
        let said = none.complete().unwrap_err();
        assert!(said.contains("seccomp") && said.contains("Landlock"), "{said}");
    }

    #[test]
    fn the_kernel_can_be_asked() {
        let here = Support::of_this_kernel();
        assert_eq!(here, Support::of(here.seccomp, here.landlock_abi));
    }
}
