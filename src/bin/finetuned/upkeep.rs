//! `finetuned backup`, `restore`, `gc` and `doctor`: what an operator does beside the server.

use std::{fmt::Display, process::ExitCode, time::Duration};

use finetuned::{
    client::doctor::examine,
    config::{
        keep::GcArgs,
        upkeep::{BackupArgs, DoctorArgs, RestoreArgs},
    },
    data_dir,
    jobs::gc::{self, Rules},
};
use serde::Serialize;

use super::{keep_to_the_owner, one_thread};

pub fn backup(arguments: &BackupArgs) -> anyhow::Result<ExitCode> {
    keep_to_the_owner();
    let BackupArgs {
        folder,
        data_dir,
        manner,
    } = arguments;
    let saved = one_thread()?.block_on(data_dir::backup(data_dir, folder, manner.manner()))?;
    print(&saved, manner.json)?;
    Ok(ExitCode::SUCCESS)
}

pub fn restore(arguments: &RestoreArgs) -> anyhow::Result<ExitCode> {
    keep_to_the_owner();
    let RestoreArgs {
        folder,
        data_dir,
        manner,
    } = arguments;
    let restored = one_thread()?.block_on(data_dir::restore(folder, data_dir, manner.manner()))?;
    print(&restored, manner.json)?;
    Ok(ExitCode::SUCCESS)
}

pub fn gc(arguments: &GcArgs) -> anyhow::Result<ExitCode> {
    keep_to_the_owner();
    let rules = Rules {
        keep: arguments.keep.keep(),
        grace: Duration::from_secs(arguments.blob_grace_seconds),
    };
    let collected = one_thread()?.block_on(gc::gc(&arguments.data_dir, rules, arguments.dry_run))?;
    print(&collected, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Its exit status is 1 if there is a problem.
pub fn doctor(arguments: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = arguments.config.with_pip_settings();
    let report = one_thread()?.block_on(examine(&config));
    print(&report, arguments.json)?;
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// For people, or for scripts.
fn print(outcome: &(impl Display + Serialize), json: bool) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(outcome)?),
        false => println!("{outcome}"),
    }
    Ok(())
}
