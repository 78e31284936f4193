//! Everything before the first step: data, pixels, network, and the checkpoint to resume from, if any.

use std::{borrow::Cow, collections::HashSet, rc::Rc, sync::Arc};

use super::{
    checkpoints::{
        best::Best,
        checkpoint::{self, Checkpoint, Machine},
        start::Start,
    },
    context::TrainContext,
    head,
    input::{
        data::{self, Data},
        pack::{Pack, Side},
    },
    learner::{Base, Learner},
    loss::{AuxiliaryHeads, Loss},
    plan::Plan,
    precision,
    progress::{halt::Halt, pulse::Heartbeat},
    solve::beside_base,
    transfer::{distill::teachers::Teachers, second::Second, unlabelled},
};
use crate::worker::train::progress::remarks::about_learning;
use crate::{
    domain::{
        architecture::Outputs,
        jobs::job::FailureCode,
        models::tasks::tasks_of,
        spec::{Adapt, Architecture, JobSpec, ScheduleName, Task},
    },
    protocol::{DatasetInput, HubSource, TrainRun, WeightsSource, WorkerMessage},
    worker::{
        device,
        files::state::StateDict,
        import::detect,
        nets::{LoadFault, Network, winograd},
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        weights::{self, BaseWeights, LoadedWeights},
    },
};

/// The run with a complete spec: of weights that describe themselves the preprocessing is known only now.
pub fn described<'a>(
    run: &'a TrainRun,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Cow<'a, TrainRun>, Halt> {
    if run.checkpoints.is_empty() && matches!(run.weights, WeightsSource::Unavailable { .. }) {
        // Nothing can come of it: said before images are decoded.
        weights::obtain(&run.weights, run.spec.backbone.architecture, reporter, stop)?;
    }
    let WeightsSource::Hub(hub) = &run.weights else {
        return Ok(Cow::Borrowed(run));
    };
    if !hub.described {
        return Ok(Cow::Borrowed(run));
    }
    let mut run = run.clone();
    complete(&mut run.spec, hub, reporter, stop)?;
    Ok(Cow::Owned(run))
}

/// Fills in the preprocessing of weights that describe themselves.
pub fn complete(
    spec: &mut JobSpec,
    hub: &HubSource,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), Halt> {
    let about = weights::describe(hub, spec.backbone.architecture, reporter, stop)?;
    let recipe = about.recipe;
    spec.image.complete(&recipe);
    let mut differs = Vec::new();
    if spec.image.size != recipe.native_size {
        differs.push(format!(
            "they were trained with {} pixels, and `image.size` is {}",
            recipe.native_size, spec.image.size
        ));
    }
    if spec.image.resize != about.resize {
        differs.push("they were trained with another `image.resize`".to_owned());
    }
    for differs in differs {
        let message = format!("about the weights `{}`: {differs}", hub.repository);
        reporter.send(&WorkerMessage::log(message));
    }
    Ok(())
}

