//! Unsupervised domain adaptation: a model for images of a target domain without labels, from labelled images of a source domain.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::{
    name::Name,
    spec::{JobSpec, fields::Fields},
};

/// How the two domains are brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdaptationMethod {
    /// The covariances of the features of both domains are made equal (Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep
    /// Domain Adaptation").
    Coral,
    /// The maximum mean discrepancy between the features of both domains is made small, with five Gaussian kernels (Long et al. 2015,
    /// "Learning Transferable Features with Deep Adaptation Networks").
    Mmd,
    /// Features are learned that a classifier of the domain cannot tell apart (Ganin et al. 2016, "Domain-Adversarial Training of Neural
    /// Networks").
    Dann,
    /// After a training without the target images, BatchNorm's statistics are measured anew on these (Li et al. 2016, "Revisiting Batch
    /// Normalization For Practical Domain Adaptation").
    Adabn,
}

impl AdaptationMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coral => "coral",
            Self::Mmd => "mmd",
            Self::Dann => "dann",
            Self::Adabn => "adabn",
        }
    }

    /// Whether target images take part in the training, through a loss of their own.
    pub fn has_loss(self) -> bool {
        self != Self::Adabn
    }

    fn default_weight(self) -> Option<f64> {
        match self {
            Self::Coral => Some(100.0),
            Self::Mmd | Self::Dann => Some(1.0),
            Self::Adabn => None,
        }
    }
}

/// Adapts the model to the images of another dataset, whose labels, if it has any, are not used in training. The model's BatchNorm has the
/// statistics of the target images: it is a model for these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainAdaptation {
    /// Id or name of the dataset of the target domain, or `name@version`. If it has classes, they must be classes of `dataset`.
    #[schema(min_length = 1)]
    pub target_dataset: String,
    pub method: AdaptationMethod,
    /// Of the alignment loss, which is added to the loss of the labelled images; above 0, at most 10000. By default 100 for `coral`, 1 for
    /// `mmd` and `dann`; `adabn` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0.0, maximum = 10000.0)]
    pub weight: Option<f64>,
    /// Epochs on the labelled images alone before the alignment begins, 0 to `epochs` - 1; `adabn` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9999)]
    pub warmup_epochs: Option<u32>,
    /// Whether the same training without adaptation comes first, so that the evaluation can say what the adaptation brings. It takes about
    /// half as long as the adaptation itself; for `adabn` it takes no time.
    #[schema(default = true)]
    pub baseline: bool,
}

impl DomainAdaptation {
    /// Whether target images take part in this epoch (from 1).
    pub fn aligns_in(&self, epoch: u32) -> bool {
        self.method.has_loss() && epoch > self.warmup_epochs.unwrap_or(0)
    }
}

pub(in crate::domain::spec) fn parse(root: &mut Fields) -> Option<DomainAdaptation> {
    let mut fields = root.optional_object("domain_adaptation")?;
    let methods = [
        AdaptationMethod::Coral,
        AdaptationMethod::Mmd,
        AdaptationMethod::Dann,
        AdaptationMethod::Adabn,
    ]
    .map(|method| (method.as_str(), method));
    if fields.raw("method").is_none() {
        fields.fault(
            "method",
            "missing",
            "choose one of `coral`, `mmd`, `dann`, `adabn`",
        );
    }
    let method = fields.choice("method", AdaptationMethod::Coral, &methods);
    let rule = "must be > 0 and at most 10000";
    let weight = fields.optional_number("weight", rule, |weight| weight > 0.0 && weight <= 10_000.0);
    let warmup_epochs = fields.optional_integer("warmup_epochs", 0, 9_999);
    if !method.has_loss() {
        for (name, is_given) in [
            ("weight", weight.is_some()),
            ("warmup_epochs", warmup_epochs.is_some()),
        ] {
            if is_given {
                let message = "has no meaning for `adabn`, which has no alignment loss; leave it out";
                fields.fault(name, "conflict", message);
            }
        }
    }
    let adaptation = DomainAdaptation {
        target_dataset: parse_target(&mut fields),
        method,
        weight: method.default_weight().map(|default| weight.unwrap_or(default)),
        warmup_epochs: method
            .has_loss()
            .then(|| warmup_epochs.map_or(0, |epochs| epochs as u32)),
        baseline: fields.boolean("baseline", true),
    };
    fields.finish(&[]);
    Some(adaptation)
}

fn parse_target(fields: &mut Fields) -> String {
    // A name, `@` and a version.
    let longest = Name::MAX + 12;
    match fields.raw("target_dataset") {
        None => fields.fault(
            "target_dataset",
            "missing",
            "name the dataset of the target domain, by its id or its name; it needs no labels",
        ),
        Some(Value::String(text)) if (1..=longest).contains(&text.len()) => return text.clone(),
        Some(_) => fields.fault(
            "target_dataset",
            "type",
            "must be the id or the name of a dataset",
        ),
    }
    String::new()
}

