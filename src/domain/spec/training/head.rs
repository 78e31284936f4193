//! The classification head, and how it is made.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    architecture::{Architecture, Head, HeadKind},
    spec::fields::Fields,
};

/// What happens to the head of the base weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadKeep {
    /// It is kept where its classes are known by name and all classes of the dataset are among them; otherwise a new one is drawn.
    #[default]
    Auto,
    /// A new one is always drawn.
    Never,
}

/// How the head is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Step by step, by `optimizer`, over `epochs`.
    #[default]
    Sgd,
    /// On the feature vectors of a frozen backbone, with limited-memory BFGS (Liu and Nocedal 1989): with a linear head this is multinomial
    /// logistic regression, to convergence. There is no learning rate.
    Lbfgs,
}

/// The classification head. All but a head trained by `sgd` need `"freeze": "backbone"` and no augmentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HeadSpec {
    pub kind: HeadKind,
    /// Only with `linear` and `mlp`; by default `sgd`. The other kinds are not trained.
    pub solver: Option<Solver>,
    /// Only with `lbfgs`: the mean cross entropy and this times half the sum of all squared weights, without biases, is minimised; 0 to
    /// 1e6. By default it is chosen: of several values the one with the highest validation accuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 1e6)]
    pub l2: Option<f64>,
    /// Only with `mlp`: outputs of its first layer, 1 to 8192; by default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 8192)]
    pub hidden: Option<u64>,
    /// Only with `knn`: how many training images vote, 1 to 1000; by default 20. No more than there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub k: Option<u64>,
    /// Only with `prototype` and `knn`: cosines are divided by this, above 0, at most 10; by default 0.07.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0.0, maximum = 10.0)]
    pub temperature: Option<f64>,
    /// Only with `sgd`: probability with which each feature is dropped in training, 0 up to, but not including, 1 (Srivastava et al. 2014,
    /// as torch.nn.Dropout).
    ///
    /// The default is what the authors of the network use: 0 for ResNets.
    #[schema(minimum = 0.0, exclusive_maximum = 1.0)]
    pub dropout: f64,
    #[serde(default)]
    pub keep: HeadKeep,
}

impl Default for HeadSpec {
    fn default() -> Self {
        Self {
            kind: HeadKind::Linear,
            solver: Some(Solver::Sgd),
            l2: None,
            hidden: None,
            k: None,
            temperature: None,
            dropout: 0.0,
            keep: HeadKeep::Auto,
        }
    }
}

impl HeadSpec {
    /// Whether it is made from the feature vectors of all images at once, not step by step from batches.
    pub fn is_made_at_once(&self) -> bool {
        self.solver != Some(Solver::Sgd)
    }

    /// The head of a model that was trained on so many images.
    pub fn head(&self, images: u64) -> Head {
        match self.kind {
            HeadKind::Linear => Head::Linear,
            HeadKind::Mlp => Head::Mlp {
                hidden: self.hidden.unwrap_or(HIDDEN as u64),
            },
            HeadKind::Prototype => Head::Prototype,
            HeadKind::Knn => Head::Knn {
                images,
                k: self.k.unwrap_or(NEIGHBOURS as u64).min(images),
                temperature: self.temperature(),
            },
        }
    }

    /// What cosines are divided by.
    pub fn temperature(&self) -> f64 {
        self.temperature.unwrap_or(TEMPERATURE)
    }
}

const HIDDEN: i64 = 256;
/// As in DINO's evaluation (Caron et al. 2021).
const NEIGHBOURS: i64 = 20;
const TEMPERATURE: f64 = 0.07;

