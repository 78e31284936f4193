//! Exports: the formats, their options, and the names of the files.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{
        architecture::{Architecture, Head},
        name::Name,
    },
    error::FieldError,
};

/// A format that a model can be exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Weights with torchvision's parameter names; labels and preprocessing in the file's metadata.
    Safetensors,
    /// A zip of the model's own two files, `model.json` and `model.safetensors`.
    Bundle,
    /// A zip of a folder that `timm.create_model("local-dir:…")` accepts, with timm's parameter names.
    Timm,
    /// A module for `torch.jit.load`, its parameters named as in torchvision.
    Torchscript,
    /// A graph of opset 17 for any number of images.
    Onnx,
}

impl ExportFormat {
    pub const ALL: [ExportFormat; 5] = [
        ExportFormat::Safetensors,
        ExportFormat::Bundle,
        ExportFormat::Timm,
        ExportFormat::Torchscript,
        ExportFormat::Onnx,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ExportFormat::Safetensors => "safetensors",
            ExportFormat::Bundle => "bundle",
            ExportFormat::Timm => "timm",
            ExportFormat::Torchscript => "torchscript",
            ExportFormat::Onnx => "onnx",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            ExportFormat::Bundle | ExportFormat::Timm => "application/zip",
            ExportFormat::Safetensors | ExportFormat::Torchscript | ExportFormat::Onnx => {
                "application/octet-stream"
            }
        }
    }

    /// Why a network of this architecture with this head, for images of `side` pixels, cannot be exported to it.
    fn refusal(self, architecture: Architecture, head: Head, side: u32) -> Option<String> {
        if self != ExportFormat::Timm {
            return None;
        }
        // timm looks networks up by name, and the weights have to fit.
        if architecture.name_in_timm().is_none() {
            return Some(format!("timm does not have {architecture}"));
        }
        if !architecture.is_same_in_timm(side) {
            return Some(format!(
                "for images of {side} pixels, timm's {architecture} computes something else"
            ));
        }
        // A network without a head is one of no classes there.
        let kind = head.kind().filter(|_| !head.is_linear())?.as_str();
        Some(format!(
            "timm's networks have a linear head, and this model's is of kind `{kind}`"
        ))
    }
}

/// A checked export request. Only [`ExportSpec::check`] creates one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSpec {
    pub format: ExportFormat,
    /// The graph starts with the normalisation: its input is pixels scaled to 0–1.
    pub normalize: bool,
    /// The graph ends with the temperature and the softmax, or with several labels the sigmoid: its output is probabilities.
    pub softmax: bool,
}

impl ExportSpec {
    /// # Errors
    /// Everything that is contradictory.
    pub fn check(
        format: ExportFormat,
        normalize: bool,
        softmax: bool,
        architecture: Architecture,
        head: Head,
        side: u32,
    ) -> Result<Self, Vec<FieldError>> {
        let mut faults = Vec::new();
        if let Some(why) = format.refusal(architecture, head, side) {
            let others = ExportFormat::ALL
                .into_iter()
                .filter(|other| other.refusal(architecture, head, side).is_none());
            let others: Vec<String> = others.map(|other| format!("`{}`", other.as_str())).collect();
            let message = format!("{why}; this model can be exported to {}", others.join(", "));
            faults.push(FieldError::new("/format", "not_supported", message));
        }
        for (asked, field) in [(normalize, "/normalize"), (softmax, "/softmax")] {
            if asked && format != ExportFormat::Onnx {
                let message = format!("`{}` has no such option; only `onnx` has", format.as_str());
                faults.push(FieldError::new(field, "not_supported", message));
            }
        }
        if softmax && head == Head::None {
            let message = "the model is a backbone without a head: its output is feature vectors, of which there are no probabilities";
            faults.push(FieldError::new("/softmax", "not_supported", message));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            format,
            normalize,
            softmax,
        })
    }

    /// The name under which the file is saved. Neither name nor version needs escaping.
    pub fn file_name(&self, name: &Name, version: u32) -> String {
        let end = match self.format {
            ExportFormat::Safetensors => ".safetensors",
            ExportFormat::Bundle => "-bundle.zip",
            ExportFormat::Timm => "-timm.zip",
            ExportFormat::Torchscript => ".pt",
            ExportFormat::Onnx => ".onnx",
        };
        let pixels = if self.normalize { "-pixels" } else { "" };
        let probabilities = if self.softmax { "-probabilities" } else { "" };
        format!("{name}-v{version}{pixels}{probabilities}{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_and_the_way_out_is_named() {
        let check = |format, normalize, softmax, architecture| {
            ExportSpec::check(format, normalize, softmax, architecture, Head::Linear, 224).map_err(|faults| {
                faults
                    .into_iter()
                    .map(|fault| format!("{}: {}", fault.pointer, fault.message))
                    .collect::<Vec<_>>()
            })
        };
        for format in ExportFormat::ALL {
            assert!(check(format, false, false, Architecture::Resnet18).is_ok());
        }
        assert_eq!(
            check(ExportFormat::Timm, false, true, Architecture::Resnet20).unwrap_err(),
            [
                "/format: timm does not have resnet20; this model can be exported to `safetensors`, `bundle`, `torchscript`, `onnx`",
                "/softmax: `timm` has no such option; only `onnx` has",
            ]
        );
        let mlp = Head::Mlp { hidden: 8 };
        for format in ExportFormat::ALL {
            let checked = ExportSpec::check(format, false, false, Architecture::Resnet18, mlp, 224);
            assert_eq!(checked.is_err(), format == ExportFormat::Timm);
        }
        let vgg = |side| {
            let architecture = Architecture::Vgg11;
            ExportSpec::check(ExportFormat::Timm, false, false, architecture, Head::Linear, side)
        };
        assert!(vgg(64).is_ok() && vgg(224).is_ok() && vgg(255).is_ok());
        assert!(
            vgg(256).unwrap_err()[0]
                .message
                .contains("for images of 256 pixels")
        );
        let both = check(ExportFormat::Onnx, true, true, Architecture::Resnet20).unwrap();
        let name = Name::parse("flowers").unwrap();
        assert_eq!(both.file_name(&name, 3), "flowers-v3-pixels-probabilities.onnx");
    }
}
