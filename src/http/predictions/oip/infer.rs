//! `POST /v2/models/{model}/infer`: inference with tensors as inputs and outputs.

use std::time::Instant;

use axum::{
    extract::{Path, Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::future::try_join_all;
use serde_json::{Map, Value};

use super::{
    EMBEDDING, IMAGE, LABEL, PROBABILITIES, TENSOR,
    wire::{self, Datatype, InferRequest, InferResponse, OutputRequest, OutputTensor, Values, malformed},
};
use crate::{
    domain::models::model::Model,
    error::Result,
    http::{
        App,
        predictions::{
            images::{self, all_predictions, error_of, in_order_of_classes, timed},
            of_version,
        },
        requests::extract::read_body,
        responses::problem::Problems,
    },
    inference::{Embedding, ModelInput, Prediction},
};

/// Infer (Open Inference Protocol)
///
/// One input: `image` (BYTES `[N]`: image files; base64 in JSON) or `input` (FP32 `[N, 3, side, side]`: preprocessed as the model's card
/// says). Outputs: `probabilities` (FP32 `[N, classes]`), `label` (BYTES `[N]`) and, only if requested, `embedding` (FP32 `[N, features]`).
/// Both extensions that Triton's clients use are supported: binary tensors and classification.
#[utoipa::path(
    post, path = "/v2/models/{model}/infer", tag = "open inference protocol",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    request_body(content((InferRequest = "application/json"), ("application/octet-stream"))),
    responses((status = 200, content((InferResponse = "application/json"), (Vec<u8> = "application/octet-stream"))), Problems)
)]
pub async fn infer(State(app): State<App>, Path(model): Path<String>, request: Request) -> Result<Response> {
    answer(app, &model, request).await
}

/// Infer with a model version (Open Inference Protocol)
#[utoipa::path(
    post, path = "/v2/models/{model}/versions/{version}/infer", tag = "open inference protocol",
    params(("model" = String, Path, description = "Name"), ("version" = String, Path, description = "Version")),
    request_body(content((InferRequest = "application/json"), ("application/octet-stream"))),
    responses((status = 200, content((InferResponse = "application/json"), (Vec<u8> = "application/octet-stream"))), Problems)
)]
pub async fn infer_version(
    State(app): State<App>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    answer(app, &of_version(&model, &version), request).await
}

async fn answer(app: App, reference: &str, request: Request) -> Result<Response> {
    let begun = Instant::now();
    let model = images::model(&app, reference).await?;
    let limit = app.limits().max_predict_bytes;
    let json_length = wire::json_length(request.headers())?;
    let body = read_body(request.into_body(), limit).await?;
    let wire::Inference { request, elements } = wire::read(&body, json_length)?;
    let inputs = inputs(&app, &model, &request, elements)?;
    let wanted = Wanted::of(&request, &model)?;
    let predictions = if wanted.classes() {
        all_predictions(&app, &model, &inputs, "image").await?
    } else {
        Vec::new()
    };
    let embeddings = if wanted.embedding() {
        embeddings(&app, &model, &inputs).await?
    } else {
        Vec::new()
    };
    let outputs = wanted.outputs.iter();
    let outputs: Vec<OutputTensor> = outputs
        .map(|output| output.tensor(&predictions, &embeddings))
        .collect();
    let timings = predictions.iter().map(|prediction| prediction.timing);
    let timings: Vec<_> = timings
        .chain(embeddings.iter().map(|embedding| embedding.timing))
        .collect();
    Ok(timed(
        begun,
        &model,
        &timings,
        written(&model, &request, &outputs),
    ))
}

async fn embeddings(app: &App, model: &Model, inputs: &[ModelInput]) -> Result<Vec<Embedding>> {
    let asked = inputs.iter().enumerate().map(|(index, input)| async move {
        let embedding = app.inference().embed(model, input.clone(), false).await;
        embedding.map_err(|error| error_of("image", index, error))
    });
    try_join_all(asked).await
}

