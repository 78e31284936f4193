//! The few calls of the CUDA driver (libcuda.so.1) that describe a GPU; libtorch has none for that.
//!
//! It numbers GPUs as libtorch does, including `CUDA_VISIBLE_DEVICES`.

use std::ffi::{CStr, c_char, c_int, c_uint};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `…_MINOR` of cuda.h.
const COMPUTE_CAPABILITY: [c_int; 2] = [75, 76];

pub struct Driver {
    library: Library,
}

impl Driver {
    /// None if there is no driver.
    pub fn open() -> Option<Self> {
        // SAFETY: the driver's library is already loaded wherever libtorch found a GPU.
        let library = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW | RTLD_LOCAL) }.ok()?;
        let driver = Self { library };
        type Init = unsafe extern "C" fn(c_uint) -> c_int;
        // SAFETY: the signature is `CUresult cuInit(unsigned int)`.
        let status = unsafe { driver.library.get::<Init>(c"cuInit").ok()?(0) };
        (status == 0).then_some(driver)
    }

    /// Name and bytes of memory of a GPU.
    pub fn card(&self, index: usize) -> Option<(String, u64)> {
        type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
        type Memory = unsafe extern "C" fn(*mut usize, c_int) -> c_int;
        let handle = self.handle(index)?;
        let mut name = [0 as c_char; 256];
        let mut memory: usize = 0;
        // SAFETY: the signatures are those of cuda.h (cuDeviceGetName, cuDeviceTotalMem_v2), which are stable; every pointer is to a
        // local of the right type, and the name's length is given.
        let found = unsafe {
            self.library.get::<Name>(c"cuDeviceGetName").ok()?(name.as_mut_ptr(), 255, handle) == 0
                && self.library.get::<Memory>(c"cuDeviceTotalMem_v2").ok()?(&mut memory, handle) == 0
        };
        // SAFETY: the array was zeroed and its last byte never written, so it ends in a zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        found.then(|| (name.to_string_lossy().into_owned(), memory as u64))
    }

    /// Where on the bus a GPU is, as `0000:3b:00.0`.
    pub fn pci_bus_id(&self, index: usize) -> Option<String> {
        type BusId = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
        let handle = self.handle(index)?;
        let mut id = [0 as c_char; 32];
        // SAFETY: the signature is `CUresult cuDeviceGetPCIBusId(char*, int, CUdevice)`; the pointer is to a local, whose length is given.
        let found = unsafe {
            self.library.get::<BusId>(c"cuDeviceGetPCIBusId").ok()?(id.as_mut_ptr(), 31, handle) == 0
        };
        // SAFETY: the array was zeroed and its last byte never written, so it ends in a zero.
        let id = unsafe { CStr::from_ptr(id.as_ptr()) };
        found.then(|| id.to_string_lossy().into_owned())
    }

    /// Major and minor.
    pub fn compute_capability(&self, index: usize) -> Option<(u32, u32)> {
        type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
        let handle = self.handle(index)?;
        let value = |attribute| {
            let mut value: c_int = 0;
            // SAFETY: the signature is `CUresult cuDeviceGetAttribute(int*, CUdevice_attribute, CUdevice)`; the pointer is to a local.
            let found = unsafe {
                self.library.get::<Attribute>(c"cuDeviceGetAttribute").ok()?(&mut value, attribute, handle)
                    == 0
            };
            found.then_some(value).and_then(|value| u32::try_from(value).ok())
        };
        let [major, minor] = COMPUTE_CAPABILITY.map(value);
        Some((major?, minor?))
    }

    fn handle(&self, index: usize) -> Option<c_int> {
        type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
        let mut handle: c_int = 0;
        // SAFETY: the signature is `CUresult cuDeviceGet(CUdevice*, int)`; the pointer is to a local.
        let found =
            unsafe { self.library.get::<Get>(c"cuDeviceGet").ok()?(&mut handle, index as c_int) == 0 };
        found.then_some(handle)
    }
}
