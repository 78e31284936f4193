//! Parameter groups: the learning rate multiplier and the weight decay of each parameter.

use std::collections::BTreeSet;

use crate::{
    domain::spec::{OptimizerSpec, Stage},
    worker::{nets::Parameter, train::loss::LOG_VARIANCES},
};

/// The settings shared by the parameters of a part of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Relative to the head's rate.
    pub lr_multiplier: f64,
    pub weight_decay: f64,
}

/// The group of each parameter. `parameters` must contain layers as a whole: a normalisation is recognised by its one-dimensional weight.
pub fn of(parameters: &[Parameter], spec: &OptimizerSpec) -> Vec<Group> {
    let layer = |name: &str| name.rsplit_once('.').map_or("", |(layer, _)| layer).to_owned();
    let vectors = parameters.iter().filter(|parameter| parameter.tensor.dim() == 1);
    let norms: BTreeSet<String> = vectors
        .filter(|parameter| parameter.name.ends_with(".weight"))
        .map(|parameter| layer(&parameter.name))
        .collect();
    // Freezing starts at the input: if any stage is trained, the last one is.
    let last = parameters.iter().filter_map(|parameter| parameter.stage).max();
    let group = |parameter: &Parameter| Group {
        lr_multiplier: match (parameter.stage, last) {
            (Some(stage), Some(last)) => stage_multiplier(stage, last, spec),
            _ => 1.0,
        },
        weight_decay: if parameter.name == LOG_VARIANCES {
            // It is no weight of the network: decay would pull all tasks to the same weight.
            0.0
        } else if norms.contains(&layer(&parameter.name)) {
            spec.norm_weight_decay
        } else if parameter.tensor.dim() <= 1 {
            spec.bias_weight_decay
        } else {
            spec.weight_decay
        },
    };
    parameters.iter().map(group).collect()
}

/// The last stage is one away from the head.
fn stage_multiplier(stage: Stage, last: Stage, spec: &OptimizerSpec) -> f64 {
    let from_head = stage.count_to(last);
    spec.backbone_lr_multiplier * spec.layer_decay.powi(from_head as i32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::domain::spec::JobSpec;

    #[test]
    fn rates_fall_from_the_head_down_and_each_kind_of_parameter_decays_by_itself() {
        let document = json!({"dataset": "d", "optimizer": {
            "backbone_lr_multiplier": 0.5, "layer_decay": 0.8, "weight_decay": 0.1, "norm_weight_decay": 0.2, "bias_weight_decay": 0.3,
        }});
        let spec = JobSpec::parse(&document).unwrap().optimizer;
        let parameter = |name: &str, stage, shape: &[i64]| Parameter {
            name: name.into(),
            stage,
            tensor: Tensor::zeros(shape, (Kind::Float, Device::Cpu)),
        };
        let parameters = [
            parameter("fc.weight", None, &[3, 8]),
            parameter("fc.bias", None, &[3]),
            parameter("layer4.0.bn1.bias", Some(Stage::layer(4)), &[8]),
            parameter("layer4.0.bn1.weight", Some(Stage::layer(4)), &[8]),
            parameter("layer3.0.conv1.weight", Some(Stage::layer(3)), &[8, 8, 1, 1]),
            parameter("conv1.weight", Some(Stage::STEM), &[8, 3, 7, 7]),
            parameter(LOG_VARIANCES, None, &[2]),
        ];
        let expected = [
            (1.0, 0.1),
            (1.0, 0.3),
            (0.5 * 0.8, 0.2),
            (0.5 * 0.8, 0.2),
            (0.5 * 0.64, 0.1),
            (0.5 * 0.8f64.powi(5), 0.1),
            (1.0, 0.0),
        ];
        for (group, (lr_multiplier, weight_decay)) in of(&parameters, &spec).into_iter().zip(expected) {
            assert!((group.lr_multiplier - lr_multiplier).abs() < 1e-12, "{group:?}");
            assert_eq!(group.weight_decay, weight_decay);
        }
        // In a network without that stage, the third is the last one.
        let without_layer4: Vec<_> = parameters
            .into_iter()
            .filter(|parameter| parameter.stage != Some(Stage::layer(4)))
            .collect();
        let rates: Vec<f64> = of(&without_layer4, &spec)
            .iter()
            .map(|group| group.lr_multiplier)
            .collect();
        assert!((rates[2] - 0.4).abs() < 1e-12, "{rates:?}");
        assert!((rates[3] - 0.5 * 0.8f64.powi(4)).abs() < 1e-12, "{rates:?}");
    }
}
