//! From gradients to new weights: the algorithm, the learning rate of each parameter, the state between steps.
//!
//! Our own, because all of its state has to go into the checkpoint: tch's optimisers cannot be saved. The learner accumulates gradients and
//! applies them once per step. Reading order: `Optimizer`, the algorithms `sgd` and `adamw`, `groups`, `clip`; `ema` averages the weights;
//! `together` does the same with all parameters in a few kernels, on cards.

mod adamw;
mod clip;
mod ema;
mod groups;
pub mod schedule;
mod sgd;
mod together;

use tch::Tensor;

pub use self::ema::Average;
use self::{
    adamw::{AdamW, Moments},
    groups::Group,
    sgd::Sgd,
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::spec::{JobSpec, OptimizerName, OptimizerSpec},
    worker::{files::state::StateDict, nets::Parameter},
};

/// Prefixes of the names of saved tensors; the parameter's name follows.
const MOMENTUM: &str = "momentum.";
const MEAN: &str = "mean.";
const SQUARE: &str = "square.";
const STEPS: &str = "steps.";

/// The trained parameters and how they are updated.
pub struct Optimizer {
    rule: Rule,
    spec: OptimizerSpec,
    max_norm: Option<f64>,
    /// In the order of names, whenever they were added: sums over all of them must have the same bits after a resume.
    slots: Vec<Slot>,
}

enum Rule {
    Sgd(Sgd),
    AdamW(AdamW),
}

/// A parameter, its accumulated gradient since the previous step, and its optimiser state.
struct Slot {
    name: String,
    parameter: Tensor,
    group: Group,
    gradient: Option<Tensor>,
    memory: Memory,
}

enum Memory {
    /// Before the first step; always with SGD without momentum.
    Nothing,
    Momentum(Tensor),
    Moments(Moments),
}

impl Optimizer {
    pub fn new(spec: &JobSpec) -> Self {
        let optimizer = &spec.optimizer;
        Self {
            rule: match optimizer.name {
                OptimizerName::Sgd => Rule::Sgd(Sgd::new(optimizer)),
                OptimizerName::Adamw => Rule::AdamW(AdamW::new(optimizer)),
            },
            max_norm: spec.clip_grad_norm,
            spec: optimizer.clone(),
            slots: Vec::new(),
        }
    }

    /// Adds parameters that have not been trained before; existing ones stay as they are.
    pub fn learn(&mut self, parameters: Vec<Parameter>) {
        let groups = groups::of(&parameters, &self.spec);
        for (parameter, group) in parameters.into_iter().zip(groups) {
            if self.slots.iter().all(|slot| slot.name != parameter.name) {
                self.slots.push(Slot {
                    name: parameter.name,
                    parameter: parameter.tensor.set_requires_grad(true),
                    group,
                    gradient: None,
                    memory: Memory::Nothing,
                });
            }
        }
        self.slots.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Adds the gradients of `loss` to those accumulated since the previous step. If it panics for lack of memory, nothing has been added.
    pub fn accumulate(&mut self, loss: &Tensor) {
        let parameters: Vec<_> = self.slots.iter().map(|slot| &slot.parameter).collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        without_gradients(|| {
            let parts = self.slots.iter().zip(gradients);
            let gradients: Vec<_> = parts
                .map(|(slot, gradient)| laid_out_like(&slot.parameter, gradient))
                .collect();
            for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
                slot.gradient = Some(match slot.gradient.take() {
                    None => gradient,
                    Some(mut sum) => sum.g_add_(&gradient),
                });
            }
        });
    }

    /// Divides the accumulated gradients by `factor` and returns whether all of them are finite. Waits for the device.
    pub fn divide_gradients(&mut self, factor: f64) -> bool {
        without_gradients(|| {
            let mut gradients: Vec<_> = self
                .slots
                .iter_mut()
                .filter_map(|slot| slot.gradient.as_mut())
                .collect();
            clip::divide(&mut gradients, factor);
            let norm = clip::norm(gradients.iter().map(|gradient| &**gradient));
            norm.double_value(&[]).is_finite()
        })
    }

