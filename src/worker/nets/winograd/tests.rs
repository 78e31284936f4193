use tch::{Kind, Tensor};

use super::*;
use crate::worker::nets::{layers::channels_last, tests};

const SHAPE: Shape = Shape {
    stride: 1,
    padding: [1; 2],
    dilation: 1,
    groups: 1,
};

fn values(seed: &str, size: &[i64]) -> Tensor {
    channels_last(&tests::values(seed, size).to_kind(Kind::Float))
}

fn winograd(kernel: &Tensor) -> Winograd {
    Winograd::new(kernel, SHAPE).expect("this machine has wide registers and libgomp")
}

fn direct(input: &Tensor, kernel: &Tensor, bias: &Tensor) -> Tensor {
    let [input, kernel, bias] = [input, kernel, bias].map(|tensor| tensor.to_kind(Kind::Double));
    input.conv2d(&kernel, Some(&bias), [1, 1], [1, 1], [1, 1], 1)
}

/// As a share of the largest value.
fn apart(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let scale = expected.abs().max().double_value(&[]);
    (found.to_kind(Kind::Double) - expected)
        .abs()
        .max()
        .double_value(&[])
        / scale
}

#[test]
fn it_is_the_convolution() {
    for [count, from, to, height, width] in [
        [1, 32, 32, 1, 1],
        [2, 64, 32, 5, 9],
        [3, 32, 96, 14, 13],
        [5, 128, 64, 7, 7],
        [1, 64, 64, 56, 56],
        [2, 512, 512, 7, 7],
    ] {
        let kernel = values("kernel", &[to, from, 3, 3]);
        let (bias, input) = (
            values("bias", &[to]),
            values("input", &[count, from, height, width]),
        );
        let winograd = winograd(&kernel);
        let expected = direct(&input, &kernel, &bias);
        let off = apart(&winograd.forward(&input, Some(&bias), After::Nothing), &expected);
        assert!(off < 2e-5, "{count}x{from}x{height}x{width} to {to}: {off:e}");
        let off = apart(
            &winograd.forward(&input, Some(&bias), After::RELU),
            &expected.relu(),
        );
        assert!(off < 2e-5, "ReLU: {off:e}");
        let without = apart(
            &winograd.forward(&input, None, After::Nothing),
            &(&expected - bias.to_kind(Kind::Double).view([1, -1, 1, 1])),
        );
        assert!(without < 2e-5, "no bias: {without:e}");
        let shortcut = values("shortcut", &[count, to, height, width]);
        let expected = (expected + shortcut.to_kind(Kind::Double)).relu();
        let off = apart(
            &winograd.forward_into(&shortcut, &input, Some(&bias), After::RELU),
            &expected,
        );
        assert!(off < 2e-5, "sum: {off:e}");
        let off = apart(&shortcut, &expected);
        assert!(off < 2e-5, "it is written over: {off:e}");
    }
}

#[test]
fn memory_of_another_order_is_the_same_activations() {
    let kernel = values("kernel", &[32, 32, 3, 3]);
    let input = values("input", &[2, 32, 9, 9]);
    let winograd = winograd(&kernel);
    let expected = winograd.forward(&input, None, After::Nothing);
    assert!(expected.is_contiguous_channels_last());
    let planes = input.contiguous();
    assert!(winograd.forward(&planes, None, After::Nothing).equal(&expected));
    let part = values("input", &[2, 32, 9, 9]).narrow(0, 1, 1);
    assert!(
        winograd
            .forward(&part, None, After::Nothing)
            .equal(&expected.narrow(0, 1, 1))
    );
}

trait Order {
    fn is_contiguous_channels_last(&self) -> bool;
}

impl Order for Tensor {
    fn is_contiguous_channels_last(&self) -> bool {
        self.permute([0, 2, 3, 1]).is_contiguous()
    }
}

#[test]
fn neither_threads_nor_other_images_change_a_bit() {
    let kernel = values("kernel", &[64, 64, 3, 3]);
    let input = values("input", &[7, 64, 14, 14]);
    let before = tch::get_num_threads();
    let mut all = Vec::new();
    for threads in [1, 2, 3, 8] {
        tch::set_num_threads(threads);
        all.push(winograd(&kernel).forward(&input, None, After::RELU));
    }
    tch::set_num_threads(before);
    for other in &all[1..] {
        assert!(other.equal(&all[0]));
    }
    for image in 0..7 {
        let alone = winograd(&kernel).forward(&input.narrow(0, image, 1), None, After::RELU);
        assert!(alone.equal(&all[0].narrow(0, image, 1)), "image {image}");
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let kernel = values("kernel", &[32, 32, 3, 3]);
    let input = values("input", &[1, 32, 8, 8]);
    let _ = input.get(0).get(3).get(1).get(1).fill_(f64::NAN);
    let output = winograd(&kernel).forward(&input, None, After::RELU);
    assert!(output.isnan().any().int64_value(&[]) != 0);
    // The other tiles do not see it.
    assert!(output.narrow(3, 4, 4).isfinite().all().int64_value(&[]) != 0);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn registers_of_half_the_width_give_the_same_bits() {
    let kernel = values("kernel", &[96, 32, 3, 3]);
    let input = values("input", &[3, 32, 11, 14]);
    let narrow = Level::new().as_avx2().map(Level::Avx2);
    let narrow = narrow
        .and_then(|level| Winograd::on(level, &kernel, SHAPE))
        .unwrap();
    let bias = values("bias", &[96]);
    let [one, other] =
        [narrow, winograd(&kernel)].map(|winograd| winograd.forward(&input, Some(&bias), After::RELU));
    assert!(one.equal(&other));
}

#[test]
fn what_it_is_not_for_is_left_to_others() {
    let kernel = |size: &[i64]| values("kernel", size);
    let refused = |kernel: &Tensor, shape| Winograd::new(kernel, shape).is_none();
    assert!(refused(&kernel(&[64, 64, 1, 1]), SHAPE));
    assert!(refused(&kernel(&[64, 64, 3, 3]), Shape { stride: 2, ..SHAPE }));
    assert!(refused(
        &kernel(&[64, 64, 3, 3]),
        Shape {
            padding: [0; 2],
            ..SHAPE
        }
    ));
    assert!(refused(&kernel(&[64, 2, 3, 3]), Shape { groups: 32, ..SHAPE }));
    assert!(
        refused(&kernel(&[64, 3, 3, 3]), SHAPE),
        "too few channels for a register"
    );
    assert!(refused(&kernel(&[64, 64, 3, 3]).to_kind(Kind::BFloat16), SHAPE));
    assert!(Winograd::pays_for(&[1, 64, 14, 14]) && !Winograd::pays_for(&[64, 64, 7, 7]));
}
