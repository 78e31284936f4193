//! How large a network is: parameters and multiply-adds, summed over its layers.

use super::{Architecture, layer::Layer, shape::Shape};

impl Architecture {
    /// Trainable parameters, with a head of `classes` outputs. PyTorch counts the same with `sum(p.numel() for p in model.parameters())`.
    pub fn parameters(self, classes: u64) -> u64 {
        let tensors = self.design().tensors(classes).into_iter();
        let learning = tensors.filter(|(_, _, tensor)| tensor.learns());
        learning.map(|(_, _, tensor)| tensor.numbers()).sum()
    }

    /// Multiply-adds for one image of `side × side` pixels, in convolutions, linear layers and attention, which is what torchvision
    /// publishes as GFLOPS. Normalisation, pooling and additions are not counted.
    pub fn multiply_adds(self, classes: u64, side: u32) -> u64 {
        let design = self.design();
        let mut sum = 0;
        let mut count = |layer: &Layer, _, input: Shape| sum += layer.op.multiply_adds(input);
        let (_, features) = design.follow(side, &mut count);
        design.head(classes).follow("", features, &mut count);
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        architectures: BTreeMap<String, Counted>,
    }

    #[derive(Deserialize)]
    struct Families {
        networks: BTreeMap<String, CountedFamily>,
    }

    /// What PyTorch counts, see `scripts/parity`.
    #[derive(Deserialize)]
    struct Counted {
        classes: u64,
        parameters: u64,
        multiply_adds: u64,
        /// As published by torchvision, in units of 10⁹; none for networks that torchvision does not have.
        published_gflops: Option<f64>,
    }

    /// The same, see `scripts/parity-families`.
    #[derive(Deserialize)]
    struct CountedFamily {
        native_size: u32,
        counted_classes: u64,
        parameters: u64,
        multiply_adds: u64,
        published_gflops: Option<f64>,
    }

    fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn check(architecture: Architecture, counted: &Counted) {
        let multiply_adds = architecture.multiply_adds(counted.classes, architecture.native_size());
        let parameters = architecture.parameters(counted.classes);
        assert_eq!(parameters, counted.parameters, "{architecture}");
        assert_eq!(multiply_adds, counted.multiply_adds, "{architecture}");
        let published = counted.published_gflops;
        let off = published.map_or(0.0, |published| (multiply_adds as f64 / 1e9 - published).abs());
        assert!(off <= 0.002, "{architecture}: {multiply_adds} and {published:?}");
    }

    #[test]
    fn parameters_and_multiply_adds_are_what_pytorch_counts() {
        let (resnets, families): (Golden, Families) = (golden("parity.json"), golden("families.json"));
        let known = resnets.architectures.len() + families.networks.len();
        assert_eq!(known, Architecture::ALL.len());
        for architecture in Architecture::ALL {
            if let Some(counted) = resnets.architectures.get(architecture.as_str()) {
                let is_published = counted.published_gflops.is_some();
                assert_eq!(is_published, !architecture.sees_whole_images(), "{architecture}");
                check(architecture, counted);
                continue;
            }
            let counted = &families.networks[architecture.as_str()];
            assert_eq!(architecture.native_size(), counted.native_size, "{architecture}");
            let counted = Counted {
                classes: counted.counted_classes,
                parameters: counted.parameters,
                multiply_adds: counted.multiply_adds,
                published_gflops: counted.published_gflops,
            };
            check(architecture, &counted);
        }
    }
}
