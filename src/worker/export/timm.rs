//! A folder for timm, zipped: `config.json`, `model.safetensors`, and a model card for people. `timm.create_model("local-dir:…")` creates
//! the network from it, and `timm.data.create_transform` its preprocessing.

use std::{fmt::Write, path::Path};

use serde_json::{Value, json};

use super::{Archive, Model};
use crate::{
    domain::{
        models::{
            model::ModelCard,
            preprocessing::{Preprocessing, Resize},
        },
        spec::Task,
    },
    worker::files::{bundle, state, timm_names},
};

/// How many classes the card for people lists at most.
const LISTED_CLASSES: usize = 100;

/// Writes the zip of a model whose architecture timm has.
pub fn write(path: &Path, model: &Model) -> anyhow::Result<()> {
    let weights = path.with_extension("weights");
    let state = timm_names::into_timm(&model.state, model.card.architecture);
    state::write(&weights, &state, &model.texts_of_torch())?;
    let mut archive = Archive::create(path)?;
    archive.add("README.md", readme(model).as_bytes())?;
    archive.add("config.json", &serde_json::to_vec_pretty(&config(model))?)?;
    archive.add_file(bundle::WEIGHTS_FILE, &weights)?;
    archive.finish()
}

fn config(model: &Model) -> Value {
    let card = &model.card;
    let recipe = &card.preprocessing;
    let side = recipe.crop;
    let pool = side.div_ceil(card.architecture.total_stride());
    let (crop_mode, crop_pct) = crop(recipe);
    let [classifier, first_conv] = card.architecture.ends_in_timm();
    json!({
        "architecture": card.architecture.name_in_timm().unwrap_or(card.architecture.as_str()),
        "num_classes": card.classes.len(),
        "num_features": card.architecture.features(),
        "label_names": card.classes,
        "pretrained_cfg": {
            "tag": "finetuned",
            "custom_load": false,
            "input_size": [3, side, side],
            "fixed_input_size": card.architecture.has_one_size_in_timm(),
            "interpolation": recipe.interpolation.as_str(),
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "mean": recipe.mean.map(decimal),
            "std": recipe.std.map(decimal),
            "num_classes": card.classes.len(),
            "pool_size": [pool, pool],
            "first_conv": first_conv,
            "classifier": classifier,
        },
    })
}

/// Which classes an image shows, by a model of several labels or tasks.
fn about_answers(card: &ModelCard) -> String {
    match card.task {
        Task::Single => String::new(),
        Task::MultiTask => format!(
            " The model has several tasks: divide the logits of each by its temperature and take the softmax over its classes, whose places \
             are: {}.",
            json!(card.tasks)
        ),
        Task::MultiLabel => format!(
            " An image shows a class from this probability on, in the order of the classes: {}.",
            json!(card.thresholds)
        ),
    }
}

/// timm resizes to the input size divided by `crop_pct`, rounded down.
fn crop(recipe: &Preprocessing) -> (&'static str, f64) {
    match recipe.resize {
        Resize::Squash => ("squash", 1.0),
        Resize::Letterbox => ("border", 1.0),
        Resize::ShortestCrop => {
            let (crop, resized) = (f64::from(recipe.crop), f64::from(recipe.resize_to));
            let exact = crop / resized;
            let reached = (crop / exact).floor() == resized;
            ("center", if reached { exact } else { crop / (resized + 1e-6) })
        }
    }
}

/// The decimal number that was written, without the digits added by the conversion from 32 bits.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn readme(model: &Model) -> String {
    let card = &model.card;
    let mut text = format!(
        "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags:\n- image-classification\n- timm\n---\n\n# {}\n\n",
        model.title
    );
    for (name, fact) in facts(card) {
        let _ = writeln!(text, "- {name}: {fact}");
    }
    let _ = write!(
        text,
        "\n```python\nimport timm\n\nmodel = timm.create_model(\"local-dir:.\", pretrained=True).eval()\n\
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)\n\
        probabilities = (model(transform(image).unsqueeze(0)) / {}).{}\n\
        labels = model.pretrained_cfg[\"label_names\"]\n```\n\n\
        Turn images as their EXIF orientation says before they go in (`PIL.ImageOps.exif_transpose`). The number that logits are divided \
        by makes probabilities true on the validation images.{}\n\n## Classes\n\n",
        card.temperature,
        match card.task {
            Task::Single | Task::MultiTask => "softmax(1)",
            Task::MultiLabel => "sigmoid()",
        },
        about_answers(card)
    );
    for class in card.classes.iter().take(LISTED_CLASSES) {
        // Class names come from whoever made the dataset; as code they are just text.
        let _ = writeln!(text, "- `{}`", class.replace('`', "'"));
    }
    if card.classes.len() > LISTED_CLASSES {
        let _ = writeln!(text, "- … all in `config.json`");
    }
    text
}

/// What is known about the model's origin.
fn facts(card: &ModelCard) -> Vec<(&'static str, String)> {
    let side = card.preprocessing.crop;
    let mut facts = vec![
        ("Architecture", card.architecture.to_string()),
        ("Input", format!("{side} × {side} pixels")),
        ("Base weights", card.base_weights.clone()),
        ("Made by", card.program.clone()),
    ];
    // Of an imported model only what came with it is known.
    if let Some(dataset) = &card.dataset {
        let version = format!("{}, version {}", dataset.name, dataset.version);
        facts.push(("Dataset", version));
    }
    if let Some(metrics) = &card.metrics {
        facts.push(("Images of training", metrics.train_images.to_string()));
        if let Some(accuracy) = metrics.val_accuracy {
            facts.push(("Validation accuracy", format!("{accuracy:.4}")));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timm_resizes_to_what_we_resize_to() {
        for size in 16..=512 {
            for recipe in [Preprocessing::for_size(size), Preprocessing::whole(size)] {
                let (mode, share) = crop(&recipe);
                let resized = (f64::from(recipe.crop) / share).floor();
                assert_eq!((mode, resized), ("center", f64::from(recipe.resize_to)), "{size}");
            }
        }
        let crop_of = |resize| {
            crop(&Preprocessing {
                resize,
                ..Preprocessing::for_size(224)
            })
        };
        assert_eq!(crop_of(Resize::ShortestCrop), ("center", 0.875));
        assert_eq!(crop_of(Resize::Squash), ("squash", 1.0));
        assert_eq!(crop_of(Resize::Letterbox), ("border", 1.0));
        assert_eq!(decimal(0.485), 0.485);
    }
}
