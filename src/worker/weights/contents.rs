//! What a file of weights holds, whatever its format.

use crate::worker::files::state::StateDict;

/// What a file of weights holds.
#[derive(Debug)]
pub struct Contents {
    pub state: StateDict,
    /// What was chosen and what was left out, each a sentence without its full stop.
    pub told: Vec<String>,
    /// Whether the choice could be wrong.
    pub guessed: bool,
}
