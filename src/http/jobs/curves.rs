//! `/v1/jobs/{job}/metrics`: the curves of a job, from the same rows as its event stream, downsampled on the server.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{id::JobId, jobs::event::EventKind},
    error::{Error, FieldError, Result},
    http::{
        App,
        requests::{extract::Query, whole::Whole},
        responses::problem::Problems,
    },
    store::MetricPoint,
};

/// Curves with a value at every step event, and the event's field.
const PER_STEP: [(&str, &str); 5] = [
    ("train_loss", "train_loss"),
    ("alignment_loss", "alignment_loss"),
    ("distillation_loss", "distillation_loss"),
    ("lr", "lr"),
    ("images_per_second", "images_per_second"),
];
/// Curves with a value at the end of every epoch, and the event's field.
const PER_EPOCH: [(&str, &str); 7] = [
    ("epoch_train_loss", "train_loss"),
    ("train_accuracy", "train_accuracy"),
    ("val_loss", "val_loss"),
    ("val_accuracy", "val_accuracy"),
    ("knn_accuracy", "knn_accuracy"),
    ("feature_spread", "feature_spread"),
    ("data_wait", "data_wait"),
];

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Point {
    pub step: u64,
    pub epoch: u64,
    pub value: f64,
}

/// The curves of a job.
#[derive(Serialize, ToSchema)]
pub struct Curves {
    /// Always `metrics`.
    #[schema(example = "metrics")]
    pub object: &'static str,
    pub job: JobId,
    /// By name: `train_loss`, `alignment_loss`, `distillation_loss`, `lr`, `images_per_second` per step event; `epoch_train_loss`,
    /// `train_accuracy`, `val_loss`, `val_accuracy`, `knn_accuracy`, `feature_spread`, `data_wait` per epoch.
    pub series: BTreeMap<String, Vec<Point>>,
}

type Points = Whole<2, 10_000>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CurvesQuery {
    /// Names of curves, separated by commas; all by default.
    #[param(example = "train_loss,val_loss")]
    series: Option<String>,
    /// Most points per curve, 2 to 10000, 500 by default. Minima and maxima are kept when a curve is downsampled.
    #[param(value_type = Option<usize>, minimum = 2, maximum = 10_000, default = 500)]
    points: Option<Points>,
}

/// Get a job's curves
#[utoipa::path(
    get, path = "/v1/jobs/{job}/metrics", tag = "jobs", params(("job" = String, Path), CurvesQuery),
    responses((status = 200, content((Curves = "application/json"), (String = "text/csv"))), Problems)
)]
pub async fn metrics(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<CurvesQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let wanted = wanted_series(query.series.as_deref())?;
    let most = query.points.map_or(500, Whole::get);
    let job = app.store().job(&reference).await?;
    let mut series = draw(&app.store().metric_points(job.id).await?);
    series.retain(|name, _| wanted.contains(&name.as_str()));
    for points in series.values_mut() {
        *points = thin(std::mem::take(points), most);
    }
    let as_csv = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.contains("text/csv"));
    if as_csv {
        return Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&series)).into_response());
    }
    Ok(Json(Curves {
        object: "metrics",
        job: job.id,
        series,
    })
    .into_response())
}

fn all_series() -> Vec<&'static str> {
    PER_STEP.iter().chain(&PER_EPOCH).map(|(name, _)| *name).collect()
}

fn wanted_series(query: Option<&str>) -> Result<Vec<&'static str>> {
    let Some(query) = query else {
        return Ok(all_series());
    };
    let known = all_series();
    let find = |name: &str| known.iter().copied().find(|known| *known == name.trim());
    query
        .split(',')
        .map(find)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            let fault = FieldError::new(
                "/series",
                "range",
                format!("must be one or more of {}", known.join(", ")),
            );
            Error::fields("the query is invalid", vec![fault])
        })
}

/// Computes curves from events. A rewind removes what was reported about later steps.
fn draw(events: &[MetricPoint]) -> BTreeMap<String, Vec<Point>> {
    let mut series: BTreeMap<String, Vec<Point>> = all_series()
        .into_iter()
        .map(|name| (name.to_owned(), Vec::new()))
        .collect();
    for event in events {
        let fields: &[(&str, &str)] = match event.kind {
            EventKind::Step => &PER_STEP,
            EventKind::Epoch => &PER_EPOCH,
            _ => {
                let to_step = event.data["to_step"].as_u64().unwrap_or(0);
                series
                    .values_mut()
                    .for_each(|points| points.retain(|point| point.step <= to_step));
                continue;
            }
        };
        let (step, epoch) = (
            event.data["step"].as_u64().unwrap_or(0),
            event.data["epoch"].as_u64().unwrap_or(0),
        );
        for (name, field) in fields {
            if let (Some(points), Some(value)) = (series.get_mut(*name), event.data[*field].as_f64()) {
                points.push(Point { step, epoch, value });
            }
        }
    }
    series
}

/// Keeps the first and the last point, and the lowest and the highest of each interval between them.
fn thin(points: Vec<Point>, most: usize) -> Vec<Point> {
    if points.len() <= most {
        return points;
    }
    let stretches = ((most - 2) / 2).max(1);
    let inner = &points[1..points.len() - 1];
    let mut kept = vec![points[0].clone()];
    if most > 3 {
        for stretch in inner.chunks(inner.len().div_ceil(stretches)) {
            let by_value = |a: &&Point, b: &&Point| a.value.total_cmp(&b.value);
            let ends = [stretch.iter().min_by(by_value), stretch.iter().max_by(by_value)];
            let mut ends: Vec<&Point> = ends.into_iter().flatten().collect();
            ends.sort_by_key(|point| point.step);
            ends.dedup_by_key(|point| point.step);
            kept.extend(ends.into_iter().cloned());
        }
    }
    kept.extend(points.last().cloned());
    kept
}

fn csv(series: &BTreeMap<String, Vec<Point>>) -> String {
    let mut text = String::from("series,step,epoch,value\n");
    for (name, points) in series {
        for point in points {
            text.push_str(&format!(
                "{name},{},{},{}\n",
                point.step, point.epoch, point.value
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(step: u64, loss: f64) -> MetricPoint {
        MetricPoint {
            kind: EventKind::Step,
            data: json!({"step": step, "epoch": 1, "train_loss": loss}),
        }
    }

    #[test]
    fn a_rewind_takes_back_later_points() {
        let rewind = MetricPoint {
            kind: EventKind::Rewind,
            data: json!({"to_step": 2, "to_epoch": 1}),
        };
        let series = draw(&[step(1, 0.9), step(2, 0.8), step(3, 0.7), rewind, step(3, 0.6)]);
        let values: Vec<_> = series["train_loss"]
            .iter()
            .map(|point| (point.step, point.value))
            .collect();
        assert_eq!(values, [(1, 0.9), (2, 0.8), (3, 0.6)]);
    }

    #[test]
    fn thinning_keeps_the_ends_and_every_spike() {
        let points: Vec<Point> = (0..10_000)
            .map(|i| Point {
                step: i,
                epoch: 1,
                value: if i == 7777 { 50.0 } else { 1.0 / (i + 1) as f64 },
            })
            .collect();
        let kept = thin(points.clone(), 100);
        assert!(kept.len() <= 100, "{}", kept.len());
        assert_eq!((kept[0].step, kept.last().unwrap().step), (0, 9999));
        assert!(kept.iter().any(|point| point.step == 7777));
        assert!(kept.is_sorted_by_key(|point| point.step));
        assert_eq!(thin(points[..50].to_vec(), 100).len(), 50);
    }
}
