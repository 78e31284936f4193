//! Chooses the source of a job's base weights, as far as possible without opening them: the worker opens, verifies and, if necessary,
//! downloads them. If they are missing, the job fails with a message that says what to do.

use std::{fs, path::Path};

use crate::{
    config::Config,
    domain::{
        architecture::catalogue::WeightSet,
        spec::{Architecture, Backbone, Weights},
    },
    error::{Kind, Result},
    jobs::{children::paths::absolute, context::Context},
    protocol::{HubSource, WeightsSource, frames::ModelFiles},
};

/// # Errors
/// The database cannot be read.
pub async fn resolve(context: &Context, backbone: &Backbone) -> Result<WeightsSource> {
    let architecture = backbone.architecture;
    match &backbone.weights {
        Weights::None => Ok(WeightsSource::None),
        Weights::Set(name) => Ok(set(&context.config, architecture, name.as_str())),
        Weights::Hub(reference) => Ok(WeightsSource::Hub(of_hub(&context.config, reference))),
        Weights::File(name) => Ok(file(&context.config, name)),
        Weights::Model(reference) => model(context, architecture, reference).await,
    }
}

/// The operator's own file takes precedence over the hub and the registry.
fn set(config: &Config, architecture: Architecture, name: &str) -> WeightsSource {
    let Some(set) = architecture.weight_set(name) else {
        return unavailable(format!(
            "there are no `{name}` weights for {architecture}; use other weights"
        ));
    };
    if let Some(folder) = &config.weights.weights_dir {
        let own = own_files(folder, architecture, set);
        match own.as_slice() {
            [] => {}
            [name] => return file(config, name),
            several => {
                let which = if set.name == "imagenet" {
                    "ImageNet"
                } else {
                    set.name
                };
                return unavailable(format!(
                    "the server's --weights-dir has several files that could be the {which} weights of {architecture} \
                     ({}); set one of them as `backbone.weights`, or keep only one",
                    several.join(", ")
                ));
            }
        }
    }
    config.weights.source_of(set, absolute(&config.weights_cache()))
}

/// The repository of a spec whose preprocessing is unknown until its `config.json` is fetched.
pub fn describing(config: &Config, weights: &Weights) -> Option<HubSource> {
    match weights {
        Weights::Hub(reference) => Some(of_hub(config, reference)),
        _ => None,
    }
}

fn of_hub(config: &Config, reference: &str) -> HubSource {
    config
        .weights
        .repository(reference, absolute(&config.weights_cache()))
}

/// Files that count as a set of an architecture: the one named after both, such as `vit_small_patch14.dinov2`, in safetensors or else in
/// `torch.save` format. For the default set, also the one named after the architecture alone; otherwise those that torchvision downloaded,
/// such as `resnet18-f37072fd.pth`.
fn own_files(folder: &Path, architecture: Architecture, set: &WeightSet) -> Vec<String> {
    let is_default = architecture.weight_sets().first() == Some(set);
    let full = format!("{architecture}.{}", set.name);
    let stems = [Some(full), is_default.then(|| architecture.to_string())];
    for stem in stems.into_iter().flatten() {
        for ending in ["safetensors", "pth"] {
            let name = format!("{stem}.{ending}");
            if folder.join(&name).is_file() {
                return vec![name];
            }
        }
    }
    if !is_default {
        return Vec::new();
    }
    let is_fetched = |name: &str| {
        let hash = name
            .strip_prefix(architecture.as_str())
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(".pth"));
        hash.is_some_and(|hash| hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut fetched: Vec<_> = names
        .filter(|name| is_fetched(name) && folder.join(name).is_file())
        .collect();
    fetched.sort();
    fetched
}

fn file(config: &Config, name: &str) -> WeightsSource {
    let Some(folder) = &config.weights.weights_dir else {
        return unavailable(format!(
            "`{name}` is a weights file, but this server was started without --weights-dir; start it with the directory that contains the \
            file, or use other weights"
        ));
    };
    let path = folder.join(name);
    let plain = !name.contains(['/', '\\']) && !name.starts_with('.');
    if !plain || !path.is_file() {
        return unavailable(format!(
            "there is no `{name}` in the server's --weights-dir; put the file there or use other weights"
        ));
    }
    WeightsSource::File {
        path: absolute(&path),
        origin: name.to_owned(),
        sha256: None,
        classes: None,
    }
}

async fn model(context: &Context, architecture: Architecture, reference: &str) -> Result<WeightsSource> {
    let model = match context.store.model(reference).await {
        Ok(model) => model,
        Err(error) if error.kind() == Kind::NotFound => {
            return Ok(unavailable(format!(
                "the model `{reference}` has been deleted; train from another model or other weights"
            )));
        }
        Err(error) => return Err(error),
    };
    if model.card.architecture != architecture {
        return Ok(unavailable(format!(
            "the model `{reference}` is a {}, but the job's architecture is {architecture}; use the same architecture",
            model.card.architecture
        )));
    }
    if let Some(base) = model.base_blob() {
        let path = |digest: &str| absolute(&context.blobs.path(digest));
        return Ok(WeightsSource::Adapter {
            files: ModelFiles::of(&model.sha256, &model.card_blob, Some(base), path),
            origin: model.id.to_string(),
            classes: model.card.classes,
        });
    }
    Ok(WeightsSource::File {
        path: absolute(&context.blobs.path(&model.sha256)),
        origin: model.id.to_string(),
        sha256: Some(model.sha256),
        classes: Some(model.card.classes),
    })
}

fn unavailable(message: String) -> WeightsSource {
    WeightsSource::Unavailable { message }
}
