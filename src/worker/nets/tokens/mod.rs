//! What transformers compute between places of an image: attention, over all places or within windows, and where these places are.

pub mod attention;
pub mod positions;
pub mod rotary;
pub mod windows;
