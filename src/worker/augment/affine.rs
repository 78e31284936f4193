//! Rotation, shearing and translation: each position of the result takes its colour by interpolating between four source pixels.
//!
//! Pillow's `Image.transform(AFFINE, BILINEAR)`, as used by torchvision, to within 2 levels: positions are exact to 2⁻³² pixels, weights to
//! 2⁻⁸.

use crate::worker::pixels::Image;

/// Maps a position (X, Y) of the result to its source position: `x = a·X + b·Y + c`, `y = d·X + e·Y + f`. Pixel centres are at ½.
#[derive(Clone, Copy, Debug)]
struct Affine {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
    e: f64,
    f: f64,
}

const IDENTITY: Affine = Affine {
    a: 1.0,
    b: 0.0,
    c: 0.0,
    d: 0.0,
    e: 1.0,
    f: 0.0,
};

/// Rotates around the centre, counter-clockwise (torchvision `rotate`). Areas from outside are filled with `fill`.
pub fn rotate(image: &Image, degrees: f64, fill: [u8; 3]) -> Image {
    if degrees == 0.0 {
        return image.clone();
    }
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (f64::from(image.width) / 2.0, f64::from(image.height) / 2.0);
    let affine = Affine {
        a: cos,
        b: sin,
        c: x - cos * x - sin * y,
        d: -sin,
        e: cos,
        f: y + sin * x - cos * y,
    };
    warp(image, affine, fill)
}

/// Shifts each row by `amount` times its distance from the top edge, to the left.
pub fn shear_x(image: &Image, amount: f64, fill: [u8; 3]) -> Image {
    warp(
        image,
        Affine {
            b: amount,
            ..IDENTITY
        },
        fill,
    )
}

/// Shifts each column by `amount` times its distance from the left edge, upwards.
pub fn shear_y(image: &Image, amount: f64, fill: [u8; 3]) -> Image {
    warp(
        image,
        Affine {
            d: amount,
            ..IDENTITY
        },
        fill,
    )
}

/// Shifts by whole pixels, to the right and down.
pub fn translate(image: &Image, right: i32, down: i32, fill: [u8; 3]) -> Image {
    let affine = Affine {
        c: -f64::from(right),
        f: -f64::from(down),
        ..IDENTITY
    };
    warp(image, affine, fill)
}

/// Fractional bits of a position.
const FRACTION: u32 = 32;
/// From a pixel's edge to its centre, minus half of the resolution of an 8-bit weight, so that weights are rounded and not truncated.
const TO_MIDDLE: i64 = (1 << (FRACTION - 1)) - (1 << (FRACTION - 9));

fn fixed(number: f64) -> i64 {
    (number * (1_i64 << FRACTION) as f64).round() as i64
}

fn warp(image: &Image, affine: Affine, fill: [u8; 3]) -> Image {
    let (width, height) = (image.width as usize, image.height as usize);
    let (right, bottom) = ((width as i64) << FRACTION, (height as i64) << FRACTION);
    let (step_x, step_y) = (fixed(affine.a), fixed(affine.d));
    let (pixels, _) = image.rgb.as_chunks::<3>();
    let mut rgb = vec![0; image.rgb.len()];
    for (row, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let middle = row as f64 + 0.5;
        let mut x = fixed(affine.a * 0.5 + affine.b * middle + affine.c);
        let mut y = fixed(affine.d * 0.5 + affine.e * middle + affine.f);
        for pixel in out.as_chunks_mut::<3>().0 {
            *pixel = if (0..right).contains(&x) && (0..bottom).contains(&y) {
                between(pixels, width, height, x - TO_MIDDLE, y - TO_MIDDLE)
            } else {
                fill
            };
            x += step_x;
            y += step_y;
        }
    }
    Image { rgb, ..*image }
}

/// The interpolated colour at a position; integers are pixel centres. The border pixels are repeated beyond the edges.
fn between(pixels: &[[u8; 3]], width: usize, height: usize, x: i64, y: i64) -> [u8; 3] {
    let inside = |at: i64, length: usize| at.clamp(0, length as i64 - 1) as usize;
    let (column, row) = (x >> FRACTION, y >> FRACTION);
    let (left, right) = (inside(column, width), inside(column + 1, width));
    let (upper, lower) = (inside(row, height) * width, inside(row + 1, height) * width);
    let weight = |at: i64| ((at >> (FRACTION - 8)) & 0xff) as u32;
    let (across, down) = (weight(x), weight(y));
    let corners = [upper + left, upper + right, lower + left, lower + right].map(|at| pixels[at]);
    let weights = [
        (256 - across) * (256 - down),
        across * (256 - down),
        (256 - across) * down,
        across * down,
    ];
    let mut colour = [0; 3];
    for (channel, value) in colour.iter_mut().enumerate() {
        let corner = |at: usize| u32::from(corners[at][channel]) * weights[at];
        let sum = corner(0) + corner(1) + corner(2) + corner(3);
        *value = ((sum + 0x8000) >> 16) as u8;
    }
    colour
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(side: u32) -> Image {
        let rgb = (0..side).flat_map(|y| (0..side).flat_map(move |x| [x as u8 * 10, y as u8 * 10, 7]));
        Image {
            width: side,
            height: side,
            rgb: rgb.collect(),
        }
    }

    #[test]
    fn a_quarter_turn_moves_whole_pixels() {
        let turned = rotate(&numbered(5), 90.0, [1, 1, 1]);
        // Counter-clockwise: the top right corner moves to the top left.
        assert_eq!(turned.rgb[..3], [40, 0, 7]);
        assert_eq!(turned.rgb[turned.rgb.len() - 3..], [0, 40, 7]);
        let back = (0..3).fold(turned, |image, _| rotate(&image, 90.0, [1, 1, 1]));
        assert_eq!(back, numbered(5));
    }

    #[test]
    fn corners_that_come_from_outside_are_filled() {
        let turned = rotate(&numbered(21), 45.0, [1, 2, 3]);
        assert_eq!(turned.rgb[..3], [1, 2, 3]);
        let middle = (10 * 21 + 10) * 3;
        assert_eq!(
            turned.rgb[middle..middle + 3],
            numbered(21).rgb[middle..middle + 3]
        );
    }

    #[test]
    fn shifts_and_shears_move_to_where_torchvision_moves() {
        let shifted = translate(&numbered(6), 2, -1, [9, 9, 9]);
        assert_eq!(shifted.rgb[..9], [9, 9, 9, 9, 9, 9, 0, 10, 7]);
        let sheared = shear_x(&numbered(6), 2.0, [9, 9, 9]);
        // Row 0 takes its pixels from 2 · ½ = 1 pixel further right.
        assert_eq!(sheared.rgb[..3], [10, 0, 7]);
        assert_eq!(shear_y(&numbered(6), 0.0, [9, 9, 9]), numbered(6));
    }
}