/// Reads the data and packs its images at the size that the spec needs.
pub fn context(
    run: &TrainRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<TrainContext, Halt> {
    let data = data::read(&run.common.dataset, &run.spec.split, run.spec.task)?;
    check_validation(&run.spec, &data)?;
    warn(run, &data, reporter);
    context_of(run, data, dir, reporter, stop)
}

/// The same with images that were chosen in another way.
pub fn context_of(
    run: &TrainRun,
    data: Data,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<TrainContext, Halt> {
    let device = device::parse(&run.common.device).map_err(|message| anyhow::anyhow!(message))?;
    // Only after the device is known: CUDA has to be loaded before the first call to libtorch.
    tch::set_num_threads(run.common.threads.max(1) as i32);
    let classes = data.train.iter().map(|sample| sample.class).collect();
    let plan = Plan::new(&run.spec, classes).with_two_views(run.pretraining.is_some());
    check_batches(run, &plan)?;
    if device.is_cuda() {
        // All batches but the last of an epoch have the same size, so benchmarking cuDNN's algorithms once pays off.
        tch::Cuda::cudnn_set_benchmark(true);
    }
    let kind = precision::set(run.spec.precision, device);
    let mut heartbeat = Heartbeat::new(reporter, stop);
    let side = side(&run.spec);
    let pack = pack(
        &run.common.dataset,
        &data,
        side,
        dir,
        run.common.threads,
        &mut heartbeat,
    )?;
    let mut context = TrainContext {
        data,
        plan,
        pack: Arc::new(pack),
        device,
        kind,
        machine: Machine {
            device: run.common.device.clone(),
            threads: run.common.threads,
            libtorch: device::LIBTORCH_VERSION.to_owned(),
            precision: precision::name(run.spec.precision, kind, device).to_owned(),
            convolutions: winograd::form(device, kind),
        },
        job: checkpoint::identity(run).map_err(anyhow::Error::new)?,
        unlabelled: None,
        teachers: Teachers::load(run, device)?.map(Rc::new),
    };
    if let Some(input) = &run.unlabelled {
        let unlabelled = unlabelled::read(run, input, &context, side, dir, &mut heartbeat)?;
        context.unlabelled = Some(Box::new(unlabelled));
    }
    Ok(context)
}

/// Makes the context of one run that of another which trains on the same images.
pub fn plan_for(context: &mut TrainContext, run: &TrainRun) -> Result<(), Halt> {
    let classes = context.data.train.iter().map(|sample| sample.class).collect();
    context.plan = Plan::new(&run.spec, classes);
    context.job = checkpoint::identity(run).map_err(anyhow::Error::new)?;
    Ok(())
}

/// The size at which a job needs its images packed.
pub fn side(spec: &JobSpec) -> Side {
    let side = Side::of(&spec.preprocessing());
    Side {
        bring_up: side.bring_up && spec.augment.random_resized_crop.is_none(),
        ..side
    }
}

/// Images ready to be cropped; the list of the packs in use is written into the run's directory.
pub fn pack(
    input: &DatasetInput,
    data: &Data,
    side: Side,
    dir: &RunDir,
    threads: u32,
    heartbeat: &mut Heartbeat,
) -> Result<Pack, Halt> {
    Pack::obtain(input, data, side, dir, threads, heartbeat)
}

/// The network and the starting point: an intact checkpoint, or base weights.
pub fn start(
    run: &TrainRun,
    context: &TrainContext,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(Learner, Start), Halt> {
    match resumed(run, context, reporter) {
        Some(resumed) => Ok(resumed),
        None => begin(run, context, reporter, stop),
    }
}

/// The network and the starting point without a checkpoint.
pub fn begin(
    run: &TrainRun,
    context: &TrainContext,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(Learner, Start), Halt> {
    if run.common.attempt > 1 {
        // What earlier attempts reported of their steps no longer counts.
        reporter.send(&WorkerMessage::Resumed { step: 0, epoch: 0 });
    }
    from_base(run, context, reporter, stop)
}

/// Resumes from the newest usable checkpoint.
pub fn resumed(run: &TrainRun, context: &TrainContext, reporter: &Reporter) -> Option<(Learner, Start)> {
    for path in &run.checkpoints {
        let found = checkpoint::read(path, &context.job)
            .map_err(|fault| fault.to_string())
            .and_then(|checkpoint| restored(run, context, checkpoint));
        match found {
            Ok((learner, start, machine)) => {
                reporter.send(&WorkerMessage::Resumed {
                    step: start.position.step,
                    epoch: start.position.epoch - 1,
                });
                warn_of_other_machine(&machine, &context.machine, reporter);
                return Some((learner, start));
            }
            Err(why) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let message =
                    format!("the checkpoint {name} cannot be used, trying the one before it: {why}");
                reporter.send(&WorkerMessage::warning("checkpoint_damaged", message));
            }
        }
    }
    None
}

fn restored(
    run: &TrainRun,
    context: &TrainContext,
    checkpoint: Checkpoint,
) -> Result<(Learner, Start, Machine), String> {
    let (architecture, outputs) = (run.spec.backbone.architecture, outputs(run, context));
    let network = Network::loaded(architecture, outputs, &checkpoint.model, context.device)
        .map_err(|fault| fault.to_string())?
        .computing_in(context.kind);
    let network = match &run.spec.adapt {
        Some(adapt) => network.training_only(adapt),
        None => network,
    };
    let position = checkpoint.position;
    let loss = loss(run, context)?;
    let second = second(run, context, &network, &loss);
    let auxiliary = AuxiliaryHeads::of(&run.spec, &network);
    let mut learner = Learner::new(network, &run.spec, loss, position.epoch)
        .map_err(|fault| fault.to_string())?
        .with_auxiliary(auxiliary)
        .with_second(second, position.epoch, context.plan.steps());
    if learner.loss_scale.is_some() && checkpoint.loss_scale.is_some() {
        learner.loss_scale = checkpoint.loss_scale;
    }
    let mismatch = |name: String| format!("`{name}` does not match");
    learner
        .optimizer
        .restore(&checkpoint.optimizer)
        .map_err(mismatch)?;
    if let Some(average) = &mut learner.average {
        average.restore(&checkpoint.average).map_err(mismatch)?;
    }
    learner.restore_beside(&checkpoint.second).map_err(mismatch)?;
    let epochs_before = u64::from(position.epoch.saturating_sub(1)) * context.plan.steps_per_epoch() as u64;
    let possible = position.epoch >= 1
        && position.step_in_epoch <= context.plan.steps_per_epoch()
        && position.step == epochs_before + position.step_in_epoch as u64;
    if !possible {
        return Err("its position does not exist in this job".to_owned());
    }
    let start = Start {
        position,
        sums: checkpoint.sums,
        history: checkpoint.history,
        batch_limit: checkpoint.batch_limit,
        best: match checkpoint.best {
            Some(best) => Some(Best::restored(&learner, best.metrics, best.weights)?),
            None => None,
        },
        base_weights: checkpoint.base_weights,
        seconds_used: checkpoint.seconds_used,
        baseline: checkpoint.baseline,
    };
    Ok((learner, start, checkpoint.machine))
}

fn warn_of_other_machine(then: &Machine, now: &Machine, reporter: &Reporter) {
    if then == now {
        return;
    }
    let told = |machine: &Machine| {
        format!(
            "{} with {} threads in {}, libtorch {}, {}",
            machine.device,
            machine.threads,
            machine.precision,
            machine.libtorch,
            match machine.convolutions.as_str() {
                "" => "its own convolutions",
                own => own,
            }
        )
    };
    let message = format!(
        "training started on {} and continues on {}: the result will not be bit for bit that of an uninterrupted run",
        told(then),
        told(now)
    );
    reporter.send(&WorkerMessage::warning("resume_not_bit_exact", message));
}

fn from_base(
    run: &TrainRun,
    context: &TrainContext,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(Learner, Start), Halt> {
    let begun = match beside_base::begin(run, context, outputs(run, context), reporter)? {
        Some(beside) => Begun {
            network: beside.network,
            base_weights: beside.base_weights,
            auxiliary: StateDict::new(),
            base: Some(beside.base),
        },
        None => given_or_drawn(run, context, reporter, stop)?,
    };
    let network = adapted(begun.network.computing_in(context.kind), &run.spec)?;
    let loss = loss(run, context).map_err(|why| Halt::failed(FailureCode::InvalidData, &why))?;
    let second = second(run, context, &network, &loss);
    let auxiliary = AuxiliaryHeads::of(&run.spec, &network);
    if let Some(auxiliary) = &auxiliary {
        reporter.send(&WorkerMessage::log(auxiliary.begin_with(&begun.auxiliary)));
    }
    let learner = Learner::new(network, &run.spec, loss, 1)?
        .on_base(begun.base)
        .with_auxiliary(auxiliary)
        .with_second(second, 1, context.plan.steps());
    reporter.send(&WorkerMessage::log(about_run(
        run,
        context,
        &begun.base_weights.name,
    )));
    let start = Start::at_the_beginning(begun.base_weights, context.plan.batch_size);
    Ok((learner, start))
}

/// What a training begins with.
struct Begun {
    network: Network,
    base_weights: BaseWeights,
    /// Heads on earlier layers that came with the weights.
    auxiliary: StateDict,
    /// The backbone's file, where it is one that models have already.
    base: Option<Base>,
}

/// The network with the weights that the job names, or without any.
fn given_or_drawn(
    run: &TrainRun,
    context: &TrainContext,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Begun, Halt> {
    let (architecture, outputs) = (run.spec.backbone.architecture, outputs(run, context));
    let Some(mut loaded) = weights::obtain(&run.weights, architecture, reporter, stop)? else {
        return Ok(Begun {
            network: Network::drawn(architecture, outputs, run.spec.seed, context.device),
            base_weights: BaseWeights::none(),
            auxiliary: StateDict::new(),
            base: None,
        });
    };
    for told in &loaded.told {
        let message = format!("about the weights `{}`: {told}", loaded.origin.name);
        reporter.send(&match loaded.guessed {
            true => WorkerMessage::warning("weights_guessed", message),
            false => WorkerMessage::log(message),
        });
    }
    let head = head::choose(
        &mut loaded.state,
        architecture,
        loaded.classes.as_deref(),
        &run.common.dataset.classes,
        (outputs, run.spec.head.keep),
    );
    let tuned = Network::fine_tuned(
        architecture,
        outputs,
        &loaded.state,
        run.spec.seed,
        context.device,
    );
    let (network, _) = tuned.map_err(|fault| mismatch(&loaded, architecture, &fault))?;
    reporter.send(&WorkerMessage::log(head));
    Ok(Begun {
        network,
        base_weights: loaded.origin,
        auxiliary: loaded.auxiliary,
        base: None,
    })
}

/// The network with the adapter that is trained, if one is.
fn adapted(network: Network, spec: &JobSpec) -> Result<Network, LoadFault> {
    let Some(adapt) = &spec.adapt else {
        return Ok(network);
    };
    let network = match adapt {
        Adapt::Lora(lora) => network.with_low_rank(lora, spec.seed)?,
        Adapt::NormOnly | Adapt::BiasOnly => network,
    };
    Ok(network.training_only(adapt))
}

/// Weights of another network that is known here are called by its name; of others it is said what does not fit.
fn mismatch(loaded: &LoadedWeights, architecture: Architecture, fault: &LoadFault) -> Halt {
    let origin = &loaded.origin.name;
    let other = detect::architecture(&loaded.state).filter(|other| *other != architecture);
    let message = match other {
        Some(other) => format!(
            "the weights `{origin}` cannot be used: these are weights of {other}, and the job's architecture is {architecture} ({fault}). Set \
             `backbone.architecture` to `{other}`, or `backbone.weights` to weights of {architecture}"
        ),
        None => format!(
            "the weights `{origin}` cannot be used: {fault}. Set `backbone.weights` to weights of this architecture, or change \
             `backbone.architecture`"
        ),
    };
    Halt::failed(FailureCode::WeightsUnavailable, message)
}

/// The head of the model.
fn outputs(run: &TrainRun, context: &TrainContext) -> Outputs {
    if run.pretraining.is_some() {
        return Outputs::FEATURES;
    }
    Outputs {
        head: run.spec.head.head(context.data.train.len() as u64),
        classes: run.common.dataset.classes.len(),
    }
}

/// # Errors
/// For a person: the dataset's classes are not those of several tasks, where they have to be.
fn loss(run: &TrainRun, context: &TrainContext) -> Result<Loss, String> {
    if let (Task::MultiTask, Some(sets)) = (run.spec.task, &context.data.label_sets) {
        let tasks = tasks_of(&run.common.dataset.classes)?;
        return Ok(Loss::of_tasks(&run.spec.loss, &tasks, sets, context.device));
    }
    let classes: Vec<u32> = context.data.train.iter().map(|sample| sample.class).collect();
    let count = run.common.dataset.classes.len();
    let sets = context.data.label_sets.as_ref();
    Ok(Loss::new(&run.spec.loss, &classes, count, sets, context.device))
}

fn second(run: &TrainRun, context: &TrainContext, network: &Network, loss: &Loss) -> Option<Second> {
    if let Some(weights) = loss.learned() {
        return Some(Second::TaskWeights(weights));
    }
    let teacher_features = context.teachers.as_ref().and_then(|teachers| teachers.features());
    let steps = context.plan.steps_per_epoch();
    Second::of(run, network, teacher_features, steps, context.device)
}

fn about_run(run: &TrainRun, context: &TrainContext, base_weights: &str) -> String {
    let architecture = run.spec.backbone.architecture;
    let learns = match run.pretraining {
        Some(method) => format!(
            "its layers learn from two views of each image (`{}`), without labels",
            method.as_str()
        ),
        None => about_learning(architecture, run.spec.last_frozen(1)),
    };
    let learns = match &run.spec.adapt {
        Some(adapt) => format!(
            "{learns}, of them only the adapter (`{}`) and the head",
            adapt.as_str()
        ),
        None => learns,
    };
    let beside = about_second(run, context);
    format!(
        "{architecture} from weights `{base_weights}` on {} in {}, {} threads: {} images for training, {} for validation, {} held out for testing; {learns}{beside}",
        run.common.device,
        context.machine.precision,
        run.common.threads,
        context.data.train.len(),
        context.data.val.len(),
        context.data.test
    )
}

/// What is learned from besides the labels.
fn about_second(run: &TrainRun, context: &TrainContext) -> String {
    let others = context.unlabelled.as_ref().map(|others| {
        let (count, name) = (
            others.context.data.train.len(),
            &others.run.common.dataset.lineage.name,
        );
        format!("{count} images of {name}")
    });
    match (&run.spec.domain_adaptation, &run.spec.distill, others) {
        (Some(adaptation), _, Some(others)) => {
            format!("; adapted by `{}` to {others}", adaptation.method.as_str())
        }
        (_, Some(distill), others) => {
            let teachers = match distill.teacher.len() {
                1 => "a teacher".to_owned(),
                count => format!("{count} teachers"),
            };
            let others = others.map_or(String::new(), |others| format!(", also about {others}"));
            format!("; {teachers} says what the images are{others}")
        }
        _ => String::new(),
    }
}

fn check_batches(run: &TrainRun, plan: &Plan) -> Result<(), Halt> {
    let spec = &run.spec;
    if plan.batch_size < smallest_batch(run) {
        let message = format!(
            "the BatchNorm of {} cannot be trained with batches of a single image of {} pixels; raise `batch_size` to 2 or more, or freeze the \
             whole backbone",
            spec.backbone.architecture, spec.image.size
        );
        return Err(Halt::failed(FailureCode::InvalidData, message));
    }
    Ok(())
}

/// The smallest batch allowed in training: domains are compared by more than one image, projections are normalised over several, and where
/// the input of the last stage's BatchNorm is a single pixel, as at 32 pixels in most networks, the variance of one value is undefined.
pub fn smallest_batch(run: &TrainRun) -> usize {
    let spec = &run.spec;
    let architecture = spec.backbone.architecture;
    let norm_learns = spec.last_frozen(spec.epochs) != Some(architecture.last_stage());
    let aligns = spec
        .domain_adaptation
        .as_ref()
        .is_some_and(|adaptation| adaptation.method.has_loss());
    if aligns || run.pretraining.is_some() || (norm_learns && spec.image.size <= architecture.total_stride())
    {
        2
    } else {
        1
    }
}

/// Settings that depend on validation need validation images.
fn check_validation(spec: &JobSpec, data: &Data) -> Result<(), Halt> {
    let follows = [
        ("early_stopping", spec.early_stopping.is_some()),
        (
            "schedule.name` = `plateau",
            spec.schedule.name == ScheduleName::Plateau,
        ),
    ];
    match follows.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) if data.val.is_empty() => {
            let message = format!(
                "`{field}` needs validation images, but there are none; raise `split.val`, or leave `{field}` out"
            );
            Err(Halt::failed(FailureCode::InvalidData, message))
        }
        _ => Ok(()),
    }
}

fn warn(run: &TrainRun, data: &Data, reporter: &Reporter) {
    let warn = |code: &str, message: String| reporter.send(&WorkerMessage::warning(code, message));
    if data.val.is_empty() {
        let message = match run.spec.head.is_made_at_once() {
            true => "there are no validation images: how good the model is, is not measured",
            false => {
                "there are no validation images: the last epoch's weights are kept, whether they are the best or not"
            }
        };
        warn("no_validation", message.to_owned());
    }
    let shown: HashSet<u32> = data
        .train
        .iter()
        .flat_map(|sample| data.labels_of(sample))
        .collect();
    let classes = run.common.dataset.classes.iter().enumerate();
    let unseen: Vec<_> = classes
        .filter(|(class, _)| !shown.contains(&(*class as u32)))
        .map(|(_, name)| name.as_str())
        .collect();
    if !unseen.is_empty() {
        warn(
            "class_without_images",
            format!("no training images for {}", unseen.join(", ")),
        );
    }
    if !run.spec.head.is_made_at_once() {
        warn_of_few_images(run, data, reporter);
    }
}

pub fn warn_of_few_images(run: &TrainRun, data: &Data, reporter: &Reporter) {
    if run.spec.batch_size as usize > data.train.len() {
        let message = format!(
            "there are {} training images, fewer than `batch_size`: each epoch is one step",
            data.train.len()
        );
        reporter.send(&WorkerMessage::warning("small_dataset", message));
    }
}
