//! The server's allocator: jemalloc, for the library's code and SQLite alike.
//!
//! The allocator of the C library keeps pages between small allocations that are still in use, and never moves them: with 2 MB in use the
//! server held 7 MB, a little more with every hour of mixed load. jemalloc sorts allocations by size and returns empty pages.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc at its start (jemalloc(3), *Tuning*). One arena: the server mostly waits, and threads have caches of their own. Freed
/// pages go back to the system after five seconds.
// SAFETY: a string that ends with a zero, as jemalloc expects; nothing else in the program has this name.
#[unsafe(export_name = "malloc_conf")]
pub static SETTINGS: &[u8; 47] = b"narenas:1,dirty_decay_ms:5000,muzzy_decay_ms:0\0";
