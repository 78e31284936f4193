//! Provides a network under construction with its tensors, by name: from given weights, or newly initialised.
//!
//! The network requests every tensor with its required name and shape. Mismatches are collected, so that one [`LoadFault`] lists all of
//! them; nothing is ever loaded partially.

use std::{collections::BTreeSet, fmt};

use tch::{Device, Kind, Tensor};

use super::{initialise, layers::channels_last, low_rank::LowRank};
use crate::{
    domain::architecture::{
        Architecture,
        init::Init,
        tensors::{Role, TensorDesign},
        windows::relative_positions,
    },
    worker::files::{adapters, state::StateDict},
};

/// Hands out tensors and records them by name.
pub struct Binder<'a> {
    source: Source<'a>,
    device: Device,
    state: StateDict,
    missing: Vec<Missing>,
    unusable: Vec<MismatchedTensor>,
}

enum Source<'a> {
    Given {
        state: &'a StateDict,
        /// Whether tensors that are right as they are stay those of the source.
        lent: bool,
    },
    Drawn {
        seed: u64,
    },
}

impl<'a> Binder<'a> {
    /// Tensors come from here, whatever floating-point type they are stored in; each is copied.
    pub fn given(state: &'a StateDict, device: Device) -> Self {
        Self::new(Source::Given { state, lent: false }, device)
    }

    /// The same for a network that nothing changes: tensors that have the right type and place are not copied.
    pub fn lent(state: &'a StateDict, device: Device) -> Self {
        Self::new(Source::Given { state, lent: true }, device)
    }

    /// Tensors are initialised randomly.
    pub fn drawn(seed: u64, device: Device) -> Self {
        Self::new(Source::Drawn { seed }, device)
    }

    fn new(source: Source<'a>, device: Device) -> Self {
        Self {
            source,
            device,
            state: StateDict::new(),
            missing: Vec::new(),
            unusable: Vec::new(),
        }
    }

    /// Where its tensors are placed.
    pub fn device(&self) -> Device {
        self.device
    }

    /// A tensor by its full name: 32-bit floats on the device, channels-last if it has four dimensions; a counter is a 64-bit integer.
    pub fn tensor(&mut self, name: String, design: &TensorDesign) -> Tensor {
        let shape: Vec<i64> = design.shape.iter().map(|length| *length as i64).collect();
        match design.role {
            Role::Parameter(init) | Role::Statistic(init) => self.floats(name, &shape, init),
            Role::Counter => self.counter(name),
            Role::RelativePositions { window } => self.positions(name, &shape, window),
        }
    }

    fn floats(&mut self, name: String, shape: &[i64], init: Init) -> Tensor {
        let found = match self.source {
            Source::Drawn { seed } => Some(initialise::draw(init, seed, &name, shape)),
            Source::Given { state, .. } => self.find(state, &name, shape, true),
        };
        let is_lent = matches!(self.source, Source::Given { lent: true, .. });
        let Some(found) = found else {
            return Tensor::new();
        };
        let placed = channels_last(&found.to_device(self.device).to_kind(Kind::Float));
        // Training changes tensors in place; the given ones must not change with them.
        let own = match placed.data_ptr() == found.data_ptr() {
            true if is_lent => placed.detach(),
            true => placed.copy(),
            false => placed,
        };
        self.keep(name, own)
    }

    /// Weights may lack them. Others than ours belong to a network that computes something else.
    fn positions(&mut self, name: String, shape: &[i64], window: u64) -> Tensor {
        let ours = Tensor::from_slice(&relative_positions(window));
        if let Source::Given { state, .. } = self.source
            && state.contains_key(&name)
        {
            let found = self.find(state, &name, shape, false);
            if found.is_some_and(|found| !found.to_device(Device::Cpu).to_kind(Kind::Int64).equal(&ours)) {
                let why = format!("does not have the places of a window of {window} × {window}");
                self.unusable.push(MismatchedTensor { name, why });
                return Tensor::new();
            }
        }
        let own = ours.to_device(self.device);
        self.keep(name, own)
    }

    /// Weights from before torch 0.4.1 have no counters, which then start at 0, as in torch.
    fn counter(&mut self, name: String) -> Tensor {
        let zero = Tensor::from(0i64);
        let found = match self.source {
            Source::Given { state, .. } if state.contains_key(&name) => self.find(state, &name, &[], false),
            _ => Some(zero),
        };
        let own = found.map(|counter| counter.to_device(self.device).to_kind(Kind::Int64).copy());
        own.map_or_else(Tensor::new, |counter| self.keep(name, counter))
    }

