use std::cell::Cell;

use super::*;
use crate::worker::autograd::without_gradients;
use crate::worker::{
    fault::{self, TorchFault},
    nets::{layers::channels_last, tests, winograd::dense::floats},
};

const SHAPE: Shape = Shape {
    stride: 1,
    padding: [1; 2],
    dilation: 1,
    groups: 1,
};

thread_local! {
    pub(super) static IS_LEFT_TO_LIBTORCH: Cell<bool> = const { Cell::new(false) };
}

/// Work whose convolutions that learn are libtorch's own, for tests that hold everything else to what torch computes.
pub(crate) fn left_to_libtorch<T>(work: impl FnOnce() -> T) -> T {
    IS_LEFT_TO_LIBTORCH.set(true);
    let result = work();
    IS_LEFT_TO_LIBTORCH.set(false);
    result
}

fn values(seed: &str, size: &[i64]) -> Tensor {
    channels_last(&tests::values(seed, size).to_kind(Kind::Float))
}

/// As a share of the largest value.
fn apart(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let difference = (found.to_kind(Kind::Double) - expected).abs().max();
    difference.double_value(&[]) / expected.abs().max().double_value(&[])
}

fn direct(input: &Tensor, kernel: &Tensor) -> Tensor {
    input.conv2d(kernel, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1)
}

/// What a convolution gives, and the gradients of its input and its kernel where the output's is `gradient`.
fn learned(
    convolution: impl Fn(&Tensor, &Tensor) -> Tensor,
    [input, kernel, gradient]: [&Tensor; 3],
) -> [Tensor; 3] {
    let [input, kernel] = [input, kernel].map(|tensor| tensor.detach().set_requires_grad(true));
    let output = convolution(&input, &kernel);
    (&output * gradient).sum(Kind::Double).backward();
    [output.detach(), input.grad(), kernel.grad()]
}

#[test]
fn output_and_gradients_are_those_of_the_convolution() {
    for [count, from, to, height, width] in [
        [1, 32, 32, 13, 16],
        [3, 64, 32, 17, 14],
        [2, 32, 96, 16, 31],
        // More tiles than are held at once.
        [9, 64, 64, 56, 56],
        [2, 256, 128, 14, 14],
    ] {
        let input = values("input", &[count, from, height, width]);
        let kernel = values("kernel", &[to, from, 3, 3]);
        let gradient = values("gradient", &[count, to, height, width]);
        let own = |input: &Tensor, kernel: &Tensor| {
            convolution(input, kernel, SHAPE).expect("this machine has wide registers and libgomp")
        };
        let found = learned(own, [&input, &kernel, &gradient]);
        let doubles = [&input, &kernel, &gradient].map(|tensor| tensor.to_kind(Kind::Double));
        let expected = learned(direct, doubles.each_ref());
        for (name, (found, expected)) in ["output", "input", "kernel"]
            .iter()
            .zip(found.iter().zip(&expected))
        {
            let off = apart(found, expected);
            assert!(
                off < 4e-5,
                "{name} of {count}x{from}x{height}x{width} to {to}: {off:e}"
            );
        }
        let strides = |tensor: &Tensor| tensor.stride();
        assert_eq!(strides(&found[2]), strides(&kernel), "the optimiser adds them up");
        assert_eq!(strides(&found[1]), strides(&input));
    }
}

#[test]
fn threads_change_no_bit() {
    let input = values("input", &[5, 64, 30, 29]);
    let (kernel, gradient) = (
        values("kernel", &[32, 64, 3, 3]),
        values("gradient", &[5, 32, 30, 29]),
    );
    let own = |input: &Tensor, kernel: &Tensor| convolution(input, kernel, SHAPE).unwrap();
    let before = tch::get_num_threads();
    let all = [1, 2, 3, 8].map(|threads| {
        tch::set_num_threads(threads);
        learned(own, [&input, &kernel, &gradient])
    });
    tch::set_num_threads(before);
    for other in &all[1..] {
        for (one, other) in all[0].iter().zip(other) {
            assert!(one.equal(other));
        }
    }
}

