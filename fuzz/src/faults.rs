//! What must be so of every list of faults that a caller is told.

use crate::error::FieldError;

/// There is at least one, and each says where, what and why: a JSON pointer (RFC 6901), a code for programs, a sentence.
pub fn are_told(faults: &[FieldError]) {
    assert!(!faults.is_empty(), "it was refused for no reason");
    for fault in faults {
        assert!(is_pointer(&fault.pointer), "{fault:?}");
        assert!(!fault.code.is_empty() && !fault.message.is_empty(), "{fault:?}");
    }
}

fn is_pointer(text: &str) -> bool {
    let is_escaped = |after: &str| after.starts_with(['0', '1']);
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(is_escaped)
}
