//! Holds optimiser and learner to what torch computes (`tests/golden/parity.json`, made by `scripts/parity`).

use tch::{Kind, Tensor};

use crate::{
    domain::spec::{Architecture, OptimizerName, OptimizerSpec},
    worker::{
        nets::{
            Parameter,
            tests::{by_formula, distance, golden, pictures, values},
        },
        train::{learner::Learner, mixing::Labels, sgd::Sgd},
    },
};

#[test]
fn fifty_steps_of_sgd_end_where_torchs_do() {
    for case in golden().sgd {
        let float = |name| values(name, &[4, 2]).to_kind(Kind::Float);
        let slope = (values("slope", &[4, 2]) + 1.5).to_kind(Kind::Float);
        let goal = float("goal");
        let parameter = Parameter {
            name: "fc.weight".into(),
            stage: None,
            tensor: float("start"),
        };
        let tensor = parameter.tensor.shallow_clone();
        let spec = OptimizerSpec {
            name: OptimizerName::Sgd,
            lr: case.lr,
            momentum: case.momentum,
            nesterov: case.nesterov,
            weight_decay: case.weight_decay,
            backbone_lr_multiplier: 1.0,
        };
        let mut optimizer = Sgd::new(vec![parameter], &spec);
        for _ in 0..case.steps {
            let loss = ((&tensor - &goal).square() * &slope * 0.5).sum(Kind::Float);
            optimizer.step(&loss, case.lr);
        }
        let off = distance(&tensor, &case.end);
        assert!(off <= 1e-6, "off by {off:e}");
    }
}

#[test]
fn training_steps_with_frozen_stages_compute_torchs_losses_and_logits() {
    let golden = golden();
    for case in golden.training {
        let spec = OptimizerSpec {
            name: OptimizerName::Sgd,
            lr: case.lr,
            momentum: case.momentum,
            nesterov: case.nesterov,
            weight_decay: case.weight_decay,
            backbone_lr_multiplier: case.backbone_lr_multiplier,
        };
        let mut learner = Learner::new(
            by_formula(Architecture::Resnet18, golden.classes),
            case.frozen,
            &spec,
        );
        let boundary = learner.boundary(&pictures(4));
        let labels = Labels::new(Tensor::from_slice(&[0i64, 1, 2, 3]), None);
        let losses: Vec<f64> = (0..case.losses.len())
            .map(|_| learner.step(&boundary, &labels, case.lr).loss.double_value(&[]))
            .collect();
        let logits = learner.network.logits(&pictures(4));
        let moved = learner.network.state()["layer4.1.bn2.running_mean"].narrow(0, 0, 8);
        for (ours, torchs) in losses.iter().zip(&case.losses) {
            assert!((ours - f64::from(*torchs)).abs() <= 1e-4, "{ours} {torchs}");
        }
        assert!(distance(&logits, &case.logits.concat()) <= 1e-4);
        assert!(distance(&moved, &case.layer4_running_mean) <= 1e-4);
    }
}
