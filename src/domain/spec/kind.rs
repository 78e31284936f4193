//! The kind of a job, and the fields of its spec.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    BatchPredictSpec, CompareSpec, CrossValidateSpec, DeviceChoice, EvaluateSpec, JobSpec, LabelCheckSpec,
    LrFindSpec, PretrainSpec,
    fields::{Faults, Fields},
    job_fields::{JobFields, KindSpec},
    parse,
    preset::{Circumstances, Filled},
};
use crate::error::FieldError;

/// Work on the spec type of every kind.
pub trait KindVisitor {
    type Output;

    fn visit<S: KindSpec>(&self, kind: JobKind) -> Self::Output;
}

/// The kinds of jobs, each with the type of its spec and its name in JSON.
macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident($spec:ty) = $name:tt,)*) => {
        /// The kind of a job.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        pub enum JobKind {
            $($(#[$about])* #[serde(rename = $name)] $kind,)*
        }

        /// A checked job spec of any kind: one flat object whose field `kind` decides which fields it has.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(tag = "kind")]
        pub enum Spec {
            $(#[serde(rename = $name)] $kind(Box<$spec>),)*
        }

        impl JobKind {
            pub const ALL: &'static [JobKind] = &[$(JobKind::$kind),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(JobKind::$kind => $name,)*
                }
            }

            /// What such a job does, followed by its name: "makes the model" `flowers`.
            pub fn action(self) -> &'static str {
                match self {
                    $(JobKind::$kind => <$spec>::ACTION,)*
                }
            }

            /// Visits every kind, in order.
            pub fn each<V: KindVisitor>(visitor: &V) -> Vec<V::Output> {
                vec![$(visitor.visit::<$spec>(JobKind::$kind)),*]
            }
        }

        impl Spec {
            fn read(kind: JobKind, root: &mut Fields) -> (Spec, &'static [&'static str]) {
                match kind {
                    $(JobKind::$kind => (Spec::$kind(Box::new(<$spec>::read(root))), <$spec>::PLANNED),)*
                }
            }

            pub fn kind(&self) -> JobKind {
                match self {
                    $(Spec::$kind(_) => JobKind::$kind,)*
                }
            }

            /// The fields that specs of all kinds have.
            pub fn fields(&self) -> &dyn JobFields {
                match self {
                    $(Spec::$kind(spec) => spec.as_ref(),)*
                }
            }

            pub fn fields_mut(&mut self) -> &mut dyn JobFields {
                match self {
                    $(Spec::$kind(spec) => spec.as_mut(),)*
                }
            }
        }
    };
}

kinds! {
    /// Fine-tunes a network and produces a model.
    #[default]
    Train(JobSpec) = "train",
    /// Evaluates a model on a labelled dataset.
    Evaluate(EvaluateSpec) = "evaluate",
    /// Searches for a learning rate for a training.
    LrFind(LrFindSpec) = "lr_find",
    /// Classifies the images of a dataset.
    BatchPredict(BatchPredictSpec) = "batch-predict",
    /// Measures several backbones on a dataset, each with a head solved on its frozen features.
    Compare(CompareSpec) = "compare",
    /// Looks for doubtful labels of a dataset.
    LabelCheck(LabelCheckSpec) = "label_check",
    /// Trains a backbone without labels and produces a model without a head.
    Pretrain(PretrainSpec) = "pretrain",
    /// Measures how accurate quick heads are on folds of a dataset that they have not seen.
    CrossValidate(CrossValidateSpec) = "cross_validate",
}

impl JobKind {
    /// Whether its result is a model.
    pub fn makes_model(self) -> bool {
        matches!(self, JobKind::Train | JobKind::Pretrain)
    }
}

impl Spec {
    /// Checks a caller's spec and fills in its defaults. Without `kind` it is that of a training.
    ///
    /// # Errors
    /// Every fault of the document, including fields of another kind.
    pub fn parse(document: &Value) -> Result<Spec, Vec<FieldError>> {
        Self::parse_in(document, None)
    }

    /// The same with what the preset `auto` depends on.
    ///
    /// # Errors
    /// As [`Spec::parse`].
    pub fn parse_in(
        document: &Value,
        circumstances: Option<&Circumstances>,
    ) -> Result<Spec, Vec<FieldError>> {
        let faults = Faults::default();
        let filled = Filled::of(document, circumstances, &faults);
        let mut root = Fields::root(&filled.document, &faults);
        let kinds: Vec<_> = JobKind::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
        let kind = root.choice("kind", JobKind::Train, &kinds);
        let (spec, planned) = Spec::read(kind, &mut root);
        root.finish(planned);
        parse::checked(spec, &filled, faults)
    }

    /// The fields of a training, where the kind has them.
    pub fn training(&self) -> Option<&JobSpec> {
        self.fields().training()
    }

    /// Id or name of the dataset.
    pub fn dataset(&self) -> &str {
        self.fields().dataset()
    }

    pub fn device(&self) -> DeviceChoice {
        self.fields().device()
    }

    pub fn priority(&self) -> i32 {
        self.fields().priority()
    }

    pub fn max_seconds(&self) -> Option<u64> {
        self.fields().max_seconds()
    }

    pub fn max_attempts(&self) -> u32 {
        self.fields().max_attempts()
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
            json!({"kind": "pretrain", "dataset": "d", "epochs": 7, "augment": {"blur": 0.1}}),
            json!({"kind": "label_check", "dataset": "d", "folds": 3, "backbone": {"architecture": "resnet50"}}),
            json!({"kind": "cross_validate", "dataset": "d", "repeats": 9, "head": {"l2": 0.1}}),
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
