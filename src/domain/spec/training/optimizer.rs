//! The optimiser.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::backbone::Weights;
use crate::domain::spec::fields::Fields;

/// The optimisation algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    /// Stochastic gradient descent with momentum (Sutskever et al. 2013, as in torch.optim.SGD).
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, as in torch.optim.AdamW).
    Adamw,
}

/// The optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OptimizerSpec {
    pub name: OptimizerName,
    /// Learning rate of the head, above 0, at most 100. The schedule starts from it.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, default = 0.001)]
    pub lr: f64,
    /// Only with `sgd`: 0 up to, but not including, 1; by default 0.9.
    #[schema(minimum = 0.0, exclusive_maximum = 1.0)]
    pub momentum: Option<f64>,
    /// Only with `sgd`: Nesterov momentum.
    #[schema(default = false)]
    pub nesterov: bool,
    /// Only with `adamw`: decay rates of the running means of gradients and of their squares, each 0 up to, but not including, 1; by
    /// default 0.9 and 0.999.
    #[serde(default)]
    pub betas: Option<[f64; 2]>,
    /// Only with `adamw`: added to the denominator, above 0, at most 1; by default 1e-8.
    #[serde(default)]
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    pub eps: Option<f64>,
    /// Weight decay of convolutions and of the head's matrix, 0 to 1: an L2 penalty with `sgd`, decoupled with `adamw`.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.0)]
    pub weight_decay: f64,
    /// Weight decay of BatchNorm's weights and biases, 0 to 1 (torchvision's `--norm-weight-decay`).
    #[serde(default)]
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.0)]
    pub norm_weight_decay: f64,
    /// Weight decay of all other biases, 0 to 1 (torchvision's `--bias-weight-decay`); with `"adapt": "bias_only"` of all biases.
    #[serde(default)]
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.0)]
    pub bias_weight_decay: f64,
    /// Learning rate of the backbone relative to the head's, 0 to 1; 1 where the backbone starts from random weights, and for an adapter.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.1)]
    pub backbone_lr_multiplier: f64,
    /// Learning rate of a stage relative to the next one (ELECTRA, Clark et al. 2020; BEiT, Bao et al. 2022), above 0, at most 1: the head
    /// has the factor 1, the last stage this one, the stage before it its square, and so on. It is multiplied by `backbone_lr_multiplier`.
    #[serde(default = "no_layer_decay")]
    #[schema(exclusive_minimum = 0.0, maximum = 1.0, default = 1.0)]
    pub layer_decay: f64,
}

/// For a head on given weights.
impl Default for OptimizerSpec {
    fn default() -> Self {
        Self {
            name: OptimizerName::Sgd,
            lr: 0.001,
            momentum: Some(0.9),
            nesterov: false,
            betas: None,
            eps: None,
            weight_decay: 0.0,
            norm_weight_decay: 0.0,
            bias_weight_decay: 0.0,
            backbone_lr_multiplier: 0.1,
            layer_decay: 1.0,
        }
    }
}

fn no_layer_decay() -> f64 {
    1.0
}

pub(in crate::domain::spec) fn parse(
    mut fields: Fields,
    weights: &Weights,
    has_adapter: bool,
) -> OptimizerSpec {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let share_rule = "must be from 0 to 1";
    let is_new = *weights == Weights::None || has_adapter;
    let slower_backbone = if is_new { 1.0 } else { 0.1 };
    let names = [("sgd", OptimizerName::Sgd), ("adamw", OptimizerName::Adamw)];
    let name = fields.choice("name", OptimizerName::Sgd, &names);
    let mut optimizer = OptimizerSpec {
        name,
        lr: fields.number("lr", 0.001, "must be > 0 and at most 100", |lr| {
            lr > 0.0 && lr <= 100.0
        }),
        momentum: None,
        nesterov: fields.boolean("nesterov", false),
        betas: None,
        eps: None,
        weight_decay: fields.number("weight_decay", 0.0, share_rule, share),
        norm_weight_decay: fields.number("norm_weight_decay", 0.0, share_rule, share),
        bias_weight_decay: fields.number("bias_weight_decay", 0.0, share_rule, share),
        backbone_lr_multiplier: fields.number("backbone_lr_multiplier", slower_backbone, share_rule, share),
        layer_decay: fields.number("layer_decay", 1.0, "must be > 0 and at most 1", |decay| {
            decay > 0.0 && decay <= 1.0
        }),
    };
    match name {
        OptimizerName::Sgd => parse_sgd(&mut fields, &mut optimizer),
        OptimizerName::Adamw => parse_adamw(&mut fields, &mut optimizer),
    }
    fields.finish(&[]);
    optimizer
}

