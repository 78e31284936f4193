//! The threads that libtorch itself computes with: a team of libgomp's. A second set of threads beside them would have to share the
//! cores with theirs, which wait for more work by spinning.

use std::{
    ffi::{c_uint, c_void},
    sync::OnceLock,
};

use libloading::os::unix::Library;

type Body = extern "C" fn(*mut c_void);
/// What compilers make of `#pragma omp parallel`; part of libgomp's stable interface.
type Parallel = unsafe extern "C" fn(Body, *mut c_void, c_uint, c_uint);

#[derive(Clone, Copy, Debug)]
pub(super) struct Threads(Parallel);

impl Threads {
    /// None where libtorch was built with other threads.
    pub fn of_libtorch() -> Option<Self> {
        static PARALLEL: OnceLock<Option<Parallel>> = OnceLock::new();
        // SAFETY: the symbol is a function of this type wherever there is one of this name. Nothing unloads libgomp.
        let find = || unsafe {
            Library::this()
                .get::<Parallel>(c"GOMP_parallel")
                .ok()
                .map(|found| *found)
        };
        PARALLEL.get_or_init(find).map(Self)
    }

    /// Does the work on so many threads at once, each of which is to take a part of it, and returns when all have. A panic of `work` ends
    /// the process.
    pub fn each(self, count: usize, work: &(dyn Fn() + Sync)) {
        if count <= 1 {
            return work();
        }
        let mut work = work;
        let data = (&raw mut work).cast::<c_void>();
        // SAFETY: `work` lives until the team has done it, and may be called from several threads.
        unsafe { (self.0)(body, data, count as c_uint, 0) };
    }
}

extern "C" fn body(data: *mut c_void) {
    // SAFETY: `each` passes exactly this.
    let work = unsafe { &*data.cast::<&(dyn Fn() + Sync)>() };
    work();
}
