//! What a head needs that is made of all feature vectors at once, and which fields have no meaning for it.

use super::freeze::Freeze;
use crate::domain::spec::{Augment, Imbalance, JobSpec, LossName, Weights, fields::Fields};

impl JobSpec {
    /// Fields of training step by step: with any other head they are refused, and not part of the resolved spec.
    pub(in crate::domain::spec) const OF_STEPS: [&str; 11] = [
        "epochs",
        "gradient_accumulation_steps",
        "optimizer",
        "schedule",
        "clip_grad_norm",
        "ema_decay",
        "early_stopping",
        "unfreeze_at_epoch",
        "domain_adaptation",
        "distill",
        "adapt",
    ];
    /// Of a loss, which a head that is not trained does not have.
    pub(in crate::domain::spec) const LOSS: &str = "loss";
}

/// What a head that is made at once needs, and what has no meaning for it.
pub(in crate::domain::spec) fn check(spec: &JobSpec, root: &mut Fields) {
    let head = &spec.head;
    if !head.is_made_at_once() {
        return;
    }
    let (who, instead) = match head.kind.learns() {
        true => ("the solver `lbfgs`".to_owned(), "`\"solver\": \"sgd\"`"),
        false => (
            format!("a head of kind `{}`", head.kind.as_str()),
            "a head that `sgd` trains",
        ),
    };
    for name in JobSpec::OF_STEPS {
        if root.raw(name).is_some() {
            let message = format!("has no meaning for {who}; leave it out, or use {instead}");
            root.fault(name, "conflict", message);
        }
    }
    check_loss(spec, root, &who);
    if spec.backbone.weights == Weights::None {
        let message = format!(
            "{who} needs the features of a trained backbone; choose pretrained weights, or use {instead}"
        );
        root.object("backbone").fault("weights", "conflict", message);
    } else if spec.freeze != Freeze::Backbone && spec.adapt.is_none() {
        // An adapter unfreezes everything, and is refused itself.
        let message = format!(
            "{who} needs features that do not change: everything but the head must be frozen (`backbone`); otherwise use {instead}"
        );
        root.fault("freeze", "conflict", message);
    }
    if spec.augment != Augment::default() {
        let message = format!("{who} sees each image once, as it is; leave `augment` out, or use {instead}");
        root.fault("augment", "conflict", message);
    }
}

fn check_loss(spec: &JobSpec, root: &mut Fields, who: &str) {
    let given = root.raw(JobSpec::LOSS).is_some();
    if !spec.head.kind.learns() {
        if given {
            let message = format!("has no meaning for {who}, which is not trained; leave it out");
            root.fault(JobSpec::LOSS, "conflict", message);
        }
        return;
    }
    let fields = root.object(JobSpec::LOSS);
    let message = "only valid with the solver `sgd`";
    if spec.loss.name != LossName::CrossEntropy && spec.task.is_single() {
        fields.fault("name", "conflict", message);
    }
    if spec.loss.label_smoothing > 0.0 {
        fields.fault("label_smoothing", "conflict", message);
    }
    if spec.loss.imbalance == Imbalance::BalancedSampler {
        let message =
            "`balanced_sampler` is only valid with the solver `sgd`; `class_weights` has the same aim";
        fields.fault("imbalance", "conflict", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::{Spec, training::head::tests::parsed};

    #[test]
    fn what_has_no_meaning_for_a_head_made_at_once_is_refused() {
        for head in [
            json!({"solver": "lbfgs"}),
            json!({"kind": "prototype"}),
            json!({"kind": "knn"}),
        ] {
            let refused = |fields: Value| {
                let mut fields = fields;
                fields["head"] = head.clone();
                parsed(fields).unwrap_err()
            };
            for (field, value) in [
                ("epochs", json!(10)),
                ("optimizer", json!({})),
                ("schedule", json!({"name": "cosine"})),
                ("clip_grad_norm", json!(1)),
                ("ema_decay", json!(0.9)),
                ("early_stopping", json!({})),
                ("gradient_accumulation_steps", json!(1)),
                ("augment", json!({"horizontal_flip": true})),
                ("freeze", json!("none")),
                ("freeze", json!({"until": "layer3"})),
            ] {
                let found = refused(Value::from_iter([(field, value.clone())]));
                assert_eq!(found, [format!("/{field} conflict")], "{head} {value}");
            }
            assert_eq!(
                refused(json!({"unfreeze_at_epoch": 2})),
                ["/unfreeze_at_epoch conflict"]
            );
            let from_scratch = refused(json!({"backbone": {"weights": "none"}}));
            assert_eq!(from_scratch, ["/backbone/weights conflict"]);
        }
        for (loss, fault) in [
            (json!({"name": "focal"}), "/loss/name conflict"),
            (json!({"label_smoothing": 0.1}), "/loss/label_smoothing conflict"),
            (
                json!({"imbalance": "balanced_sampler"}),
                "/loss/imbalance conflict",
            ),
        ] {
            let fields = json!({"head": {"solver": "lbfgs"}, "loss": loss});
            assert_eq!(parsed(fields).unwrap_err(), [fault]);
        }
        let fields = json!({"head": {"kind": "knn"}, "loss": {}});
        assert_eq!(parsed(fields).unwrap_err(), ["/loss conflict"]);
        let search = json!({"kind": "lr_find", "dataset": "d", "head": {"solver": "lbfgs"}});
        assert_eq!(Spec::parse(&search).unwrap_err()[0].pointer, "/head/solver");
    }

    #[test]
    fn a_resolved_spec_has_only_what_has_a_meaning_and_is_itself_a_spec() {
        for head in [
            json!({"solver": "lbfgs", "l2": 0.25}),
            json!({"kind": "mlp", "solver": "lbfgs", "hidden": 12}),
            json!({"kind": "prototype"}),
            json!({"kind": "knn", "k": 3}),
        ] {
            let spec = parsed(json!({"head": head})).unwrap();
            let shown = serde_json::to_value(&spec).unwrap();
            for field in JobSpec::OF_STEPS {
                assert!(shown.get(field).is_none(), "{field}");
            }
            assert_eq!(shown.get("loss").is_some(), spec.head.kind.learns());
            assert_eq!(JobSpec::parse(&shown).unwrap(), spec);
            assert_eq!(serde_json::from_value::<JobSpec>(shown).unwrap(), spec);
        }
        let shown = serde_json::to_value(parsed(json!({})).unwrap()).unwrap();
        assert_eq!(
            (&shown["epochs"], &shown["head"]["solver"]),
            (&json!(10), &json!("sgd"))
        );
    }
}
