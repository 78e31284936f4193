//! The names that a network's tensors have: ours, or timm's.

use crate::{
    domain::{architecture::network::NetworkDesign, spec::Architecture},
    worker::nets::heads,
};

/// The names of a network's tensors.
pub struct Names {
    /// All but the head's and the counters of BatchNorm, in order.
    pub backbone: Vec<String>,
    /// Counters of BatchNorm, which weights may lack.
    pub counters: Vec<String>,
    /// The head's own name, and its inputs.
    pub head: String,
    /// Of the tensors of all kinds of heads that we have.
    pub heads: Vec<String>,
    pub features: i64,
}

impl Names {
    pub const COUNTER: &str = "num_batches_tracked";

    pub fn of(architecture: Architecture) -> Self {
        Self::of_design(architecture, architecture.design())
    }

    /// Those of timm, where they are others.
    pub fn in_timm(architecture: Architecture) -> Option<Self> {
        let design = architecture.design().as_in_timm()?;
        Some(Self::of_design(architecture, &design))
    }

    fn of_design(architecture: Architecture, design: &NetworkDesign) -> Self {
        let names = design.tensors(1).into_iter();
        let names = names
            .filter(|(stage, _, _)| stage.is_some())
            .map(|(_, name, _)| name);
        let (counters, backbone) = names.partition(|name: &String| name.ends_with(Self::COUNTER));
        Self {
            backbone,
            counters,
            head: design.head.to_owned(),
            heads: heads::names(architecture),
            features: design.features() as i64,
        }
    }

    pub fn is_of_backbone(&self, name: &str) -> bool {
        self.backbone
            .iter()
            .chain(&self.counters)
            .any(|known| known == name)
    }
}
