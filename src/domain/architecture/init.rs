//! How a tensor is initialised where no weights are given.

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Every value is this one.
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in ± this bound.
    Uniform(f64),
}

impl Init {
    /// He et al. 2015, "Delving Deep into Rectifiers": preserves the variance of the gradients through a convolution and its ReLU
    /// (`fan_out`).
    pub fn kaiming_fan_out(out_channels: u64, [height, width]: [u64; 2]) -> Self {
        Init::Normal((2.0 / (out_channels * height * width) as f64).sqrt())
    }

    /// The initialisation of `torch.nn.Linear`, the same for weights and biases.
    pub fn linear(in_features: u64) -> Self {
        Init::Uniform((1.0 / in_features as f64).sqrt())
    }
}
