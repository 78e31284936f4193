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

/// How libtorch, the C++ runtime and NVIDIA's libraries say that memory does not suffice. cuBLAS and cuDNN fail to create what they work
/// with, and cuDNN finds no algorithm whose workspace fits.
const OUT_OF_MEMORY: [&str; 10] = [
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
];
/// How they say that the device is of no use any more.
const DEVICE_LOST: [&str; 5] = [
    "CUDA error",
    "CUDA driver error",
    "cuDNN error",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
];

impl TorchFault {
    /// Classifies the text of a libtorch error, or of anything that quotes one.
    pub fn read(text: &str) -> Self {
        let shown = first_sentence(text);
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        if says(&OUT_OF_MEMORY) {
            TorchFault::OutOfMemory(shown)
        } else if says(&DEVICE_LOST) {
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
        for text in [
            "CUDA out of memory. Tried to allocate 2.00 GiB",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "GET was unable to find an engine to execute this computation",
            "CUDA driver error: out of memory",
        ] {
            let fault = TorchFault::read(text);
            assert!(matches!(fault, TorchFault::OutOfMemory(_)), "{text}");
        }
        for text in [
            "CUDA driver error: device-side assert",
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        ] {
            assert!(
                matches!(TorchFault::read(text), TorchFault::DeviceLost(_)),
                "{text}"
            );
        }
        let shapes = caught(|| {
            Tensor::ones([2], (Kind::Float, Device::Cpu))
                .matmul(&Tensor::ones([3], (Kind::Float, Device::Cpu)))
        });
        assert!(matches!(shapes, Err(TorchFault::Other(_))));
    }
}
