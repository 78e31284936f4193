//! Settings of libtorch for cards that tch has no calls for; `settings.cpp` has them. They are the process's.

unsafe extern "C" {
    fn finetuned_allow_tf32(allowed: bool);
    #[cfg(test)]
    fn finetuned_tf32_is_allowed() -> bool;
    fn finetuned_empty_cache();
}

/// Whether cards may compute products of 32-bit floats in TF32, with a mantissa of 10 bits. By default libtorch lets convolutions do so.
pub fn allow_tf32(allowed: bool) {
    // SAFETY: sets two fields of libtorch's context, and cannot fail.
    unsafe { finetuned_allow_tf32(allowed) }
}

/// Gives back to the card what libtorch keeps of freed memory, so that other pieces fit, and other processes.
pub fn give_back_freed_memory() {
    // SAFETY: it catches what libtorch throws, and frees nothing that is in use.
    unsafe { finetuned_empty_cache() }
}

#[cfg(test)]
pub fn tf32_is_allowed() -> bool {
    // SAFETY: reads two fields of libtorch's context.
    unsafe { finetuned_tf32_is_allowed() }
}
