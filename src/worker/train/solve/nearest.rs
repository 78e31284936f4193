//! Heads that are not trained: the mean feature vector of each class, and the training images themselves.

use std::{collections::BTreeMap, time::Instant};

use tch::{Kind, Tensor};

use super::{Candidate, Maker};
use crate::{
    domain::{
        architecture::{Head, HeadKind},
        jobs::job::{FailureCode, StopReason},
    },
    protocol::WorkerMessage,
    worker::{files::state::StateDict, train::progress::halt::Halt},
};

pub(super) fn set(maker: &mut Maker) -> Result<StopReason, Halt> {
    let began = Instant::now();
    let tensors = match maker.run.spec.head.kind {
        HeadKind::Prototype => prototypes(maker)?,
        _ => neighbours(maker),
    };
    maker.set(&tensors);
    let candidate = Candidate {
        number: 1,
        of: 1,
        l2: None,
    };
    maker.judge(candidate, began)?;
    Ok(StopReason::Completed)
}

/// The mean of each class's feature vectors of length 1, of length 1 itself and divided by the temperature (Snell et al. 2017, "Prototypical
/// Networks for Few-shot Learning", with cosines).
fn prototypes(maker: &Maker) -> Result<StateDict, Halt> {
    let classes = &maker.run.common.dataset.classes;
    let unit = normalised(&maker.train.vectors.to_kind(Kind::Double));
    let labels = Tensor::from_slice(&maker.train.labels);
    let mut rows = Vec::new();
    for (class, name) in (0i64..).zip(classes) {
        let own = labels.eq(class).nonzero().squeeze_dim(1);
        if own.numel() == 0 {
            let message = format!(
                "the class {name} has no training images, and so no mean; add some, or leave the class out"
            );
            return Err(Halt::failed(FailureCode::InvalidData, message));
        }
        rows.push(
            unit.index_select(0, &own)
                .mean_dim([0i64].as_slice(), false, Kind::Double),
        );
    }
    let means = normalised(&Tensor::stack(&rows, 0));
    let weights = means / maker.run.spec.head.temperature();
    Ok(BTreeMap::from([(
        name(maker, &[Head::PROTOTYPES, "weight"]),
        weights.to_kind(Kind::Float),
    )]))
}

fn neighbours(maker: &Maker) -> StateDict {
    let head = &maker.run.spec.head;
    let (images, asked) = (maker.train.count(), head.k.unwrap_or_default());
    if asked > images {
        let message = format!("there are {images} training images, fewer than `head.k`: all of them vote");
        maker
            .reporter
            .send(&WorkerMessage::warning("small_dataset", message));
    }
    let bank = normalised(&maker.train.vectors.to_kind(Kind::Double));
    let labels = Tensor::from_slice(&maker.train.labels);
    BTreeMap::from([
        (
            name(maker, &[Head::NEIGHBOURS, "bank"]),
            bank.to_kind(Kind::Float),
        ),
        (
            name(maker, &[Head::NEIGHBOURS, "labels"]),
            labels.to_kind(Kind::Float),
        ),
    ])
}

/// A tensor's name below the network's head.
fn name(maker: &Maker, parts: &[&str]) -> String {
    let head = maker.learner.network.architecture().head();
    [&[head], parts].concat().join(".")
}

/// Of length 1, as the head's own first layer makes them.
fn normalised(vectors: &Tensor) -> Tensor {
    let length = vectors.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
    vectors / length.clamp_min(1e-12)
}
