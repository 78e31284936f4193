//! The files that a child is left with, by Landlock; and no TCP, no signals and no abstract sockets to anybody outside, where the kernel's
//! version of it knows those.

use std::{
    fs, mem,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Policy, system};

/// The newest version that is asked for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V9;

/// # Errors
/// Why not everything holds that this kernel could have held.
pub fn restrict(policy: &Policy) -> Result<(), String> {
    let rules = rules(policy).map_err(|fault| format!("Landlock: {fault}"))?;
    let status = rules
        .restrict_self()
        .map_err(|fault| format!("Landlock: {fault}"))?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("Landlock did not take the rules".to_owned()),
        _ => Ok(()),
    }
}

fn rules(policy: &Policy) -> Result<RulesetCreated, landlock::RulesetError> {
    let mut handled = AccessFs::from_all(NEWEST);
    if policy.network {
        // Name services have sockets in the file system.
        handled.remove(AccessFs::ResolveUnix);
    }
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .scope(Scope::from_all(NEWEST))?;
    let rules = match policy.network {
        true => rules,
        false => rules.handle_access(AccessNet::from_all(NEWEST))?,
    };
    let mut rules = rules.create()?;
    for (paths, access) in granted(policy) {
        for path in paths {
            rules = allow(rules, &path, access)?;
        }
    }
    allow_own_process(rules)
}

/// Which rights hold for which paths.
fn granted(policy: &Policy) -> Vec<(Vec<PathBuf>, BitFlags<AccessFs>)> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // No links, no pipes, no sockets, no devices: the server opens what it finds in a child's folder.
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let mut granted = vec![
        (system::everybodys(), read),
        (policy.read.clone(), read),
        (policy.write.clone(), write),
        (vec![PathBuf::from("/dev/null")], device),
    ];
    if policy.cards {
        granted.push((system::of_cards(), read));
        granted.push((system::card_devices(), device | AccessFs::ReadDir));
    }
    if policy.network {
        granted.push((system::of_network(), read));
    }
    granted
}

/// A path that is not there, or that cannot be looked at, is not allowed: whoever needs it will say that it cannot be opened.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let (Ok(about), Ok(handle)) = (fs::metadata(path), PathFd::new(path)) else {
        return Ok(rules);
    };
    // Rights over the contents of a folder have no meaning for a file.
    let access = match about.is_dir() {
        true => access,
        false => access & AccessFs::from_file(NEWEST),
    };
    rules.add_rule(PathBeneath::new(handle, access))
}

/// What the kernel says about this process. Its folder is made anew when the kernel was short of memory, and a rule would not hold for the
/// new one; while it is held open it stays.
fn allow_own_process(rules: RulesetCreated) -> Result<RulesetCreated, landlock::RulesetError> {
    let Ok(own) = PathFd::new("/proc/self") else {
        return Ok(rules);
    };
    let rules = rules.add_rule(PathBeneath::new(&own, AccessFs::ReadFile | AccessFs::ReadDir))?;
    mem::forget(own);
    Ok(rules)
}
