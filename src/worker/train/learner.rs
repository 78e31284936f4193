//! A network in training: frozen stages, trained stages, head, loss and optimiser, one batch at a time.
//!
//! The frozen stages are a function of the image alone (their BatchNorm is in eval mode), so their outputs, the boundary activations, can
//! be computed once and used often. Everything else here starts at that boundary.

use std::cell::{Cell, OnceCell};

use tch::{Kind, Tensor};

use super::{
    input::{batch::FeedBatch, portion::MicroBatches},
    loss::{AuxiliaryHeads, Loss},
    optimizer::{Average, Optimizer},
    precision::LossScale,
    transfer::{distill::distillation::Taught, pretraining::Pretraining, second::Second, term::Term},
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::spec::{JobSpec, Stage},
    worker::{
        fault::{self, TorchFault},
        files::{
            bundle::{self, BundleFault},
            state::StateDict,
        },
        nets::{
            LoadFault, Network,
            dropout::{Dropout, DropoutKey},
            eval::EvalStages,
            layers::Mode,
            vectors,
        },
    },
};

/// A network and everything needed to train it.
pub struct Learner {
    pub network: Network,
    pub optimizer: Optimizer,
    /// The moving average that validation and the model use instead of the network, if enabled.
    pub average: Option<Average>,
    pub loss: Loss,
    /// What it learns from besides the labels, if anything.
    pub second: Option<Second>,
    /// Heads in the middle of the network that learn from the labels, too, if any do.
    pub auxiliary: Option<AuxiliaryHeads>,
    /// Where the network computes in fp16.
    pub loss_scale: Option<LossScale>,
    dropout: Dropout,
    seed: u64,
    frozen: Option<Stage>,
    /// The frozen stages, if any, in the form that computes fastest.
    trunk: Option<EvalStages>,
    batch_size: i64,
    /// Stages up to and including this one are frozen during the whole run.
    always_frozen: Option<Stage>,
    /// For work without gradients, whose result does not depend on the batch size.
    micro_batches: Cell<MicroBatches>,
    /// The backbone as a file, where nothing of it is trained; found out when it is first needed.
    base: OnceCell<Base>,
}

/// A backbone of which nothing is trained, as the file that it is stored as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

/// Loss and hits of images, still on the device: reading them waits for the device.
pub struct Outcome {
    /// A scalar: the training loss, or the mean cross entropy in evaluation.
    pub loss: Tensor,
    /// Number of images classified correctly, a scalar of 64-bit integers.
    pub correct: Tensor,
    /// The loss of what is learned from besides the labels, a scalar.
    pub second: Option<Tensor>,
}

/// Some of the images of a step.
#[derive(Clone, Copy, Debug)]
pub struct MicroBatch {
    /// Steps before this one.
    pub step: u64,
    /// Index of its first image in the step.
    pub first_row: usize,
    /// Total weight of the step's images, see [`Loss::weight`].
    pub step_weight: f64,
    /// Share of the step's images that are in it.
    pub share: f64,
}

impl Learner {
    /// Starts before an epoch (from 1) of a run of `spec`.
    ///
    /// # Errors
    /// None that a network's own weights could cause.
    pub fn new(network: Network, spec: &JobSpec, loss: Loss, epoch: u32) -> Result<Self, LoadFault> {
        let average = spec.ema_decay.map(|decay| Average::of(&network, decay));
        let mut learner = Self {
            optimizer: Optimizer::new(spec),
            average: average.transpose()?,
            loss,
            second: None,
            auxiliary: None,
            loss_scale: LossScale::of(network.kind()),
            dropout: Dropout::new(spec.head.dropout),
            seed: spec.seed,
            frozen: None,
            trunk: None,
            batch_size: spec.batch_size.into(),
            always_frozen: spec.last_frozen(spec.epochs),
            micro_batches: Cell::new(MicroBatches::new(usize::MAX, 1)),
            base: OnceCell::new(),
            network,
        };
        learner.freeze(spec.last_frozen(epoch));
        Ok(learner)
    }

    /// The same with something to learn from besides the labels, before an epoch (from 1).
    /// `steps` are those of the whole run.
    pub fn with_second(mut self, second: Option<Second>, epoch: u32, steps: u64) -> Self {
        if let Some(Second::Pretraining(_)) = second {
            self.average = self.average.map(|average| average.growing(steps));
        }
        self.second = second;
        self.begin_epoch(epoch);
        self
    }

