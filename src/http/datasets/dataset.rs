//! `/v1/datasets`: upload, get, delete, and read the report.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path as FilePath,
};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{naming, state::shown, upload_query::UploadQuery};
use crate::{
    domain::{
        datasets::{
            dataset::{Dataset, DatasetStatus, Outcome, ReportEntry},
            understanding::Understanding,
        },
        name::GivenName,
        page::{Order, Page, PageRequest},
    },
    error::{Error, Kind, Result},
    http::{
        App,
        access::Allowed,
        requests::{
            extract::{PageLimit, PageQuery, Query},
            precondition::{self, expected_versions},
            waiting::{self, MAX_WAIT},
            whole::{Natural, Whole},
        },
        responses::problem::Problems,
        uploads::{body, digests::announced_digest},
    },
    store::{CreatedDataset, NewDataset, Room, Topic},
    uploads::check_digest,
};

/// Upload an archive
///
/// The body is the archive itself (zip, or tar with or without compression, detected by content) or a form with one file, and fields `name`
/// and `sha256` if they are not in the query. The response is sent when the
/// archive is durably stored; its contents are read afterwards. Wait for that with `GET /v1/datasets/{dataset}?wait=60`.
#[utoipa::path(
    post, path = "/v1/datasets", tag = "datasets",
    params(UploadQuery, ("Repr-Digest" = Option<String>, Header, description = "SHA-256 that the archive must have (RFC 9530)")),
    request_body(description = "The archive", content_type = "application/octet-stream"),
    responses((status = 201, body = Dataset, headers(("location" = String))), (status = 200, description = "It already exists; with `dry_run`, what would be understood", body = inline(UploadAnswer)), Problems)
)]
pub async fn upload_post(
    app: State<App>,
    query: Query<UploadQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    create(app, query, allowed, request).await
}

/// Upload an archive with `curl -T`
#[utoipa::path(
    put, path = "/v1/datasets", tag = "datasets",
    params(UploadQuery, ("Repr-Digest" = Option<String>, Header, description = "SHA-256 that the archive must have (RFC 9530)")),
    request_body(description = "The archive", content_type = "application/octet-stream"),
    responses((status = 201, body = Dataset, headers(("location" = String))), (status = 200, description = "It already exists; with `dry_run`, what would be understood", body = inline(UploadAnswer)), Problems)
)]
pub async fn upload_put(
    app: State<App>,
    query: Query<UploadQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    create(app, query, allowed, request).await
}

/// The answer of an upload that made nothing new.
#[derive(ToSchema)]
#[schema(as = UploadAnswer)]
#[allow(dead_code)]
#[serde(untagged)]
enum UploadAnswer {
    Dataset(Box<Dataset>),
    Understanding(Box<Understanding>),
}

/// Upload an archive to its file name, as `curl -T flowers.zip …/v1/datasets/` does
///
/// A file name gives the name `flowers`, or `flowers-2` if that is taken; a name without the ending of an archive is taken as it is.
#[utoipa::path(
    put, path = "/v1/datasets/{dataset}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "File name of the archive, or a name"), UploadQuery,
        ("Repr-Digest" = Option<String>, Header, description = "SHA-256 that the archive must have (RFC 9530)")
    ),
    request_body(description = "The archive", content_type = "application/octet-stream"),
    responses((status = 201, body = Dataset, headers(("location" = String))), (status = 200, description = "It already exists", body = Dataset), Problems)
)]
pub async fn upload_named(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<UploadQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    let named = match &query.name {
        Some(chosen) => naming::chosen(chosen)?,
        None => naming::in_address(&name)?,
    };
    create_named(&app, Some(named), &query, &allowed, request).await
}

async fn create(
    State(app): State<App>,
    Query(query): Query<UploadQuery>,
    allowed: Allowed,
    request: Request,
) -> Result<Response> {
    let named = match (&query.name, &query.filename) {
        (Some(chosen), _) => Some(naming::chosen(chosen)?),
        (None, Some(file)) => Some(naming::derived(file)),
        (None, None) => None,
    };
    create_named(&app, named, &query, &allowed, request).await
}

