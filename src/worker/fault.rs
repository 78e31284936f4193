//! Classifies libtorch's errors: tch returns them as texts and, in most of its calls, as panics.
//!
//! Used where such an error is not our bug: insufficient memory, a failing device.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
};

/// An error in libtorch; the text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TorchFault {
    #[error("not enough memory ({0})")]
    OutOfMemory(String),
    /// Any other CUDA error: every later call of the process would fail as well.
    #[error("the GPU failed ({0})")]
    DeviceLost(String),
    #[error("{0}")]
    Other(String),
}

impl TorchFault {
    /// Classifies the text of a libtorch error, or of anything that quotes one.
    pub fn read(text: &str) -> Self {
        let shown = first_sentence(text);
        let says = |phrase: &str| text.contains(phrase);
        if says("out of memory")
            || says("can't allocate memory")
            || says("not enough memory")
            || says("bad_alloc")
        {
            TorchFault::OutOfMemory(shown)
        } else if says("CUDA error") || says("cuDNN error") || says("CUDNN_STATUS") || says("CUBLAS_STATUS") {
            TorchFault::DeviceLost(shown)
        } else {
            TorchFault::Other(shown)
        }
    }

    /// Classifies the payload of a panic.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        Self::read(text.unwrap_or("a panic without a message"))
    }
}

/// The text without tch's wrapping around it and without the C++ backtrace (whose line breaks are escaped where Rust quoted the text).
fn first_sentence(text: &str) -> String {
    const WRAPPINGS: [&str; 2] = ["called `Result::unwrap()` on an `Err` value: ", "Torch(\""];
    let bare = WRAPPINGS.iter().fold(text.trim(), |text, wrapping| {
        text.strip_prefix(wrapping).unwrap_or(text)
    });
    let end = bare.find("\\n").unwrap_or(bare.len());
    let first = bare[..end].lines().next().unwrap_or_default();
    first.chars().take(300).collect()
}

/// Runs something that may panic in libtorch.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, TorchFault> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| TorchFault::of_panic(&*payload))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn a_tensor_that_does_not_fit_is_out_of_memory() {
        let fault = caught(|| Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu))).unwrap_err();
        assert!(matches!(fault, TorchFault::OutOfMemory(_)), "{fault}");
        let text = fault.to_string();
        assert!(text.contains("memory") && !text.contains("unwrap"), "{text}");
        assert!(!text.contains("frame #0"), "{text}");
    }

    #[test]
    fn other_errors_are_told_apart() {
        let cuda = TorchFault::read("Torch(\"CUDA error: an illegal memory access was encountered\\n\")");
        assert!(matches!(cuda, TorchFault::DeviceLost(_)));
        let memory = TorchFault::read("CUDA out of memory. Tried to allocate 2.00 GiB");
        assert!(matches!(memory, TorchFault::OutOfMemory(_)));
        let shapes = caught(|| {
            Tensor::ones([2], (Kind::Float, Device::Cpu))
                .matmul(&Tensor::ones([3], (Kind::Float, Device::Cpu)))
        });
        assert!(matches!(shapes, Err(TorchFault::Other(_))));
    }
}
