//! Which head weights come with, by the names and shapes of its tensors.

use tch::{Kind, Tensor};

use crate::{
    domain::architecture::{Architecture, Head, HeadKind, Outputs},
    worker::files::state::StateDict,
};

/// A head among weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundHead {
    pub kind: HeadKind,
    /// Outputs of its first layer, where it has two.
    pub hidden: Option<u64>,
    pub classes: i64,
}

impl FoundHead {
    /// Whether training can go on with it. Heads that are computed at once are computed anew for the images at hand.
    pub fn can_be_kept_as(&self, wanted: Outputs) -> bool {
        let hidden = match wanted.head {
            Head::Mlp { hidden } => Some(hidden),
            Head::Linear | Head::Prototype | Head::Knn { .. } | Head::None => None,
        };
        let wanted_kind = wanted.head.kind().filter(|kind| kind.learns());
        wanted_kind.is_some_and(|kind| {
            (self.kind, self.hidden, self.classes) == (kind, hidden, wanted.classes as i64)
        })
    }

    /// The head, as far as its tensors tell: how many neighbours vote, they do not.
    pub fn head(&self) -> Option<Head> {
        match (self.kind, self.hidden) {
            (HeadKind::Linear, _) => Some(Head::Linear),
            (HeadKind::Mlp, hidden) => Some(Head::Mlp { hidden: hidden? }),
            (HeadKind::Prototype, _) => Some(Head::Prototype),
            (HeadKind::Knn, _) => None,
        }
    }
}

/// The head that these weights have, if it is one of ours.
pub fn found(weights: &StateDict, architecture: Architecture) -> Option<FoundHead> {
    let tensor = |name: &str| weights.get(&format!("{}.{name}", architecture.head()));
    let rows = |name: &str| tensor(name).and_then(|tensor| tensor.size().first().copied());
    let head = |kind, hidden: Option<i64>, classes| FoundHead {
        kind,
        hidden: hidden.map(|hidden| hidden as u64),
        classes,
    };
    let linear = rows("weight").map(|classes| head(HeadKind::Linear, None, classes));
    let mlp = || match (rows("hidden.weight"), rows("output.weight")) {
        (Some(hidden), Some(classes)) => Some(head(HeadKind::Mlp, Some(hidden), classes)),
        _ => None,
    };
    let prototype = || rows("prototypes.weight").map(|classes| head(HeadKind::Prototype, None, classes));
    let knn = || {
        let labels: &Tensor = tensor("neighbours.labels").filter(|labels| labels.numel() > 0)?;
        let largest = labels.max().to_kind(Kind::Double).double_value(&[]);
        Some(head(HeadKind::Knn, None, largest as i64 + 1))
    };
    linear.or_else(mlp).or_else(prototype).or_else(knn)
}

/// Names of the tensors of every kind of head.
pub fn names(architecture: Architecture) -> Vec<String> {
    let heads = [
        Head::Linear,
        Head::Mlp { hidden: 1 },
        Head::Prototype,
        Head::Knn {
            images: 1,
            k: 1,
            temperature: 1.0,
        },
    ];
    let mut names = Vec::new();
    for head in heads {
        let layer = architecture.design().head_of(head, 1);
        layer.each_tensor("", &mut |name, _| names.push(name));
    }
    names
}
