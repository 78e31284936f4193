//! Images with 16 bits in each channel, of which not all may be used.

use super::*;

fn with_bits(bytes: &[u8], bits: u8) -> Image {
    decode(bytes, MANY, UsedBits::new(bits).unwrap()).unwrap()
}

#[test]
fn the_used_bits_decide_what_becomes_white() {
    let grey = DynamicImage::ImageLuma16(ImageBuffer::from_pixel(4, 4, Luma([0x0abc_u16])));
    let grey_alpha = DynamicImage::ImageLumaA16(ImageBuffer::from_pixel(4, 4, LumaA([0x0abc_u16, 65535])));
    let colour = DynamicImage::ImageRgb16(ImageBuffer::from_pixel(4, 4, Rgb([0x0abc_u16, 0, 0xffff])));
    let with_alpha =
        DynamicImage::ImageRgba16(ImageBuffer::from_pixel(4, 4, Rgba([0x0abc_u16, 0, 0xffff, 9])));
    let cases = [
        (&grey, ImageFormat::Png, [0xab; 3]),
        (&grey, ImageFormat::Tiff, [0xab; 3]),
        (&grey_alpha, ImageFormat::Png, [0xab; 3]),
        (&colour, ImageFormat::Png, [0xab, 0, 255]),
        (&colour, ImageFormat::Tiff, [0xab, 0, 255]),
        (&with_alpha, ImageFormat::Png, [0xab, 0, 255]),
    ];
    for (image, format, expected) in cases {
        let bytes = encoded(image, format);
        assert_eq!(pixel(&with_bits(&bytes, 12), 1, 1), expected, "{format:?}");
        assert_eq!(pixel(&with_bits(&bytes, 16), 1, 1)[0], 0x0a, "{format:?}");
        let decoded = Header::read(&bytes, MANY).unwrap().decode(UsedBits::ALL).unwrap();
        // Alpha does not count: it uses all bits in any case.
        let largest = if expected[2] == 255 { 65535 } else { 0x0abc };
        assert_eq!(decoded.largest, Some(largest), "{format:?}");
        assert_eq!(decoded.mode, Mode::Deep);
    }
}

#[test]
fn eight_bits_are_what_they_are_whatever_a_model_expects() {
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Bmp,
        ImageFormat::Pnm,
    ] {
        let bytes = encoded(&gradient(20, 10), format);
        assert_eq!(with_bits(&bytes, 10), with_bits(&bytes, 16), "{format:?}");
        let decoded = Header::read(&bytes, MANY).unwrap().decode(UsedBits::ALL).unwrap();
        assert_eq!(decoded.largest, None);
    }
}

#[test]
fn a_netpbm_file_that_says_how_large_its_values_may_be_is_not_guessed_at() {
    let says = |largest: u16| {
        let values = [0, largest / 2, largest].map(u16::to_be_bytes).concat();
        [format!("P5 3 1 {largest}\n").into_bytes(), values].concat()
    };
    for bits in [10, 12, 16] {
        let image = with_bits(&says(4095), bits);
        assert_eq!([0, 1, 2].map(|x| pixel(&image, x, 0)[0]), [0, 127, 255]);
    }
    // All 16 bits are what is said where nothing is known.
    let unsaid = [
        b"P5 2 1 65535\n".to_vec(),
        [4095_u16, 16].map(u16::to_be_bytes).concat(),
    ]
    .concat();
    assert_eq!(pixel(&with_bits(&unsaid, 12), 0, 0), [255; 3]);
    assert_eq!(pixel(&with_bits(&unsaid, 16), 0, 0), [15; 3]);
}

#[test]
fn a_model_s_recipe_has_its_bits() {
    let grey = DynamicImage::ImageLuma16(ImageBuffer::from_pixel(40, 40, Luma([2048_u16])));
    let bytes = encoded(&grey, ImageFormat::Png);
    let recipe = Preprocessing {
        used_bits: UsedBits::new(12),
        ..Preprocessing::for_size(32)
    };
    assert_eq!(pixel(&prepare(&bytes, &recipe, MANY).unwrap(), 5, 5), [128; 3]);
    assert_eq!(
        pixel(
            &prepare(&bytes, &Preprocessing::for_size(32), MANY).unwrap(),
            5,
            5
        ),
        [8; 3]
    );
}

#[test]
fn netpbm_with_alpha_and_of_one_value_is_read_and_one_that_is_cut_short_is_named() {
    let head = b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n";
    let bytes = [&head[..], &[1, 2, 3, 0, 200, 100, 50, 255]].concat();
    assert_eq!(decoded(&bytes, MANY).unwrap().rgb, [1, 2, 3, 200, 100, 50]);
    let whole = encoded(&gradient(9, 7), ImageFormat::Pnm);
    assert_eq!(
        decoded(&whole[..whole.len() - 5], MANY),
        Err(DecodeFault::Truncated)
    );
    assert_eq!(
        decoded(b"P6 60000 60000 255\n", MANY).unwrap_err().code(),
        "too_large"
    );
}
