//! A network, written down: its stages, how their result becomes a feature vector, and its head.

use super::{
    Stage,
    init::Init,
    layer::{Layer, Linear, Op},
    shape::Shape,
    tensors::TensorDesign,
};

/// A network without the number of its classes.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkDesign {
    /// From the images on, in order: what can be frozen.
    pub stages: Vec<(Stage, Vec<Layer>)>,
    /// From what leaves the last stage to the feature vector `[N, features]`. They belong to the last stage: freezing it freezes them.
    pub pooling: Vec<Layer>,
    /// Name of the linear layer that makes logits of feature vectors.
    pub head: &'static str,
    /// Side of the square images that it is made for, in pixels.
    pub native_size: u32,
    /// Whether timm has it under the same name, with weights of ImageNet.
    pub in_timm: bool,
}

impl NetworkDesign {
    /// The layer that makes logits of feature vectors.
    pub fn head(&self, classes: u64) -> Layer {
        let features = self.features();
        let linear = Linear {
            from: features,
            to: classes,
            bias: true,
            init: Init::linear(features),
        };
        // A name with dots is that of a layer in a sequence.
        let mut names = self.head.rsplit('.');
        let head = Layer::new(names.next().unwrap_or_default(), Op::Linear(linear));
        names.fold(head, |head, name| Layer::sequence(name, vec![head]))
    }

    /// Length of the feature vector that the head sees.
    pub fn features(&self) -> u64 {
        self.follow(self.native_size, |_, _, _| {}).1.channels()
    }

    /// Pixels of the image, along a side, for each place of the last stage's activations.
    pub fn total_stride(&self) -> u32 {
        let (activations, _) = self.follow(self.native_size, |_, _, _| {});
        match activations {
            Shape::Map { height, .. } => self.native_size / height as u32,
            Shape::Tokens { count, .. } => self.native_size / count.isqrt().max(1) as u32,
            Shape::Vector { .. } => self.native_size,
        }
    }

    /// The stage that the feature vector leaves.
    pub fn last_stage(&self) -> Stage {
        self.stages.last().map_or(Stage::Stem, |(stage, _)| *stage)
    }

    /// All layers but the head, in order.
    pub fn backbone(&self) -> impl Iterator<Item = &Layer> {
        let stages = self.stages.iter().flat_map(|(_, layers)| layers);
        stages.chain(&self.pooling)
    }

    /// Every tensor of the network with the stage that it belongs to; the head's belong to none.
    pub fn tensors(&self, classes: u64) -> Vec<(Option<Stage>, String, TensorDesign)> {
        let mut all = Vec::new();
        let mut take = |stage: Option<Stage>, layer: &Layer| {
            layer.each_tensor("", &mut |name, tensor| all.push((stage, name, tensor)));
        };
        for (stage, layers) in &self.stages {
            layers.iter().for_each(|layer| take(Some(*stage), layer));
        }
        let last = self.last_stage();
        self.pooling.iter().for_each(|layer| take(Some(last), layer));
        take(None, &self.head(classes));
        all
    }

    /// What leaves the last stage, and the feature vector, of an image of `side × side` pixels. Calls `each` with every layer of the
    /// backbone that is no composition, its whole name, and what it gets.
    pub fn follow(&self, side: u32, mut each: impl FnMut(&Layer, String, Shape)) -> (Shape, Shape) {
        let mut shape = Shape::image(side.into());
        for layer in self.stages.iter().flat_map(|(_, layers)| layers) {
            shape = layer.follow("", shape, &mut each);
        }
        let activations = shape;
        for layer in &self.pooling {
            shape = layer.follow("", shape, &mut each);
        }
        (activations, shape)
    }
}
