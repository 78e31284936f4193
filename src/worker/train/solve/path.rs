//! A head that is trained by L-BFGS: for one strength of the penalty, or for several from strong to weak. One layer has one solution for each,
//! whose search starts from the one before; two layers always start from what was drawn.

use std::{collections::BTreeMap, time::Instant};

use tch::{Kind, Tensor};

use super::{
    Candidate, Maker,
    descent::{Descent, strengths},
    objective::{Layers, Objective},
};
use crate::{
    domain::{
        jobs::job::{FailureCode, StopReason},
        spec::Imbalance,
    },
    protocol::WorkerMessage,
    worker::{
        files::state::StateDict,
        train::{input::balance, progress::halt::Halt},
    },
};

pub(super) fn follow(maker: &mut Maker) -> Result<StopReason, Halt> {
    let head = Head::of(maker);
    let objective = Objective::new(
        &maker.train.vectors,
        &maker.train.labels,
        &weights(maker),
        head.layers.clone(),
        maker.run.common.threads,
    );
    let is_convex = objective.is_convex();
    let values = values(maker, objective.spread(), is_convex)?;
    let start = match is_convex {
        true => objective.nothing(),
        false => objective.centred(&head.start),
    };
    let descent = Descent::new(&objective, &start);
    let mut at = start.clone();
    let mut out_of_time = false;
    for (number, l2) in (1..).zip(&values) {
        let began = Instant::now();
        let goes_on = || -> Result<bool, Halt> {
            maker.heartbeat.beat()?;
            out_of_time = maker.is_out_of_time();
            Ok(!out_of_time)
        };
        let found = descent.minimum(at, *l2, goes_on)?;
        if out_of_time && maker.has_result() {
            break;
        }
        at = found.at;
        about(maker, *l2, found.iterations, found.converged || !is_convex);
        maker.set(&head.tensors(&objective.uncentred(&at)));
        let of = values.len() as u32;
        let l2 = Some(*l2);
        maker.judge(Candidate { number, of, l2 }, began)?;
        if out_of_time {
            break;
        }
        if !is_convex {
            // A strong penalty makes everything 0, from where no gradient leads away.
            at = start.clone();
        }
    }
    Ok(maker.reason(out_of_time))
}

/// The layers of the head, and what they start with.
struct Head {
    layers: Layers,
    /// Names of the weight and the bias of each.
    names: Vec<[String; 2]>,
    start: Vec<f64>,
}

impl Head {
    /// As drawn, or of the base weights.
    fn of(maker: &Maker) -> Self {
        let network = &maker.learner.network;
        let outputs = network.outputs();
        let design = network.architecture().design();
        let (mut names, mut layers, mut tensors) = (Vec::new(), Layers::new(), Vec::new());
        let head = design.head_of(outputs.head, outputs.classes as u64);
        head.each_tensor("", &mut |name, tensor| {
            tensors.push(network.state()[&name].shallow_clone());
            if let [to, from] = tensor.shape[..] {
                layers.push([from as i64, to as i64]);
            }
            names.push(name);
        });
        let pairs = names
            .chunks_exact(2)
            .map(|pair| [pair[0].clone(), pair[1].clone()]);
        let numbers = |tensor: &Tensor| -> Vec<f64> {
            let flat = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Double);
            Vec::try_from(flat.contiguous().view(-1)).unwrap_or_default()
        };
        let drawn: Vec<f64> = tensors.iter().flat_map(numbers).collect();
        Self {
            start: drawn,
            names: pairs.collect(),
            layers,
        }
    }

    /// The tensors by their full names.
    fn tensors(&self, layers: &[[Tensor; 2]]) -> StateDict {
        let named = self.names.iter().zip(layers);
        let named = named.flat_map(|(names, tensors)| {
            let pairs = names.iter().zip(tensors);
            pairs.map(|(name, tensor)| (name.clone(), tensor.to_kind(Kind::Float)))
        });
        named.collect::<BTreeMap<_, _>>()
    }
}

/// The weight of each training image.
fn weights(maker: &Maker) -> Vec<f64> {
    let labels = &maker.train.labels;
    if maker.run.spec.loss.imbalance != Imbalance::ClassWeights {
        return vec![1.0; labels.len()];
    }
    let classes: Vec<u32> = labels.iter().map(|class| *class as u32).collect();
    let weights = balance::class_weights(&classes, maker.run.common.dataset.classes.len());
    classes
        .iter()
        .map(|class| f64::from(weights[*class as usize] as f32))
        .collect()
}

/// The strengths to try, from strong to weak.
fn values(maker: &Maker, spread: f64, is_convex: bool) -> Result<Vec<f64>, Halt> {
    if let Some(l2) = maker.run.spec.head.l2 {
        return Ok(vec![l2]);
    }
    if maker.val.is_none() {
        let message = "`head.l2` is chosen by the validation images, but there are none; give `head.l2`, or raise `split.val`";
        return Err(Halt::failed(FailureCode::InvalidData, message));
    }
    // One in each power of ten is enough for two layers.
    Ok(strengths(spread, if is_convex { 1 } else { 2 }))
}

fn about(maker: &Maker, l2: f64, iterations: usize, converged: bool) {
    let message = format!("`head.l2` {l2}: {iterations} iterations");
    maker.reporter.send(&match converged {
        true => WorkerMessage::log(message),
        false => WorkerMessage::warning(
            "not_converged",
            format!(
                "{message}, after which the solver had not converged; a larger `head.l2` converges sooner"
            ),
        ),
    });
}