    /// What the given weights add to a tensor of this name, if they do.
    pub fn low_rank(&mut self, name: &str, design: &TensorDesign) -> Option<LowRank> {
        let Source::Given { state, .. } = self.source else {
            return None;
        };
        let [down, up, scale] = adapters::names(name);
        let first = state.get(&down)?;
        let [to, from] = design.shape[..] else {
            return None;
        };
        let rank = first.size().first().copied().unwrap_or_default();
        let mut floats = |name: String, shape: &[i64]| self.floats(name, shape, Init::Zeros);
        Some(LowRank {
            down: floats(down, &[rank, from as i64]),
            up: floats(up, &[to as i64, rank]),
            scale: floats(scale, &[]),
        })
    }

    /// All tensors, where all were initialised and nothing can have gone wrong.
    pub fn into_drawn(self) -> StateDict {
        self.state
    }

    fn find(&mut self, state: &StateDict, name: &str, shape: &[i64], fractions: bool) -> Option<Tensor> {
        let Some(found) = state.get(name) else {
            let (name, shape) = (name.to_owned(), shape.to_vec());
            self.missing.push(Missing { name, shape });
            return None;
        };
        let floating = matches!(
            found.kind(),
            Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double
        );
        let why = if found.size() != shape {
            format!("has shape {:?} instead of {shape:?}", found.size())
        } else if fractions && !floating {
            format!("has type {:?} instead of a floating-point type", found.kind())
        } else if floating && !is_finite(found) {
            "contains numbers that are not finite".to_owned()
        } else {
            return Some(found.shallow_clone());
        };
        let name = name.to_owned();
        self.unusable.push(MismatchedTensor { name, why });
        None
    }

    fn keep(&mut self, name: String, tensor: Tensor) -> Tensor {
        let shared = tensor.shallow_clone();
        self.state.insert(name, tensor);
        shared
    }
}

/// Whether all numbers are finite. The least and the largest are NaN if any is; finding them takes one pass and no memory.
fn is_finite(tensor: &Tensor) -> bool {
    if tensor.numel() == 0 {
        return true;
    }
    let (least, largest) = tensor.detach().aminmax(None, false);
    least.double_value(&[]).is_finite() && largest.double_value(&[]).is_finite()
}

/// Completes the construction: all tensors by name, or everything that did not match. `left_out` are names in the given weights that may
/// remain unused.
pub fn finish<'a>(
    architecture: Architecture,
    binders: impl IntoIterator<Item = Binder<'a>>,
    left_out: &[&str],
) -> Result<StateDict, LoadFault> {
    let mut fault = LoadFault {
        architecture,
        missing: Vec::new(),
        unusable: Vec::new(),
        unexpected: Vec::new(),
    };
    let mut state = StateDict::new();
    let mut given = BTreeSet::new();
    for binder in binders {
        if let Source::Given { state, .. } = binder.source {
            given.extend(state.keys());
        }
        fault.missing.extend(binder.missing);
        fault.unusable.extend(binder.unusable);
        state.extend(binder.state);
    }
    let asked_for =
        |name: &str| state.contains_key(name) || fault.unusable.iter().any(|tensor| tensor.name == name);
    let unexpected = given
        .into_iter()
        .filter(|name| !asked_for(name) && !left_out.contains(&name.as_str()));
    fault.unexpected = unexpected.cloned().collect();
    let fits = fault.missing.is_empty() && fault.unusable.is_empty() && fault.unexpected.is_empty();
    if fits { Ok(state) } else { Err(fault) }
}

/// Weights that do not match the network: all differences, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFault {
    pub architecture: Architecture,
    /// Tensors of the network that the weights lack.
    pub missing: Vec<Missing>,
    /// Tensors of the weights that the network does not have.
    pub unexpected: Vec<String>,
    pub unusable: Vec<MismatchedTensor>,
}

/// A tensor that was requested but not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    pub shape: Vec<i64>,
}

/// A tensor with the right name but the wrong content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MismatchedTensor {
    pub name: String,
    /// Such as "has shape \[10, 512\] instead of \[2, 512\]".
    pub why: String,
}

impl fmt::Display for LoadFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the weights do not match {}:", self.architecture)?;
        let missing = self.missing.iter().map(|it| format!("`{}`", it.name));
        let unexpected = self.unexpected.iter().map(|name| format!("`{name}`"));
        let unusable = self.unusable.iter().map(|it| format!("`{}` {}", it.name, it.why));
        let kinds: [(&str, Vec<String>); 3] = [
            ("missing", missing.collect()),
            ("unexpected", unexpected.collect()),
            ("unusable", unusable.collect()),
        ];
        let mut separator = "";
        for (what, tensors) in kinds.iter().filter(|(_, tensors)| !tensors.is_empty()) {
            const SHOWN: usize = 5;
            let shown = tensors[..tensors.len().min(SHOWN)].join(", ");
            write!(out, "{separator} {} {what} ({shown}", tensors.len())?;
            out.write_str(if tensors.len() > SHOWN { ", …)" } else { ")" })?;
            separator = ",";
        }
        Ok(())
    }
}

impl std::error::Error for LoadFault {}
