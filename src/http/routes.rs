//! The route table: every address of the server, each with its description.

use std::time::Duration;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
};
use tower_http::{catch_panic::CatchPanicLayer, csrf::CsrfLayer};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App, admission, aliases, architectures, curves, dataset_archive, dataset_split, datasets, documentation,
    embeddings, events, explain, guard, images, images_add, images_edit, job_predictions, jobs, lineage,
    lingering, model_edit, model_export, model_import, models, oip, one_image, pages, predict, preview,
    problem, results, system, torchserve, tus, uploads, versions,
};
use crate::error::{Error, Kind};

/// All routes and their descriptions.
pub fn table() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(documentation::Description::openapi())
        .routes(routes!(
            datasets::list,
            datasets::upload_post,
            datasets::upload_put
        ))
        .routes(routes!(datasets::get, datasets::delete))
        .routes(routes!(datasets::report))
        .routes(routes!(images::list, images_add::add, images_edit::edit))
        .routes(routes!(
            one_image::thumbnail,
            one_image::relabel,
            one_image::remove
        ))
        .routes(routes!(dataset_split::split))
        .routes(routes!(dataset_archive::archive))
        .routes(routes!(versions::list))
        .routes(routes!(versions::get))
        .routes(routes!(preview::preview))
        .routes(routes!(uploads::options, uploads::create, uploads::list))
        .routes(routes!(
            uploads::head,
            uploads::get,
            uploads::patch,
            uploads::overridden,
            uploads::delete
        ))
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::get, jobs::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::logs))
        .routes(routes!(events::events))
        .routes(routes!(curves::metrics))
        .routes(routes!(results::job_evaluation))
        .routes(routes!(results::job_lr_find))
        .routes(routes!(job_predictions::predictions))
        .routes(routes!(
            models::list,
            model_import::import_post,
            model_import::import_put
        ))
        .routes(routes!(models::get, model_edit::edit, models::delete))
        .routes(routes!(lineage::lineage))
        .routes(routes!(aliases::list))
        .routes(routes!(aliases::get, aliases::put, aliases::delete))
        .routes(routes!(aliases::roll_back))
        .routes(routes!(results::model_evaluation))
        .routes(routes!(model_export::export))
        .routes(routes!(predict::predict_post, predict::predict_put))
        .routes(routes!(embeddings::embeddings_post, embeddings::embeddings_put))
        .routes(routes!(explain::explain_post, explain::explain_put))
        .routes(routes!(torchserve::predictions_post, torchserve::predictions_put))
        .routes(routes!(torchserve::predictions_of_version))
        .routes(routes!(torchserve::ping))
        .merge(oip::routes())
        .routes(routes!(architectures::list))
        .routes(routes!(documentation::job_schema))
        .routes(routes!(system::system))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(documentation::openapi_json))
        .routes(routes!(documentation::openapi_yaml))
        .routes(routes!(pages::index))
        .routes(routes!(pages::asset))
}

/// The service: the routes inside everything that holds for all of them.
pub fn service(app: App) -> Router {
    let (router, _) = table().split_for_parts();
    router
        .fallback(async || {
            Error::new(
                Kind::NotFound,
                "not-found",
                "there is nothing at this address; /openapi.yaml lists what there is",
            )
        })
        .layer(DefaultBodyLimit::disable())
        .layer(CsrfLayer::new())
        .layer(middleware::from_fn_with_state(app.clone(), guard::host))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(admission::admit))
        .layer(middleware::from_fn(problem::finish))
        .layer(middleware::from_fn(tus::say_version))
        .layer(middleware::from_fn(guard::headers))
        .layer(middleware::from_fn(lingering::body))
        .with_state(app)
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default();
    Error::internal(anyhow::anyhow!("a handler panicked: {text}")).into_response()
}

/// How long the server waits for requests in flight when it stops.
pub const DRAIN: Duration = Duration::from_secs(10);
