//! JPEGs that are decoded at a fraction of their size.

use super::*;
use crate::worker::pixels::fraction;

/// The mean of the absolute differences of all values.
fn apart(a: &Image, b: &Image) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a
        .rgb
        .iter()
        .zip(&b.rgb)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.rgb.len() as f64
}

fn at_fraction(bytes: &[u8], width: u16, height: u16, full: u64) -> Image {
    let size = fraction::size(width, height, full).unwrap();
    let rgb = fraction::decode(bytes, size).unwrap().into_rgb8();
    Image {
        width: rgb.width(),
        height: rgb.height(),
        rgb: rgb.into_raw(),
    }
}

#[test]
fn a_fraction_looks_like_the_whole_image_made_smaller() {
    let colour = encoded(&gradient(203, 155), ImageFormat::Jpeg);
    let grey = encoded(
        &DynamicImage::ImageLuma8(gradient(203, 155).into_luma8()),
        ImageFormat::Jpeg,
    );
    for (bytes, name) in [(&colour, "colour"), (&grey, "grey")] {
        let whole = decoded(bytes, MANY).unwrap();
        for (full, divisor) in [(203 * 155 - 1, 2), (3000, 4), (700, 8)] {
            let small = at_fraction(bytes, 203, 155, full);
            assert_eq!(
                (small.width, small.height),
                (203_u32.div_ceil(divisor), 155_u32.div_ceil(divisor))
            );
            let resized = resize(&whole, small.width, small.height, Interpolation::Bilinear);
            let apart = apart(&small, &resized);
            assert!(apart < 4.0, "{name} at 1/{divisor}: {apart}");
        }
    }
}

#[test]
fn cmyk_at_a_fraction_has_the_colours_of_the_whole() {
    let bytes = flat_cmyk_jpeg([204, 153, 255, 204]);
    let small = at_fraction(&bytes, 8, 8, 20);
    assert_eq!((small.width, small.height), (4, 4));
    assert!(near(
        pixel(&small, 1, 1),
        pixel(&decoded(&bytes, MANY).unwrap(), 1, 1)
    ));
}

#[test]
fn a_photograph_above_the_threshold_keeps_its_size_and_is_upright() {
    let (width, height) = (9248, 6936);
    let grey = DynamicImage::ImageLuma8(ImageBuffer::from_fn(width, height, |x, _| {
        Luma([(x * 255 / width) as u8])
    }));
    let plain = encoded(&grey, ImageFormat::Jpeg);
    let bytes = with_orientation(&plain, 6);
    let limit = 64_000_000;
    let header = Header::read(&bytes, limit).unwrap();
    assert_eq!(header.dimensions(), (width, height));
    assert!(header.memory() <= limit * 12, "{}", header.memory());
    let decoded = header.decode(UsedBits::ALL).unwrap();
    assert_eq!((decoded.width, decoded.height), (height, width));
    assert_eq!(
        (decoded.image.width, decoded.image.height),
        (height / 2, width / 2)
    );
    // Turned by a quarter: what was left is at the top.
    assert!(pixel(&decoded.image, 100, 10)[0] < 5);
    assert!(pixel(&decoded.image, 100, width / 2 - 10)[0] > 250);
    // Whoever knows its size decodes the same, and a lower limit holds.
    let again = decode(&bytes, u64::from(width) * u64::from(height), UsedBits::ALL).unwrap();
    assert_eq!(again, decoded.image);
    let fault = decode(&bytes, 10_000_000, UsedBits::ALL).unwrap_err();
    assert!(fault.to_string().contains("--max-image-pixels"), "{fault}");
}

#[test]
fn a_progressive_jpeg_of_many_pixels_is_refused_before_its_coefficients_fill_the_memory() {
    // A header alone: nothing is allocated for what it promises.
    let frame = |width: u16, height: u16| {
        let size = [height.to_be_bytes(), width.to_be_bytes()].concat();
        let frame = [
            &[0xff, 0xc2, 0, 17, 8][..],
            &size,
            &[3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0],
        ]
        .concat();
        [&[0xff, 0xd8], &frame[..], &[0xff, 0xd9]].concat()
    };
    assert_eq!(
        decoded(&frame(20000, 12000), u64::MAX),
        Err(DecodeFault::TooMuchMemory)
    );
    assert_eq!(
        decoded(&frame(65535, 65535), 64_000_000).unwrap_err().code(),
        "too_large"
    );
}
