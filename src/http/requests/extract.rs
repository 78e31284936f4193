//! Extractors for handlers: JSON bodies within the size limit, query strings, pagination. Every refusal is an [`Error`].

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::{
    encoding, json,
    whole::{OUT_OF_BOUNDS, Whole},
};
use crate::{
    domain::page::{Order, PageRequest},
    error::{Error, FieldError, Kind, Result},
    http::App,
};

/// A JSON body with its raw bytes. A field that is null is as if it were absent: `value` does not have it.
pub struct JsonBody {
    pub value: serde_json::Value,
    pub bytes: Bytes,
}

/// A merge patch (RFC 7396), in which null removes a value.
pub struct PatchBody(pub serde_json::Value);

impl FromRequest<App> for JsonBody {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let bytes = read_json(request, app).await?;
        let value = json::parse_set(&bytes)?;
        Ok(Self { value, bytes })
    }
}

impl FromRequest<App> for PatchBody {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        json::parse(&read_json(request, app).await?).map(Self)
    }
}

async fn read_json(request: Request, app: &App) -> Result<Bytes> {
    if !is_json(request.headers()) {
        let detail = "send the body as JSON, with the header `content-type: application/json`";
        return Err(Error::new(Kind::UnsupportedMedia, "json-expected", detail));
    }
    read_body(request.into_body(), app.limits().max_json_bytes).await
}

pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Reads a whole body into memory, up to a limit.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::new(
            Kind::TooLarge,
            "too-large",
            format!("the body is larger than {limit} bytes"),
        )),
        Err(fault) => Err(encoding::fault_of(fault.as_ref()).unwrap_or_else(|| {
            let detail = "the request body ended before it was complete";
            Error::new(Kind::Malformed, "body-incomplete", detail)
        })),
    }
}

/// A query string; unknown parameters are refused, and so are numbers out of range ([`Whole`]).
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text
                    .rsplit_once("string: ")
                    .map_or(text.as_str(), |(_, reason)| reason);
                if let Some((name, rule)) = reason.split_once(": ")
                    && rule.starts_with(OUT_OF_BOUNDS)
                {
                    let fault = FieldError::new(format!("/{name}"), "range", rule);
                    return Err(Error::fields("the query is invalid", vec![fault]));
                }
                Err(Error::new(
                    Kind::Malformed,
                    "query-invalid",
                    format!("the query string is invalid: {reason}"),
                ))
            }
        }
    }
}

/// Number of objects per page.
pub type PageLimit = Whole<1, { PageRequest::MAX_LIMIT as i64 }>;

/// Pagination of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    pub limit: Option<PageLimit>,
    /// Id of the last object of the previous page.
    pub after: Option<String>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    pub order: Option<Order>,
}

impl PageQuery {
    pub fn check(self) -> PageRequest {
        PageRequest {
            limit: self.limit.map_or(PageRequest::DEFAULT_LIMIT, Whole::get),
            after: self.after,
            order: self.order.unwrap_or_default(),
        }
    }
}
