//! The memory of tensors as numbers.

use std::slice;

use tch::{Device, Kind, Tensor};

/// The numbers of a dense tensor of 32-bit floats in memory order.
///
/// # Panics
/// Where it is none.
///
/// # Safety
/// Nobody writes to its memory, through this tensor or another that shares it, for as long as the numbers are borrowed.
pub(super) unsafe fn floats(tensor: &Tensor) -> &[f32] {
    check_dense_floats(tensor);
    match tensor.numel() {
        0 => &[],
        // SAFETY: a dense tensor has so many numbers from here on, and nobody writes to them.
        count => unsafe { slice::from_raw_parts(tensor.data_ptr().cast(), count) },
    }
}

/// # Panics
/// Where these are no 32-bit floats on the processor, or where there are gaps between them or places that are shared.
pub(super) fn check_dense_floats(tensor: &Tensor) {
    assert_eq!((tensor.kind(), tensor.device()), (Kind::Float, Device::Cpu));
    let mut dimensions: Vec<(i64, i64)> = tensor.stride().into_iter().zip(tensor.size()).collect();
    dimensions.retain(|(_, length)| *length != 1);
    dimensions.sort_unstable();
    let mut dense = 1;
    for (stride, length) in dimensions {
        assert!(stride == dense || tensor.numel() == 0, "the tensor is not dense");
        dense *= length;
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn only_dense_floats_are_numbers_in_memory_order() {
        let numbers = Tensor::from_slice(&[0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]).reshape([1, 2, 3]);
        // SAFETY: nobody writes to these tensors.
        let read = |tensor: &Tensor| unsafe { floats(tensor).to_vec() };
        assert_eq!(read(&numbers), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read(&numbers.permute([2, 0, 1])), read(&numbers));
        assert_eq!(read(&Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))), [0.0; 0]);
        for wrong in [
            numbers.narrow(2, 0, 2),
            numbers.narrow(2, 0, 1).expand([1, 2, 3], false),
            numbers.to_kind(Kind::Double),
        ] {
            assert!(panic::catch_unwind(panic::AssertUnwindSafe(|| read(&wrong))).is_err());
        }
    }
}
