//! `finetuned-worker`: everything that touches an archive, an image or a tensor, as a child of the server.
//!
//! People rarely start it by hand. Its stdout speaks the protocol and nothing else; what people should read goes to stderr.
//! The end of stdin means "save what you have and leave"; the end of whoever started it, "leave now".

use std::{
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    process::{ExitCode, exit},
};

#[path = "../worker/mod.rs"]
mod worker;

use clap::{Parser, Subcommand};
// All that the worker knows of the library: its modules say `crate::domain` and so on, and there is nothing else to be reached.
use finetuned::{domain, files, limits, protocol};

use self::worker::{
    device, fault,
    one_shot::{self, EXIT_INTERNAL},
    predict,
    process::{
        child::{Reporter, StopFlag},
        parent,
    },
    sample,
};

/// Trains and predicts for `finetuned`, which starts it.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Print the devices of this host as JSON
    Devices,
    /// Do what the run file of a directory asks for, and leave what comes of it there
    Run {
        #[arg(long)]
        run_dir: PathBuf,
    },
    /// Draw a small dataset to try things with
    SampleDataset {
        /// The zip file to write
        out: PathBuf,
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Answer predictions, framed, until stdin ends
    Predict {
        /// `cpu` or `cuda:N`
        #[arg(long, default_value = "cpu")]
        device: String,
        /// Threads of arithmetic, and as many that decode; 0 means all cores
        #[arg(long, default_value_t = 0)]
        threads: u32,
        /// Most pictures that go through a network at once; by default 4 on the CPU, 8 where many wait, and 32 on a card
        #[arg(long)]
        max_batch: Option<usize>,
        /// Memory that loaded models may hold together; by default a share of the device's
        #[arg(long)]
        model_bytes: Option<u64>,
    },
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    // libtorch's panics quote dozens of lines of C++; one line says it.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "finetuned-worker: {place}: {}",
            fault::TorchFault::of_panic(panic.payload())
        );
    }));
    one_shot::forbid_core_dumps();
    parent::leave_with_parent();
    let outcome = match task {
        Task::Run { run_dir } => leave(&run_dir),
        Task::Devices => print_devices(),
        Task::SampleDataset { out, seed } => draw(&out, seed),
        Task::Predict {
            device,
            threads,
            max_batch,
            model_bytes,
        } => predict::run(
            &predict::Options {
                device,
                threads,
                max_batch,
                model_bytes,
            },
            io::stdin(),
            io::stdout(),
        ),
    };
    if let Err(fault) = outcome {
        eprintln!("finetuned-worker: {fault:#}");
        exit(EXIT_INTERNAL);
    }
    ExitCode::SUCCESS
}

/// Ends the process without waiting for the thread that watches stdin.
fn leave(run_dir: &Path) -> ! {
    one_shot::lower_priority();
    exit(one_shot::run(
        run_dir,
        &Reporter::stdout(),
        &StopFlag::from_stdin(),
    ))
}

fn draw(out: &Path, seed: u64) -> anyhow::Result<()> {
    let drawn = sample::write_sample_dataset(out, seed)?;
    println!(
        "{}: {} pictures of {}, {} bytes",
        out.display(),
        drawn.images,
        drawn.classes.join(", "),
        drawn.bytes
    );
    Ok(())
}

fn print_devices() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &device::list())?;
    writeln!(out)?;
    Ok(())
}
