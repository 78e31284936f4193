//! Names of tensors as they come from the many programs that train networks, made those of our networks: wrappers and prefixes taken off,
//! timm's names replaced, the head found whatever it is called. Called for the base weights of jobs and for imports.
//!
//! What is taken off is found by rules from the network's own names, and everything that was changed or left out is told. Whether the
//! result fits is not decided here: `nets` checks every name and shape.

mod auxiliary;
mod computed;
mod head;
mod names;
mod order;
mod prefix;

use self::names::Names;
pub use self::{auxiliary::is_auxiliary, computed::is_computed, order::by_order};

use std::collections::BTreeSet;

use crate::{
    domain::spec::Architecture,
    worker::files::{state::StateDict, timm_names},
};

/// Tensors under a network's own names.
#[derive(Debug)]
pub struct Fitted {
    pub state: StateDict,
    /// Tensors of auxiliary heads, which only training has.
    pub auxiliary: StateDict,
    /// What was changed, each a sentence without its full stop.
    pub told: Vec<String>,
    /// Whether there was a choice that could be wrong.
    pub guessed: bool,
}

/// Renames what belongs to a network of this architecture.
pub fn fitted(state: StateDict, architecture: Architecture) -> Fitted {
    let mut fitted = Fitted {
        state,
        auxiliary: StateDict::new(),
        told: Vec::new(),
        guessed: false,
    };
    fitted.unwrap();
    let ours = Names::of(architecture);
    let theirs = Names::in_timm(architecture)
        .filter(|theirs| prefix::most(&fitted.state, theirs) > prefix::most(&fitted.state, &ours));
    let names = theirs.as_ref().unwrap_or(&ours);
    fitted.take_off_prefix(names);
    fitted.take_auxiliary(names);
    fitted.find_head(names);
    fitted.drop_counters(names);
    if theirs.is_some() {
        fitted.replace_timms_names(architecture);
    }
    fitted
}

/// The tensors under each prefix that could be a whole network, without wrappers, for finding out which network it is.
pub fn candidates(state: &StateDict) -> Vec<StateDict> {
    let bare: StateDict = state
        .iter()
        .map(|(name, tensor)| (prefix::without_wrappers(name), tensor.shallow_clone()))
        .collect();
    let mut prefixes: Vec<String> = Architecture::ALL
        .into_iter()
        .flat_map(|architecture| [Some(Names::of(architecture)), Names::in_timm(architecture)])
        .flatten()
        .flat_map(|names| prefix::possible(&bare, &names.backbone))
        .collect();
    prefixes.sort();
    prefixes.dedup();
    let under = |prefix: String| {
        let tensors = bare.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(&prefix)?;
            Some((name.to_owned(), tensor.shallow_clone()))
        });
        tensors.collect()
    };
    prefixes.into_iter().map(under).collect()
}

impl Fitted {
    /// Removes parts of names that wrappers around single layers add.
    fn unwrap(&mut self) {
        let bare: Vec<String> = self
            .state
            .keys()
            .map(|name| prefix::without_wrappers(name))
            .collect();
        let changed = bare
            .iter()
            .zip(self.state.keys())
            .filter(|(bare, name)| bare != name)
            .count();
        let mut different = bare.clone();
        different.sort();
        different.dedup();
        if changed == 0 || different.len() < bare.len() {
            return;
        }
        let state = std::mem::take(&mut self.state);
        self.state = bare.into_iter().zip(state.into_values()).collect();
        self.told.push(format!(
            "{changed} names contain the name of a wrapper ({}), which is taken out",
            prefix::WRAPPERS.join(", ")
        ));
    }

    fn take_off_prefix(&mut self, names: &Names) {
        let Some(found) = prefix::find(&self.state, names) else {
            return;
        };
        let taken = found.prefix;
        if !found.others.is_empty() {
            self.guessed = true;
            let others: Vec<String> = found.others.iter().map(|other| format!("`{other}`")).collect();
            self.told.push(format!(
                "the file has several networks; the one under `{taken}` is used, not {}",
                others.join(", ")
            ));
        }
        if taken.is_empty() {
            return;
        }
        let mut inside = StateDict::new();
        let mut outside = StateDict::new();
        for (name, tensor) in std::mem::take(&mut self.state) {
            match name.strip_prefix(&taken) {
                Some(bare) => inside.insert(bare.to_owned(), tensor),
                None => outside.insert(name, tensor),
            };
        }
        self.told.push(format!(
            "the prefix `{taken}` is taken off the names of {} tensors",
            inside.len()
        ));
        // The head may be beside the backbone: under a shorter prefix, or none.
        if !inside.keys().any(|name| !names.is_of_backbone(name)) {
            for (stem, weight, bias) in head::linears(&outside, names.features) {
                let beside = found
                    .others
                    .iter()
                    .all(|other| other.is_empty() || !stem.starts_with(other.as_str()));
                if beside {
                    inside.extend([(format!("{stem}.weight"), weight)]);
                    inside.extend(bias.map(|bias| (format!("{stem}.bias"), bias)));
                    outside.retain(|name, _| !name.starts_with(&format!("{stem}.")));
                }
            }
        }
        if !outside.is_empty() {
            self.told.push(format!(
                "{} tensors outside of it are left out ({})",
                outside.len(),
                some(outside.keys())
            ));
        }
        self.state = inside;
    }