#[test]
fn only_what_learns_has_a_gradient() {
    let (input, kernel) = (
        values("input", &[1, 32, 16, 16]),
        values("kernel", &[32, 32, 3, 3]),
    );
    for (input_learns, kernel_learns) in [(true, false), (false, true), (false, false)] {
        let input = input.detach().set_requires_grad(input_learns);
        let kernel = kernel.detach().set_requires_grad(kernel_learns);
        let output = convolution(&input, &kernel, SHAPE).unwrap();
        assert_eq!(output.requires_grad(), input_learns || kernel_learns);
        if output.requires_grad() {
            output.sum(Kind::Float).backward();
        }
        assert_eq!(input.grad().defined(), input_learns);
        assert_eq!(kernel.grad().defined(), kernel_learns);
        let without = without_gradients(|| convolution(&input, &kernel, SHAPE).unwrap());
        assert!(!without.requires_grad() && without.equal(&output));
    }
}

#[test]
fn memory_of_another_order_is_the_same() {
    let input = values("input", &[2, 32, 16, 18]);
    let (kernel, gradient) = (
        values("kernel", &[64, 32, 3, 3]),
        values("gradient", &[2, 64, 16, 18]),
    );
    let own = |input: &Tensor, kernel: &Tensor| convolution(input, kernel, SHAPE).unwrap();
    let expected = learned(own, [&input, &kernel, &gradient]);
    let planes = [&input, &kernel, &gradient].map(Tensor::contiguous);
    let found = learned(own, planes.each_ref());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.equal(expected));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn registers_of_half_the_width_give_the_same_gradient() {
    let (input, gradient) = (
        values("input", &[3, 32, 31, 14]),
        values("gradient", &[3, 64, 31, 14]),
    );
    let work = KernelGradient {
        // SAFETY: nobody writes to these tensors.
        input: unsafe { floats(&input) },
        // SAFETY: as above.
        gradient: unsafe { floats(&gradient) },
        grid: Grid {
            count: 3,
            height: 31,
            width: 14,
        },
        from: 32,
        to: 64,
    };
    let at = |level: Level| {
        let mut output = vec![0.0; 64 * 9 * 32];
        work.compute(level, threads(), &Shared::new(&mut output));
        output
    };
    let narrow = Level::new().as_avx2().map(Level::Avx2);
    assert!(at(narrow.expect("x86 has them")) == at(Level::new()));
}

#[test]
fn memory_that_does_not_suffice_is_a_fault_and_no_more() {
    let input =
        Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu)).expand([1 << 24, 1 << 10, 64, 64], false);
    let kernel = values("kernel", &[32, 1 << 10, 3, 3]);
    let fault = fault::caught(|| convolution(&input, &kernel, SHAPE)).unwrap_err();
    assert!(matches!(fault, TorchFault::OutOfMemory(_)), "{fault}");
    let input = values("input", &[1, 32, 16, 16]);
    assert!(convolution(&input, &values("kernel", &[32, 32, 3, 3]), SHAPE).is_some());
}

#[test]
fn what_it_is_not_for_is_left_to_libtorch() {
    let taken = |input: &[i64], kernel: &[i64], shape| {
        convolution(&values("input", input), &values("kernel", kernel), shape).is_some()
    };
    let (input, kernel) = ([1, 64, 16, 16], [64, 64, 3, 3]);
    assert!(taken(&input, &kernel, SHAPE));
    assert!(!taken(
        &input,
        &[64, 64, 1, 1],
        Shape {
            padding: [0; 2],
            ..SHAPE
        }
    ));
    assert!(!taken(&input, &kernel, Shape { stride: 2, ..SHAPE }));
    assert!(!taken(
        &input,
        &kernel,
        Shape {
            padding: [0; 2],
            ..SHAPE
        }
    ));
    assert!(!taken(&input, &[64, 2, 3, 3], Shape { groups: 32, ..SHAPE }));
    assert!(!taken(&[1, 64, 7, 7], &kernel, SHAPE), "too few tiles");
    assert!(
        !taken(&[1, 24, 16, 16], &[64, 24, 3, 3], SHAPE),
        "no whole registers"
    );
    let halves = |size: &[i64]| values("half", size).to_kind(Kind::BFloat16);
    assert!(convolution(&halves(&input), &values("kernel", &kernel), SHAPE).is_none());
    assert!(!left_to_libtorch(|| taken(&input, &kernel, SHAPE)));
}