    /// Discards the accumulated gradients.
    pub fn forget_gradients(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.gradient = None);
    }

    /// Updates every parameter by its gradients, with the head's learning rate `lr`, and discards them. Returns the norm over all gradients
    /// before clipping, a scalar on the device.
    pub fn step(&mut self, lr: f64) -> Tensor {
        without_gradients(|| {
            let gradients = self.slots.iter_mut().filter_map(|slot| slot.gradient.as_mut());
            let mut gradients: Vec<_> = gradients.collect();
            let norm = clip::norm(gradients.iter().map(|gradient| &**gradient));
            if let Some(max_norm) = self.max_norm {
                clip::scale(&mut gradients, &norm, max_norm);
            }
            match together::is_for(&norm) {
                true => self.update_together(lr),
                false => self.update_each(lr),
            }
            norm
        })
    }

    fn update_each(&mut self, lr: f64) {
        for slot in &mut self.slots {
            if let Some(gradient) = slot.gradient.take() {
                slot.step(gradient, lr, &self.rule);
            }
        }
    }

    fn update_together(&mut self, lr: f64) {
        let with_gradient = |slot| {
            let slot: &mut Slot = slot;
            let gradient = slot.gradient.take()?;
            Some((slot, gradient))
        };
        let mut slots: Vec<_> = self.slots.iter_mut().filter_map(with_gradient).collect();
        match &self.rule {
            Rule::Sgd(sgd) => together::sgd(&mut slots, lr, sgd),
            Rule::AdamW(adamw) => together::adamw(&mut slots, lr, adamw),
        }
    }

    /// The state that the next step depends on, by name. The tensors share their memory with the optimiser.
    pub fn state(&self) -> StateDict {
        let mut state = StateDict::new();
        for slot in &self.slots {
            let mut put = |kind: &str, tensor: &Tensor| {
                state.insert(format!("{kind}{}", slot.name), tensor.shallow_clone());
            };
            match &slot.memory {
                Memory::Nothing => {}
                Memory::Momentum(momentum) => put(MOMENTUM, momentum),
                Memory::Moments(moments) => {
                    put(MEAN, &moments.mean);
                    put(SQUARE, &moments.square);
                    put(STEPS, &Tensor::from(moments.steps as i64));
                }
            }
        }
        state
    }

    /// Restores the result of [`Optimizer::state`].
    ///
    /// # Errors
    /// The name of a tensor whose shape does not match.
    pub fn restore(&mut self, state: &StateDict) -> Result<(), String> {
        for slot in &mut self.slots {
            let get = |kind: &str| saved(state, kind, &slot.name, &slot.parameter);
            slot.memory = match &self.rule {
                Rule::Sgd(_) => get(MOMENTUM)?.map_or(Memory::Nothing, Memory::Momentum),
                Rule::AdamW(_) => match (get(MEAN)?, get(SQUARE)?, steps(state, &slot.name)) {
                    (Some(mean), Some(square), Some(steps)) => {
                        Memory::Moments(Moments { mean, square, steps })
                    }
                    _ => Memory::Nothing,
                },
            };
        }
        Ok(())
    }
}

impl Slot {
    /// Its learning rate and weight decay, given the head's rate.
    fn rates(&self, lr: f64) -> [f64; 2] {
        [lr * self.group.lr_multiplier, self.group.weight_decay]
    }

    /// Steps that its moments include.
    fn steps(&self) -> u64 {
        match &self.memory {
            Memory::Moments(moments) => moments.steps,
            _ => 0,
        }
    }

    fn step(&mut self, gradient: Tensor, lr: f64, rule: &Rule) {
        let memory = std::mem::replace(&mut self.memory, Memory::Nothing);
        let [rate, decay] = self.rates(lr);
        self.memory = match (rule, memory) {
            (Rule::Sgd(sgd), memory) => {
                let momentum = match memory {
                    Memory::Momentum(momentum) => Some(momentum),
                    _ => None,
                };
                let momentum = sgd.step(&mut self.parameter, gradient, rate, decay, momentum);
                momentum.map_or(Memory::Nothing, Memory::Momentum)
            }
            (Rule::AdamW(adamw), memory) => {
                let moments = match memory {
                    Memory::Moments(moments) => moments,
                    _ => Moments::before(&self.parameter),
                };
                Memory::Moments(adamw.step(&mut self.parameter, &gradient, rate, decay, moments))
            }
        };
    }
}

fn saved(state: &StateDict, kind: &str, name: &str, parameter: &Tensor) -> Result<Option<Tensor>, String> {
    let name = format!("{kind}{name}");
    match state.get(&name) {
        None => Ok(None),
        Some(saved) if saved.size() != parameter.size() => Err(name),
        Some(saved) => Ok(Some(copied_like(parameter, saved))),
    }
}

fn steps(state: &StateDict, name: &str) -> Option<u64> {
    let steps = i64::try_from(state.get(&format!("{STEPS}{name}"))?).ok()?;
    u64::try_from(steps).ok()
}

/// Another memory layout would be slower, and might round differently after a resume.
fn laid_out_like(parameter: &Tensor, gradient: Tensor) -> Tensor {
    if gradient.stride() == parameter.stride() {
        gradient
    } else {
        copied_like(parameter, &gradient)
    }
}

fn copied_like(parameter: &Tensor, values: &Tensor) -> Tensor {
    let mut copy = parameter.detach().empty_like();
    copy.copy_(values);
    copy
}
