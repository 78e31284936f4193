//! What our C++ gives back: a tensor, or the text of a fault.

use std::ffi::{CStr, c_char, c_void};

use tch::Tensor;

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

/// The tensor, if there is one, or libtorch's words about what went wrong.
///
/// # Safety
/// `fault` is null or a text that malloc made room for; `output` is null or a tensor made with `new`. Both are given up.
pub unsafe fn result(fault: *mut c_char, output: *mut c_void) -> Result<Option<Tensor>, String> {
    if !fault.is_null() {
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(fault).to_string_lossy().into_owned() };
        unsafe { free(fault.cast()) };
        return Err(text);
    }
    if output.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    Ok(Some(unsafe { Tensor::from_ptr(output.cast()) }))
}

/// The tensor; a fault is a panic, as in tch's own calls.
///
/// # Safety
/// As [`result`].
pub unsafe fn tensor(fault: *mut c_char, output: *mut c_void) -> Tensor {
    // SAFETY: the caller's promise.
    match unsafe { result(fault, output) } {
        Ok(Some(tensor)) => tensor,
        Ok(None) => panic!("not enough memory for the text of an error"),
        Err(text) => panic!("{text}"),
    }
}
