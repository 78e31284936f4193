//! Holds optimisers, clipping, losses and learning rates to what torch computes (`tests/golden/learning.json`, made by `scripts/parity`).

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::{
    domain::spec::JobSpec,
    worker::{
        nets::{
            Parameter,
            tests::{distance, values},
        },
        train::{
            checkpoints::history::ValidationScores,
            loss::Loss,
            optimizer::{Optimizer, schedule::Schedule},
        },
    },
};

#[derive(Deserialize)]
struct Golden {
    adamw: Vec<Descent>,
    clipped: Vec<Descent>,
    losses: Vec<LossCase>,
    schedules: Vec<ScheduleCase>,
    plateau: Plateau,
}

#[derive(Deserialize)]
struct Descent {
    lr: f64,
    #[serde(default)]
    momentum: Option<f64>,
    #[serde(default)]
    betas: Option<[f64; 2]>,
    #[serde(default)]
    eps: Option<f64>,
    #[serde(default)]
    weight_decay: f64,
    #[serde(default)]
    max_norm: Option<f64>,
    #[serde(default)]
    norms: Vec<f64>,
    end: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct LossCase {
    name: String,
    label_smoothing: f64,
    gamma: Option<f64>,
    balanced: bool,
    loss: f64,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    name: String,
    warmup_epochs: f64,
    step_epochs: Option<u32>,
    gamma: Option<f64>,
    rates: Vec<f64>,
}

#[derive(Deserialize)]
struct Plateau {
    patience: u32,
    gamma: f64,
    losses: Vec<f64>,
    rates: Vec<f64>,
}

/// `scripts/learning.py` says the same.
const STEPS: usize = 50;
const SHAPES: [(&str, &[i64]); 2] = [("fc.bias", &[4]), ("fc.weight", &[4, 2])];
const STEPS_PER_EPOCH: usize = 4;

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/learning.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn spec(fields: Value) -> JobSpec {
    let mut document = json!({"dataset": "d"});
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    JobSpec::parse(&document).unwrap()
}

/// Goes down the script's bowl; where each parameter ends, and the norms on the way.
fn descend(spec: &JobSpec) -> (BTreeMap<&'static str, Tensor>, Vec<f64>) {
    let of =
        |what: &str, name: &str, shape: &[i64]| values(&format!("{what} {name}"), shape).to_kind(Kind::Float);
    let parameters = SHAPES.map(|(name, shape)| Parameter {
        name: name.into(),
        stage: None,
        tensor: of("start", name, shape),
    });
    let tensors: BTreeMap<_, _> = SHAPES
        .iter()
        .zip(&parameters)
        .map(|((name, _), parameter)| (*name, parameter.tensor.shallow_clone()))
        .collect();
    let mut optimizer = Optimizer::new(spec);
    optimizer.learn(parameters.into());
    let step = |_| {
        let part = |(name, shape): &(&str, &[i64])| {
            let slope = of("slope", name, shape) + 1.5;
            ((&tensors[name] - of("goal", name, shape)).square() * slope * 0.5).sum(Kind::Float)
        };
        let loss: Tensor = SHAPES.iter().map(part).sum();
        optimizer.accumulate(&loss);
        optimizer.step(spec.optimizer.lr).double_value(&[])
    };
    let norms = (0..STEPS).map(step).collect();
    (tensors, norms)
}

fn assert_ends_at(tensors: &BTreeMap<&str, Tensor>, end: &BTreeMap<String, Vec<f32>>) {
    for (name, tensor) in tensors {
        let off = distance(tensor, &end[*name]);
        assert!(off <= 1e-6, "{name} is off by {off:e}");
    }
}

#[test]
fn fifty_steps_of_adamw_end_where_torchs_do() {
    for case in golden().adamw {
        let optimizer = json!({"name": "adamw", "lr": case.lr, "betas": case.betas, "eps": case.eps, "weight_decay": case.weight_decay});
        let (tensors, _) = descend(&spec(json!({"optimizer": optimizer})));
        assert_ends_at(&tensors, &case.end);
    }
}

#[test]
fn gradients_are_clipped_as_torch_clips_them() {
    for case in golden().clipped {
        let optimizer = json!({"lr": case.lr, "momentum": case.momentum});
        let (tensors, norms) = descend(&spec(
            json!({"optimizer": optimizer, "clip_grad_norm": case.max_norm}),
        ));
        assert!(norms[0] > case.max_norm.unwrap(), "the case clips nothing");
        for (ours, torchs) in norms.iter().zip(&case.norms) {
            assert!((ours - torchs).abs() <= 1e-5, "{ours} {torchs}");
        }
        assert_ends_at(&tensors, &case.end);
    }
}

#[test]
fn losses_and_their_gradients_are_torchs() {
    let classes = [0u32, 0, 0, 1, 2, 2];
    let labels = Tensor::from_slice(&classes.map(i64::from));
    for case in golden().losses {
        let imbalance = if case.balanced { "class_weights" } else { "none" };
        let loss = json!({"name": case.name, "label_smoothing": case.label_smoothing, "gamma": case.gamma, "imbalance": imbalance});
        let loss = Loss::new(&spec(json!({"loss": loss})).loss, &classes, 3, None, Device::Cpu);
        let logits = (values("logits", &[6, 3]) * 3.0)
            .to_kind(Kind::Float)
            .set_requires_grad(true);
        let mean = loss.of_each(&logits, &labels).sum(Kind::Float) / loss.weight(classes.into_iter());
        mean.backward();
        assert!(
            (mean.double_value(&[]) - case.loss).abs() <= 1e-6,
            "{}",
            case.name
        );
        assert!(distance(&logits.grad(), &case.gradient) <= 1e-6, "{}", case.name);
    }
}

#[test]
fn the_learning_rate_is_torchs_at_every_step() {
    for case in golden().schedules {
        let schedule = json!({
            "name": case.name, "warmup_epochs": case.warmup_epochs, "step_epochs": case.step_epochs, "gamma": case.gamma,
        });
        let epochs = case.rates.len() / STEPS_PER_EPOCH;
        let spec = spec(json!({"schedule": schedule, "epochs": epochs, "optimizer": {"lr": 0.2}}));
        let schedule = Schedule::new(&spec, STEPS_PER_EPOCH);
        for (step, torchs) in case.rates.iter().enumerate() {
            let ours = schedule.lr(step as u64, &[]);
            assert!(
                (ours - torchs).abs() <= 1e-12,
                "{} at step {step}: {ours} {torchs}",
                case.name
            );
        }
    }
}

#[test]
fn the_learning_rate_comes_down_on_plateaus_as_torchs_does() {
    let Plateau {
        patience,
        gamma,
        losses,
        rates,
    } = golden().plateau;
    let by_loss = json!({"schedule": {"name": "plateau", "patience": patience, "gamma": gamma}, "optimizer": {"lr": 0.2}});
    let mut by_accuracy = by_loss.clone();
    by_accuracy["early_stopping"] = json!({"monitor": "val_accuracy", "patience": 99});
    let judged = |loss: &f64| ValidationScores {
        val_loss: Some(*loss),
        val_accuracy: Some(-loss),
    };
    let epochs: Vec<_> = losses.iter().map(judged).collect();
    for spec in [spec(by_loss), spec(by_accuracy)] {
        let schedule = Schedule::new(&spec, STEPS_PER_EPOCH);
        for (epoch, torchs) in rates.iter().enumerate() {
            let ours = schedule.lr((epoch * STEPS_PER_EPOCH) as u64, &epochs[..epoch]);
            assert!((ours - torchs).abs() <= 1e-12, "epoch {epoch}: {ours} {torchs}");
        }
    }
    assert!(rates.last() < rates.first());
}
