//! `finetuned`: the server, and commands for people who would rather not type curl.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use finetuned::{
    client::ClientCommand,
    config::{Config, LogFormat},
    data_dir, http,
};
use rustix::{fs::Mode, process::umask};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Turns a folder of labelled images into a served classifier.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the server
    Serve(Box<Config>),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the description of the API (OpenAPI 3.1, YAML)
    Openapi,
    /// Go on with the database that lies in the data directory, whatever the server says of it; nothing is removed
    Adopt {
        /// Folder for the database, datasets and models; no server may be running on it
        #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
        data_dir: PathBuf,
    },
    /// Say what lies where in the data directory, and what is wrong; nothing is changed
    Fsck {
        /// Folder for the database, datasets and models
        #[arg(long, env = "FINETUNED_DATA_DIR", default_value = "./data")]
        data_dir: PathBuf,
        /// Read every file and compare it with the digest that it is named by
        #[arg(long)]
        deep: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw a small dataset to try things with
    SampleDataset {
        /// The zip file to write
        out: PathBuf,
        /// Other seeds give other images
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The worker program, which draws; by default the `finetuned-worker` beside this one
        #[arg(long, env = "FINETUNED_WORKER")]
        worker: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Task::Serve(config) => serve(*config),
        Task::Client(command) => run_client(command),
        Task::Openapi => print_openapi(),
        Task::Adopt { data_dir } => adopt(&data_dir),
        Task::Fsck { data_dir, deep, json } => fsck(&data_dir, deep, json),
        Task::SampleDataset { out, seed, worker } => sample_dataset(out, seed, worker),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("finetuned: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    share_heaps();
    keep_to_the_owner();
    start_log(&config)?;
    config.check()?;
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
        tokio::spawn(return_freed_memory());
        // For scripts and for people: the address, also when the port was chosen by the system.
        let tell = |address| {
            let mut out = io::stdout().lock();
            writeln!(out, "listening on http://{address}")?;
            out.flush()
        };
        http::run_telling(config, listener, shutdown, tell).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is made from here on, by workers too, is its owner's alone. The other commands write where people want their files, and leave
/// their modes to them.
fn keep_to_the_owner() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// The cores belong to the children that compute. Here little is done but to wait, and every thread that wakes another one for a request
/// takes both from them: on two cores with one thread instead of two, what is answered under overload grows by 4 %. Files and digests
/// have threads of their own.
fn threads_of_the_server() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

/// glibc's malloc would give each of the first eight threads per core a heap of its own, and each keeps the most that it ever held: with
/// two cores, after minutes of mixed load, 23 MB of which 5 MB were in use, more with every further thread that the pool for files had at
/// once. Two heaps are enough for a server that does little but wait; small pieces come from each thread's cache in any case. Buffers of
/// files, of 1 MiB, get pages of their own that go back at once: without a fixed threshold the first one freed would raise it above them.
fn share_heaps() {
    const HEAPS: libc::c_int = 2;
    const OWN_PAGES_BYTES: libc::c_int = 1 << 20;
    // SAFETY: it must not run beside other calls of malloc's family, and there is only this thread yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
    }
}

/// Memory that was freed between pieces still in use stays with malloc, so that a server would hold what its busiest moment took, and a little
/// more after each busier one: 1.8 % in ten minutes of mixed load. Looking through all of it takes less than a millisecond.
async fn return_freed_memory() {
    const EVERY: Duration = Duration::from_secs(30);
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        // SAFETY: it may run beside everything else.
        let trimmed = tokio::task::spawn_blocking(|| unsafe { libc::malloc_trim(0) });
        // It fails only where the runtime ends.
        let _ = trimmed.await;
    }
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&config.log).context("--log is no filter such as `info` or `finetuned=debug`")?;
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

/// The first SIGTERM or SIGINT stops in order; the second stops now.
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

/// One thread is enough to talk to a server, or to look at what it left.
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

fn print_openapi() -> anyhow::Result<ExitCode> {
    print!("{}", http::openapi().to_yaml()?);
    Ok(ExitCode::SUCCESS)
}

/// Images are the worker's business.
fn sample_dataset(out: PathBuf, seed: u64, worker: Option<PathBuf>) -> anyhow::Result<ExitCode> {
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
        .arg(seed.to_string());
    let status = command.status().context("cannot start the worker program")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
