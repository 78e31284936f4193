//! Whether the kernel can confine the processes that read uploaded files.

use super::finding::Finding;
use crate::{
    config::Config,
    process::sandbox::{Mode, Support},
};

const CHECK: &str = "sandbox";

pub fn examine(config: &Config) -> Finding {
    judged(config.sandbox, &Support::of_this_kernel())
}

fn judged(mode: Mode, support: &Support) -> Finding {
    match (mode, support.complete()) {
        (Mode::Off, _) => Finding::warning(
            CHECK,
            "off: processes that read uploaded files may do whatever the server may",
            "leave `--sandbox` out",
        ),
        (_, Ok(())) => Finding::ok(
            CHECK,
            format!("seccomp, and version {} of Landlock", support.landlock_abi),
        ),
        (Mode::Require, Err(missing)) => Finding::problem(
            CHECK,
            missing,
            "`--sandbox require` refuses to start here: another kernel, or `auto`",
        ),
        (Mode::Auto, Err(missing)) => Finding::warning(CHECK, missing, "see docs/SANDBOX.md"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::doctor::State;

    #[test]
    fn what_is_missing_is_a_problem_only_where_it_is_required() {
        let support = |missing: &[&str]| Support {
            seccomp: missing.is_empty(),
            landlock_abi: 7,
            missing: missing.iter().map(|text| (*text).to_owned()).collect(),
        };
        let (all, less) = (support(&[]), support(&["no filters"]));
        for (mode, support, expected) in [
            (Mode::Auto, &all, State::Ok),
            (Mode::Require, &all, State::Ok),
            (Mode::Auto, &less, State::Warning),
            (Mode::Require, &less, State::Problem),
            (Mode::Off, &all, State::Warning),
        ] {
            assert_eq!(judged(mode, support).state, expected, "{mode:?}");
        }
    }
}
