//! Why a file could not be decoded, in words for the person who sent it. The decoder's own messages are never shown.

use std::borrow::Cow;

/// Why a file could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    #[error("this is not an image; JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, JPEG 2000 and DICOM are read")]
    NotAnImage,
    #[error("this is {0}, which is not read; save it as JPEG or PNG")]
    UnsupportedFormat(&'static str),
    #[error(
        "the image has {width} x {height} pixels and at most {max_pixels} are taken; make it smaller, or start the server with a larger \
         --max-image-pixels"
    )]
    TooManyPixels {
        width: u32,
        height: u32,
        max_pixels: u64,
    },
    #[error(
        "the image needs too much memory to be read; save it with 8 bits per channel, or make it smaller"
    )]
    TooMuchMemory,
    #[error("the image is cut short; the file is incomplete")]
    Truncated,
    /// A sound file as far as one can tell, by its usual name.
    #[error("this is a {0}, a variant that is not read; save it as an ordinary JPEG or PNG")]
    UnsupportedVariant(Cow<'static, str>),
    #[error("the image is damaged and cannot be read")]
    Undecodable,
}

impl DecodeFault {
    /// A variant of a format that is otherwise read, such as `JPEG with arithmetic coding`.
    pub fn variant(name: impl Into<Cow<'static, str>>) -> Self {
        Self::UnsupportedVariant(name.into())
    }

    /// Stable code for programs, as in a dataset's report.
    pub fn code(&self) -> &'static str {
        match self {
            DecodeFault::NotAnImage => "not_an_image",
            DecodeFault::UnsupportedFormat(_) | DecodeFault::UnsupportedVariant(_) => "unsupported_format",
            DecodeFault::TooManyPixels { .. } | DecodeFault::TooMuchMemory => "too_large",
            DecodeFault::Truncated => "truncated",
            DecodeFault::Undecodable => "undecodable",
        }
    }

    /// The kind of a file that is sound but of a kind or variant that is not read.
    pub fn kind(&self) -> Option<Cow<'static, str>> {
        match self {
            DecodeFault::UnsupportedFormat(name) => Some(Cow::Borrowed(name)),
            DecodeFault::UnsupportedVariant(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// Whether the file is of an unsupported kind (415), rather than a supported one that cannot be read or is too large (422).
    pub fn is_unsupported(&self) -> bool {
        matches!(self, DecodeFault::NotAnImage | DecodeFault::UnsupportedFormat(_))
    }
}