fn parse_sgd(fields: &mut Fields, optimizer: &mut OptimizerSpec) {
    let momentum = fields.number("momentum", 0.9, "must be at least 0 and below 1", |momentum| {
        (0.0..1.0).contains(&momentum)
    });
    optimizer.momentum = Some(momentum);
    if optimizer.nesterov && momentum == 0.0 {
        fields.fault(
            "nesterov",
            "conflict",
            "Nesterov momentum needs a `momentum` above 0",
        );
    }
    for name in ["betas", "eps"] {
        if fields.raw(name).is_some() {
            fields.fault(name, "conflict", "only valid with `adamw`");
        }
    }
}

fn parse_adamw(fields: &mut Fields, optimizer: &mut OptimizerSpec) {
    if optimizer.nesterov {
        fields.fault("nesterov", "conflict", "only valid with `sgd`");
    }
    if fields.raw("momentum").is_some() {
        let rule = "only valid with `sgd` (AdamW has `betas` instead)";
        fields.fault("momentum", "conflict", rule);
    }
    optimizer.betas = Some(parse_betas(fields));
    let eps = fields.number("eps", 1e-8, "must be > 0 and at most 1", |eps| {
        eps > 0.0 && eps <= 1.0
    });
    optimizer.eps = Some(eps);
}

fn parse_betas(fields: &mut Fields) -> [f64; 2] {
    let default = [0.9, 0.999];
    let Some(value) = fields.raw("betas") else {
        return default;
    };
    let numbers: Option<Vec<f64>> = value
        .as_array()
        .and_then(|values| values.iter().map(Value::as_f64).collect());
    match numbers.as_deref() {
        Some(&[first, second]) if [first, second].iter().all(|beta| (0.0..1.0).contains(beta)) => {
            [first, second]
        }
        _ => {
            fields.fault(
                "betas",
                "range",
                "must be two numbers, each at least 0 and below 1",
            );
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::spec::JobSpec;

    fn parsed(optimizer: Value) -> Result<OptimizerSpec, Vec<String>> {
        let told = |faults: Vec<crate::error::FieldError>| {
            let told = faults
                .into_iter()
                .map(|fault| format!("{} {}", fault.pointer, fault.code));
            told.collect()
        };
        let spec = JobSpec::parse(&json!({"dataset": "d", "optimizer": optimizer}));
        spec.map(|spec| spec.optimizer).map_err(told)
    }

    #[test]
    fn each_rule_has_settings_of_its_own() {
        let sgd = parsed(json!({})).unwrap();
        assert_eq!((sgd.momentum, sgd.betas, sgd.eps), (Some(0.9), None, None));
        let adamw = parsed(json!({"name": "adamw", "betas": [0.8, 0.99]})).unwrap();
        assert_eq!(
            (adamw.momentum, adamw.betas, adamw.eps),
            (None, Some([0.8, 0.99]), Some(1e-8))
        );
        let again = parsed(serde_json::to_value(&adamw).unwrap()).unwrap();
        assert_eq!(adamw, again);
    }

    #[test]
    fn settings_of_the_other_rule_are_refused() {
        for (optimizer, fault) in [
            (json!({"betas": [0.9, 0.99]}), "/optimizer/betas conflict"),
            (json!({"eps": 1e-6}), "/optimizer/eps conflict"),
            (
                json!({"name": "adamw", "momentum": 0.9}),
                "/optimizer/momentum conflict",
            ),
            (
                json!({"name": "adamw", "nesterov": true}),
                "/optimizer/nesterov conflict",
            ),
            (json!({"name": "adamw", "betas": [0.9]}), "/optimizer/betas range"),
            (
                json!({"name": "adamw", "betas": [0.9, 1.0]}),
                "/optimizer/betas range",
            ),
            (
                json!({"nesterov": true, "momentum": 0}),
                "/optimizer/nesterov conflict",
            ),
            (json!({"layer_decay": 0}), "/optimizer/layer_decay range"),
        ] {
            assert_eq!(parsed(optimizer.clone()).unwrap_err(), [fault], "{optimizer}");
        }
    }
}
