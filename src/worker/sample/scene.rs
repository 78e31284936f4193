//! One image: a background, some clutter, a few shapes of one class.

use std::f64::consts::TAU;

use super::{
    canvas::{Canvas, Colour, blend, brightness},
    shape::{Outline, Shape},
};
use crate::{domain::random::Draws, worker::pixels::Image};

/// Smallest and largest side, in pixels.
const SIDES: (u32, u32) = (96, 320);
/// Smallest difference in brightness between a shape and the background.
const CONTRAST: f64 = 60.0;
/// How far labelled figures lean to either side, in radians: there are few of each, and a network has to learn them in a minute.
const LEAN: f64 = 0.25;

/// The colour of a figure that is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dye {
    Red,
    Green,
    Blue,
    Yellow,
}

impl Dye {
    pub const ALL: [Dye; 4] = [Dye::Red, Dye::Green, Dye::Blue, Dye::Yellow];

    pub fn name(self) -> &'static str {
        match self {
            Dye::Red => "red",
            Dye::Green => "green",
            Dye::Blue => "blue",
            Dye::Yellow => "yellow",
        }
    }

    fn colour(self) -> Colour {
        match self {
            Dye::Red => [210.0, 40.0, 40.0],
            Dye::Green => [40.0, 160.0, 60.0],
            Dye::Blue => [50.0, 70.0, 215.0],
            Dye::Yellow => [235.0, 205.0, 40.0],
        }
    }
}

/// The pattern of a figure that is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weave {
    Plain,
    Striped,
    Checked,
}

impl Weave {
    pub const ALL: [Weave; 3] = [Weave::Plain, Weave::Striped, Weave::Checked];

    pub fn name(self) -> &'static str {
        match self {
            Weave::Plain => "plain",
            Weave::Striped => "striped",
            Weave::Checked => "checked",
        }
    }

    fn pattern(self, radius: f64) -> Pattern {
        match self {
            Weave::Plain => Pattern::Plain,
            Weave::Striped => Pattern::Stripes { period: radius * 0.5 },
            Weave::Checked => Pattern::Checks {
                period: radius * 0.55,
            },
        }
    }
}

/// A figure whose outline, colour and pattern are labels.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub shape: Shape,
    pub dye: Dye,
    pub weave: Weave,
}

impl Figure {
    pub fn any(draws: &mut Draws) -> Self {
        let mut one_of = |count: usize| draws.below(count);
        Self {
            shape: Shape::ALL[one_of(Shape::ALL.len())],
            dye: Dye::ALL[one_of(Dye::ALL.len())],
            weave: Weave::ALL[one_of(Weave::ALL.len())],
        }
    }
}

pub struct Scene {
    canvas: Canvas,
    width: f64,
    height: f64,
    background: Colour,
}

impl Scene {
    pub fn draw(shape: Shape, draws: &mut Draws) -> Self {
        let mut scene = Self::background(draws);
        for _ in 0..draws.below(7) {
            scene.draw_line(draws);
        }
        let shapes = 1 + draws.below(3);
        for place in scene.places(shapes, draws) {
            scene.draw_shape(shape, place, draws);
        }
        for _ in 0..draws.below(5) {
            scene.draw_speck(draws);
        }
        let noise = draws.between(0.0, 16.0);
        scene.canvas.add_noise(noise, draws);
        scene
    }

    /// These figures on a grey ground, `side` pixels wide and high.
    pub fn of_figures(side: u32, figures: &[Figure], draws: &mut Draws) -> Self {
        let grey = draws.between(90.0, 165.0);
        let (width, height, background) = (f64::from(side), f64::from(side), [grey; 3]);
        let mut scene = Self {
            canvas: Canvas::from_fn(side, side, |_, _| background),
            width,
            height,
            background,
        };
        let places = scene.halves(figures.len(), draws);
        for (figure, place) in figures.iter().zip(places) {
            let fill = Fill {
                colour: blend(figure.dye.colour(), any_colour(draws), draws.between(0.0, 0.08)),
                other: [245.0; 3],
                pattern: figure.weave.pattern(place.2),
                cover: 1.0,
            };
            let outline = figure.shape.outline(draws);
            scene.paint(&outline, draws.between(-LEAN, LEAN), place, &fill);
        }
        scene.canvas.add_noise(draws.between(0.0, 6.0), draws);
        scene
    }

