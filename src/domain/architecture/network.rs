//! The definition of a network: its stages, how their output becomes a feature vector, and its head.

use super::{
    Head, Stage,
    layer::{Layer, Op},
    shape::Shape,
    tensors::TensorDesign,
};

/// A network without its number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkDesign {
    /// In order from the input: what can be frozen.
    pub stages: Vec<(Stage, Vec<Layer>)>,
    /// From the output of the last stage to the feature vector `[N, features]`. These layers belong to the last stage: freezing it freezes
    /// them. Empty where the head gets a map, see [`NetworkDesign::has_map_features`].
    pub pooling: Vec<Layer>,
    /// Name of the head: of the layer that maps features to logits in the published network.
    pub head: &'static str,
    /// Side, in pixels, of the square images that it is designed for.
    pub native_size: u32,
    /// Share of the features that its authors drop before the head in training: the default of `head.dropout`.
    pub dropout: f64,
    pub in_timm: InTimm,
}

/// Whether and how timm has a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InTimm {
    No,
    /// With the same names of parameters.
    Same,
    /// With the names that the layers say, and what differs besides.
    Renamed {
        /// Its name of the head.
        head: &'static str,
        /// Of all BatchNorms, where it is another.
        epsilon: Option<f64>,
    },
}

impl InTimm {
    /// With another name of the head, and the same constants.
    pub const fn renamed(head: &'static str) -> Self {
        let epsilon = None;
        Self::Renamed { head, epsilon }
    }
}

impl NetworkDesign {
    /// What maps features to logits in the published network.
    pub fn head(&self, classes: u64) -> Layer {
        self.head_of(Head::Linear, classes)
    }

    /// Length of the feature vector that goes into the head.
    pub fn features(&self) -> u64 {
        self.follow(self.native_size, |_, _, _| {}).1.channels()
    }

    /// Whether its published head gets the map `[N, features, h, w]` of the last stage. The feature vector is then the mean of the map.
    pub fn has_map_features(&self) -> bool {
        matches!(self.follow(self.native_size, |_, _, _| {}).1, Shape::Map { .. })
    }

    /// Pixels of the image, along a side, per position of the last stage's activations.
    pub fn total_stride(&self) -> u32 {
        let (activations, _) = self.follow(self.native_size, |_, _, _| {});
        match activations {
            Shape::Map { height, .. } => self.native_size / height as u32,
            Shape::Tokens { count, .. } => self.native_size / count.isqrt().max(1) as u32,
            Shape::Vector { .. } => self.native_size,
        }
    }

    /// The last stage, whose output becomes the feature vector.
    pub fn last_stage(&self) -> Stage {
        self.stages.last().map_or(Stage::STEM, |(stage, _)| *stage)
    }

    /// The last stage that has a convolution, or the first.
    pub fn last_convolution(&self) -> Stage {
        let has_kernel = |layer: &Layer| {
            let mut found = false;
            layer.each_tensor("", &mut |_, tensor| {
                found |= tensor.name == "weight" && tensor.shape.len() == 4
            });
            found
        };
        let stages = self.stages.iter().rev();
        let last = stages
            .filter(|(_, layers)| layers.iter().any(has_kernel))
            .map(|(stage, _)| *stage)
            .next();
        last.unwrap_or(Stage::STEM)
    }

    /// All layers with this head, in order. Neighbouring sequences of one name, such as stages that are parts of
    /// torchvision's `features`, are one sequence.
    pub fn merged(&self, head: Layer) -> Vec<Layer> {
        let mut all = Vec::new();
        for layer in self.backbone().cloned().chain([head]) {
            append(&mut all, layer);
        }
        all
    }

    /// All layers but the head, in order.
    pub fn backbone(&self) -> impl Iterator<Item = &Layer> {
        let stages = self.stages.iter().flat_map(|(_, layers)| layers);
        stages.chain(&self.pooling)
    }

    /// Every tensor of the published network with its stage; those of the head have none.
    pub fn tensors(&self, classes: u64) -> Vec<(Option<Stage>, String, TensorDesign)> {
        self.tensors_with(Head::Linear, classes)
    }

    /// The same with another head.
    pub fn tensors_with(&self, head: Head, classes: u64) -> Vec<(Option<Stage>, String, TensorDesign)> {
        let mut all = Vec::new();
        let mut take = |stage: Option<Stage>, layer: &Layer| {
            layer.each_tensor("", &mut |name, tensor| all.push((stage, name, tensor)));
        };
        for (stage, layers) in &self.stages {
            layers.iter().for_each(|layer| take(Some(*stage), layer));
        }
        let last = self.last_stage();
        self.pooling.iter().for_each(|layer| take(Some(last), layer));
        take(None, &self.head_of(head, classes));
        all
    }

    /// Whether a stage after this one, or any stage, has a BatchNorm.
    pub fn has_statistics_after(&self, frozen: Option<Stage>) -> bool {
        let is_after = |stage: Option<Stage>| stage > frozen;
        let tensors = self.tensors(2);
        tensors
            .iter()
            .any(|(stage, _, tensor)| is_after(*stage) && tensor.name == "running_mean")
    }

    /// Whether it has attention between places of the image.
    pub fn is_transformer(&self) -> bool {
        let mut found = false;
        self.follow(self.native_size, |layer, _, _| {
            found |= matches!(layer.op, Op::Attention(_) | Op::WindowAttention(_))
        });
        found
    }

    /// The shapes of the last stage's output and of the feature vector for an image of `side × side` pixels. Calls `each` with every layer
    /// of the backbone that is no composition, its full name, and the shape of its input.
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

fn append(all: &mut Vec<Layer>, next: Layer) {
    if let (Some(last), Op::Sequence(layers)) = (all.last_mut(), &next.op)
        && let Op::Sequence(before) = &mut last.op
        && last.name == next.name
        && !next.name.is_empty()
    {
        layers.iter().for_each(|layer| append(before, layer.clone()));
        return;
    }
    all.push(next);
}
