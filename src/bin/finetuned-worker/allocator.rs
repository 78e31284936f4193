//! The worker's allocator: jemalloc, for our code and libtorch alike.
//!
//! A step allocates and frees the same tensors again and again. The allocator of the C library returns every one of more than 32 MB to the
//! system, which then clears its pages for the next step: a fifth of the processor time of an epoch of a ViT-S. jemalloc keeps freed pages.

use std::{ptr, thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc at its start (jemalloc(3), *Tuning*). Freed pages are kept, those of large tensors too (`oversize_threshold`: without it
/// they would go back to the system at once). No `dirty_decay_ms` of some seconds is long enough: it counts from the first step on, not from
/// the last one, and steps may take as long.
// SAFETY: a string that ends with a zero, as jemalloc expects; nothing else in the program has this name.
#[unsafe(export_name = "malloc_conf")]
pub static SETTINGS: &[u8; 56] = b"oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:0\0";

/// How often a child that lives long is looked at, and up to which share of a processor it counts as idle.
const LOOK: Duration = Duration::from_secs(10);
const IDLE: f64 = 0.05;
/// Processor time, in seconds, in which there is something to give back.
const LITTLE: f64 = 0.1;

/// Gives freed pages back to the system whenever this process has done next to nothing for a while.
pub fn return_pages_when_idle() {
    let look = || {
        let (mut before, mut returned) = (0.0, 0.0);
        loop {
            thread::sleep(LOOK);
            let now = processor_seconds();
            if now - before < IDLE * LOOK.as_secs_f64() && now - returned > LITTLE {
                return_pages();
                returned = processor_seconds();
            }
            before = now;
        }
    };
    // Without the thread they are kept: nothing else changes.
    let _ = thread::Builder::new().name("idle-pages".to_owned()).spawn(look);
}

fn return_pages() {
    // SAFETY: it takes no value and gives none; 4096 stands for all arenas (jemalloc(3), `arena.<i>.purge`).
    unsafe {
        tikv_jemalloc_sys::mallctl(
            c"arena.4096.purge".as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
        );
    }
}

/// What all threads of this process have used so far.
fn processor_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}
