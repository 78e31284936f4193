//! Colours as brightness and two differences (ITU-T T.871, section 7): full range, as in JPEG.

/// With the rounding of libjpeg.
pub fn to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y) << 16, i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    let clamped = |value: i32| ((value + half) >> 16).clamp(0, 255) as u8;
    [
        clamped(y + 91_881 * cr),
        clamped(y - 22_554 * cb - 46_802 * cr),
        clamped(y + 116_130 * cb),
    ]
}
