//! `/v1/datasets/{dataset}/images`: the images of a dataset version.

use std::path::PathBuf;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        datasets::{
            dataset::{Class, Dataset},
            split::Split,
        },
        page::PageRequest,
    },
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        requests::{
            extract::{PageLimit, Query},
            precondition::etag,
            whole::{Natural, Whole},
        },
        responses::problem::Problems,
    },
    manifest,
    protocol::ManifestImage,
    store::VersionFiles,
};

/// An image of a dataset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Image {
    /// The same in all versions of the dataset, and never reused.
    pub id: u32,
    /// Always `image`.
    #[schema(example = "image")]
    pub object: &'static str,
    /// Path in the archive, or file name when it was added.
    pub path: String,
    /// Null if the dataset has no classes, and where `labels` says more.
    pub class: Option<String>,
    /// The classes of an image that has several, or is known to have none of them; null otherwise.
    pub labels: Option<Vec<String>>,
    pub split: Split,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Size of the image in pixels, after its EXIF orientation was applied.
    pub width: u32,
    pub height: u32,
    /// Size of the file in bytes.
    pub bytes: u64,
}

impl Image {
    pub fn of(image: ManifestImage, classes: &[Class]) -> Self {
        let name = |class: &u32| classes.get(*class as usize).map(|class| class.name.clone());
        let (class, labels) = (image.class.as_ref().and_then(name), image.labels.as_ref());
        Self {
            id: image.id,
            object: "image",
            path: image.path,
            class,
            labels: labels.map(|labels| labels.iter().filter_map(name).collect()),
            split: image.split,
            sha256: image.sha256,
            width: image.width,
            height: image.height,
            bytes: image.bytes,
        }
    }
}

/// A page of a version's images.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImagePage {
    /// Always `list`.
    #[schema(example = "list")]
    pub object: &'static str,
    /// In ascending order of ids.
    pub data: Vec<Image>,
    /// Whether there are more images after the last one.
    pub has_more: bool,
    /// Total number of images that match the query.
    pub total: u64,
    /// The version that the images are from.
    pub version: u32,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImagesQuery {
    /// Only images of this class.
    class: Option<String>,
    /// Only images of this split.
    #[param(inline)]
    split: Option<Split>,
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Id of the last image of the previous page.
    #[param(value_type = Option<u32>)]
    after: Option<Natural>,
    /// The newest version by default.
    #[param(value_type = Option<u32>)]
    version: Option<Natural>,
}

/// List images
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/images", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ImagesQuery),
    responses((status = 200, body = ImagePage, headers(("etag" = String, description = "Of the version, for `If-Match`"))), Problems)
)]
pub async fn list(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<ImagesQuery>,
) -> Result<Response> {
    let limit: u32 = query.limit.map_or(PageRequest::DEFAULT_LIMIT, Whole::get);
    let version = query.version.map(Whole::get);
    let (dataset, files) = app.version(&reference, version).await?;
    let class = query
        .class
        .as_deref()
        .map(|name| class_of(&dataset, name))
        .transpose()?;
    let total = match (class, query.split) {
        (None, None) => dataset.images,
        (None, Some(split)) => dataset.splits.of(split),
        (Some(class), None) => class.images,
        (Some(class), Some(split)) => class.splits.map_or(0, |splits| splits.of(split)),
    };
    let (index, classes) = (class.map(|class| class.index), dataset.classes.clone());
    let path = app.manifest(&dataset, &files).await?;
    let read = tokio::task::spawn_blocking(move || -> Result<Vec<ManifestImage>> {
        let fits = |image: &ManifestImage| {
            index.is_none_or(|index| image.label_set().contains(&index))
                && query.split.is_none_or(|split| image.split == split)
        };
        let images = manifest::images_after(&path, query.after.map(Whole::get))?;
        let images = images.filter(|image| image.as_ref().map_or(true, fits));
        images.take(limit as usize + 1).collect()
    });
    let mut images = read.await.map_err(Error::internal)??;
    let has_more = images.len() > limit as usize;
    images.truncate(limit as usize);
    let page = ImagePage {
        object: "list",
        data: images
            .into_iter()
            .map(|image| Image::of(image, &classes))
            .collect(),
        has_more,
        total,
        version: dataset.version,
    };
    Ok((etag(&dataset), Json(page)).into_response())
}

fn class_of<'a>(dataset: &'a Dataset, name: &str) -> Result<&'a Class> {
    let class = dataset.classes.iter().find(|class| class.name == name);
    class.ok_or_else(|| {
        let message = "this version of the dataset has no such class";
        Error::fields(
            "no images match the query",
            vec![FieldError::new("/class", "not_found", message)],
        )
    })
}

/// How messages call a version's manifest.
pub(in crate::http) fn manifest_of(dataset: &Dataset) -> String {
    format!(
        "the manifest of the dataset `{}` (version {})",
        dataset.name, dataset.version
    )
}

impl App {
    /// A version of a dataset and its files.
    ///
    /// # Errors
    /// `dataset-not-ready` if it has no versions.
    pub(in crate::http) async fn version(
        &self,
        reference: &str,
        version: Option<u32>,
    ) -> Result<(Dataset, VersionFiles)> {
        let dataset = match version {
            Some(_) => self.store().dataset_at(reference, version).await?,
            None => self.store().dataset(reference).await?,
        };
        match self.store().version_files(dataset.id, dataset.version).await? {
            Some(files) => Ok((dataset, files)),
            None => {
                let detail = "the dataset is not ready: wait for it with ?wait=60, or see its `error`";
                Err(Error::new(Kind::Conflict, "dataset-not-ready", detail))
            }
        }
    }

    /// The manifest of a version, for display.
    ///
    /// # Errors
    /// `data-damaged`
    pub(in crate::http) async fn manifest(&self, dataset: &Dataset, files: &VersionFiles) -> Result<PathBuf> {
        let what = || manifest_of(dataset);
        self.blobs().sound_lately(&files.manifest, what).await
    }

    /// An image of a version, with its dataset and files.
    pub(in crate::http) async fn image(
        &self,
        reference: &str,
        version: Option<u32>,
        image: &str,
    ) -> Result<(Dataset, VersionFiles, ManifestImage)> {
        let (dataset, files) = self.version(reference, version).await?;
        let absent = || Error::not_found("image", image);
        let id: u32 = image.parse().map_err(|_| absent())?;
        let path = self.manifest(&dataset, &files).await?;
        let found = tokio::task::spawn_blocking(move || manifest::find(&path, id)).await;
        let found = found.map_err(Error::internal)??.ok_or_else(absent)?;
        Ok((dataset, files, found))
    }
}
