//! `finetuned-worker`: everything that handles archives, images or tensors, as a child of the server.
//!
//! Rarely started by hand. Its stdout carries only the protocol; messages for people go to stderr. The end of stdin means "save your state
//! and exit"; the end of the parent process, "exit now".

use std::{
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    process::{ExitCode, exit},
};

#[cfg(target_os = "linux")]
#[path = "finetuned-worker/allocator.rs"]
mod allocator;
#[path = "../worker/mod.rs"]
mod worker;

use clap::{Parser, Subcommand};
// The modules that the worker shares with the library, so that `crate::domain` and so on work; nothing else is accessible.
use finetuned::{domain, files, limits, process::sandbox, protocol};

use self::worker::{
    bounds, confinement, device, fault, one_shot, predict,
    process::{
        child::{Reporter, StopFlag},
        parent::Parent,
    },
    sample::{self, SampleLabels},
};
use sandbox::Mode;

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
    /// Compute something small on a device, to see whether it works
    Probe {
        /// `cpu` or `cuda:N`
        #[arg(long)]
        device: String,
    },
    /// Do the task in the run file of a directory, and write the result there
    Run {
        #[arg(long)]
        run_dir: PathBuf,
        /// Confine this process to what its task needs: `auto`, as far as the kernel can, `require`, or `off`
        #[arg(long, default_value_t)]
        sandbox: Mode,
    },
    /// Draw a small dataset for trying things out
    SampleDataset {
        /// The zip file to write
        out: PathBuf,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Images with several labels each
        #[arg(long)]
        multi_label: bool,
        /// Images with an answer to each of several questions
        #[arg(long, conflicts_with = "multi_label")]
        multi_task: bool,
    },
    /// Answer predictions, framed, until stdin ends
    Predict {
        /// `cpu` or `cuda:N`
        #[arg(long, default_value = "cpu")]
        device: String,
        /// Threads for arithmetic, and as many for decoding; 0 means all cores
        #[arg(long, default_value_t = 0)]
        threads: u32,
        /// Largest number of images in a forward pass; by default 4 on a CPU, 8 when many are waiting, and 32 on a GPU
        #[arg(long)]
        max_batch: Option<usize>,
        /// Memory for loaded models; by default a fraction of the device's
        #[arg(long)]
        model_bytes: Option<u64>,
        /// Folder with all models that may be asked for; nothing else can be read in a sandbox
        #[arg(long)]
        models: Option<PathBuf>,
        /// Confine this process to that: `auto`, as far as the kernel can, `require`, or `off`
        #[arg(long, default_value_t)]
        sandbox: Mode,
    },
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    // libtorch's panics quote dozens of lines of C++; one line is enough.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "finetuned-worker: {place}: {}",
            fault::TorchFault::of_panic(panic.payload())
        );
    }));
    bounds::forbid_core_dumps();
    let outcome = match task {
        Task::Run { run_dir, sandbox } => leave(&run_dir, sandbox),
        Task::Devices => {
            Parent::find().leave_with_it();
            print_devices()
        }
        Task::Probe { device } => {
            device::see_only(&device);
            Parent::find().leave_with_it();
            device::probe(&device)
        }
        Task::SampleDataset {
            out,
            seed,
            multi_label,
            multi_task,
        } => {
            let labels = match (multi_label, multi_task) {
                (true, _) => SampleLabels::Several,
                (_, true) => SampleLabels::Tasks,
                _ => SampleLabels::Classes,
            };
            draw(&out, seed, labels)
        }
        Task::Predict {
            device,
            threads,
            max_batch,
            model_bytes,
            models,
            sandbox,
        } => answer(
            &predict::Options {
                device,
                threads,
                max_batch,
                model_bytes,
            },
            models.as_deref(),
            sandbox,
        ),
    };
    if let Err(fault) = outcome {
        eprintln!("finetuned-worker: {fault:#}");
        exit(one_shot::status(&fault));
    }
    ExitCode::SUCCESS
}

/// Ends the process without waiting for the thread that watches stdin.
fn leave(run_dir: &Path, sandbox: Mode) -> ! {
    one_shot::lower_priority();
    let parent = Parent::find();
    let reporter = Reporter::stdout();
    let prepared = one_shot::prepare(run_dir, sandbox, &reporter);
    // From here on there are threads, and all of them are confined.
    parent.leave_with_it();
    let stop = StopFlag::from_stdin();
    exit(one_shot::run(run_dir, prepared, &reporter, &stop))
}

fn answer(options: &predict::Options, models: Option<&Path>, sandbox: Mode) -> anyhow::Result<()> {
    let parent = Parent::find();
    bounds::bound_threads();
    device::see_only(&options.device);
    confinement::confine_predictions(models, &options.device, sandbox)?;
    parent.leave_with_it();
    #[cfg(target_os = "linux")]
    allocator::return_pages_when_idle();
    predict::run(options, io::stdin(), io::stdout())
}

fn draw(out: &Path, seed: u64, labels: SampleLabels) -> anyhow::Result<()> {
    let drawn = sample::write_sample_dataset(out, seed, labels)?;
    println!(
        "{}: {} images of {}, {} bytes",
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