    pub fn into_image(self) -> Image {
        self.canvas.into_image()
    }

    /// A gradient of two colours with slow waves over it.
    fn background(draws: &mut Draws) -> Self {
        // Small sides are more likely than large ones.
        let mut side = || SIDES.0 + ((SIDES.1 - SIDES.0) as f64 * draws.unit().powi(2)).round() as u32;
        let (width, height) = (side(), side());
        let from = any_colour(draws);
        let to = blend(from, any_colour(draws), draws.between(0.0, 0.5));
        let (sine, cosine) = draws.between(0.0, TAU).sin_cos();
        let reach = f64::from(width) + f64::from(height);
        let wave = draws.between(0.0, 14.0);
        let mut waves = |size: u32| -> Vec<f64> {
            let (length, phase) = (draws.between(18.0, 90.0), draws.between(0.0, TAU));
            (0..size)
                .map(|at| (f64::from(at) * TAU / length + phase).sin())
                .collect()
        };
        let (across, down) = (waves(width), waves(height));
        let canvas = Canvas::from_fn(width, height, |x, y| {
            let along = (x as f64 * cosine + y as f64 * sine) / reach + 0.5;
            let [red, green, blue] = blend(from, to, along);
            let lift = wave * across[x] * down[y];
            [red + lift, green + lift, blue + lift]
        });
        Self {
            canvas,
            width: f64::from(width),
            height: f64::from(height),
            background: blend(from, to, 0.5),
        }
    }

    /// Centres and radii within the central square, which is what a centre crop shows.
    fn places(&self, shapes: usize, draws: &mut Draws) -> Vec<(f64, f64, f64)> {
        let side = self.width.min(self.height);
        let (left, top) = ((self.width - side) / 2.0, (self.height - side) / 2.0);
        if shapes == 1 {
            let radius = side * draws.between(0.27, 0.42);
            let mut along = |start: f64| start + draws.between(radius, side - radius);
            return vec![(along(left), along(top), radius)];
        }
        // Each in its own quarter.
        let mut quarters = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)];
        draws.shuffle(&mut quarters);
        quarters[..shapes]
            .iter()
            .map(|(x, y)| {
                let radius = side * draws.between(0.17, 0.24);
                let mut shift = || draws.between(-0.03, 0.03) * side;
                (left + x * side + shift(), top + y * side + shift(), radius)
            })
            .collect()
    }

    /// A place for one figure, or one in each half for two.
    fn halves(&self, figures: usize, draws: &mut Draws) -> Vec<(f64, f64, f64)> {
        if figures == 1 {
            return self.places(1, draws);
        }
        let side = self.width;
        let stands = draws.unit() < 0.5;
        let mut place = |middle: f64| {
            let (radius, along) = (side * draws.between(0.2, 0.235), draws.between(0.3, 0.7));
            let (x, y) = if stands { (along, middle) } else { (middle, along) };
            (x * side, y * side, radius)
        };
        vec![place(0.25), place(0.75)]
    }

    fn draw_shape(&mut self, shape: Shape, place: (f64, f64, f64), draws: &mut Draws) {
        let outline = shape.outline(draws);
        let turn = draws.between(0.0, TAU);
        let fill = Fill::draw(shape, self.background, place.2, draws);
        self.paint(&outline, turn, place, &fill);
    }

    fn paint(&mut self, outline: &Outline, turn: f64, (x, y, radius): (f64, f64, f64), fill: &Fill) {
        let (sine, cosine) = turn.sin_cos();
        self.canvas.paint((x, y), radius * 1.1 + 1.0, |x, y| {
            let (turned_x, turned_y) = (x * cosine + y * sine, y * cosine - x * sine);
            let distance = outline.distance(turned_x / radius, turned_y / radius) * radius;
            fill.at(distance, turned_x, turned_y)
        });
    }

    fn draw_line(&mut self, draws: &mut Draws) {
        let centre = self.anywhere(draws);
        let length = draws.between(0.1, 0.4) * self.width.min(self.height);
        let thickness = draws.between(0.5, 2.0);
        let (sine, cosine) = draws.between(0.0, TAU).sin_cos();
        let (colour, cover) = (any_colour(draws), draws.between(0.3, 0.7));
        self.canvas.paint(centre, length, |x, y| {
            let along = (x * cosine + y * sine).abs() - length;
            let across = (y * cosine - x * sine).abs() - thickness;
            (colour, cover * coverage(along.max(across)))
        });
    }

    fn draw_speck(&mut self, draws: &mut Draws) {
        let centre = self.anywhere(draws);
        let radius = draws.between(1.0, 4.0);
        let (colour, cover) = (any_colour(draws), draws.between(0.4, 0.9));
        self.canvas.paint(centre, radius + 1.0, |x, y| {
            (colour, cover * coverage(x.hypot(y) - radius))
        });
    }

    fn anywhere(&self, draws: &mut Draws) -> (f64, f64) {
        (draws.between(0.0, self.width), draws.between(0.0, self.height))
    }
}

