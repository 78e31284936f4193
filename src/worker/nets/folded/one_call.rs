//! A convolution with its bias, the sum with a shortcut and ReLU in one call of cuDNN, where it has an engine for the layer: nothing of it goes
//! through the card's memory twice. ATen calls them `cudnn_convolution_relu` and `cudnn_convolution_add_relu`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tch::Tensor;

use crate::{
    domain::architecture::layer::Conv2d,
    worker::{fault, nets::fused::Shape},
};

/// Whether the calls are of use for a layer, in all of its forms.
#[derive(Clone, Debug, Default)]
pub(super) struct OneCall {
    is_refused: Arc<AtomicBool>,
}

impl OneCall {
    /// Whether there is something to try. Engines for groups are few.
    pub fn is_for(&self, input: &Tensor, design: &Conv2d) -> bool {
        input.device().is_cuda() && design.groups == 1
    }

    /// `relu(convolution(input) + bias)`, and plus `shortcut` where there is one; by `several` calls where one is refused.
    pub fn relu(
        &self,
        input: &Tensor,
        (kernel, bias, shape): (&Tensor, &Tensor, Shape),
        shortcut: Option<&Tensor>,
        several: impl FnOnce() -> Tensor,
    ) -> Tensor {
        if self.is_refused.load(Ordering::Relaxed) {
            return several();
        }
        let (stride, padding, dilation) = ([shape.stride; 2], shape.padding, [shape.dilation; 2]);
        // Not tch's calls that return errors: those with a scalar panic all the same.
        let output = fault::caught(|| match shortcut {
            None => input.cudnn_convolution_relu(kernel, Some(bias), stride, padding, dilation, shape.groups),
            Some(shortcut) => {
                let (alpha, groups) = (1.0, shape.groups);
                input.cudnn_convolution_add_relu(
                    kernel,
                    shortcut,
                    alpha,
                    Some(bias),
                    stride,
                    padding,
                    dilation,
                    groups,
                )
            }
        });
        output.unwrap_or_else(|_| {
            let output = several();
            // If it was for want of memory, that has failed too.
            self.is_refused.store(true, Ordering::Relaxed);
            output
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// There is no cuDNN on a processor, which is to be found out once.
    #[test]
    fn what_is_refused_is_done_by_several_calls_and_not_tried_again() {
        let tensor = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let (input, kernel, bias) = (tensor(&[2, 3, 5, 5]), tensor(&[4, 3, 3, 3]), tensor(&[4]));
        let shape = Shape {
            stride: 1,
            padding: [1, 1],
            dilation: 1,
            groups: 1,
        };
        let several = || {
            input
                .conv2d(&kernel, Some(&bias), [1, 1], [1, 1], [1, 1], 1)
                .relu()
        };
        let shortcut = several();
        for shortcut in [None, Some(&shortcut)] {
            let call = OneCall::default();
            assert!(!call.is_refused.load(Ordering::Relaxed));
            let form = call.clone();
            let found = form.relu(&input, (&kernel, &bias, shape), shortcut, several);
            assert!(found.equal(&several()));
            assert!(
                call.is_refused.load(Ordering::Relaxed),
                "also for its other forms"
            );
        }
    }
}