pub(in crate::domain::spec) fn parse(mut fields: Fields, architecture: Architecture) -> HeadSpec {
    let kinds = HeadKind::ALL.map(|kind| (kind.as_str(), kind));
    let kind = fields.choice("kind", HeadKind::Linear, &kinds);
    let solvers = [("sgd", Solver::Sgd), ("lbfgs", Solver::Lbfgs)];
    let solver = fields.choice("solver", Solver::Sgd, &solvers);
    let by_lbfgs = kind.learns() && solver == Solver::Lbfgs;
    let by_sgd = kind.learns() && solver == Solver::Sgd;
    let by_cosine = matches!(kind, HeadKind::Prototype | HeadKind::Knn);
    let only = |fields: &mut Fields, name: &'static str, with: &str, valid: bool| {
        if !valid && fields.raw(name).is_some() {
            fields.fault(name, "conflict", format!("only valid with {with}"));
        }
        valid
    };
    let has_solver = only(
        &mut fields,
        "solver",
        "`linear` and `mlp`; this head is not trained",
        kind.learns(),
    );
    let l2 = fields.optional_number("l2", "must be from 0 to 1000000", |l2| (0.0..=1e6).contains(&l2));
    let hidden = fields.integer("hidden", HIDDEN, 1, 8192) as u64;
    let k = fields.integer("k", NEIGHBOURS, 1, 1000) as u64;
    let temperature = fields.number(
        "temperature",
        TEMPERATURE,
        "must be > 0 and at most 10",
        |value| value > 0.0 && value <= 10.0,
    );
    let usual = if by_sgd {
        architecture.design().dropout
    } else {
        0.0
    };
    let dropout = fields.number("dropout", usual, "must be at least 0 and below 1", |share| {
        (0.0..1.0).contains(&share)
    });
    if dropout > 0.0 && !by_sgd {
        fields.fault("dropout", "conflict", "only valid with the solver `sgd`");
    }
    let keeps = [("auto", HeadKeep::Auto), ("never", HeadKeep::Never)];
    let head = HeadSpec {
        keep: fields.choice("keep", HeadKeep::Auto, &keeps),
        kind,
        solver: has_solver.then_some(solver),
        l2: l2.filter(|_| by_lbfgs),
        hidden: only(&mut fields, "hidden", "`mlp`", kind == HeadKind::Mlp).then_some(hidden),
        k: only(&mut fields, "k", "`knn`", kind == HeadKind::Knn).then_some(k),
        temperature: only(&mut fields, "temperature", "`prototype` and `knn`", by_cosine)
            .then_some(temperature),
        dropout,
    };
    only(&mut fields, "l2", "the solver `lbfgs`", by_lbfgs);
    if by_lbfgs && kind == HeadKind::Linear && architecture.design().has_map_features() {
        let message = format!(
            "the linear head of {architecture} has a ReLU before its mean over all positions, so `lbfgs` cannot make it from feature vectors; \
             use it with `\"kind\": \"mlp\"`, or the solver `sgd`"
        );
        fields.fault("solver", "conflict", message);
    }
    fields.finish(&[]);
    head
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::JobSpec;

    pub fn parsed(fields: Value) -> Result<JobSpec, Vec<String>> {
        let mut document = json!({"dataset": "d"});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        let told = |faults: Vec<crate::error::FieldError>| {
            let told = faults.into_iter().map(|it| format!("{} {}", it.pointer, it.code));
            told.collect()
        };
        JobSpec::parse(&document).map_err(told)
    }

    #[test]
    fn each_kind_has_settings_of_its_own() {
        let head = |head: Value| parsed(json!({"head": head})).unwrap().head;
        assert_eq!(head(json!({})), HeadSpec::default());
        let lbfgs = head(json!({"solver": "lbfgs"}));
        assert_eq!(
            (lbfgs.solver, lbfgs.l2, lbfgs.is_made_at_once()),
            (Some(Solver::Lbfgs), None, true)
        );
        assert_eq!(head(json!({"solver": "lbfgs", "l2": 0.5})).l2, Some(0.5));
        let mlp = head(json!({"kind": "mlp"}));
        assert_eq!(
            (mlp.solver, mlp.head(9)),
            (Some(Solver::Sgd), Head::Mlp { hidden: 256 })
        );
        assert!(!mlp.is_made_at_once());
        let prototype = head(json!({"kind": "prototype", "temperature": 0.1}));
        assert_eq!((prototype.solver, prototype.temperature()), (None, 0.1));
        let knn = head(json!({"kind": "knn"}));
        let expected = Head::Knn {
            images: 9,
            k: 9,
            temperature: 0.07,
        };
        assert_eq!((knn.k, knn.head(9)), (Some(20), expected));
    }

    #[test]
    fn settings_of_another_kind_are_refused() {
        for (head, fault) in [
            (json!({"l2": 1}), "/head/l2 conflict"),
            (json!({"solver": "lbfgs", "l2": -1}), "/head/l2 range"),
            (
                json!({"solver": "lbfgs", "dropout": 0.1}),
                "/head/dropout conflict",
            ),
            (json!({"hidden": 9}), "/head/hidden conflict"),
            (json!({"kind": "mlp", "hidden": 0}), "/head/hidden range"),
            (json!({"kind": "mlp", "k": 3}), "/head/k conflict"),
            (json!({"temperature": 0.1}), "/head/temperature conflict"),
            (json!({"kind": "knn", "solver": "sgd"}), "/head/solver conflict"),
            (json!({"kind": "prototype", "k": 2}), "/head/k conflict"),
            (json!({"kind": "tree"}), "/head/kind range"),
        ] {
            assert_eq!(parsed(json!({"head": head})).unwrap_err(), [fault], "{head}");
        }
    }

    #[test]
    fn a_linear_head_of_a_map_is_trained_by_steps() {
        let backbone = json!({"architecture": "squeezenet1_1", "weights": "own.pth"});
        let with = |head: Value| parsed(json!({"backbone": backbone, "head": head}));
        assert_eq!(
            with(json!({"solver": "lbfgs"})).unwrap_err(),
            ["/head/solver conflict"]
        );
        assert_eq!(with(json!({})).unwrap().head.dropout, 0.5);
        for head in [json!({"kind": "mlp", "solver": "lbfgs"}), json!({"kind": "knn"})] {
            assert!(with(head).is_ok());
        }
        let quick = parsed(json!({"backbone": backbone, "preset": "quick"})).unwrap();
        assert_eq!(
            (quick.head.kind, quick.head.solver),
            (HeadKind::Mlp, Some(Solver::Lbfgs))
        );
    }

    #[test]
    fn a_head_of_before_is_linear_and_trained_by_steps() {
        let old: HeadSpec = serde_json::from_value(json!({"dropout": 0.5})).unwrap();
        let expected = HeadSpec {
            dropout: 0.5,
            ..HeadSpec::default()
        };
        assert_eq!(old, expected);
    }
}
