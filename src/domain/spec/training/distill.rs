//! Knowledge distillation: a training that learns from other models as well as from labels.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::backbone::Weights;
use crate::{
    domain::{
        datasets::dataset::{Dataset, DatasetStatus},
        models::model::Model,
        name::Name,
        spec::{JobSpec, fields::Fields},
    },
    error::FieldError,
};

/// Most teachers of one training.
const MOST: usize = 8;

/// Learns from models of the same classes: the teachers (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network").
/// They see each image as the student does, augmented and mixed, resized to their own size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Distill {
    /// Id or name of a model, or 1 to 8 of them, whose probabilities are averaged; in a job they are ids.
    #[schema(min_items = 1, max_items = 8)]
    pub teacher: Vec<String>,
    /// Logits of teachers and student are divided by this, above 0, at most 100.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, default = 4.0)]
    pub temperature: f64,
    /// Of what the teachers say, in relation to the labels, which get the rest: above 0, at most 1.
    #[schema(exclusive_minimum = 0.0, maximum = 1.0, default = 0.9)]
    pub weight: f64,
    /// Weight of a loss that brings the student's features, through a linear layer of its own, near those of the first teacher (Romero et al.
    /// 2015, "FitNets: Hints for Thin Deep Nets"); above 0, at most 1000. Null: there is no such loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0.0, maximum = 1000.0)]
    pub features: Option<f64>,
    /// Id or name of a dataset, or `name@version`, whose images are learned from as well: the teachers say what they are. Labels that it has
    /// are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlabelled_dataset: Option<String>,
    /// Whether the same training without teachers comes first, so that the evaluation can say what they bring.
    #[schema(default = true)]
    pub baseline: bool,
}

pub(in crate::domain::spec) fn parse(root: &mut Fields) -> Option<Distill> {
    let mut fields = root.optional_object("distill")?;
    let distill = Distill {
        teacher: parse_teachers(&mut fields),
        temperature: fields.number("temperature", 4.0, "must be > 0 and at most 100", |value| {
            value > 0.0 && value <= 100.0
        }),
        weight: fields.number("weight", 0.9, "must be > 0 and at most 1", |value| {
            value > 0.0 && value <= 1.0
        }),
        features: fields.optional_number("features", "must be > 0 and at most 1000", |value| {
            value > 0.0 && value <= 1000.0
        }),
        unlabelled_dataset: fields.text("unlabelled_dataset").map(str::to_owned),
        baseline: fields.boolean("baseline", true),
    };
    fields.finish(&[]);
    Some(distill)
}

fn parse_teachers(fields: &mut Fields) -> Vec<String> {
    let rule = "must be the id or the name of a model, or a list of 1 to 8 of them";
    // A name, `@` and a version.
    let longest = Name::MAX + 12;
    let named = |value: &Value| {
        let text = value.as_str().filter(|text| (1..=longest).contains(&text.len()));
        text.map(str::to_owned)
    };
    let found = match fields.raw("teacher") {
        None => {
            let message =
                "name the model to learn from, by its id or its name; it must have the classes of `dataset`";
            fields.fault("teacher", "missing", message);
            return Vec::new();
        }
        Some(Value::Array(all)) if (1..=MOST).contains(&all.len()) => all.iter().map(named).collect(),
        Some(one) => named(one).map(|one| vec![one]),
    };
    found.unwrap_or_else(|| {
        fields.fault("teacher", "type", rule);
        Vec::new()
    })
}

