//! The request for a preview of augmentation: some fields of a job's spec, and how much of it to draw.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    JobSpec,
    fields::{Faults, Fields},
};
use crate::error::FieldError;

/// A checked request for a contact sheet. Only [`PreviewSpec::parse`] creates one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviewSpec {
    /// The job whose images are drawn; fields that do not matter for that have their defaults.
    pub job: JobSpec,
    /// Rows of the sheet.
    pub images: u32,
    /// Columns after the first: what the first epochs of the job would train on.
    pub views: u32,
}

impl PreviewSpec {
    /// Fields of a job's spec that affect its images.
    pub const OF_THE_JOB: [&str; 5] = ["preset", "backbone", "image", "augment", "seed"];
    /// Maximum of rows, and of columns after the first.
    pub const MOST: i64 = 16;

    /// Checks a caller's request and fills in its defaults. `dataset` is named in the URL, not in the document.
    ///
    /// # Errors
    /// Every fault of the document.
    pub fn parse(document: &Value, dataset: &str) -> Result<Self, Vec<FieldError>> {
        let faults = Faults::default();
        let mut root = Fields::root(document, &faults);
        let images = root.integer("images", 4, 1, Self::MOST) as u32;
        let views = root.integer("views", 6, 1, Self::MOST) as u32;
        let mut job = Map::from_iter([("dataset".to_owned(), Value::from(dataset))]);
        for field in Self::OF_THE_JOB {
            if let Some(value) = root.raw(field) {
                job.insert(field.to_owned(), value.clone());
            }
        }
        let job = JobSpec::parse(&Value::Object(job));
        if let Ok(job) = &job
            && job.augment.mixes()
            && images < 2
        {
            let message = "`mixup` and `cutmix` mix images with each other; ask for at least 2";
            root.fault("images", "conflict", message);
        }
        root.finish(&[]);
        let mut faults = faults.into_inner();
        match job {
            Ok(job) if faults.is_empty() => Ok(Self { job, images, views }),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_wish_has_defaults_and_a_job_s_fields_are_checked_as_a_job_s() {
        let spec = PreviewSpec::parse(&json!({}), "flowers").unwrap();
        assert_eq!((spec.images, spec.views, spec.job.image.size), (4, 6, 224));
        let document =
            json!({"images": 99, "epochs": 3, "augment": {"mixup": -1, "zoom": 2}, "image": {"size": 1}});
        let faults = PreviewSpec::parse(&document, "flowers").unwrap_err();
        let mut told: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "/augment/mixup",
                "/augment/zoom",
                "/epochs",
                "/image/size",
                "/images"
            ]
        );
        let alone = PreviewSpec::parse(&json!({"augment": {"cutmix": 1}, "images": 1}), "flowers");
        assert_eq!(alone.unwrap_err()[0].pointer, "/images");
        assert_eq!(
            PreviewSpec::parse(&json!([]), "flowers").unwrap_err()[0].pointer,
            ""
        );
    }
}
