//! What a training is expected to need, before it runs: memory by its network, time by trainings that have ended on this server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    architecture::{Architecture, StageCost},
    datasets::split::SplitCounts,
    spec::{JobSpec, OptimizerName, Stage, Weights},
};

/// What a training is expected to need. Both are ranges, because both are estimates; `based_on` says of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Expected {
    /// Memory of the worker, lowest and highest: on a card, of the card.
    pub memory_bytes: [u64; 2],
    /// Time from its start to its model, lowest and highest, if it goes through all epochs. Null where no training on the same kind of device has ended here, so that nothing
    /// is known of its speed. Fetching weights is not part of it.
    pub seconds: Option<[f64; 2]>,
    /// What the time was estimated from.
    #[schema(example = "3 trainings of resnet18 on the cpu")]
    pub based_on: String,
}

/// How many images are trained on and validated on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Images {
    pub train: f64,
    pub val: f64,
}

/// A training that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub architecture: Architecture,
    /// See [`work`].
    pub work: f64,
    pub seconds: f64,
}

/// libtorch, its threads, and batches on their way.
const OF_PROCESS: f64 = 250e6;
/// Starting a worker, and writing a model.
const OVERHEAD_SECONDS: f64 = 1.5;
/// How far memory may be off on either side.
const MEMORY_DOUBT: [f64; 2] = [0.7, 1.5];
/// How far time may be off: by trainings of the same network, or by those of others.
const TIME_DOUBT_SAME: f64 = 1.5;
const TIME_DOUBT_OTHERS: f64 = 3.0;
/// Bytes of a number.
const FLOAT: f64 = 4.0;

impl Images {
    /// Of a dataset with these splits; missing ones are drawn from the training split.
    pub fn of(splits: &SplitCounts, spec: &JobSpec) -> Self {
        let drawn = |own: u64, share: f64| match own {
            0 => share * splits.train as f64,
            own => own as f64,
        };
        let val = drawn(splits.val, spec.split.val);
        let taken = [(splits.val, spec.split.val), (splits.test, spec.split.test)];
        let taken = taken.iter().filter(|(own, _)| *own == 0).map(|(_, share)| share);
        Self {
            train: splits.train as f64 * (1.0 - taken.sum::<f64>()),
            val,
        }
    }
}

impl Expected {
    /// `ended` are trainings on the same kind of device, called `device`.
    pub fn of(spec: &JobSpec, images: Images, classes: u64, ended: &[Ended], device: &str) -> Self {
        let architecture = spec.backbone.architecture;
        let same: Vec<&Ended> = ended
            .iter()
            .filter(|ended| ended.architecture == architecture)
            .collect();
        let (known, doubt, of) = match same.is_empty() {
            false => (same, TIME_DOUBT_SAME, format!("of {architecture}")),
            true => (
                ended.iter().collect(),
                TIME_DOUBT_OTHERS,
                "of other networks".to_owned(),
            ),
        };
        let rates = known.iter().map(|ended| ended.rate());
        let (slowest, fastest) = rates.fold((f64::INFINITY, 0.0f64), |(low, high), rate| {
            (low.min(rate), high.max(rate))
        });
        let work = work(spec, images);
        let seconds = (!known.is_empty()).then(|| {
            [work / fastest / doubt, work / slowest * doubt].map(|seconds| OVERHEAD_SECONDS + seconds)
        });
        Self {
            memory_bytes: memory(spec, classes),
            seconds,
            based_on: match known.len() {
                0 => format!("no training has ended on the {device} yet, so the time is not known"),
                1 => format!("1 training {of} on the {device}"),
                count => format!("{count} trainings {of} on the {device}"),
            },
        }
    }
}

impl Ended {
    /// Multiply-adds in a second.
    fn rate(&self) -> f64 {
        self.work.max(1.0) / (self.seconds - OVERHEAD_SECONDS).max(0.2)
    }
}

/// Whether [`work`] and memory are what a training needs: teachers, a target domain and a training to compare with come on top, and an
/// adapter needs less.
pub fn is_known_for(spec: &JobSpec) -> bool {
    spec.domain_adaptation.is_none() && spec.distill.is_none() && spec.adapt.is_none()
}

/// Multiply-adds of a whole training on images of this number: a step costs three times a forward pass of what learns; frozen stages are
/// computed once for each view where their activations are kept.
pub fn work(spec: &JobSpec, images: Images) -> f64 {
    let costs = spec.backbone.architecture.stage_costs(spec.image.size);
    if spec.head.is_made_at_once() {
        return sum(&costs, |_| true, |cost| cost.multiply_adds) * (images.train + images.val);
    }
    let keeps = !spec.augment.mixes() && (!spec.augment.has_endless_views() || spec.augment.views.is_some());
    let (mut whole, mut kept_for) = (0.0, None);
    for epoch in 1..=spec.epochs {
        let frozen = spec.last_frozen(epoch);
        let learns = sum(&costs, |stage| Some(stage) > frozen, |cost| cost.multiply_adds);
        let rests = sum(&costs, |stage| Some(stage) <= frozen, |cost| cost.multiply_adds);
        whole += learns * (3.0 * images.train + images.val);
        if !keeps {
            whole += rests * (images.train + images.val);
        } else if kept_for != Some(frozen) {
            whole += rests * (images.train * f64::from(spec.augment.views.unwrap_or(1)) + images.val);
            kept_for = Some(frozen);
        }
    }
    whole
}