impl JobSpec {
    /// What prevents this training, on this dataset, from learning from a model, which the field `pointer` names. Its own base weights are
    /// pinned.
    pub fn fault_of_teacher(&self, teacher: &Model, dataset: &Dataset, pointer: &str) -> Option<FieldError> {
        let fault = |code, message: String| Some(FieldError::new(pointer, code, message));
        if self.backbone.weights == Weights::Model(teacher.id.to_string()) {
            let message = "the student begins as this model itself and has nothing to learn from it; choose other weights, or another teacher";
            return fault("conflict", message.to_owned());
        }
        if let Some(headless) = teacher.fault_without_head(pointer) {
            return Some(headless);
        }
        if !teacher.card.task.is_single() {
            let message = "the teacher tells several labels of an image, and students learn from its one distribution over all classes";
            return fault("conflict", message.to_owned());
        }
        if dataset.status != DatasetStatus::Ready {
            return None;
        }
        let taught = &teacher.card.classes;
        let unknown: Vec<&str> = dataset
            .classes
            .iter()
            .map(|class| class.name.as_str())
            .filter(|name| !taught.iter().any(|known| known == name))
            .collect();
        if unknown.is_empty() && taught.len() == dataset.classes.len() {
            return None;
        }
        let message = match unknown.is_empty() {
            true => format!(
                "the teacher tells {} classes apart and the dataset has {}; both need the same classes",
                taught.len(),
                dataset.classes.len()
            ),
            false => format!(
                "the teacher does not know these classes of the dataset: {}; both need the same classes",
                unknown.join(", ")
            ),
        };
        fault("unknown_classes", message)
    }
}

/// What a distillation needs of the other fields.
pub(in crate::domain::spec) fn check(spec: &JobSpec, root: &mut Fields) {
    if spec.distill.is_some() && spec.domain_adaptation.is_some() && !spec.head.is_made_at_once() {
        let message =
            "cannot be combined with `domain_adaptation`; distil the adapted model in a job of its own";
        root.fault("distill", "conflict", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::spec::Spec;

    fn parsed(distill: &Value, others: &Value) -> Result<JobSpec, Vec<String>> {
        let mut document = json!({"dataset": "d", "distill": distill});
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
    fn one_teacher_or_several_and_a_resolved_spec_is_itself_a_spec() {
        for (teacher, expected) in [
            (json!("large"), vec!["large"]),
            (json!(["large@2", "other"]), vec!["large@2", "other"]),
        ] {
            let spec = parsed(&json!({"teacher": teacher, "features": 0.5}), &json!({})).unwrap();
            let distill = spec.distill.clone().unwrap();
            assert_eq!(distill.teacher, expected);
            assert_eq!(
                (distill.temperature, distill.weight, distill.baseline),
                (4.0, 0.9, true)
            );
            let written = serde_json::to_value(&spec).unwrap();
            assert_eq!(JobSpec::parse(&written).unwrap(), spec);
            assert_eq!(serde_json::from_value::<JobSpec>(written).unwrap(), spec);
        }
        let plain = JobSpec::parse(&json!({"dataset": "d"})).unwrap();
        assert!(serde_json::to_value(plain).unwrap().get("distill").is_none());
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_field_to_change() {
        let scratch = json!({"backbone": {"architecture": "resnet20"}});
        for (distill, others, fault) in [
            (json!({}), json!({}), "/distill/teacher missing"),
            (json!({"teacher": []}), json!({}), "/distill/teacher type"),
            (json!({"teacher": ["a", 1]}), json!({}), "/distill/teacher type"),
            (
                json!({"teacher": "a", "temperature": 0}),
                json!({}),
                "/distill/temperature range",
            ),
            (
                json!({"teacher": "a", "weight": 1.5}),
                json!({}),
                "/distill/weight range",
            ),
            (
                json!({"teacher": "a", "features": 0}),
                json!({}),
                "/distill/features range",
            ),
            (
                json!({"teacher": "a", "unlabelled_dataset": 1}),
                json!({}),
                "/distill/unlabelled_dataset type",
            ),
            (
                json!({"teacher": "a"}),
                json!({"head": {"solver": "lbfgs"}}),
                "/distill conflict",
            ),
        ] {
            assert_eq!(
                parsed(&distill, &others).unwrap_err(),
                [fault],
                "{distill} {others}"
            );
        }
        let mut both = scratch;
        both["domain_adaptation"] = json!({"target_dataset": "t", "method": "mmd"});
        assert_eq!(
            parsed(&json!({"teacher": "a"}), &both).unwrap_err(),
            ["/distill conflict"]
        );
        let search = json!({"kind": "lr_find", "dataset": "d", "distill": {"teacher": "a"}});
        assert_eq!(Spec::parse(&search).unwrap_err()[0].pointer, "/distill");
    }
}
