//! Chooses the source of a job's base weights, as far as possible without opening them: the worker opens, verifies and, if necessary,
//! downloads them. If they are missing, the job fails with a message that says what to do.

use std::{fs, path::Path};

use crate::{
    config::Config,
    domain::spec::{Architecture, JobSpec, Weights},
    error::{Kind, Result},
    jobs::{children::paths::absolute, context::Context},
    protocol::{HubSource, WeightsSource},
};

/// # Errors
/// The database cannot be read.
pub async fn resolve(context: &Context, spec: &JobSpec) -> Result<WeightsSource> {
    let architecture = spec.backbone.architecture;
    match &spec.backbone.weights {
        Weights::None => Ok(WeightsSource::None),
        Weights::Imagenet => Ok(imagenet(&context.config, architecture)),
        Weights::File(name) => Ok(file(&context.config, name)),
        Weights::Model(reference) => model(context, architecture, reference).await,
    }
}

/// The operator's own file takes precedence over the hub.
fn imagenet(config: &Config, architecture: Architecture) -> WeightsSource {
    if let Some(folder) = &config.weights.weights_dir {
        let own = own_imagenet(folder, architecture);
        match own.as_slice() {
            [] => {}
            [name] => return file(config, name),
            several => {
                return unavailable(format!(
                    "the server's --weights-dir has several files that could be the ImageNet weights of {architecture} \
                     ({}); set one of them as `backbone.weights`, or keep only one",
                    several.join(", ")
                ));
            }
        }
    }
    WeightsSource::Hub(HubSource {
        endpoint: config.weights.hub_endpoint.clone(),
        repository: HubSource::imagenet_repository(architecture),
        revision: config.weights.hub_revision.clone(),
        offline: config.weights.offline,
        cache: absolute(&config.weights_cache()),
        sha256: None,
        bytes: None,
        token: config.weights.hub_token.clone(),
    })
}

/// Files that count as the ImageNet weights of an architecture: the one named after it, in safetensors or else in `torch.save` format;
/// otherwise those that torchvision downloaded, such as `resnet18-f37072fd.pth`.
fn own_imagenet(folder: &Path, architecture: Architecture) -> Vec<String> {
    for ending in ["safetensors", "pth"] {
        let name = format!("{architecture}.{ending}");
        if folder.join(&name).is_file() {
            return vec![name];
        }
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
    Ok(WeightsSource::File {
        path: absolute(&context.blobs.path(&model.sha256)),
        origin: model.id.to_string(),
        sha256: Some(model.sha256),
    })
}

fn unavailable(message: String) -> WeightsSource {
    WeightsSource::Unavailable { message }
}
