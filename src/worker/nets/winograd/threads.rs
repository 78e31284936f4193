//! The threads that libtorch itself computes with: a team of libgomp's. A second set of threads beside them would have to share the
//! cores with theirs, which wait for more work by spinning.

use std::{
    ffi::{c_uint, c_void},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
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

    /// Does the work for each of the numbers below `end`, on as many threads as libtorch computes with: each takes the next number that
    /// nobody has taken yet. A panic of `work` ends the process.
    pub fn each(self, end: usize, work: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let count = tch::get_num_threads().max(1) as usize;
        self.at_once(count.min(end), &|| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return;
                }
                work(number);
            }
        });
    }

    /// Does the work on so many threads at once, and returns when all have.
    fn at_once(self, count: usize, work: &(dyn Fn() + Sync)) {
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
    // SAFETY: `at_once` passes exactly this.
    let work = unsafe { &*data.cast::<&(dyn Fn() + Sync)>() };
    work();
}