async fn create_named(
    app: &App,
    named: Option<GivenName>,
    query: &UploadQuery,
    allowed: &Allowed,
    request: Request,
) -> Result<Response> {
    if let Some(name) = named.as_ref().filter(|_| !query.dry_run) {
        allowed.check_new_dataset(name)?;
    }
    let headers = request.headers().clone();
    let announced = announced_digest(&headers, query.sha256.as_deref())?;
    let options = query.options()?;
    let owner = allowed.owner();
    let room = match query.dry_run {
        // It is not kept.
        true => Room::default(),
        false => app.store().room_of(owner.as_ref()).await?,
    };
    let upload = body::receive(app, request, room).await?;
    if query.dry_run {
        check_digest(announced.as_deref(), &upload.file.sha256)?;
        let archive = upload.file.path().to_owned();
        let understood = app.jobs().understand(archive, options).await?;
        return Ok(Json(understood).into_response());
    }
    let name = match (named, &upload.name, &upload.file_name) {
        (Some(GivenName::Chosen(name)), ..) => GivenName::Chosen(name),
        (_, Some(chosen), _) => naming::chosen(chosen)?,
        (Some(derived), ..) => derived,
        (None, None, Some(file)) => naming::derived(file),
        (None, None, None) => {
            let message = "the dataset needs a name: add ?name=flowers to the URL";
            return Err(naming::fault_of_name("missing", message));
        }
    };
    allowed.check_new_dataset(&name)?;
    let announced = match (&upload.sha256, announced) {
        (Some(sha256), None) => announced_digest(&headers, Some(sha256))?,
        (_, announced) => announced,
    };
    check_digest(announced.as_deref(), &upload.file.sha256)?;
    let new = NewDataset {
        name,
        sha256: upload.file.sha256.clone(),
        bytes: upload.file.bytes,
        options,
        owner,
    };
    let pin = app.blobs().pin().await;
    app.blobs().keep(upload.file, &pin).await?;
    let created = app.store().create_dataset(new).await;
    drop(pin);
    match created {
        Ok(CreatedDataset::Created(id)) => {
            let dataset = app.store().dataset(&id.to_string()).await?;
            let location = [(header::LOCATION, format!("/v1/datasets/{id}"))];
            Ok((StatusCode::CREATED, location, Json(dataset)).into_response())
        }
        Ok(CreatedDataset::Existing(id)) => {
            Ok(Json(app.store().dataset(&id.to_string()).await?).into_response())
        }
        Err(error) => {
            app.jobs().sweep_soon();
            Err(error)
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DatasetsQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Id of the last dataset of the previous page.
    after: Option<String>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    order: Option<Order>,
    /// Only those of a key, by its name or id; `none`: those that were uploaded without one.
    owner: Option<String>,
}

/// List datasets
#[utoipa::path(get, path = "/v1/datasets", tag = "datasets", params(DatasetsQuery), responses((status = 200, body = Page<Dataset>), Problems))]
pub async fn list(State(app): State<App>, Query(query): Query<DatasetsQuery>) -> Result<Json<Page<Dataset>>> {
    let page = PageQuery {
        limit: query.limit,
        after: query.after,
        order: query.order,
    }
    .check();
    let mut datasets = app.store().datasets(query.owner.as_deref(), &page).await?;
    datasets.data = datasets
        .data
        .into_iter()
        .map(|dataset| shown(&app, dataset))
        .collect();
    Ok(Json(datasets))
}

type Seconds = Whole<0, MAX_WAIT>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Seconds to wait for an end state before the response, at most 3600.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 3600)]
    pub wait: Option<Seconds>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DatasetQuery {
    /// Seconds to wait for an end state before the response, at most 3600.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 3600)]
    wait: Option<Seconds>,
    /// The newest version by default.
    #[param(value_type = Option<u32>)]
    version: Option<Natural>,
}