fn inputs(
    app: &App,
    model: &Model,
    request: &InferRequest,
    elements: Vec<bytes::Bytes>,
) -> Result<Vec<ModelInput>> {
    let limit = app.limits().max_predict_images;
    if elements.len() > limit {
        return Err(malformed(format!("at most {limit} images per request")));
    }
    let input = &request.inputs[0];
    let side = i64::from(model.card.preprocessing.crop);
    match (input.name.as_str(), input.datatype) {
        (IMAGE, Datatype::Bytes) => Ok(elements.into_iter().map(ModelInput::File).collect()),
        (TENSOR, Datatype::Fp32) if input.shape[1..] == [3, side, side] => {
            Ok(elements.into_iter().map(ModelInput::Tensor).collect())
        }
        _ => Err(malformed(format!(
            "the model takes `{IMAGE}`, BYTES of shape [N], or `{TENSOR}`, FP32 of shape [N, 3, {side}, {side}]"
        ))),
    }
}

/// The requested outputs, in order.
struct Wanted {
    outputs: Vec<Output>,
}

struct Output {
    name: &'static str,
    binary: bool,
    /// Number of classes per image to return as text instead of the tensor.
    classification: Option<usize>,
}

impl Wanted {
    fn of(request: &InferRequest, model: &Model) -> Result<Self> {
        let flag = |parameters: &Map<String, Value>, name: &str| {
            parameters.get(name).and_then(Value::as_bool).unwrap_or(false)
        };
        let all_binary = flag(&request.parameters, "binary_data_output");
        if request.outputs.is_empty() {
            let names: &[_] = match model.without_head() {
                None => &[PROBABILITIES, LABEL],
                Some(_) => &[EMBEDDING],
            };
            let output = |name: &&'static str| Output {
                name,
                binary: all_binary,
                classification: None,
            };
            let outputs = names.iter().map(output).collect();
            return Ok(Self { outputs });
        }
        let one = |output: &OutputRequest| {
            let known = [PROBABILITIES, LABEL, EMBEDDING];
            let name = known.into_iter().find(|name| *name == output.name);
            let name = name
                .ok_or_else(|| malformed(format!("unknown output; the outputs are {}", known.join(", "))))?;
            let classes = output.parameters.get("classification").and_then(Value::as_u64);
            let classes = classes.filter(|count| *count > 0 && name == PROBABILITIES);
            let named = output.parameters.contains_key("binary_data");
            Ok(Output {
                name,
                binary: if named {
                    flag(&output.parameters, "binary_data")
                } else {
                    all_binary
                },
                classification: classes.map(|count| count as usize),
            })
        };
        let outputs = request.outputs.iter().map(one).collect::<Result<_>>()?;
        Ok(Self { outputs })
    }

    fn classes(&self) -> bool {
        self.outputs.iter().any(|output| output.name != EMBEDDING)
    }

    fn embedding(&self) -> bool {
        self.outputs.iter().any(|output| output.name == EMBEDDING)
    }
}

impl Output {
    fn tensor(&self, predictions: &[Prediction], embeddings: &[Embedding]) -> OutputTensor {
        let (rows, values) = match (self.name, self.classification) {
            (EMBEDDING, _) => {
                let rows = embeddings.iter().map(|embedding| embedding.values.as_slice());
                (
                    embeddings.len(),
                    Values::Floats(rows.collect::<Vec<_>>().concat()),
                )
            }
            (LABEL, _) => {
                let best = predictions.iter().filter_map(|found| found.classes.first());
                let labels: Vec<String> = best.map(|class| class.label.clone()).collect();
                (predictions.len(), Values::Strings(labels))
            }
            (_, Some(count)) => {
                let texts = predictions.iter().flat_map(|found| {
                    let classes = found.classes.iter().take(count);
                    classes.map(|class| format!("{:.6}:{}:{}", class.probability, class.index, class.label))
                });
                (predictions.len(), Values::Strings(texts.collect()))
            }
            (_, None) => {
                let rows = predictions.iter().flat_map(in_order_of_classes);
                (predictions.len(), Values::Floats(rows.collect()))
            }
        };
        let length = match &values {
            Values::Floats(values) => values.len(),
            Values::Strings(values) => values.len(),
        };
        let mut shape = vec![rows];
        if self.name != LABEL {
            shape.push(length / rows.max(1));
        }
        OutputTensor {
            name: self.name.to_owned(),
            shape,
            values,
            binary: self.binary,
        }
    }
}

fn written(model: &Model, request: &InferRequest, outputs: &[OutputTensor]) -> Response {
    let (name, version) = (model.name.to_string(), model.version.to_string());
    let (body, json_length) = wire::write(name, version, request.id.clone(), outputs);
    let mut response = body.into_response();
    let kind = match json_length {
        Some(length) => {
            response
                .headers_mut()
                .insert(wire::JSON_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
        None => "application/json",
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