    /// The same with auxiliary heads.
    pub fn with_auxiliary(self, auxiliary: Option<AuxiliaryHeads>) -> Self {
        Self { auxiliary, ..self }
    }

    /// The same where it is known already which file the backbone is.
    pub fn on_base(mut self, base: Option<Base>) -> Self {
        self.base = base.map_or_else(OnceCell::new, OnceCell::from);
        self
    }

    /// The file that the backbone is stored as, if nothing of it is trained in the whole run.
    pub fn base(&self) -> Result<Option<&Base>, BundleFault> {
        if self.always_frozen != Some(self.network.architecture().last_stage()) {
            return Ok(None);
        }
        if self.base.get().is_none() {
            let (sha256, bytes) = bundle::base_digest(&self.untrained())?;
            // It was empty: nothing else runs here.
            let _ = self.base.set(Base { sha256, bytes });
        }
        Ok(self.base.get())
    }

    /// All tensors that no step of the run changes.
    fn untrained(&self) -> StateDict {
        let state = self.network.state().iter();
        let untrained = state.filter(|(name, _)| !self.is_trained(name));
        untrained
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    /// Begins an epoch (from 1): what learns beside the network is trained from the first epoch on in which it takes part.
    pub fn begin_epoch(&mut self, epoch: u32) {
        if let Some(second) = &self.second {
            self.optimizer.learn(second.parameters(epoch));
        }
        if let Some(auxiliary) = &self.auxiliary {
            self.optimizer.learn(auxiliary.parameters(self.frozen));
        }
    }

    /// From now on the stages up to and including `frozen` are not trained. Newly trained parameters start with fresh optimiser state.
    pub fn freeze(&mut self, frozen: Option<Stage>) {
        let mut parameters = self.network.parameters();
        parameters.retain(|parameter| self.network.is_after(&parameter.name, frozen));
        self.optimizer.learn(parameters);
        self.frozen = frozen;
        self.trunk = frozen.map(|last| EvalStages::new(None, last));
    }

    pub fn frozen(&self) -> Option<Stage> {
        self.frozen
    }

    /// Boundary activations of images `[N, 3, H, W]`; the images themselves if nothing is frozen.
    pub fn boundary(&self, images: &Tensor) -> Result<Tensor, TorchFault> {
        let Some(trunk) = &self.trunk else {
            return Ok(images.shallow_clone());
        };
        let trunk = trunk.ready(&self.network, self.full_batch_size(images))?;
        self.in_micro_batches(images, |part| trunk.forward(part))
    }

    /// The size `[N, C, H, W]` of a full batch of this kind: the computation must not depend on which batch happens to come first.
    pub(super) fn full_batch_size(&self, batch: &Tensor) -> [i64; 4] {
        let size = batch.size();
        [self.batch_size, size[1], size[2], size[3]]
    }

    /// Adds the gradients of a micro-batch. The losses of all micro-batches sum to that of the step.
    ///
    /// # Errors
    /// Not enough memory: then nothing has changed.
    pub fn accumulate(&mut self, batch: &FeedBatch, part: MicroBatch) -> Result<Outcome, TorchFault> {
        let statistics = Statistics::of(&self.network, self.frozen);
        let result = fault::caught(|| {
            let key = DropoutKey {
                seed: self.seed,
                step: part.step,
                first_row: part.first_row,
            };
            let Passed {
                features,
                seen,
                others,
            } = self.features(batch, key);
            if let (Some(Second::Pretraining(own)), Some(others)) = (&self.second, &others) {
                return self.of_views(own, batch, [&features, others], part.share);
            }
            let logits = self.logits(&features, key);
            let labels = &batch.labels;
            let loss_of = |logits: &Tensor| {
                let sum = labels.loss(|labels| self.loss.of_each(logits, labels).sum(Kind::Float));
                sum / part.step_weight
            };
            let loss = loss_of(&logits);
            let second = self.second_term(batch, (&features, &logits), others.as_ref(), key);
            let outcome = Outcome {
                correct: self.loss.hits(&logits, labels.predominant()),
                loss: loss.detach(),
                second: second.as_ref().map(|term| &term.told * part.share),
            };
            let loss = match &self.auxiliary {
                Some(auxiliary) => {
                    let each = auxiliary.logits(&seen, self.frozen, key).into_iter();
                    each.fold(loss, |loss, logits| loss + loss_of(&logits) * auxiliary.weight)
                }
                None => loss,
            };
            let loss = match (second, &self.second) {
                (Some(term), Some(Second::Distillation(own))) => {
                    loss * own.label_weight() + term.added * part.share
                }
                (Some(term), _) => loss + term.added * part.share,
                (None, _) => loss,
            };
            (outcome, loss, None)
        });
        let result = result.and_then(|(outcome, loss, seen)| {
            fault::caught(|| {
                match &self.loss_scale {
                    Some(scale) => self.optimizer.accumulate(&(loss * scale.factor())),
                    None => self.optimizer.accumulate(&loss),
                }
                if let Some(Second::Pretraining(own)) = &self.second {
                    own.count(seen);
                }
                outcome
            })
        });
        result.inspect_err(|_| statistics.restore())
    }

    /// What two views of the images of a batch, `share` of a step's images, have in common: the outcome, the loss, and what the teacher said.
    fn of_views(
        &self,
        own: &Pretraining,
        batch: &FeedBatch,
        views: [&Tensor; 2],
        share: f64,
    ) -> (Outcome, Tensor, Option<Tensor>) {
        let other = batch.unlabelled.as_ref().map(|other| &other.boundary);
        let theirs = other.filter(|_| own.has_teacher()).map(|other| {
            // Its statistics are copies of the network's, which are not those of its own features.
            let mode = Mode::Batch { share: None };
            without_gradients(|| [&batch.boundary, other].map(|images| self.eval_features(images, mode)))
        });
        let own_vectors = views.map(vectors);
        let theirs = theirs.map(|theirs| theirs.each_ref().map(vectors));
        let (term, seen) = own.of_views(
            own_vectors.each_ref(),
            theirs.as_ref().map(|theirs| theirs.each_ref()),
        );
        let outcome = Outcome {
            loss: &term.told * share,
            correct: Tensor::from(0i64).to_device(self.network.device()),
            second: None,
        };
        (outcome, term.added * share, seen)
    }

    /// Takes the step for which gradients were accumulated, after `steps` others, with the head's learning rate `lr`. Returns the norm of
    /// the gradients, a scalar on the device: 0 if the step was skipped because the loss scale was too large, infinite if no scale is small
    /// enough.
    pub fn step(&mut self, lr: f64, steps: u64) -> Tensor {
        if let Some(scale) = &mut self.loss_scale {
            let finite = self.optimizer.divide_gradients(scale.factor());
            let goes_on = scale.follow(finite);
            if !finite {
                self.optimizer.forget_gradients();
                let norm = if goes_on { 0.0f32 } else { f32::INFINITY };
                // Where the norms of other steps are: they are read together.
                return Tensor::from(norm).to_device(self.network.device());
            }
        }
        let norm = self.optimizer.step(lr);
        if let Some(average) = &mut self.average {
            average.follow(&self.network, self.frozen, steps);
        }
        if let Some(Second::Pretraining(own)) = &self.second {
            own.follow(self.average.as_ref().map_or(0.0, |average| average.decay(steps)));
        }
        norm
    }

    /// What a checkpoint has of what learns beside the network.
    pub fn state_beside(&self) -> StateDict {
        let mut state = self.second.as_ref().map(Second::state).unwrap_or_default();
        state.extend(self.auxiliary.iter().flat_map(AuxiliaryHeads::state));
        state
    }

    /// Restores the result of [`Learner::state_beside`].
    ///
    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore_beside(&self, saved: &StateDict) -> Result<(), String> {
        if let Some(second) = &self.second {
            second.restore(saved)?;
        }
        let auxiliary = self.auxiliary.as_ref();
        auxiliary.map_or(Ok(()), |auxiliary| auxiliary.restore(saved))
    }

    /// All tensors of the frozen stages.
    pub fn frozen_state(&self) -> StateDict {
        let state = self.network.state().iter();
        let frozen = state.filter(|(name, _)| !self.network.is_after(name, self.frozen));
        frozen
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    /// Restores trainable tensors of the evaluated network from copies made by [`Learner::trainable_weights`].
    pub fn restore_weights(&mut self, weights: &StateDict) {
        without_gradients(|| {
            for (name, own) in self.eval_network().state() {
                if let Some(saved) = weights.get(name) {
                    own.shallow_clone().copy_(saved);
                }
            }
        });
    }

    /// Copies of all trainable tensors of the evaluated network.
    pub fn trainable_weights(&self) -> StateDict {
        let copied = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.detach().copy());
        self.trainable(self.eval_network()).map(copied).collect()
    }

    /// The trainable part of the moving average; empty if there is none. The tensors are shared.
    pub fn average_state(&self) -> StateDict {
        let networks = self.average.iter().map(|average| &average.network);
        let shared = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
        networks
            .flat_map(|network| self.trainable(network))
            .map(shared)
            .collect()
    }

    /// The network's tensors, replaced by those in `weights` where present.
    pub fn with(&self, weights: &StateDict) -> StateDict {
        let state = self.network.state().iter();
        let chosen =
            state.map(|(name, own)| (name.clone(), weights.get(name).unwrap_or(own).shallow_clone()));
        chosen.collect()
    }

    /// Whether every trainable tensor is finite.
    pub fn is_finite(&self) -> bool {
        self.trainable(self.eval_network())
            .all(|(_, tensor)| tensor.isfinite().all().int64_value(&[]) != 0)
    }

    pub(super) fn eval_network(&self) -> &Network {
        self.average
            .as_ref()
            .map_or(&self.network, |average| &average.network)
    }

    /// Whether the run may change a tensor in any of its epochs.
    pub fn is_trained(&self, name: &str) -> bool {
        self.network.changes(name, self.always_frozen)
    }

    fn trainable<'a>(
        &'a self,
        network: &'a Network,
    ) -> impl Iterator<Item = (&'a String, &'a Tensor)> + use<'a> {
        // The average has the same tensors, and does not know which of them an adapter leaves alone.
        let state = network.state().iter();
        state.filter(|(name, _)| self.is_trained(name))
    }

    /// Passes a micro-batch and the images that go along with it through the network, as far as its features.
    ///
    /// Images of a target domain are a batch of their own, so that BatchNorm normalises each domain by its own statistics. Its running ones
    /// are those of the target then: it is the target's images that the model is for.
    fn features(&self, batch: &FeedBatch, key: DropoutKey) -> Passed {
        let of = |boundary: &Tensor, mode| features_of(&self.network, boundary, self.frozen, mode);
        let own = &batch.boundary;
        let Some(others) = batch.unlabelled.as_ref().map(|others| &others.boundary) else {
            return self.passed(own, Mode::Train(key));
        };
        let apart = match &self.second {
            Some(Second::Alignment(_)) => Some(Mode::TrainBeside(key)),
            // Each view is a batch of its own, as in the papers.
            Some(Second::Pretraining(_)) => Some(Mode::Train(key)),
            _ => None,
        };
        if let Some(mode) = apart {
            let own = self.passed(own, mode);
            let others = Some(of(others, Mode::Train(key.of_others())));
            return Passed { others, ..own };
        }
        let (count, more) = (own.size()[0], others.size()[0]);
        let all = self.passed(&Tensor::cat(&[own, others], 0), Mode::Train(key));
        let ours = |of_all: &Tensor| of_all.narrow(0, 0, count);
        Passed {
            features: ours(&all.features),
            seen: all.seen.iter().map(ours).collect(),
            others: Some(all.features.narrow(0, count, more)),
        }
    }

    /// Passes a batch through the network, with what auxiliary heads see of it.
    fn passed(&self, boundary: &Tensor, mode: Mode) -> Passed {
        let places = self.auxiliary.as_ref().map(|own| own.places(self.frozen));
        let places = places.filter(|places| !places.is_empty());
        let (features, seen) = match places {
            None => (
                features_of(&self.network, boundary, self.frozen, mode),
                Vec::new(),
            ),
            Some(places) => {
                let last = self.network.architecture().last_stage();
                let through = (self.frozen, last);
                self.network.stages_seen_at(boundary, through, mode, &places)
            }
        };
        Passed {
            features,
            seen,
            others: None,
        }
    }

    /// Logits `[N, classes]` of features in training.
    fn logits(&self, features: &Tensor, key: DropoutKey) -> Tensor {
        self.network.head(&self.dropout.apply(features, key))
    }

    /// What is learned besides the labels of a micro-batch with these features and logits; `others` are the features of the images that go
    /// along.
    fn second_term(
        &self,
        batch: &FeedBatch,
        (features, logits): (&Tensor, &Tensor),
        others: Option<&Tensor>,
        key: DropoutKey,
    ) -> Option<Term> {
        match self.second.as_ref()? {
            Second::Pretraining(_) | Second::TaskWeights(_) => None,
            Second::Alignment(alignment) => Some(alignment.of(features, others?, key.step)),
            Second::Distillation(distillation) => {
                let lesson = batch.lesson.as_ref()?;
                let own = Taught {
                    features,
                    logits,
                    lesson,
                };
                let lesson = batch.unlabelled.as_ref().and_then(|batch| batch.lesson.as_ref());
                let (Some(features), Some(lesson)) = (others, lesson) else {
                    return Some(distillation.of(&[own]));
                };
                let logits = self.logits(features, key.of_others());
                let others = Taught {
                    features,
                    logits: &logits,
                    lesson,
                };
                Some(distillation.of(&[own, others]))
            }
        }
    }

    /// Features `[N, features]` of boundary activations, by the network that is evaluated.
    pub fn eval_features(&self, boundary: &Tensor, mode: Mode) -> Tensor {
        features_of(self.eval_network(), boundary, self.frozen, mode)
    }

    /// Loss and hits of the logits of one batch, `[N, classes]`, given its labels.
    pub fn evaluated(&self, logits: &Tensor, labels: &Tensor) -> Outcome {
        Outcome {
            loss: self.loss.validation(logits, labels),
            correct: self.loss.hits(logits, labels),
            second: None,
        }
    }

    /// Runs work without gradients on as many rows at a time as fit into memory.
    pub(super) fn in_micro_batches(
        &self,
        rows: &Tensor,
        work: impl Fn(&Tensor) -> Tensor,
    ) -> Result<Tensor, TorchFault> {
        let mut micro_batches = self.micro_batches.get();
        let parts = micro_batches.each(rows.size()[0] as usize, |part| {
            let rows = rows.narrow(0, part.start as i64, part.len() as i64);
            fault::caught(|| without_gradients(|| work(&rows)))
        });
        self.micro_batches.set(micro_batches);
        parts.map(joined)
    }
}

