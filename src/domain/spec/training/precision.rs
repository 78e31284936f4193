//! The floating-point precision of a training.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::fields::Fields;

/// The precision of convolutions in training. Weights, BatchNorm's statistics, the head, the loss and the optimiser always use 32-bit
/// floats, and so does the model (mixed precision: Micikevicius et al. 2018, as torch.autocast).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// `bf16` on GPUs that support it (compute capability 8.0 and up), `fp16` on older ones with tensor cores (7.0 and up), `fp32`
    /// elsewhere: on CPUs the others are usually slower.
    #[default]
    Auto,
    Fp32,
    /// On GPUs of compute capability 8.0 and up, products of 32-bit floats with a mantissa of 10 bits, also in the head; `fp32` elsewhere.
    Tf32,
    Bf16,
    /// With loss scaling (as torch.amp.GradScaler).
    Fp16,
}

pub(in crate::domain::spec) fn parse(root: &mut Fields) -> Precision {
    let choices = [
        ("auto", Precision::Auto),
        ("fp32", Precision::Fp32),
        ("tf32", Precision::Tf32),
        ("bf16", Precision::Bf16),
        ("fp16", Precision::Fp16),
    ];
    root.choice("precision", Precision::Auto, &choices)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::spec::JobSpec;

    #[test]
    fn a_precision_is_one_of_five_and_auto_by_default() {
        let parsed = |precision| JobSpec::parse(&json!({"dataset": "d", "precision": precision}));
        assert_eq!(parsed(json!("bf16")).unwrap().precision, Precision::Bf16);
        assert_eq!(
            JobSpec::parse(&json!({"dataset": "d"})).unwrap().precision,
            Precision::Auto
        );
        let faults = parsed(json!("fp8")).unwrap_err();
        assert_eq!(faults[0].pointer, "/precision");
        assert!(faults[0].message.contains("bf16"), "{}", faults[0].message);
    }
}
