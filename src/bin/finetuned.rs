//! `finetuned`: the server and its command-line client.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use finetuned::{
    client::{ClientCommand, weights::WeightsCommand},
    config::{
        Config, LogFormat,
        collector::Collector,
        keep::GcArgs,
        keys::KeysCommand,
        upkeep::{BackupArgs, DoctorArgs, RestoreArgs},
    },
    data_dir, http,
    process::{cgroup, traces},
};
use rustix::{fs::Mode, process::umask};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[cfg(target_os = "linux")]
#[path = "finetuned/allocator.rs"]
mod allocator;
#[path = "finetuned/keys.rs"]
mod keys;
#[path = "finetuned/upkeep.rs"]
mod upkeep;

/// Turns a folder of labelled images into a served image classifier.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the server
    #[command(next_line_help = true)]
    Serve(Box<Config>),
    #[command(flatten)]
    Client(ClientCommand),
    /// Pretrained weights: list them, or prepare a folder of them for a server without network access
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// Keys of callers: make, list and revoke them, also while the server runs
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the API description (OpenAPI 3.1, YAML)
    Openapi,
    /// Accept the data directory's current database after the server has refused it; removes nothing
    Adopt {
        /// Data directory; no server may be using it
        #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
        data_dir: PathBuf,
    },
    /// Check the data directory and report what is missing or damaged; changes nothing
    Fsck {
        /// Data directory
        #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
        data_dir: PathBuf,
        /// Read every file and verify its digest
        #[arg(long)]
        deep: bool,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Save the data directory in an empty folder, also while the server runs
    Backup(BackupArgs),
    /// Make a data directory out of a backup
    Restore(RestoreArgs),
    /// Remove what is no longer needed, or say with --dry-run what that is, also while the server runs
    #[command(next_line_help = true)]
    Gc(GcArgs),
    /// Look at everything that the server needs on this machine, with the settings of `serve`, and say what is wrong; changes nothing
    #[command(next_line_help = true)]
    Doctor(Box<DoctorArgs>),
    /// Generate a small sample dataset
    SampleDataset {
        /// Path of the zip file to write
        out: PathBuf,
        /// Random seed; another seed gives other images
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Images with several labels each, in a table
        #[arg(long)]
        multi_label: bool,
        /// Images with an answer to each of three questions, in the columns of a table
        #[arg(long, conflicts_with = "multi_label")]
        multi_task: bool,
        /// Path of the worker program, which draws the images; by default `finetuned-worker` in the same directory as this program
        #[arg(long, env = "FINETUNED_WORKER")]
        worker: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Task::Serve(config) => serve(config.with_pip_settings()),
        Task::Client(command) => run_client(command),
        Task::Weights(command) => command.run(),
        Task::Keys(command) => run_keys(command),
        Task::Openapi => print_openapi(),
        Task::Adopt { data_dir } => adopt(&data_dir),
        Task::Fsck { data_dir, deep, json } => fsck(&data_dir, deep, json),
        Task::Backup(arguments) => upkeep::backup(&arguments),
        Task::Restore(arguments) => upkeep::restore(&arguments),
        Task::Gc(arguments) => upkeep::gc(&arguments),
        Task::Doctor(arguments) => upkeep::doctor(*arguments),
        Task::SampleDataset {
            out,
            seed,
            multi_label,
            multi_task,
            worker,
        } => {
            let labels = [(multi_label, "--multi-label"), (multi_task, "--multi-task")];
            let labels = labels
                .into_iter()
                .find_map(|(is_set, flag)| is_set.then_some(flag));
            sample_dataset(out, seed, labels, worker)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("finetuned: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    keep_to_the_owner();
    start_log(&config)?;
    let sending = Collector::of_the_environment().and_then(|collector| traces::start(&collector));
    let served = run_server(config);
    if let Some(sending) = sending {
        sending.finish();
    }
    served.map(|()| ExitCode::SUCCESS)
}

fn run_server(config: Config) -> anyhow::Result<()> {
    config.check()?;
    cgroup::take_over();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads_of_the_server())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let shutdown = CancellationToken::new();
        tokio::spawn(stop_on_signal(shutdown.clone()));
        let scheme = match config.tls.tls_cert {
            Some(_) => "https",
            None => "http",
        };
        // For scripts and people: prints the address, including a port that the system chose.
        let tell = |address| {
            let mut out = io::stdout().lock();
            writeln!(out, "listening on {scheme}://{address}")?;
            out.flush()
        };
        http::run_with_ready(config, listener, shutdown, tell).await
    })
}

/// Files that the server and its workers create are accessible to their owner only. The other commands write files for the user and leave
/// the umask alone.
fn keep_to_the_owner() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// The cores are for the children, which do the computing. The server mostly waits, and each thread that wakes another one for a request
/// takes time from them: on two cores, one thread instead of two answers 4 % more requests under overload. Files and digests have their own
/// threads.
fn threads_of_the_server() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .context("--log must be a filter such as `info` or `finetuned=debug`")?
        // It writes whole addresses, and somebody may take a key for a name.
        .add_directive("tower_http::csrf=off".parse()?);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The first SIGTERM or SIGINT shuts down gracefully; the second exits immediately.
async fn stop_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    for round in 0.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if round > 0 {
            std::process::exit(130);
        }
        shutdown.cancel();
    }
}

/// One thread is enough for a client, or to inspect a data directory.
fn one_thread() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn run_client(command: ClientCommand) -> anyhow::Result<ExitCode> {
    Ok(one_thread()?.block_on(command.run()))
}

fn adopt(data_dir: &Path) -> anyhow::Result<ExitCode> {
    keep_to_the_owner();
    let adopted = one_thread()?.block_on(data_dir::adopt(data_dir))?;
    print!("{adopted}");
    Ok(ExitCode::SUCCESS)
}

fn fsck(data_dir: &Path, deep: bool, json: bool) -> anyhow::Result<ExitCode> {
    let report = one_thread()?.block_on(data_dir::fsck(data_dir, deep))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_keys(command: KeysCommand) -> anyhow::Result<ExitCode> {
    keep_to_the_owner();
    one_thread()?.block_on(keys::run(command))?;
    Ok(ExitCode::SUCCESS)
}

fn print_openapi() -> anyhow::Result<ExitCode> {
    print!("{}", http::openapi().to_yaml()?);
    Ok(ExitCode::SUCCESS)
}

/// Images are the worker's business.
fn sample_dataset(
    out: PathBuf,
    seed: u64,
    labels: Option<&str>,
    worker: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let program = Config {
        worker,
        ..Config::for_data_dir(".")
    }
    .worker_program()?;
    let mut command = Command::new(program);
    command
        .arg("sample-dataset")
        .arg(out)
        .arg("--seed")
        .arg(seed.to_string())
        .args(labels);
    let status = command.status().context("cannot start the worker program")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
