//! What some programs store beside a network's weights although it follows from the network alone: of Swin transformers the places of the
//! distances within a window, and which places of a window do not see each other.

const TENSORS: [&str; 2] = ["relative_position_index", "attn_mask"];

/// Whether a tensor is one of them.
pub fn is_computed(name: &str) -> bool {
    name.rsplit('.')
        .next()
        .is_some_and(|last| TENSORS.contains(&last))
}
