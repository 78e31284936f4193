//! Resizing and cropping, pixel for pixel as in torchvision.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Resized, ImageRef},
};

use super::{Image, ImageView, byte_count};
use crate::domain::models::preprocessing::Interpolation;

/// Largest aspect ratio of a strip. Beyond it only the middle is kept, which is more than any crop shows.
pub const MAX_ASPECT: u32 = 20;

/// Resizes the shorter side to `side` pixels, antialiased, up or down; the longer side becomes `side · longer /
/// shorter`, rounded down (torchvision `Resize(int)`, Pillow's filter of that name, at most 1 level different).
pub fn resize_shortest<'a>(
    image: impl Into<ImageView<'a>>,
    side: u32,
    interpolation: Interpolation,
) -> Image {
    let image = image.into();
    let shorter = u64::from(image.shorter());
    let scaled = |length: u32| (u64::from(side) * u64::from(length) / shorter) as u32;
    resize(image, scaled(image.width), scaled(image.height), interpolation)
}

/// Resizes the image to this size without keeping its aspect ratio, antialiased (torchvision `Resize((height, width))`).
pub fn resize<'a>(
    image: impl Into<ImageView<'a>>,
    width: u32,
    height: u32,
    interpolation: Interpolation,
) -> Image {
    let image = image.into();
    if (width, height) == (image.width, image.height) {
        return Image {
            width,
            height,
            rgb: image.rgb.to_vec(),
        };
    }
    let source = ImageRef::new(image.width, image.height, image.rgb, PixelType::U8x3)
        .expect("a view holds exactly its pixels");
    let mut target = Resized::new(width, height, PixelType::U8x3);
    let filter = match interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        // The bicubic convolution of Keys (1981) with a = -0.5, as Pillow's.
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both are of one pixel type and the whole source is taken");
    Image {
        width,
        height,
        rgb: target.into_vec(),
    }
}

/// Resizes the longer side to `side` pixels, the shorter in proportion, rounded down and at least 1, and pads to a square with `fill`, half
/// on each side; of an odd number of pixels the lower or right half gets one more.
pub fn letterbox<'a>(
    image: impl Into<ImageView<'a>>,
    side: u32,
    fill: [u8; 3],
    interpolation: Interpolation,
) -> Image {
    let image = image.into();
    let longer = u64::from(image.width.max(image.height));
    let scaled = |length: u32| (u64::from(side) * u64::from(length) / longer).max(1) as u32;
    let inner = resize(image, scaled(image.width), scaled(image.height), interpolation);
    let (left, top) = ((side - inner.width) / 2, (side - inner.height) / 2);
    let mut rgb = fill.repeat((side * side) as usize);
    let row_bytes = inner.width as usize * 3;
    for (row, pixels) in inner.rgb.chunks_exact(row_bytes).enumerate() {
        let to = ((top as usize + row) * side as usize + left as usize) * 3;
        rgb[to..to + row_bytes].copy_from_slice(pixels);
    }
    Image {
        width: side,
        height: side,
        rgb,
    }
}

/// Crops the central `side × side` pixels; smaller images are padded with black (torchvision `CenterCrop`).
pub fn center_crop<'a>(image: impl Into<ImageView<'a>>, side: u32) -> Image {
    let image = image.into();
    cut(
        image,
        centre(image.width, side),
        centre(image.height, side),
        side,
        side,
    )
}

/// Where a centre crop of `side` out of `length` starts; below 0 if padding is needed. Python rounds a half to the even neighbour,
/// `int(round((length - side) / 2.0))`, and pads with `(side - length) // 2`.
fn centre(length: u32, side: u32) -> i64 {
    let spare = i64::from(length) - i64::from(side);
    if spare < 0 {
        return -(-spare / 2);
    }
    let half = spare / 2;
    if spare % 2 == 1 && half % 2 == 1 {
        half + 1
    } else {
        half
    }
}

/// Keeps the middle of a strip longer than [`MAX_ASPECT`] times its width.
pub fn trim_strip(image: Image) -> Image {
    let longest = image.view().shorter().saturating_mul(MAX_ASPECT);
    let (width, height) = (image.width.min(longest), image.height.min(longest));
    if (width, height) == (image.width, image.height) {
        return image;
    }
    let (left, top) = ((image.width - width) / 2, (image.height - height) / 2);
    cut(image.view(), i64::from(left), i64::from(top), width, height)
}

