//! The only globals that a pickle may use. They stand for what is to be described; nothing is looked up or called.

use tch::Kind;

use super::fault::{Outcome, PickleFault, shown};

/// An allowed global.
#[derive(Clone, Copy)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Kind),
}

impl Global {
    pub fn find(module: &str, name: &str) -> Outcome<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "FloatStorage") => Global::Storage(Kind::Float),
            ("torch", "HalfStorage") => Global::Storage(Kind::Half),
            ("torch", "BFloat16Storage") => Global::Storage(Kind::BFloat16),
            ("torch", "DoubleStorage") => Global::Storage(Kind::Double),
            ("torch", "LongStorage") => Global::Storage(Kind::Int64),
            ("torch", "IntStorage") => Global::Storage(Kind::Int),
            ("torch", "ByteStorage") => Global::Storage(Kind::Uint8),
            ("torch", "BoolStorage") => Global::Storage(Kind::Bool),
            _ => return Err(PickleFault::Forbidden(shown(&format!("{module}.{name}")))),
        })
    }
}
