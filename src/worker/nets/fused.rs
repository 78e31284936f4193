//! Convolutions of oneDNN as libtorch's own compiler uses them on a processor: the kernel in oneDNN's order, put into it once and not anew
//! for every batch, and ReLU or the sum with a shortcut done while the result is still in the cache.
//!
//! libtorch has them as operators of the namespace `mkldnn`, which tch cannot call by name and TorchScript can: a module of three methods,
//! one for each operator, is what this file makes, in memory. On processors whose libtorch has no such operators there is none.

use std::{
    io::{Cursor, Write},
    sync::OnceLock,
};

use tch::{CModule, IValue, Tensor};
use zip::{CompressionMethod, ZipWriter, result::ZipResult, write::SimpleFileOptions};

use crate::domain::architecture::layer::Conv2d;

/// What of a convolution is not in its tensors.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub stride: i64,
    /// Zeros on each side; what is not the same on all sides is put there before the convolution.
    pub padding: i64,
    pub dilation: i64,
    pub groups: i64,
}

impl Shape {
    pub fn of(design: &Conv2d) -> Self {
        Self {
            stride: design.stride as i64,
            padding: design.even_padding().unwrap_or(0) as i64,
            dilation: design.dilation as i64,
            groups: design.groups as i64,
        }
    }

    /// Whether it is that of the convolutions that Winograd's filtering is for.
    pub fn is_plain(self) -> bool {
        (self.stride, self.padding, self.dilation, self.groups) == (1, 1, 1, 1)
    }
}

/// What is done with the result at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Nothing,
    Relu,
}

/// A convolution's kernel and bias, in the order that oneDNN wants.
#[derive(Debug)]
pub struct Packed {
    kernel: Tensor,
    bias: Tensor,
    shape: Shape,
}

impl Packed {
    /// Packs a kernel `[out, in / groups, side, side]` for inputs of about this size, `[N, in, H, W]`; others give the same, only slower.
    /// None where libtorch has no such operators.
    pub fn new(kernel: &Tensor, bias: &Tensor, shape: Shape, input: [i64; 4]) -> Option<Self> {
        let operators = operators()?;
        let arguments = [
            IValue::Tensor(kernel.shallow_clone()),
            pair(shape.padding),
            pair(shape.stride),
            pair(shape.dilation),
            IValue::Int(shape.groups),
            IValue::IntList(input.to_vec()),
        ];
        let Ok(IValue::Tensor(kernel)) = operators.method_is("reorder", &arguments) else {
            return None;
        };
        Some(Self {
            kernel,
            bias: bias.shallow_clone(),
            shape,
        })
    }

    /// The convolution of `input`, channels-last.
    pub fn forward(&self, input: &Tensor, after: After) -> Tensor {
        let after = match after {
            After::Nothing => "none",
            After::Relu => "relu",
        };
        let mut arguments = self.arguments(input);
        arguments.push(IValue::String(after.to_owned()));
        call("convolution", &arguments)
    }

    /// `relu(convolution(input) + shortcut)`, written over `shortcut`.
    pub fn forward_into(&self, shortcut: &Tensor, input: &Tensor) -> Tensor {
        let mut arguments = self.arguments(input);
        arguments.push(IValue::Tensor(shortcut.shallow_clone()));
        call("sum", &arguments)
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            kernel: self.kernel.shallow_clone(),
            bias: self.bias.shallow_clone(),
            shape: self.shape,
        }
    }

    fn arguments(&self, input: &Tensor) -> Vec<IValue> {
        vec![
            IValue::Tensor(input.shallow_clone()),
            IValue::Tensor(self.kernel.shallow_clone()),
            IValue::Tensor(self.bias.shallow_clone()),
            pair(self.shape.padding),
            pair(self.shape.stride),
            pair(self.shape.dilation),
            IValue::Int(self.shape.groups),
        ]
    }
}

fn pair(value: i64) -> IValue {
    IValue::IntList(vec![value; 2])
}

/// Fails as all arithmetic of tch does, by a panic with libtorch's words.
fn call(method: &str, arguments: &[IValue]) -> Tensor {
    let operators = operators().expect("what was packed was packed by them");
    match operators.method_is(method, arguments) {
        Ok(IValue::Tensor(result)) => result,
        Ok(other) => panic!("`{method}` gave {other:?} instead of a tensor"),
        Err(fault) => panic!("{fault}"),
    }
}

