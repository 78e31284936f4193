//! The filters of system calls: those in `calls.rs`, compiled and installed for all threads.
//!
//! Three filters, of which the strictest answer counts: what ends the process, what fails, and what is said not to exist. They also end a
//! process that calls by the numbers of another architecture (32-bit x86), which would lead around them.

use std::collections::BTreeMap;

use rustix::process::getpid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads, sock_filter,
};

use super::calls::{self, Calls};

/// # Errors
/// Why the filters are not in place.
pub fn restrict(network: bool) -> Result<(), String> {
    let own = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
    let told = |fault: seccompiler::Error| format!("seccomp: {fault}");
    let compiled =
        |calls: Calls, action| compiled(calls, action).map_err(|fault| format!("seccomp: {fault}"));
    let killed = compiled(calls::killed(), SeccompAction::KillProcess)?;
    let mut refused = calls::refused(own);
    if !network {
        refused.extend(calls::of_sockets());
    }
    let refused = compiled(refused, SeccompAction::Errno(libc::EPERM as u32))?;
    for filter in [unknown(), killed, refused] {
        apply_filter_all_threads(&filter).map_err(told)?;
    }
    Ok(())
}

fn compiled(calls: Calls, action: SeccompAction) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let calls: BTreeMap<_, _> = calls.into_iter().collect();
    SeccompFilter::new(calls, SeccompAction::Allow, action, arch)?.try_into()
}

/// Calls that are newer than this file do not exist: nobody has thought about them. Neither does `clone3`, whose flags a filter cannot read;
/// the C library then uses `clone`. Calls by the numbers of x32, another set for the same processor, end the process.
///
/// By hand, because seccompiler's filters name single calls, and these are ranges.
fn unknown() -> BpfProgram {
    /// Instructions of linux/bpf_common.h: load a word of the call's description, of which the first is its number; compare; return.
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    /// `__X32_SYSCALL_BIT`.
    const X32: u32 = 0x4000_0000;
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    let missing = u32::from(SeccompAction::Errno(libc::ENOSYS as u32));
    vec![
        step(LOAD, 0, 0),
        step(IF_AT_LEAST, 4, X32),
        step(IF_AT_LEAST, 2, calls::FIRST_UNKNOWN),
        step(IF_EQUAL, 1, libc::SYS_clone3 as u32),
        step(RETURN, 0, SeccompAction::Allow.into()),
        step(RETURN, 0, missing),
        step(RETURN, 0, SeccompAction::KillProcess.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_fit_into_the_kernel() {
        // `BPF_MAXINSNS`
        const MOST: usize = 4096;
        let refused = calls::refused(7).into_iter().chain(calls::of_sockets()).collect();
        let refused = compiled(refused, SeccompAction::Errno(1)).unwrap();
        let killed = compiled(calls::killed(), SeccompAction::KillProcess).unwrap();
        assert!(refused.len() < MOST && killed.len() < MOST);
        assert!(
            unknown()
                .iter()
                .all(|step| usize::from(step.jt) < unknown().len())
        );
    }

    #[test]
    fn no_call_has_two_answers() {
        let killed: BTreeMap<_, _> = calls::killed().into_iter().collect();
        assert!(
            calls::refused(7)
                .iter()
                .all(|(call, _)| !killed.contains_key(call))
        );
        let refused: BTreeMap<_, _> = calls::refused(7).into_iter().collect();
        assert_eq!(refused.len(), calls::refused(7).len(), "a call is named twice");
    }
}