/// What comes out of a network in a step.
struct Passed {
    features: Tensor,
    /// What the auxiliary heads that take part see.
    seen: Vec<Tensor>,
    /// Features of the images that go along.
    others: Option<Tensor>,
}

/// Features `[N, features]` of boundary activations after these frozen stages.
fn features_of(network: &Network, boundary: &Tensor, frozen: Option<Stage>, mode: Mode) -> Tensor {
    let last = network.architecture().last_stage();
    match frozen {
        Some(frozen) if frozen == last => boundary.shallow_clone(),
        frozen => network.stages(boundary, frozen, last, mode),
    }
}

/// BatchNorm's running statistics before a batch, in two tensors, so that saving them costs a GPU only two calls.
struct Statistics {
    /// The network's tensors, sharing their memory.
    own: Vec<Tensor>,
    /// By type: floats and counters.
    before: Vec<(Kind, Tensor)>,
}

impl Statistics {
    fn of(network: &Network, frozen: Option<Stage>) -> Self {
        let changes = |name: &str| !network.learns(name) && network.changes(name, frozen);
        let state = network.state().iter();
        let own: Vec<_> = state
            .filter(|(name, _)| changes(name))
            .map(|(_, tensor)| tensor.shallow_clone())
            .collect();
        let before = [Kind::Float, Kind::Int64].into_iter().filter_map(|kind| {
            let of_kind = own.iter().filter(|tensor| tensor.kind() == kind);
            let flat: Vec<_> = of_kind.map(|tensor| tensor.reshape([-1])).collect();
            (!flat.is_empty()).then(|| (kind, Tensor::cat(&flat, 0)))
        });
        let before = before.collect();
        Self { own, before }
    }

    fn restore(&self) {
        for (kind, before) in &self.before {
            let mut at = 0;
            for tensor in self.own.iter().filter(|tensor| tensor.kind() == *kind) {
                let count = tensor.numel() as i64;
                tensor
                    .shallow_clone()
                    .copy_(&before.narrow(0, at, count).reshape(tensor.size()));
                at += count;
            }
        }
    }
}

impl Outcome {
    /// The total over a step's micro-batches.
    pub fn sum(parts: Vec<Outcome>) -> Option<Outcome> {
        parts.into_iter().reduce(|sum, part| Outcome {
            loss: sum.loss + part.loss,
            correct: sum.correct + part.correct,
            second: sum.second.zip(part.second).map(|(sum, part)| sum + part),
        })
    }
}

fn joined(mut parts: Vec<Tensor>) -> Tensor {
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(&parts, 0),
    }
}
