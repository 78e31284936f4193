//! The pickle of a tree of modules, in the opcodes (protocol 2) and names that torch's unpickler knows.
//!
//! A module is an object of its class with a dictionary of its attributes; a tensor refers to a storage, which is a file of its own.

use tch::{Kind, Tensor};

use super::{Module, Slot, modules::NAMESPACE};
use crate::worker::files::state::StateDict;

const PROTO_2: &[u8] = b"\x80\x02";
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const TUPLE: u8 = b't';
const EMPTY_TUPLE: u8 = b')';
const EMPTY_DICT: u8 = b'}';
const SETITEMS: u8 = b'u';
const GLOBAL: u8 = b'c';
const NEWOBJ: u8 = 0x81;
const REDUCE: u8 = b'R';
const BUILD: u8 = b'b';
const BINPERSID: u8 = b'Q';
const BINUNICODE: u8 = b'X';
const BININT: u8 = b'J';
const LONG1: u8 = 0x8a;
const NEWTRUE: u8 = 0x88;
const NEWFALSE: u8 = 0x89;
const NONE: u8 = b'N';

/// Pickles a module. Its tensors, contiguous ones of `state`, are added to `tensors`: their index there is the name of their storage.
pub fn module<'a>(root: &Module, state: &'a StateDict, tensors: &mut Vec<&'a Tensor>) -> Vec<u8> {
    let mut pickle = Pickle {
        out: PROTO_2.to_vec(),
        state,
        tensors,
    };
    pickle.module(root);
    pickle.out.push(STOP);
    pickle.out
}

struct Pickle<'a, 'b> {
    out: Vec<u8>,
    state: &'a StateDict,
    tensors: &'b mut Vec<&'a Tensor>,
}

impl Pickle<'_, '_> {
    fn module(&mut self, module: &Module) {
        self.global(&format!("__torch__.{NAMESPACE}"), &module.class);
        self.out.extend([EMPTY_TUPLE, NEWOBJ, EMPTY_DICT, MARK]);
        for (name, slot) in &module.slots {
            self.text(name);
            match slot {
                Slot::Parameter(tensor) => self.tensor(tensor, true),
                Slot::Buffer(tensor) => self.tensor(tensor, false),
                Slot::Integer(value) => self.integer(*value as i64),
                Slot::Module(module) => self.module(module),
            }
        }
        self.text("training");
        self.out.push(NEWFALSE);
        self.text("_is_full_backward_hook");
        self.out.push(NONE);
        self.out.extend([SETITEMS, BUILD]);
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, OrderedDict())`
    fn tensor(&mut self, name: &str, learns: bool) {
        let tensor = &self.state[name];
        let storage = match tensor.kind() {
            Kind::Int64 => "LongStorage",
            _ => "FloatStorage",
        };
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.out.extend([MARK, MARK]);
        self.text("storage");
        self.global("torch", storage);
        self.text(&self.tensors.len().to_string());
        self.text("cpu");
        self.integer(tensor.numel() as i64);
        self.out.extend([TUPLE, BINPERSID]);
        self.integer(0);
        // Not the tensor's own: a dimension of length one may have any stride in memory.
        let size = tensor.size();
        let stride: Vec<i64> = (1..=size.len())
            .map(|place| size[place..].iter().product())
            .collect();
        for extents in [size, stride] {
            self.out.push(MARK);
            for extent in extents {
                self.integer(extent);
            }
            self.out.push(TUPLE);
        }
        self.out.push(if learns { NEWTRUE } else { NEWFALSE });
        self.global("collections", "OrderedDict");
        self.out.extend([EMPTY_TUPLE, REDUCE, TUPLE, REDUCE]);
        self.tensors.push(tensor);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.out.push(GLOBAL);
        self.out.extend(format!("{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.out.push(BINUNICODE);
        self.out.extend((text.len() as u32).to_le_bytes());
        self.out.extend(text.bytes());
    }

    fn integer(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.out.push(BININT);
                self.out.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.out.extend([LONG1, 8]);
                self.out.extend(value.to_le_bytes());
            }
        }
    }
}
