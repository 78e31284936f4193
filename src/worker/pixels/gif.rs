//! The part of a GIF's screen that its first frame does not cover. The decoder makes it black; Pillow, and so torchvision, gives it the
//! colour of the frame's transparent pixels, or the first of its palette.

use image::RgbImage;

/// The position of the first frame and the colour around it.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    around: [u8; 3],
}

/// Paints the area around the first frame, if it does not fill the screen.
pub fn paint_around(bytes: &[u8], image: &mut RgbImage) {
    let Some(frame) = first_frame(bytes) else { return };
    if frame.width >= image.width() && frame.height >= image.height() {
        return;
    }
    let (columns, rows) = (
        frame.left..frame.left + frame.width,
        frame.top..frame.top + frame.height,
    );
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        if !columns.contains(&x) || !rows.contains(&y) {
            pixel.0 = frame.around;
        }
    }
}

/// GIF89a specification, sections 18 to 24. None if the file ends before.
fn first_frame(bytes: &[u8]) -> Option<Frame> {
    let palette_bytes = |flags: u8| {
        if flags & 0x80 == 0 {
            0
        } else {
            3 << ((flags & 7) + 1)
        }
    };
    let mut transparent = None;
    let global = 13;
    let mut at = global + palette_bytes(*bytes.get(10)?);
    while *bytes.get(at)? == 0x21 {
        // The graphic control extension says which value is transparent, if any.
        if *bytes.get(at + 1)? == 0xf9 && bytes.get(at + 3)? & 1 == 1 {
            transparent = bytes.get(at + 6).copied();
        }
        at += 2;
        loop {
            let block = usize::from(*bytes.get(at)?);
            at += block + 1;
            if block == 0 {
                break;
            }
        }
    }
    let &[
        0x2c,
        left_low,
        left_high,
        top_low,
        top_high,
        w_low,
        w_high,
        h_low,
        h_high,
        flags,
    ] = bytes.get(at..at + 10)?
    else {
        return None;
    };
    let number = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let palette = if flags & 0x80 == 0 { global } else { at + 10 };
    let colour = palette + 3 * usize::from(transparent.unwrap_or(0));
    let around = bytes.get(colour..colour + 3)?;
    Some(Frame {
        left: number(left_low, left_high),
        top: number(top_low, top_high),
        width: number(w_low, w_high),
        height: number(h_low, h_high),
        around: [around[0], around[1], around[2]],
    })
}