    /// Sets heads aside that only training has.
    fn take_auxiliary(&mut self, names: &Names) {
        let (auxiliary, state) = std::mem::take(&mut self.state)
            .into_iter()
            .partition(|(name, _)| is_auxiliary(name) && !names.is_of_backbone(name));
        (self.auxiliary, self.state) = (auxiliary, state);
        if !self.auxiliary.is_empty() {
            self.told.push(format!(
                "{} tensors of auxiliary heads, which only training with `loss.auxiliary_weight` uses, are no part of the model ({})",
                self.auxiliary.len(),
                some(self.auxiliary.keys())
            ));
        }
    }

    fn replace_timms_names(&mut self, architecture: Architecture) {
        let state = std::mem::take(&mut self.state);
        self.state = timm_names::from_timm(state, architecture);
        let scaled = match architecture.epsilons() {
            None => "",
            Some(_) => ", and the weights of BatchNorms are scaled for another epsilon",
        };
        self.told.push(format!(
            "the names are timm's and are replaced by those of {architecture}{scaled}"
        ));
    }

    /// Gives the head its name, if there is one under another; leaves out one of several layers.
    fn find_head(&mut self, names: &Names) {
        let is_head = |name: &String| head::is_below(name, &names.head);
        let proper = ["weight", "bias"].map(|part| format!("{}.{part}", names.head));
        let others: StateDict = self
            .state
            .iter()
            .filter(|(name, _)| !names.is_of_backbone(name) && !proper.contains(name))
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        // One of our own of another kind: what becomes of it is decided by what is wanted.
        if !others.is_empty() && others.keys().all(|name| names.heads.contains(name)) {
            return;
        }
        let has_proper = self.state.contains_key(&proper[0]);
        if others.is_empty() && (!has_proper || self.state.contains_key(&proper[1])) {
            return;
        }
        let mut linears = head::linears(&others, names.features);
        if has_proper {
            self.add_bias(&proper);
            return;
        }
        // A head of several layers has the features as its first input only; what is in it is not ours.
        let group: BTreeSet<String> = match linears.is_empty() {
            false => linears
                .iter()
                .flat_map(|(stem, _, _)| head::group(&others, stem, names))
                .collect(),
            true => others.keys().filter(|name| is_head(name)).cloned().collect(),
        };
        if group.is_empty() {
            return;
        }
        let one_layer = linears.len() == 1 && head::weights(&others, &group) == 1;
        for name in &group {
            self.state.remove(name);
        }
        if !one_layer {
            self.told.push(format!(
                "the head is not one linear layer for {} features, and is left out ({})",
                names.features,
                some(group.iter())
            ));
            return;
        }
        let (stem, weight, bias) = linears.remove(0);
        self.told
            .push(format!("`{stem}` is the head, `{}` here", names.head));
        self.state.insert(proper[0].clone(), weight);
        if let Some(bias) = bias {
            self.state.insert(proper[1].clone(), bias);
        }
        self.add_bias(&proper);
    }

    /// A layer without a bias computes what one does whose bias is 0.
    fn add_bias(&mut self, [weight, bias]: &[String; 2]) {
        let shape = self.state.get(weight).map(tch::Tensor::size);
        let Some(&[outputs, _]) = shape.as_deref() else {
            return;
        };
        if !self.state.contains_key(bias) {
            let kind = self.state[weight].kind();
            let zeros = tch::Tensor::zeros([outputs], (kind, tch::Device::Cpu));
            self.state.insert(bias.clone(), zeros);
            self.told
                .push("the head has no bias, which is the same as one of 0".to_owned());
        }
    }

    /// Counters that the network does not have, which count steps of a training that is over, and what follows from the network alone.
    fn drop_counters(&mut self, names: &Names) {
        let is_superfluous = |name: &str| {
            let last = name.rsplit('.').next();
            let is_none = last == Some(Names::COUNTER) || is_computed(name);
            (is_none && !names.is_of_backbone(name)) || name == "n_averaged"
        };
        self.state.retain(|name, _| !is_superfluous(name));
    }
}

/// A few names, for a message.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 3;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<String> = names.take(SHOWN).map(|name| format!("`{name}`")).collect();
    shown.join(", ") + more
}

#[cfg(test)]
mod tests;
