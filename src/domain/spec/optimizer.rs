//! How weights follow gradients.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{backbone::Weights, fields::Fields};

/// Stochastic gradient descent (Sutskever et al. 2013, as in torch.optim.SGD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    #[default]
    Sgd,
}

/// How weights follow gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OptimizerSpec {
    pub name: OptimizerName,
    /// Learning rate of the head, above 0, at most 100.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, default = 0.001)]
    pub lr: f64,
    /// 0 up to, not including, 1.
    #[schema(minimum = 0.0, exclusive_maximum = 1.0, default = 0.9)]
    pub momentum: f64,
    #[schema(default = false)]
    pub nesterov: bool,
    /// L2 penalty on weights of convolutions and the head (not on BatchNorm and biases), 0 to 1.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.0)]
    pub weight_decay: f64,
    /// Learning rate of the backbone relative to the head's, 0 to 1; where the backbone starts from nothing it is 1.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.1)]
    pub backbone_lr_multiplier: f64,
}

pub(super) fn parse(mut fields: Fields, weights: &Weights) -> OptimizerSpec {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let slower_backbone = if *weights == Weights::None { 1.0 } else { 0.1 };
    let optimizer = OptimizerSpec {
        name: parse_optimizer_name(&mut fields),
        lr: fields.number("lr", 0.001, "must be > 0 and at most 100", |lr| {
            lr > 0.0 && lr <= 100.0
        }),
        momentum: fields.number("momentum", 0.9, "must be at least 0 and below 1", |m| {
            (0.0..1.0).contains(&m)
        }),
        nesterov: fields.boolean("nesterov", false),
        weight_decay: fields.number("weight_decay", 0.0, "must be from 0 to 1", share),
        backbone_lr_multiplier: fields.number(
            "backbone_lr_multiplier",
            slower_backbone,
            "must be from 0 to 1",
            share,
        ),
    };
    if optimizer.nesterov && optimizer.momentum == 0.0 {
        fields.fault("nesterov", "conflict", "Nesterov's step needs a momentum above 0");
    }
    fields.finish(&["layer_decay"]);
    optimizer
}

fn parse_optimizer_name(fields: &mut Fields) -> OptimizerName {
    if fields.raw("name").and_then(Value::as_str) == Some("adamw") {
        fields.fault("name", "not_supported", "this version has `sgd` only");
        return OptimizerName::Sgd;
    }
    fields.choice("name", OptimizerName::Sgd, &[("sgd", OptimizerName::Sgd)])
}
