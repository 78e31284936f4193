//! NVML (nvml.h of CUDA 12 and 13) as far as the server uses it, with two cards; the second does not say how busy it is. Built by the tests of
//! `http/metrics/devices.rs`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong};

#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}
#[repr(C)]
pub struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_int {
    0
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> c_int {
    0
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(id: *const c_char, device: *mut usize) -> c_int {
    let known = [c"0000:3b:00.0", c"0000:af:00.0"];
    match known
        .iter()
        .position(|known| *known == unsafe { CStr::from_ptr(id) })
    {
        Some(place) => {
            unsafe { *device = place + 1 };
            0
        }
        None => 6,
    }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: usize, memory: *mut Memory) -> c_int {
    let memory = unsafe { &mut *memory };
    if memory.version as usize != size_of::<Memory>() | (2 << 24) {
        return 25;
    }
    *memory = Memory {
        version: memory.version,
        total: 100,
        reserved: 1,
        free: 90,
        used: 9 * device as u64,
    };
    0
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(device: usize, rates: *mut Utilization) -> c_int {
    if device == 2 {
        return 3;
    }
    unsafe { *rates = Utilization { gpu: 75, memory: 5 } };
    0
}