/// `width × height` pixels starting at (`left`, `top`); areas outside the image are black.
pub fn cut(image: ImageView<'_>, left: i64, top: i64, width: u32, height: u32) -> Image {
    let mut rgb = vec![0; byte_count(width, height) as usize];
    let inside = |start: i64, length: u32, size: u32| {
        let first = start.clamp(0, i64::from(size));
        let end = (start + i64::from(length)).clamp(first, i64::from(size));
        (first as usize, end as usize)
    };
    let (first_column, end_column) = inside(left, width, image.width);
    let (first_row, end_row) = inside(top, height, image.height);
    let run = (end_column - first_column) * 3;
    for row in first_row..end_row {
        let from = (row * image.width as usize + first_column) * 3;
        let to_row = (row as i64 - top) as usize;
        let to = (to_row * width as usize + (first_column as i64 - left) as usize) * 3;
        rgb[to..to + run].copy_from_slice(&image.rgb[from..from + run]);
    }
    Image { width, height, rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> Image {
        let rgb = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 9]))
            .collect();
        Image { width, height, rgb }
    }

    #[test]
    fn crops_begin_where_python_rounds_to() {
        let begins: Vec<i64> = [(10, 4), (11, 4), (9, 4), (13, 4), (4, 4), (3, 4), (1, 4)]
            .map(|(length, side)| centre(length, side))
            .into();
        // int(round(3.0)), round(3.5) = 4, round(2.5) = 2, round(4.5) = 4, 0, then paddings of (4-3)//2 = 0 and (4-1)//2 = 1.
        assert_eq!(begins, [3, 4, 2, 4, 0, 0, -1]);
    }

    #[test]
    fn a_crop_is_the_middle_and_black_fills_up() {
        let image = numbered(6, 4);
        let crop = center_crop(&image, 2);
        assert_eq!(crop.rgb, [2, 1, 9, 3, 1, 9, 2, 2, 9, 3, 2, 9]);
        let padded = center_crop(&numbered(1, 2), 4);
        assert_eq!(padded.rgb[3 * 5..3 * 6], [0, 0, 9]);
        assert_eq!(padded.rgb.iter().filter(|&&value| value == 9).count(), 2);
    }

    #[test]
    fn sizes_are_torchvision_s() {
        let resized = |width, height, side| {
            let image = resize_shortest(&numbered(width, height), side, Interpolation::Bilinear);
            (image.width, image.height)
        };
        assert_eq!(resized(500, 333, 256), (384, 256));
        assert_eq!(resized(333, 500, 256), (256, 384));
        assert_eq!(resized(341, 256, 256), (341, 256));
        assert_eq!(resized(32, 32, 64), (64, 64));
        assert_eq!(resized(3, 7, 4), (4, 9));
    }

    #[test]
    fn a_letterbox_shows_all_of_the_image_between_two_bars() {
        let boxed = letterbox(&numbered(8, 4), 4, [1, 2, 3], Interpolation::Bilinear);
        assert_eq!((boxed.width, boxed.height), (4, 4));
        let bar = [1, 2, 3].repeat(4);
        assert_eq!((&boxed.rgb[..12], &boxed.rgb[36..]), (&bar[..], &bar[..]));
        assert!(boxed.rgb[12..36].chunks_exact(3).all(|pixel| pixel[2] == 9));
        let upright = letterbox(&numbered(2, 4), 4, [0; 3], Interpolation::Bilinear);
        assert_eq!(upright.rgb[..3], [0; 3]);
        assert_eq!(upright.rgb[3..6], [0, 0, 9]);
        let sliver = letterbox(&numbered(1, 40), 16, [0; 3], Interpolation::Bicubic);
        assert_eq!(sliver.rgb.iter().filter(|value| **value == 9).count(), 16);
    }

    #[test]
    fn a_strip_keeps_its_middle() {
        let strip = trim_strip(numbered(2, 100));
        assert_eq!((strip.width, strip.height), (2, 40));
        assert_eq!(strip.rgb[1], 30);
        assert_eq!(trim_strip(numbered(3, 60)), numbered(3, 60));
    }
}
