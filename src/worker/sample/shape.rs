//! The outlines of the classes, as signed distances: below 0 inside, above 0 outside, in units of the shape's radius.

use std::f64::consts::TAU;

use crate::domain::random::Draws;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Circle,
    Square,
    Star,
    Triangle,
}

/// One outline of a class, around (0, 0), extending at most 1 in any direction.
#[derive(Clone, Debug)]
pub enum Outline {
    /// Half axes.
    Ellipse(f64, f64),
    /// Corners, in order.
    Polygon(Vec<(f64, f64)>),
}

impl Shape {
    pub const ALL: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Star, Shape::Triangle];

    /// Name of its folder.
    pub fn class(self) -> &'static str {
        match self {
            Shape::Circle => "circles",
            Shape::Square => "squares",
            Shape::Star => "stars",
            Shape::Triangle => "triangles",
        }
    }

    /// No two of a class are exactly alike.
    pub fn outline(self, draws: &mut Draws) -> Outline {
        match self {
            Shape::Circle => Outline::Ellipse(1.0, draws.between(0.8, 1.0)),
            Shape::Square => {
                let half_height = draws.between(0.75, 1.0);
                let scale = 0.9;
                let (x, y) = (scale, scale * half_height);
                Outline::Polygon(vec![(-x, -y), (x, -y), (x, y), (-x, y)])
            }
            Shape::Triangle => {
                let mut corner = |turn: f64| on_circle(turn + draws.between(-0.03, 0.03), 1.0);
                Outline::Polygon(vec![corner(0.0), corner(1.0 / 3.0), corner(2.0 / 3.0)])
            }
            Shape::Star => {
                let points = 5 + draws.below(2);
                let inner = draws.between(0.38, 0.5);
                let corner = |index| {
                    let radius = if index % 2 == 0 { 1.0 } else { inner };
                    on_circle(index as f64 / (2 * points) as f64, radius)
                };
                Outline::Polygon((0..2 * points).map(corner).collect())
            }
        }
    }
}

/// A point on a circle after this many turns.
fn on_circle(turns: f64, radius: f64) -> (f64, f64) {
    let (sine, cosine) = (turns * TAU).sin_cos();
    (radius * cosine, radius * sine)
}

impl Outline {
    /// Signed distance of a point; for an ellipse accurate only near it, where it matters.
    pub fn distance(&self, x: f64, y: f64) -> f64 {
        match self {
            Outline::Ellipse(a, b) => {
                let inside = (x / a).hypot(y / b);
                (inside - 1.0) * a.min(*b)
            }
            Outline::Polygon(corners) => polygon_distance(corners, x, y),
        }
    }
}

/// Distance to the nearest edge, negative where a ray from the point crosses the edges an odd number of times.
fn polygon_distance(corners: &[(f64, f64)], x: f64, y: f64) -> f64 {
    let mut nearest = f64::INFINITY;
    let mut inside = false;
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        let (edge_x, edge_y) = (to.0 - from.0, to.1 - from.1);
        let (point_x, point_y) = (x - from.0, y - from.1);
        let along = (point_x * edge_x + point_y * edge_y) / (edge_x * edge_x + edge_y * edge_y);
        let along = along.clamp(0.0, 1.0);
        let (away_x, away_y) = (point_x - along * edge_x, point_y - along * edge_y);
        nearest = nearest.min(away_x * away_x + away_y * away_y);
        if (from.1 > y) != (to.1 > y) && x < from.0 + edge_x * (y - from.1) / edge_y {
            inside = !inside;
        }
        from = to;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_negative_inside_and_right_outside() {
        let square = Outline::Polygon(vec![(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]);
        assert_eq!(square.distance(0.0, 0.0), -1.0);
        assert_eq!(square.distance(3.0, 0.5), 2.0);
        assert!((square.distance(4.0, 5.0) - 5.0).abs() < 1e-12);
        assert!(Outline::Ellipse(1.0, 0.5).distance(0.0, 0.5).abs() < 1e-12);
        assert!(Outline::Ellipse(1.0, 0.5).distance(0.9, 0.0) < 0.0);
    }
}
