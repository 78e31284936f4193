//! Training an adapter: a few tensors beside given weights, and the head.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::backbone::{Backbone, Weights};
use crate::domain::{
    architecture::adapters::LowRankTargets,
    spec::{Freeze, JobSpec, fields::Fields},
};

/// What is trained besides the head. All other weights stay as they were given, and the model's file does not have them: it has the
/// adapter, the head, and the digest of the base.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adapt {
    /// Weights and biases of the normalisations (BatchNorm, LayerNorm); Frankle et al. 2021, "Training BatchNorm and Only BatchNorm".
    NormOnly,
    /// All biases (Ben Zaken et al. 2022, "BitFit").
    BiasOnly,
    /// Only for transformers: a product of two narrow matrices beside each of the chosen ones.
    Lora(Lora),
}

/// Low-rank adaptation (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"): to a matrix `W` is added `alpha / rank · B A`,
/// where `A` has `rank` rows and `B` has `rank` columns. `B` is 0 at first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lora {
    /// 1 to 256, and at most the width of the network.
    #[schema(minimum = 1, maximum = 256, default = 8)]
    pub rank: u32,
    /// Above 0, at most 10000; by default twice the rank.
    #[schema(exclusive_minimum = 0.0, maximum = 10000.0)]
    pub alpha: f64,
    /// Which matrices are adapted.
    pub targets: LowRankTargets,
}

impl Adapt {
    pub fn as_str(self) -> &'static str {
        match self {
            Adapt::NormOnly => "norm_only",
            Adapt::BiasOnly => "bias_only",
            Adapt::Lora(_) => "lora",
        }
    }
}

impl Lora {
    /// What the product is multiplied with.
    pub fn scale(&self) -> f64 {
        self.alpha / f64::from(self.rank)
    }
}

pub(in crate::domain::spec) fn parse(root: &mut Fields, backbone: &Backbone) -> Option<Adapt> {
    let value = root.raw("adapt")?;
    let adapt = match value {
        Value::String(text) if text == "norm_only" => Adapt::NormOnly,
        Value::String(text) if text == "bias_only" => Adapt::BiasOnly,
        Value::Object(object) if object.contains_key("lora") => {
            let mut fields = root.object("adapt");
            let lora = parse_lora(fields.object("lora"), backbone);
            fields.finish(&[]);
            Adapt::Lora(lora)
        }
        _ => {
            root.fault(
                "adapt",
                "range",
                "must be `norm_only`, `bias_only`, or {\"lora\": {\"rank\": 8}}",
            );
            return None;
        }
    };
    if backbone.weights == Weights::None {
        let message =
            "an adapter changes given weights; choose pretrained weights or a model, or leave `adapt` out";
        root.fault("adapt", "conflict", message);
    }
    Some(adapt)
}

fn parse_lora(mut fields: Fields, backbone: &Backbone) -> Lora {
    let architecture = backbone.architecture;
    let rank = fields.integer("rank", 8, 1, 256) as u32;
    let alpha = fields.number(
        "alpha",
        f64::from(2 * rank),
        "must be > 0 and at most 10000",
        |alpha| alpha > 0.0 && alpha <= 10_000.0,
    );
    let choices = LowRankTargets::ALL.map(|targets| (targets.as_str(), targets));
    let targets = fields.choice("targets", LowRankTargets::Attention, &choices);
    let matrices = architecture.low_rank_matrices(targets);
    let narrowest = matrices.iter().map(|matrix| matrix.from.min(matrix.to)).min();
    match narrowest {
        None => {
            let message = format!(
                "{architecture} has no attention; use `norm_only` or `bias_only`, or choose a transformer such as vit_small_patch16_224"
            );
            fields.fault("targets", "conflict", message);
        }
        Some(narrowest) if u64::from(rank) > narrowest => {
            let message = format!("must be at most {narrowest}, the width of {architecture}");
            fields.fault("rank", "range", message);
        }
        Some(_) => {}
    }
    fields.finish(&[]);
    Lora { rank, alpha, targets }
}

/// What an adapter needs of the other fields.
pub(in crate::domain::spec) fn check(spec: &JobSpec, root: &mut Fields) {
    if spec.adapt.is_some() && spec.freeze == Freeze::Backbone {
        let message = "would leave only the head to train; use `none`, which is the default with `adapt`";
        root.fault("freeze", "conflict", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::spec::training::head::tests::parsed;

    #[test]
    fn an_adapter_trains_the_whole_depth_at_the_rate_of_the_head() {
        let vit = json!({"architecture": "vit_small_patch16_224"});
        let spec = parsed(json!({"backbone": vit, "adapt": {"lora": {}}})).unwrap();
        let lora = Lora {
            rank: 8,
            alpha: 16.0,
            targets: LowRankTargets::Attention,
        };
        assert_eq!(spec.adapt, Some(Adapt::Lora(lora)));
        assert_eq!(lora.scale(), 2.0);
        assert_eq!(
            (spec.freeze, spec.optimizer.backbone_lr_multiplier),
            (Freeze::None, 1.0)
        );
        let norms = parsed(json!({"adapt": "norm_only", "freeze": {"until": "layer1"}})).unwrap();
        assert_eq!(norms.adapt, Some(Adapt::NormOnly));
        for spec in [spec, norms] {
            let shown = serde_json::to_value(&spec).unwrap();
            assert_eq!(JobSpec::parse(&shown).unwrap(), spec);
        }
        let plain = serde_json::to_value(parsed(json!({})).unwrap()).unwrap();
        assert!(plain.get("adapt").is_none(), "{plain}");
    }

    #[test]
    fn what_cannot_be_adapted_is_refused() {
        let vit = json!({"architecture": "vit_tiny_patch16_224"});
        for (fields, fault) in [
            (json!({"adapt": "lora"}), "/adapt range"),
            (json!({"adapt": {"rank": 8}}), "/adapt range"),
            (json!({"adapt": {"lora": {}}}), "/adapt/lora/targets conflict"),
            (
                json!({"adapt": {"lora": {"rank": 0}}, "backbone": vit}),
                "/adapt/lora/rank range",
            ),
            (
                json!({"adapt": {"lora": {"rank": 200}}, "backbone": vit}),
                "/adapt/lora/rank range",
            ),
            (
                json!({"adapt": {"lora": {"targets": "mlp"}}, "backbone": vit}),
                "/adapt/lora/targets range",
            ),
            (
                json!({"adapt": {"lora": {"alpha": 0}}, "backbone": vit}),
                "/adapt/lora/alpha range",
            ),
            (
                json!({"adapt": {"lora": {}, "norm": true}, "backbone": vit}),
                "/adapt/norm unknown_field",
            ),
            (
                json!({"adapt": "norm_only", "backbone": {"weights": "none"}}),
                "/adapt conflict",
            ),
            (
                json!({"adapt": "bias_only", "freeze": "backbone"}),
                "/freeze conflict",
            ),
            (
                json!({"adapt": "bias_only", "head": {"solver": "lbfgs"}}),
                "/adapt conflict",
            ),
        ] {
            assert_eq!(parsed(fields.clone()).unwrap_err(), [fault], "{fields}");
        }
    }
}
