//! What a decompressor may remember.

/// Most bytes of earlier output that a decompressor keeps, whatever the archive asks for: as much as `xz -9` and `zstd --long` use,
/// and what their programs allow by default.
pub const MAX_WINDOW_BYTES: u64 = 128 << 20;
