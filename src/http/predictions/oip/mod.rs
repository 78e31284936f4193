//! The Open Inference Protocol, version 2 (KServe's and Triton's), under `/v2`: health, metadata, inference.
//!
//! A model takes one of two inputs: `image` (BYTES, image files) or `input` (FP32, `[N, 3, side, side]`, preprocessed by the caller). Its
//! outputs are `probabilities`, `label` and `embedding`. `wire` is the format, `infer` the inference. Errors have the member `error` that
//! the protocol requires, in addition to those of a problem.

mod infer;
mod metadata;
mod wire;

use crate::http::documentation::table::{Table, routes};

/// Names of inputs and outputs.
const IMAGE: &str = "image";
const TENSOR: &str = "input";
const PROBABILITIES: &str = "probabilities";
const LABEL: &str = "label";
const EMBEDDING: &str = "embedding";

pub fn routes(table: Table) -> Table {
    table
        .routes(routes!(metadata::server))
        .routes(routes!(metadata::live))
        .routes(routes!(metadata::ready))
        .routes(routes!(metadata::model))
        .routes(routes!(metadata::model_ready))
        .routes(routes!(metadata::version))
        .routes(routes!(metadata::version_ready))
        .routes(routes!(infer::infer))
        .routes(routes!(infer::infer_version))
}