/// What an adaptation needs of the other fields. Adapting needs something that learns.
pub(in crate::domain::spec) fn check(spec: &JobSpec, root: &mut Fields) {
    let Some(adaptation) = &spec.domain_adaptation else {
        return;
    };
    // What is wrong with it there is told by itself.
    if spec.head.is_made_at_once() {
        return;
    }
    let architecture = spec.backbone.architecture;
    let last_frozen = spec.last_frozen(spec.epochs);
    let fields = root.object("domain_adaptation");
    if last_frozen == Some(architecture.last_stage()) {
        let message = "changes the features, and with everything but the head frozen nothing does; set `freeze` to `none` or to \
                       `{\"until\": STAGE}`";
        root.fault("domain_adaptation", "conflict", message);
    } else if adaptation.method == AdaptationMethod::Adabn
        && !architecture.design().has_statistics_after(last_frozen)
    {
        let message = format!(
            "`adabn` measures the statistics of BatchNorm, and {architecture} has none in the stages that are trained; choose `coral`, `mmd` \
             or `dann`"
        );
        fields.fault("method", "conflict", message);
    }
    if adaptation
        .warmup_epochs
        .is_some_and(|epochs| epochs >= spec.epochs)
    {
        let message = "leaves no epoch for the alignment; lower it, or raise `epochs`";
        fields.fault("warmup_epochs", "conflict", message);
    }
    if adaptation.method.has_loss() && spec.batch_size < 2 {
        let message = "the alignment compares images of a batch with each other; use at least 2";
        root.fault("batch_size", "conflict", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::Spec;

    fn parsed(adaptation: &Value, others: &Value) -> Result<JobSpec, Vec<String>> {
        let mut document = json!({
            "dataset": "d", "backbone": {"architecture": "resnet20"}, "domain_adaptation": adaptation,
        });
        for (name, value) in others.as_object().unwrap() {
            document[name] = value.clone();
        }
        JobSpec::parse(&document).map_err(|faults| {
            let told = faults
                .into_iter()
                .map(|fault| format!("{} {}", fault.pointer, fault.code));
            told.collect()
        })
    }

    #[test]
    fn each_method_has_defaults_and_a_resolved_spec_is_itself_a_spec() {
        for (method, weight, warmup_epochs) in [
            ("coral", Some(100.0), Some(0)),
            ("mmd", Some(1.0), Some(0)),
            ("dann", Some(1.0), Some(0)),
            ("adabn", None, None),
        ] {
            let spec = parsed(
                &json!({"target_dataset": "sketches@2", "method": method}),
                &json!({}),
            )
            .unwrap();
            let adaptation = spec.domain_adaptation.clone().unwrap();
            assert_eq!(
                (adaptation.weight, adaptation.warmup_epochs, adaptation.baseline),
                (weight, warmup_epochs, true)
            );
            let written = serde_json::to_value(&spec).unwrap();
            assert_eq!(JobSpec::parse(&written).unwrap(), spec);
            assert_eq!(serde_json::from_value::<JobSpec>(written).unwrap(), spec);
        }
        let spec = parsed(
            &json!({"target_dataset": "s", "method": "mmd", "warmup_epochs": 2}),
            &json!({}),
        );
        let adaptation = spec.unwrap().domain_adaptation.unwrap();
        assert_eq!(
            [1, 2, 3].map(|epoch| adaptation.aligns_in(epoch)),
            [false, false, true]
        );
        let plain = JobSpec::parse(&json!({"dataset": "d"})).unwrap();
        assert!(
            serde_json::to_value(plain)
                .unwrap()
                .get("domain_adaptation")
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_adapted_is_refused_with_the_field_to_change() {
        let coral = json!({"target_dataset": "s", "method": "coral"});
        let adabn = json!({"target_dataset": "s", "method": "adabn"});
        let pretrained = |freeze: Value| json!({"backbone": {"architecture": "resnet18"}, "freeze": freeze});
        for (adaptation, others, fault) in [
            (
                json!({"method": "coral"}),
                json!({}),
                "/domain_adaptation/target_dataset missing",
            ),
            (
                json!({"target_dataset": "s"}),
                json!({}),
                "/domain_adaptation/method missing",
            ),
            (
                json!({"target_dataset": "s", "method": "cdan"}),
                json!({}),
                "/domain_adaptation/method range",
            ),
            (
                json!({"target_dataset": 7, "method": "mmd"}),
                json!({}),
                "/domain_adaptation/target_dataset type",
            ),
            (
                json!({"target_dataset": "s", "method": "mmd", "weight": 0}),
                json!({}),
                "/domain_adaptation/weight range",
            ),
            (
                json!({"target_dataset": "s", "method": "adabn", "weight": 1}),
                json!({}),
                "/domain_adaptation/weight conflict",
            ),
            (
                json!({"target_dataset": "s", "method": "adabn", "warmup_epochs": 1}),
                json!({}),
                "/domain_adaptation/warmup_epochs conflict",
            ),
            (
                json!({"target_dataset": "s", "method": "mmd", "warmup_epochs": 10}),
                json!({}),
                "/domain_adaptation/warmup_epochs conflict",
            ),
            (coral.clone(), json!({"batch_size": 1}), "/batch_size conflict"),
            (
                coral.clone(),
                pretrained(json!("backbone")),
                "/domain_adaptation conflict",
            ),
            (
                adabn.clone(),
                pretrained(json!("backbone")),
                "/domain_adaptation conflict",
            ),
            (
                adabn.clone(),
                json!({"backbone": {"architecture": "vit_tiny_patch16_224"}, "freeze": "none"}),
                "/domain_adaptation/method conflict",
            ),
            (
                coral.clone(),
                json!({"backbone": {"architecture": "resnet18"}, "head": {"solver": "lbfgs"}}),
                "/domain_adaptation conflict",
            ),
        ] {
            assert_eq!(
                parsed(&adaptation, &others).unwrap_err(),
                [fault],
                "{adaptation} {others}"
            );
        }
        for freeze in [json!("none"), json!({"until": "layer3"}), json!({"gradual": 2})] {
            assert!(parsed(&adabn, &pretrained(freeze)).is_ok());
        }
        let search = json!({"kind": "lr_find", "dataset": "d", "backbone": {"architecture": "resnet20"}, "domain_adaptation": coral});
        let faults = Spec::parse(&search).unwrap_err();
        assert_eq!(
            (faults[0].pointer.as_str(), faults[0].code.as_str()),
            ("/domain_adaptation", "conflict")
        );
    }
}