/// Lowest and highest, in bytes.
fn memory(spec: &JobSpec, classes: u64) -> [u64; 2] {
    let architecture = spec.backbone.architecture;
    let costs = architecture.stage_costs(spec.image.size);
    let frozen = match spec.head.is_made_at_once() {
        true => Some(architecture.last_stage()),
        false => (1..=spec.epochs)
            .map(|epoch| spec.last_frozen(epoch))
            .min()
            .flatten(),
    };
    let parameters = architecture.parameters(classes) as f64;
    let learning = architecture
        .design()
        .tensors(classes)
        .into_iter()
        .filter(|(stage, _, tensor)| *stage > frozen && tensor.learns());
    let mut learning: f64 = learning.map(|(_, _, tensor)| tensor.numbers() as f64).sum();
    // The head has no stage, and learns in any case.
    learning += architecture.features() as f64 * classes as f64;
    let states = match spec.optimizer.name {
        OptimizerName::Sgd => 1.0,
        OptimizerName::Adamw => 2.0,
    };
    let copies = 1.0 + states + f64::from(u8::from(spec.ema_decay.is_some())) + 1.0;
    let kept = sum(&costs, |stage| Some(stage) > frozen, |cost| cost.kept);
    let largest = costs.iter().map(|cost| cost.largest).max().unwrap_or(0) as f64;
    let loaded = match spec.backbone.weights {
        Weights::None => 0.0,
        _ => parameters,
    };
    let numbers = parameters + loaded + learning * copies + f64::from(spec.batch_size) * (kept + largest);
    MEMORY_DOUBT.map(|doubt| ((OF_PROCESS + numbers * FLOAT) * doubt) as u64)
}

fn sum(costs: &[StageCost], wanted: impl Fn(Stage) -> bool, of: impl Fn(&StageCost) -> u64) -> f64 {
    let wanted = costs.iter().filter(|cost| wanted(cost.stage));
    wanted.map(|cost| of(cost) as f64).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(fields: serde_json::Value) -> JobSpec {
        let mut document = json!({"dataset": "d"});
        for (name, value) in fields.as_object().unwrap() {
            document[name] = value.clone();
        }
        JobSpec::parse(&document).unwrap()
    }

    const IMAGES: Images = Images {
        train: 200.0,
        val: 50.0,
    };

    #[test]
    fn work_follows_what_learns_and_what_is_kept() {
        let of = |fields| work(&spec(fields), IMAGES);
        let once = of(json!({"epochs": 1}));
        assert_eq!(of(json!({"epochs": 10})), once, "kept");
        assert_eq!(of(json!({"head": {"solver": "lbfgs"}})), once);
        let mixed = of(json!({"epochs": 10, "augment": {"mixup": 0.2}}));
        assert!((mixed / once - 10.0).abs() < 1e-9, "computed in each epoch");
        let all = of(json!({"epochs": 1, "freeze": "none"}));
        assert!((all / once - 650.0 / 250.0).abs() < 1e-9);
        let part = of(json!({"epochs": 1, "freeze": {"until": "layer3"}}));
        assert!(once < part && part < all);
    }

    #[test]
    fn memory_follows_what_learns() {
        let of = |fields| memory(&spec(fields), 2);
        let head = of(json!({}));
        let all = of(json!({"freeze": "none"}));
        let adamw = of(json!({"freeze": "none", "optimizer": {"name": "adamw"}}));
        let small = of(json!({"freeze": "none", "batch_size": 8}));
        assert!(
            head[1] < all[1] && small[1] < all[1] && all[1] < adamw[1],
            "{head:?} {small:?} {all:?} {adamw:?}"
        );
        // Measured for ResNet-18 at 224 pixels and batches of 32, the server included: 519 MB for the head, 1135 MB for everything.
        assert!((head[0]..head[1]).contains(&500_000_000), "{head:?}");
        assert!((all[0]..all[1]).contains(&1_100_000_000), "{all:?}");
    }

    #[test]
    fn time_comes_from_what_has_ended_and_says_so() {
        let spec = spec(json!({"freeze": "none", "epochs": 3}));
        let work = work(&spec, IMAGES);
        let nothing = Expected::of(&spec, IMAGES, 2, &[], "cpu");
        assert_eq!(nothing.seconds, None);
        let ended = |architecture, seconds| Ended {
            architecture,
            work,
            seconds: seconds + OVERHEAD_SECONDS,
        };
        let own = [
            ended(Architecture::Resnet18, 20.0),
            ended(Architecture::Resnet18, 30.0),
        ];
        let expected = Expected::of(&spec, IMAGES, 2, &own, "cpu");
        let [low, high] = expected.seconds.unwrap();
        assert!(low < 20.0 && high > 30.0 && high < 60.0, "{low} {high}");
        assert_eq!(expected.based_on, "2 trainings of resnet18 on the cpu");
        let others = [ended(Architecture::Resnet50, 20.0)];
        let expected = Expected::of(&spec, IMAGES, 2, &others, "cpu");
        assert_eq!(expected.based_on, "1 training of other networks on the cpu");
        let [low, high] = expected.seconds.unwrap();
        assert!(low < 10.0 && high > 55.0);
    }

    #[test]
    fn splits_that_are_missing_are_drawn() {
        let spec = spec(json!({"split": {"val": 0.2, "test": 0.1}}));
        let splits = |train, val, test| SplitCounts { train, val, test };
        let images = |splits| Images::of(&splits, &spec);
        let drawn = images(splits(100, 0, 0));
        assert!((drawn.train - 70.0).abs() < 1e-9 && (drawn.val - 20.0).abs() < 1e-9);
        let own = images(splits(100, 30, 0));
        assert!((own.train - 90.0).abs() < 1e-9 && own.val == 30.0);
    }
}
