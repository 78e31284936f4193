//! The route table: every path of the server, with its description.

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
};
use tower::Layer;
use tower_http::{catch_panic::CatchPanicLayer, csrf::CsrfLayer, normalize_path::NormalizePathLayer};
use utoipa::OpenApi;

use super::{
    App,
    access::{description, gate, keys, session},
    audit,
    datasets::{
        archive, dataset, division, images, images_add, images_edit, label_check, one_image, preview,
        reading, versions,
    },
    documentation::{
        self, Described, reference,
        table::{Table, routes},
    },
    jobs::{curves, events, job, predictions, results, tensorboard},
    metrics,
    models::{aliases, architectures, lineage, model, model_compare, model_edit, model_export, model_import},
    pages,
    predictions::{embeddings, explain, instances, oip, predict, torchserve},
    repeats,
    requests::{admission, encoding, guard, lingering, outside},
    responses::problem,
    system,
    uploads::{spoken, upload},
    webhooks::{deliveries, webhook},
};
use crate::{
    config::PublicUrl,
    error::{Error, Kind},
};

/// All routes.
pub fn all(table: Table) -> Table {
    table
        .routes(routes!(dataset::list, dataset::upload_post, dataset::upload_put))
        .routes(routes!(dataset::get, dataset::upload_named, dataset::delete))
        .routes(routes!(dataset::report))
        .routes(routes!(images::list, images_add::add, images_edit::edit))
        .routes(routes!(
            one_image::thumbnail,
            one_image::relabel,
            one_image::remove
        ))
        .routes(routes!(division::split))
        .routes(routes!(label_check::apply))
        .routes(routes!(archive::archive))
        .routes(routes!(versions::list))
        .routes(routes!(versions::get))
        .routes(routes!(preview::preview))
        .routes(routes!(reading::reread))
        .routes(routes!(upload::options, upload::create, upload::list))
        .routes(routes!(
            upload::head,
            upload::get,
            upload::patch,
            upload::overridden,
            upload::delete
        ))
        .routes(routes!(job::list, job::submit))
        .routes(routes!(job::get, job::delete))
        .routes(routes!(job::cancel))
        .routes(routes!(job::logs))
        .routes(routes!(events::events))
        .routes(routes!(curves::metrics))
        .routes(routes!(tensorboard::tensorboard))
        .with(results::routes)
        .routes(routes!(predictions::predictions))
        .routes(routes!(
            model::list,
            model_import::import_post,
            model_import::import_put
        ))
        .routes(routes!(
            model::get,
            model_import::import_named,
            model_edit::edit,
            model::delete
        ))
        .with(instances::routes)
        .routes(routes!(lineage::lineage))
        .routes(routes!(model_compare::compare))
        .routes(routes!(aliases::list))
        .routes(routes!(aliases::get, aliases::put, aliases::delete))
        .routes(routes!(aliases::roll_back))
        .routes(routes!(model_export::export))
        .routes(routes!(predict::predict_post, predict::predict_put))
        .routes(routes!(embeddings::embeddings_post, embeddings::embeddings_put))
        .routes(routes!(explain::explain_post, explain::explain_put))
        .routes(routes!(torchserve::predictions_post, torchserve::predictions_put))
        .routes(routes!(torchserve::version_post, torchserve::version_put))
        .routes(routes!(torchserve::ping))
        .with(oip::routes)
        .routes(routes!(architectures::list))
        .routes(routes!(documentation::job_schema))
        .routes(routes!(system::system))
        .routes(routes!(metrics::scrape::metrics))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::get, keys::revoke))
        .routes(routes!(audit::list::list))
        .routes(routes!(webhook::list, webhook::create))
        .routes(routes!(webhook::get, webhook::edit, webhook::delete))
        .routes(routes!(webhook::change_secret))
        .routes(routes!(deliveries::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(session::get, session::log_in, session::log_out))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(documentation::openapi_json))
        .routes(routes!(documentation::openapi_yaml))
        .routes(routes!(reference::start))
        .routes(routes!(reference::file))
        .routes(routes!(pages::index))
        .routes(routes!(pages::asset))
        .routes(routes!(pages::asset_in_folder))
}

/// The complete API description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = Table::description(documentation::Description::openapi(), all);
    description::add_to(&mut api);
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    documentation::uniform::add_to(&mut document);
    documentation::examples::add_to(&mut document);
    // What was a description before is one still; a test compares the two.
    serde_json::from_value(document).unwrap_or(api)
}

/// The service: the routes with their common middleware.
pub fn service(app: App) -> Router {
    let router = Table::router(all)
        .layer(Extension(Described(openapi)))
        .fallback(async || {
            Error::new(
                Kind::NotFound,
                "not-found",
                "there is nothing at this path; /docs and /openapi.yaml list all paths",
            )
        })
        .layer(middleware::from_fn(encoding::decode))
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), repeats::keep))
        .layer(middleware::from_fn_with_state(app.clone(), gate::admit))
        .layer(csrf(&app))
        .layer(middleware::from_fn_with_state(app.clone(), guard::host))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(admission::admit))
        .layer(middleware::from_fn(problem::finish))
        .layer(middleware::from_fn_with_state(app.clone(), audit::layer::note))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            metrics::requests::count,
        ))
        .layer(middleware::from_fn(metrics::traces::follow))
        .layer(middleware::from_fn(spoken::say_version))
        .layer(middleware::from_fn(guard::headers))
        .layer(middleware::from_fn(lingering::body))
        .with_state(app.clone());
    // Around the router, because they change the address before a route is chosen by it.
    Router::new()
        .fallback_service(NormalizePathLayer::trim_trailing_slash().layer(router))
        .layer(middleware::from_fn_with_state(app, outside::see))
}

/// Pages of the server's public address are its own, also where a proxy in front puts another name in the place of the host.
fn csrf(app: &App) -> CsrfLayer {
    let origin = app.config().public_url.as_ref().map(PublicUrl::origin);
    match origin.map(|origin| CsrfLayer::new().add_trusted_origin(origin)) {
        Some(Ok(layer)) => layer,
        // A checked address is an origin.
        Some(Err(_)) | None => CsrfLayer::new(),
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default();
    Error::internal(anyhow::anyhow!("a handler panicked: {text}")).into_response()
}

/// How long a stopping server waits for requests in progress.
pub const DRAIN: Duration = Duration::from_secs(10);