/// How a shape is painted: with its class's own pattern, in colours of which one tends towards its class's.
struct Fill {
    colour: Colour,
    other: Colour,
    pattern: Pattern,
    cover: f64,
}

/// The pattern of a fill's two colours; lengths in pixels.
enum Pattern {
    Plain,
    Gradient {
        reach: f64,
    },
    Stripes {
        period: f64,
    },
    Checks {
        period: f64,
    },
    /// Only its rim is painted.
    Rim {
        breadth: f64,
    },
}

impl Fill {
    fn draw(shape: Shape, background: Colour, radius: f64, draws: &mut Draws) -> Self {
        let colour = leaning(shape, background, draws);
        let other = blend(colour, contrasting(colour, draws), 0.6);
        let pattern = match shape {
            Shape::Circle => Pattern::Rim {
                breadth: radius * draws.between(0.2, 0.35),
            },
            Shape::Square => Pattern::Checks {
                period: radius * draws.between(0.3, 0.6),
            },
            Shape::Star => Pattern::Stripes {
                period: radius * draws.between(0.2, 0.4),
            },
            Shape::Triangle if draws.unit() < 0.5 => Pattern::Plain,
            Shape::Triangle => Pattern::Gradient { reach: radius },
        };
        Self {
            colour,
            other,
            pattern,
            cover: draws.between(0.85, 1.0),
        }
    }

    /// Colour and coverage at a distance from the outline and a position along the shape's own axes.
    fn at(&self, distance: f64, x: f64, y: f64) -> (Colour, f64) {
        let odd = |length: f64, period: f64| (length / period).floor().rem_euclid(2.0) > 0.5;
        let share = match self.pattern {
            Pattern::Plain | Pattern::Rim { .. } => 0.0,
            Pattern::Gradient { reach } => (x / reach + 1.0) / 2.0,
            Pattern::Stripes { period } => f64::from(odd(x, period)),
            Pattern::Checks { period } => f64::from(odd(x, period) != odd(y, period)),
        };
        let distance = match self.pattern {
            Pattern::Rim { breadth } => distance.max(-distance - breadth),
            _ => distance,
        };
        (
            blend(self.colour, self.other, share),
            self.cover * coverage(distance),
        )
    }
}

/// How much of a pixel is inside, by its signed distance in pixels.
fn coverage(distance: f64) -> f64 {
    (0.5 - distance).clamp(0.0, 1.0)
}

fn any_colour(draws: &mut Draws) -> Colour {
    [0; 3].map(|_| draws.between(15.0, 240.0))
}

/// A colour near the most frequent one of its class, if possible with another brightness than the background.
fn leaning(shape: Shape, background: Colour, draws: &mut Draws) -> Colour {
    let usual = match shape {
        Shape::Circle => [215.0, 60.0, 50.0],
        Shape::Square => [60.0, 180.0, 80.0],
        Shape::Star => [235.0, 205.0, 60.0],
        Shape::Triangle => [70.0, 90.0, 220.0],
    };
    let mut drawn = || blend(usual, any_colour(draws), draws.between(0.0, 0.2));
    let far = |colour: &Colour| (brightness(*colour) - brightness(background)).abs() >= CONTRAST;
    let first = drawn();
    (0..32).map(|_| drawn()).find(far).unwrap_or(first)
}

/// A colour that also differs from this one in brightness.
fn contrasting(background: Colour, draws: &mut Draws) -> Colour {
    let far = |colour: &Colour| (brightness(*colour) - brightness(background)).abs() >= CONTRAST;
    // Nearly every second colour will do; otherwise black or white does.
    let drawn = (0..32).map(|_| any_colour(draws)).find(far);
    drawn.unwrap_or(if brightness(background) > 127.0 {
        [15.0; 3]
    } else {
        [240.0; 3]
    })
}
