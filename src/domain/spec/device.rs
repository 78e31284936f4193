//! Where a job may run.

use serde::{Deserialize, Serialize};

use super::fields::Fields;

/// The device that a job asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// A free GPU, or the CPU where there is no GPU.
    #[default]
    Auto,
    Cpu,
    Cuda(u8),
}

crate::text_schema!(DeviceChoice, "^(auto|cpu|cuda:[0-9]{1,2})$", "auto");

impl DeviceChoice {
    /// Whether a job with this choice may run on the device with this name, given whether the host has any GPU.
    pub fn allows(self, device: &str, host_has_gpu: bool) -> bool {
        match self {
            DeviceChoice::Auto => device.starts_with("cuda:") || !host_has_gpu,
            DeviceChoice::Cpu => device == "cpu",
            DeviceChoice::Cuda(index) => device == format!("cuda:{index}"),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => return Ok(DeviceChoice::Auto),
            "cpu" => return Ok(DeviceChoice::Cpu),
            _ => {}
        }
        let index = text.strip_prefix("cuda:").filter(|digits| digits.len() <= 2);
        let index = index.and_then(|digits| digits.parse().ok());
        index
            .map(DeviceChoice::Cuda)
            .ok_or_else(|| "must be `auto`, `cpu` or `cuda:N`".to_owned())
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        match choice {
            DeviceChoice::Auto => "auto".to_owned(),
            DeviceChoice::Cpu => "cpu".to_owned(),
            DeviceChoice::Cuda(index) => format!("cuda:{index}"),
        }
    }
}

pub(super) fn parse(root: &mut Fields) -> DeviceChoice {
    let Some(text) = root.text("device") else {
        return DeviceChoice::Auto;
    };
    DeviceChoice::try_from(text.to_owned()).unwrap_or_else(|rule| {
        root.fault("device", "range", rule);
        DeviceChoice::Auto
    })
}