/// Get a dataset
///
/// At its newest version, or at the requested one. The `ETag` identifies the version: a change with `If-Match` is made only if there is no
/// newer version.
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name; `flowers@2` is version 2"), DatasetQuery,
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Dataset, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<DatasetQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let version = query.version.map(Whole::get);
    let dataset = match version {
        Some(_) => app.store().dataset_at(&reference, version).await?,
        None => app.store().dataset(&reference).await?,
    };
    if dataset.status != DatasetStatus::Processing {
        return answer(&headers, &dataset);
    }
    let changed = app.store().signals().subscribe(Topic::Dataset(dataset.id));
    let id = dataset.id.to_string();
    let ended = |dataset: &Dataset| dataset.status != DatasetStatus::Processing;
    let dataset = waiting::until(
        changed,
        query.wait.map(Whole::get),
        app.stopping(),
        || app.store().dataset_at(&id, version),
        ended,
    )
    .await?;
    answer(&headers, &shown(&app, dataset))
}

fn answer(headers: &HeaderMap, dataset: &Dataset) -> Result<Response> {
    precondition::shown(headers, Some(dataset.version), dataset)
}

/// Delete a dataset with all its versions
#[utoipa::path(
    delete, path = "/v1/datasets/{dataset}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    responses((status = 204), Problems)
)]
pub async fn delete(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let dataset = app.store().dataset(&reference).await?;
    if reference.contains('@') {
        let detail = "a single version cannot be deleted; name the dataset without `@` to delete it with all its versions";
        return Err(Error::new(Kind::Invalid, "version-not-deletable", detail));
    }
    let expected = expected_versions(&headers, dataset.latest_version)?;
    app.store().delete_dataset(dataset.id, expected).await?;
    app.jobs().sweep_soon();
    Ok(StatusCode::NO_CONTENT)
}

type Limit = Whole<1, 1000>;
type Count = Whole<0, { i64::MAX }>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// Only entries with this outcome.
    #[param(inline)]
    outcome: Option<Outcome>,
    /// 1 to 1000, 100 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<Limit>,
    /// Number of entries (with this outcome) to skip.
    #[param(value_type = Option<usize>)]
    after: Option<Count>,
}

/// Report: the outcome of every entry of the archive
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/report", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ReportQuery),
    responses((status = 200, body = Page<ReportEntry>), Problems)
)]
pub async fn report(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<Page<ReportEntry>>> {
    let limit: u32 = query.limit.map_or(100, Whole::get);
    let dataset = app.store().dataset(&reference).await?;
    let Some(blob) = app.store().report_blob(dataset.id).await? else {
        return Ok(Json(Page::from_rows(Vec::new(), PageRequest::DEFAULT_LIMIT)));
    };
    let path = app
        .blobs()
        .sound_lately(&blob, || format!("the report of the dataset `{}`", dataset.name));
    let path = path.await?;
    let read = tokio::task::spawn_blocking(move || read_entries(&path, &query, limit));
    Ok(Json(Page::from_rows(
        read.await.map_err(Error::internal)??,
        limit,
    )))
}

/// One more entry than the page holds, to find out whether there are more.
fn read_entries(path: &FilePath, query: &ReportQuery, limit: u32) -> Result<Vec<ReportEntry>> {
    let mut entries = Vec::new();
    let mut to_pass = query.after.map_or(0, Whole::get::<u64>);
    for line in BufReader::new(File::open(path)?).lines() {
        let entry: ReportEntry = serde_json::from_str(&line?).map_err(Error::internal)?;
        if query.outcome.is_some_and(|outcome| outcome != entry.outcome) {
            continue;
        }
        if to_pass > 0 {
            to_pass -= 1;
            continue;
        }
        entries.push(entry);
        if entries.len() > limit as usize {
            break;
        }
    }
    Ok(entries)
}
