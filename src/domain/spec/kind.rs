//! The kind of a job, and the fields of its spec.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    BatchPredictSpec, DeviceChoice, EvaluateSpec, JobSpec, LrFindSpec,
    fields::{Faults, Fields},
    parse,
};
use crate::error::FieldError;

/// The kind of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Fine-tunes a network and produces a model.
    #[default]
    Train,
    /// Evaluates a model on a labelled dataset.
    Evaluate,
    /// Searches for a learning rate for a training.
    LrFind,
    /// Classifies the images of a dataset.
    #[serde(rename = "batch-predict")]
    BatchPredict,
}

impl JobKind {
    pub const ALL: [JobKind; 4] = [
        JobKind::Train,
        JobKind::Evaluate,
        JobKind::LrFind,
        JobKind::BatchPredict,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Train => "train",
            JobKind::Evaluate => "evaluate",
            JobKind::LrFind => "lr_find",
            JobKind::BatchPredict => "batch-predict",
        }
    }
}

/// A checked job spec of any kind: one flat object whose field `kind` decides which fields it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    Train(Box<JobSpec>),
    Evaluate(Box<EvaluateSpec>),
    LrFind(Box<LrFindSpec>),
    #[serde(rename = "batch-predict")]
    BatchPredict(Box<BatchPredictSpec>),
}

impl Spec {
    /// Checks a caller's spec and fills in its defaults. Without `kind` it is that of a training.
    ///
    /// # Errors
    /// Every fault of the document, including fields of another kind.
    pub fn parse(document: &Value) -> Result<Spec, Vec<FieldError>> {
        let faults = Faults::default();
        let mut root = Fields::root(document, &faults);
        let kinds = JobKind::ALL.map(|kind| (kind.as_str(), kind));
        let (spec, planned) = match root.choice("kind", JobKind::Train, &kinds) {
            JobKind::Train => (Spec::Train(Box::new(JobSpec::read(&mut root))), parse::PLANNED),
            JobKind::Evaluate => (Spec::Evaluate(Box::new(EvaluateSpec::read(&mut root))), &[][..]),
            JobKind::LrFind => (
                Spec::LrFind(Box::new(LrFindSpec::read(&mut root))),
                parse::PLANNED,
            ),
            JobKind::BatchPredict => (
                Spec::BatchPredict(Box::new(BatchPredictSpec::read(&mut root))),
                &[][..],
            ),
        };
        root.finish(planned);
        parse::checked(spec, faults)
    }

    pub fn kind(&self) -> JobKind {
        match self {
            Spec::Train(_) => JobKind::Train,
            Spec::Evaluate(_) => JobKind::Evaluate,
            Spec::LrFind(_) => JobKind::LrFind,
            Spec::BatchPredict(_) => JobKind::BatchPredict,
        }
    }

    /// The fields of a training, where the kind has them.
    pub fn training(&self) -> Option<&JobSpec> {
        match self {
            Spec::Train(spec) => Some(spec),
            Spec::LrFind(spec) => Some(&spec.train),
            Spec::Evaluate(_) | Spec::BatchPredict(_) => None,
        }
    }

    /// Id or name of the dataset.
    pub fn dataset(&self) -> &str {
        match self {
            Spec::Train(spec) => &spec.dataset,
            Spec::LrFind(spec) => &spec.train.dataset,
            Spec::Evaluate(spec) => &spec.dataset,
            Spec::BatchPredict(spec) => &spec.dataset,
        }
    }

    pub fn device(&self) -> DeviceChoice {
        match self {
            Spec::Train(spec) => spec.device,
            Spec::LrFind(spec) => spec.train.device,
            Spec::Evaluate(spec) => spec.device,
            Spec::BatchPredict(spec) => spec.device,
        }
    }

    pub fn priority(&self) -> i32 {
        match self {
            Spec::Train(spec) => spec.priority,
            Spec::LrFind(spec) => spec.train.priority,
            Spec::Evaluate(spec) => spec.priority,
            Spec::BatchPredict(spec) => spec.priority,
        }
    }

    pub fn max_seconds(&self) -> Option<u64> {
        match self {
            Spec::Train(spec) => spec.max_seconds,
            Spec::LrFind(spec) => spec.train.max_seconds,
            Spec::Evaluate(spec) => spec.max_seconds,
            Spec::BatchPredict(spec) => spec.max_seconds,
        }
    }

    pub fn max_attempts(&self) -> u32 {
        match self {
            Spec::Train(spec) => spec.max_attempts,
            Spec::LrFind(spec) => spec.train.max_attempts,
            Spec::Evaluate(spec) => spec.max_attempts,
            Spec::BatchPredict(spec) => spec.max_attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(document: Value) -> Vec<(String, String)> {
        let faults = Spec::parse(&document).unwrap_err();
        let told = faults.into_iter().map(|fault| (fault.pointer, fault.code));
        told.collect()
    }

    #[test]
    fn without_a_kind_a_spec_is_one_of_a_training() {
        let spec = Spec::parse(&json!({"dataset": "d"})).unwrap();
        assert_eq!(spec.kind(), JobKind::Train);
        assert_eq!(serde_json::to_value(&spec).unwrap()["kind"], "train");
    }

    #[test]
    fn a_resolved_spec_of_every_kind_is_itself_a_spec() {
        for document in [
            json!({"dataset": "d", "epochs": 3, "metadata": {"by": "me"}, "freeze": {"until": "layer3"}}),
            json!({"kind": "evaluate", "dataset": "d", "model": "m@2", "split": "all", "device": "cuda:1"}),
            json!({"kind": "batch-predict", "dataset": "d", "model": "m", "split": "test", "top_k": 3, "name": "n"}),
            json!({"kind": "lr_find", "dataset": "d", "seed": 7, "lr_find": {"steps": 40}, "max_seconds": 9}),
        ] {
            let spec = Spec::parse(&document).unwrap();
            let written = serde_json::to_value(&spec).unwrap();
            assert_eq!(Spec::parse(&written).unwrap(), spec);
            assert_eq!(serde_json::from_value::<Spec>(written).unwrap(), spec);
        }
    }

    #[test]
    fn fields_of_another_kind_are_refused() {
        let unknown = |pointer: &str| (pointer.to_owned(), "unknown_field".to_owned());
        let evaluate = json!({"kind": "evaluate", "dataset": "d", "model": "m", "epochs": 3, "lr_find": {}});
        assert_eq!(told(evaluate), [unknown("/epochs"), unknown("/lr_find")]);
        let train = json!({"dataset": "d", "model": "m", "lr_find": {}});
        assert_eq!(told(train), [unknown("/lr_find"), unknown("/model")]);
        let other = told(json!({"kind": "distil", "dataset": "d"}));
        assert_eq!(other, [("/kind".to_owned(), "range".to_owned())]);
    }
}
