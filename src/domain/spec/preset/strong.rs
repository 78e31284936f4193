//! `strong`: how networks of a kind are fine-tuned by their authors.

use serde_json::{Value, json};

use crate::domain::{
    architecture::{Architecture, layer::Op},
    spec::Task,
};

/// Training images see all of this, as in torchvision's and timm's recipes for natural images.
fn augmentation() -> Value {
    json!({"horizontal_flip": true, "random_resized_crop": [0.35, 1.0], "rand_augment": {"num_ops": 2, "magnitude": 9}})
}

/// Values for a network of this architecture. Rates are for the default batch of 32 images.
pub fn values(architecture: Architecture, is_pretrained: bool, task: Task) -> Value {
    let mut values = match (is_pretrained, Kind::of(architecture)) {
        (false, kind) => from_scratch(kind),
        (true, Kind::Transformer) => transformer(),
        (true, Kind::LayerNormed) => convnext(),
        (true, Kind::Plain) => convolutional(0.001),
        (true, Kind::BatchNormed) => convolutional(0.005),
    };
    values["freeze"] = json!("none");
    values["loss"] = match task {
        Task::Single | Task::MultiTask => json!({"name": "cross_entropy", "label_smoothing": 0.1}),
        Task::MultiLabel => json!({"name": "asymmetric"}),
    };
    values["augment"] = augmentation();
    // Steps are few in a fine-tuning: an average over the last thousand.
    values["ema_decay"] = json!(0.999);
    values["early_stopping"] = json!({"monitor": "val_loss", "patience": 10});
    values
}

/// What matters for the choice of an optimiser.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transformer,
    /// ConvNeXt.
    LayerNormed,
    BatchNormed,
    /// VGG without normalisation.
    Plain,
}

impl Kind {
    fn of(architecture: Architecture) -> Self {
        let design = architecture.design();
        let (mut attends, mut has_batch_norm, mut has_layer_norm) = (false, false, false);
        design.follow(design.native_size, |layer, _, _| match layer.op {
            Op::Attention(_) | Op::WindowAttention(_) => attends = true,
            Op::BatchNorm2d(_) => has_batch_norm = true,
            Op::LayerNorm(_) => has_layer_norm = true,
            _ => {}
        });
        match (attends, has_batch_norm, has_layer_norm) {
            (true, _, _) => Kind::Transformer,
            (_, true, _) => Kind::BatchNormed,
            (_, _, true) => Kind::LayerNormed,
            _ => Kind::Plain,
        }
    }
}

/// SGD with Nesterov's momentum and a cosine, as Kornblith et al. 2019 fine-tune sixteen convolutional networks; batch normalisation allows
/// the higher rate.
fn convolutional(lr: f64) -> Value {
    json!({
        "epochs": 30,
        "optimizer": {
            "name": "sgd", "lr": lr, "momentum": 0.9, "nesterov": true, "weight_decay": 1e-4, "backbone_lr_multiplier": 1.0,
        },
        "schedule": {"name": "cosine", "warmup_epochs": 1},
    })
}

/// Liu et al. 2022, "A ConvNet for the 2020s", table 5: AdamW and layer-wise decay of the learning rate.
fn convnext() -> Value {
    json!({
        "epochs": 30,
        "optimizer": {
            "name": "adamw", "lr": 5e-5, "weight_decay": 1e-8, "layer_decay": 0.8, "backbone_lr_multiplier": 1.0,
        },
        "schedule": {"name": "cosine", "warmup_epochs": 1},
    })
}

/// He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", table 9, and BEiT (Bao et al. 2022): AdamW, layer-wise decay, a rate of
/// 1e-3 for 256 images in a batch.
fn transformer() -> Value {
    json!({
        "epochs": 30,
        "optimizer": {
            "name": "adamw", "lr": 1.25e-4, "weight_decay": 0.05, "layer_decay": 0.75, "backbone_lr_multiplier": 1.0,
        },
        "schedule": {"name": "cosine", "warmup_epochs": 3},
        "clip_grad_norm": 1.0,
    })
}

/// Goyal et al. 2017 for convolutions: 0.1 for 256 images in a batch; Touvron et al. 2021 (DeiT) and Liu et al. 2022 for the others: AdamW,
/// 5e-4 for 512.
fn from_scratch(kind: Kind) -> Value {
    let optimizer = match kind {
        Kind::BatchNormed | Kind::Plain => json!({
            "name": "sgd", "lr": if kind == Kind::Plain { 0.005 } else { 0.0125 }, "momentum": 0.9, "nesterov": true, "weight_decay": 1e-4,
        }),
        Kind::Transformer | Kind::LayerNormed => {
            json!({"name": "adamw", "lr": 5e-4, "weight_decay": 0.05})
        }
    };
    json!({
        "epochs": 100,
        "optimizer": optimizer,
        "schedule": {"name": "cosine", "warmup_epochs": 5},
        "clip_grad_norm": 1.0,
    })
}
