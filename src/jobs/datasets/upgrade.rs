//! Migrates datasets of older versions: computes missing digests of dataset versions. Once, at the start.

use std::sync::Arc;

use crate::{
    domain::datasets::dataset::Class,
    error::{Error, Result},
    jobs::context::Context,
    manifest::{self, Summary, Tally},
};

pub async fn run(context: Arc<Context>) {
    if let Err(error) = complete(&context).await {
        tracing::error!(%error, "cannot migrate the datasets of an older version; the next start retries");
    }
}

async fn complete(context: &Context) -> Result<()> {
    for (dataset, version, manifest, classes) in context.store.versions_without_digest().await? {
        if context.shutdown.is_cancelled() {
            break;
        }
        let what = || format!("the manifest of the dataset {dataset} (version {version})");
        let read = match context.blobs.sound(&manifest, what).await {
            Ok(path) => tokio::task::spawn_blocking(move || summary(&path, classes))
                .await
                .map_err(Error::internal)?,
            Err(damaged) => Err(damaged),
        };
        // An unreadable manifest must not keep the others from being migrated.
        match read {
            Ok(found) => {
                let Summary {
                    content_sha256,
                    classes,
                    ..
                } = found;
                context
                    .store
                    .complete_version(dataset, version, content_sha256, classes)
                    .await?;
            }
            Err(error) => tracing::error!(%dataset, version, %error, "cannot read a dataset's manifest"),
        }
    }
    Ok(())
}

fn summary(path: &std::path::Path, classes: Vec<Class>) -> Result<Summary> {
    let mut tally = Tally::new(classes.into_iter().map(|class| class.name));
    for image in manifest::images(path)? {
        tally.count(&image?)?;
    }
    Ok(tally.finish())
}