/// The module, made when it is first asked for. Its methods hold nothing, so that all threads may use the one.
#[expect(
    clippy::disallowed_methods,
    reason = "what it runs is written here and nowhere else"
)]
fn operators() -> Option<&'static CModule> {
    static OPERATORS: OnceLock<Option<CModule>> = OnceLock::new();
    OPERATORS
        .get_or_init(|| {
            let archive = archive().ok()?;
            CModule::load_data(&mut archive.as_slice()).ok()
        })
        .as_ref()
}

const SOURCE: &str = r#"class Operators(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def reorder(self: __torch__.Operators,
    kernel: Tensor,
    padding: List[int],
    stride: List[int],
    dilation: List[int],
    groups: int,
    input_size: List[int]) -> Tensor:
    return ops.mkldnn._reorder_convolution_weight(kernel, padding, stride, dilation, groups, input_size)
  def convolution(self: __torch__.Operators,
    input: Tensor,
    kernel: Tensor,
    bias: Tensor,
    padding: List[int],
    stride: List[int],
    dilation: List[int],
    groups: int,
    after: str) -> Tensor:
    scalars = annotate(List[Optional[number]], [])
    return ops.mkldnn._convolution_pointwise(input, kernel, bias, padding, stride, dilation, groups, after, scalars, None)
  def sum(self: __torch__.Operators,
    input: Tensor,
    kernel: Tensor,
    bias: Tensor,
    padding: List[int],
    stride: List[int],
    dilation: List[int],
    groups: int,
    other: Tensor) -> Tensor:
    scalars = annotate(List[Optional[number]], [])
    return ops.mkldnn._convolution_pointwise_(other, input, kernel, bias, padding, stride, dilation, groups, "add", 1., "relu", scalars, None)
"#;
/// An instance of the class whose one attribute, `training`, is false: protocol 2, the class, an empty tuple, a new object, its state.
const OBJECT: &[u8] = b"\x80\x02c__torch__\nOperators\n)\x81}X\x08\x00\x00\x00training\x89sb.";
/// An empty tuple.
const NO_CONSTANTS: &[u8] = b"\x80\x02).";

/// As `torch.jit.save` writes modules.
fn archive() -> ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let files: [(&str, &[u8]); 4] = [
        ("data.pkl", OBJECT),
        ("code/__torch__.py", SOURCE.as_bytes()),
        ("constants.pkl", NO_CONSTANTS),
        ("version", b"3\n"),
    ];
    for (name, bytes) in files {
        archive.start_file(format!("operators/{name}"), stored)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::worker::nets::{layers::channels_last, tests};

    fn values(seed: &str, size: &[i64]) -> Tensor {
        tests::values(seed, size).to_kind(Kind::Float)
    }

    #[test]
    fn they_give_what_convolution_sum_and_relu_give_one_after_the_other() {
        for (groups, stride, side) in [(1, 1, 3), (1, 2, 1), (4, 2, 3), (1, 2, 7)] {
            let kernel = channels_last(&values("kernel", &[8, 16 / groups, side, side]));
            let (bias, input) = (
                values("bias", &[8]),
                channels_last(&values("input", &[2, 16, 20, 20])),
            );
            let shape = Shape {
                stride,
                padding: side / 2,
                dilation: 1,
                groups,
            };
            let plain = input.conv2d(&kernel, Some(&bias), [stride; 2], [side / 2; 2], [1, 1], groups);
            let packed = Packed::new(&kernel, &bias, shape, [4, 16, 20, 20]).expect("x86 has them");
            let apart = |found: &Tensor, expected: &Tensor| {
                assert_eq!(found.size(), expected.size());
                (found - expected).abs().max().double_value(&[])
            };
            assert!(apart(&packed.forward(&input, After::Nothing), &plain) < 1e-4);
            let shared = packed.share();
            assert!(apart(&shared.forward(&input, After::Relu), &plain.relu()) < 1e-4);
            let shortcut = channels_last(&values("shortcut", &plain.size()));
            let sum = (&plain + &shortcut).relu();
            assert!(apart(&packed.forward_into(&shortcut, &input), &sum) < 1e-4);
            assert!(apart(&shortcut, &sum) < 1e-4, "it is written over");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_in_libtorchs_words() {
        let (kernel, bias) = (values("kernel", &[8, 16, 3, 3]), values("bias", &[8]));
        let shape = Shape {
            stride: 1,
            padding: 1,
            dilation: 1,
            groups: 1,
        };
        let packed = Packed::new(&kernel, &bias, shape, [1, 16, 8, 8]).expect("x86 has them");
        let fault =
            crate::worker::fault::caught(|| packed.forward(&values("input", &[1, 5, 8, 8]), After::Relu));
        assert!(fault.is_err());
    }
}
