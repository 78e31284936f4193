//! Auxiliary heads: classifiers in the middle of a network that learn from the same labels, so that the layers before them get their
//! gradient over a short way (Szegedy et al. 2015, section 5). Only training has them. Names and layers are torchvision's.

use super::{
    Architecture, Stage,
    families::{googlenet, inception_v3},
    layer::{Layer, Op, joined},
    network::NetworkDesign,
};

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct AuxiliaryHead {
    pub begins: Place,
    /// From the activations there to logits `[N, classes]`.
    pub layer: Layer,
}

/// A place between two layers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub stage: Stage,
    /// Layers of the stage before it, at least 1.
    pub layers: usize,
}

impl Architecture {
    /// From the input on; of most networks there are none.
    pub fn auxiliary_heads(self, classes: u64) -> Vec<AuxiliaryHead> {
        let heads = match self {
            Architecture::Googlenet => googlenet::auxiliary(classes),
            Architecture::InceptionV3 => inception_v3::auxiliary(classes),
            _ => Vec::new(),
        };
        let design = self.design();
        let placed = heads.into_iter().filter_map(|(after, layer)| {
            let begins = design.place_after(after)?;
            Some(AuxiliaryHead { begins, layer })
        });
        placed.collect()
    }
}

impl AuxiliaryHead {
    /// Full name of the layer that gives the logits.
    pub fn output(&self) -> String {
        let last = match &self.layer.op {
            Op::Sequence(layers) => layers.last().map_or("", |layer| &layer.name),
            _ => "",
        };
        joined(&self.layer.name, last)
    }
}

impl NetworkDesign {
    /// Behind the layer of a stage that has this name.
    fn place_after(&self, name: &str) -> Option<Place> {
        self.stages.iter().find_map(|(stage, layers)| {
            let index = layers.iter().position(|layer| layer.name == name)?;
            Some(Place {
                stage: *stage,
                layers: index + 1,
            })
        })
    }

    /// The layers before a place, from the input on.
    pub fn layers_before(&self, place: Place) -> impl Iterator<Item = &Layer> {
        let stages = self.stages.iter().filter(move |(stage, _)| *stage <= place.stage);
        stages.flat_map(move |(stage, layers)| {
            let count = if *stage == place.stage {
                place.layers
            } else {
                layers.len()
            };
            &layers[..count.min(layers.len())]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inception_networks_have_them_where_torchvision_has() {
        let places = |architecture: Architecture| -> Vec<_> {
            let heads = architecture.auxiliary_heads(7);
            let told = |head: &AuxiliaryHead| (head.begins.stage, head.begins.layers, head.output());
            heads.iter().map(told).collect()
        };
        assert_eq!(
            places(Architecture::InceptionV3),
            [(Stage::of(2), 5, "AuxLogits.fc".to_owned())]
        );
        assert_eq!(
            places(Architecture::Googlenet),
            [
                (Stage::of(2), 1, "aux1.fc2".to_owned()),
                (Stage::of(2), 4, "aux2.fc2".to_owned())
            ]
        );
        let with = Architecture::ALL
            .into_iter()
            .filter(|it| !it.auxiliary_heads(2).is_empty());
        assert_eq!(with.count(), 2);
    }
}
