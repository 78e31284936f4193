//! Nodes and initialisers of a graph: the output of a node has the node's name, a weight has torchvision's.

use bytes::Bytes;
use tch::Tensor;

use super::messages::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, AttributeProto, FLOAT, INT64, NodeProto, TensorProto,
};
use crate::worker::autograd::without_gradients;
use crate::worker::files::state::{self, StateDict};

/// A graph being built from a model's tensors.
pub struct Graph<'a> {
    state: &'a StateDict,
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<TensorProto>,
}

impl<'a> Graph<'a> {
    pub fn new(state: &'a StateDict) -> Self {
        Self {
            state,
            nodes: Vec::new(),
            initializers: Vec::new(),
        }
    }

    /// Adds a node and returns the name of its output.
    pub fn node(
        &mut self,
        operator: &str,
        name: &str,
        input: impl IntoIterator<Item = impl AsRef<str>>,
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.nodes.push(NodeProto {
            input: input.into_iter().map(|name| name.as_ref().to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    /// Adds a node with two outputs and returns their names; the node has the first one's.
    pub fn node_of_two(
        &mut self,
        operator: &str,
        names: [&str; 2],
        input: impl IntoIterator<Item = impl AsRef<str>>,
        attribute: Vec<AttributeProto>,
    ) -> [String; 2] {
        let [first, second] = names.map(str::to_owned);
        self.node(operator, &first, input, attribute);
        if let Some(node) = self.nodes.last_mut() {
            node.output.push(second.clone());
        }
        [first, second]
    }

    /// Adds a tensor of the model and returns its name.
    pub fn weight(&mut self, name: String) -> String {
        self.changed(&name, Tensor::shallow_clone)
    }

    /// Adds a tensor that is computed from one of the model, under that one's name.
    pub fn changed(&mut self, name: &str, change: impl FnOnce(&Tensor) -> Tensor) -> String {
        let tensor = Owned(without_gradients(|| change(&self.state[name]).contiguous()));
        self.initializers.push(TensorProto {
            dims: tensor.0.size(),
            data_type: FLOAT,
            name: name.to_owned(),
            // Not copied: a large network is in memory often enough.
            raw_data: Bytes::from_owner(tensor),
        });
        name.to_owned()
    }

    /// Floats that are not part of the model.
    pub fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, dims, FLOAT, bytes.collect())
    }

    /// One integer, a scalar.
    pub fn integer(&mut self, name: &str, value: i64) -> String {
        self.constant(name, &[], INT64, value.to_le_bytes().to_vec())
    }

    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, &[values.len() as i64], INT64, bytes.collect())
    }

    fn constant(&mut self, name: &str, dims: &[i64], data_type: i32, bytes: Vec<u8>) -> String {
        self.initializers.push(TensorProto {
            dims: dims.to_vec(),
            data_type,
            name: name.to_owned(),
            raw_data: bytes.into(),
        });
        name.to_owned()
    }
}

/// The bytes of a contiguous tensor on the CPU, which is kept alive.
struct Owned(Tensor);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: nothing writes to a model while it is exported.
        unsafe { state::bytes_of(&self.0) }
    }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: Some(value),
        r#type: ATTRIBUTE_FLOAT,
        ..AttributeProto::default()
    }
}

pub fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(value),
        r#type: ATTRIBUTE_INT,
        ..AttributeProto::default()
    }
}

pub fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: ATTRIBUTE_INTS,
        ..AttributeProto::default()
    }
}
