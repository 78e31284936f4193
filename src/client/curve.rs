//! A curve as text: the training loss in Braille dots (two across, four down in each character), the validation loss as `o`.

use super::text::number;

/// Dots of a Braille character by row and column, as bits above U+2800.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
/// Above this number, points are averaged in pairs.
const MOST_POINTS: usize = 8192;

/// The losses of a job by step.
#[derive(Debug, Default)]
pub struct Losses {
    /// `(step, loss)`, in ascending order of steps.
    train: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
}

impl Losses {
    pub fn add_train(&mut self, step: u64, loss: f64) {
        self.train.push((step as f64, loss));
        if self.train.len() > MOST_POINTS {
            self.train = self.train.chunks(2).map(mean).collect();
        }
    }

    pub fn add_validation(&mut self, step: u64, loss: f64) {
        self.validation.push((step as f64, loss));
    }

    /// Drops what was reported about later steps.
    pub fn rewind(&mut self, step: u64) {
        self.train.retain(|point| point.0 <= step as f64);
        self.validation.retain(|point| point.0 <= step as f64);
    }

    /// The plot, `columns` by `rows` characters with its axes; `None` if there are fewer than two points.
    pub fn draw(&self, columns: usize, rows: usize) -> Option<Vec<String>> {
        let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points
                .iter()
                .copied()
                .filter(|point| point.1.is_finite())
                .collect()
        };
        let (train, validation) = (finite(&self.train), finite(&self.validation));
        if train.len() < 2 {
            return None;
        }
        let frame = Frame::around(&train, &validation, columns, rows);
        let mut canvas = Canvas::new(columns, rows);
        canvas.line(&frame, &train);
        for &point in &validation {
            canvas.mark(&frame, point);
        }
        Some(frame.with_axes(canvas.lines(), !validation.is_empty()))
    }
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let last = points.last().copied().unwrap_or_default();
    let sum: f64 = points.iter().map(|point| point.1).sum();
    (last.0, sum / points.len().max(1) as f64)
}

/// The values at the edges, and the number of dots between them.
struct Frame {
    steps: (f64, f64),
    losses: (f64, f64),
    dots: (usize, usize),
}

impl Frame {
    fn around(train: &[(f64, f64)], validation: &[(f64, f64)], columns: usize, rows: usize) -> Self {
        let all = || train.iter().chain(validation);
        let low = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let high = all().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        let first = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let last = all().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
        Self {
            steps: (first, last.max(first + 1.0)),
            losses: (low, if high > low { high } else { low + 1.0 }),
            dots: (columns * 2, rows * 4),
        }
    }

    /// The dot of a point, counted from the left and from the top.
    fn dot(&self, (step, loss): (f64, f64)) -> (usize, usize) {
        let place = |value: f64, (low, high): (f64, f64), count: usize| {
            let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
            (share * (count - 1) as f64).round() as usize
        };
        let (across, down) = self.dots;
        (
            place(step, self.steps, across),
            down - 1 - place(loss, self.losses, down),
        )
    }

    fn with_axes(&self, lines: Vec<String>, has_validation: bool) -> Vec<String> {
        let labels = [number(self.losses.1), number(self.losses.0)];
        let width = labels.iter().map(String::len).max().unwrap_or(0);
        let last = lines.len() - 1;
        let mut drawn: Vec<String> = lines
            .into_iter()
            .enumerate()
            .map(|(row, line)| {
                let label = match row {
                    0 => labels[0].as_str(),
                    _ if row == last => labels[1].as_str(),
                    _ => "",
                };
                format!("{label:>width$} |{line}")
            })
            .collect();
        let legend = if has_validation {
            "loss: dots training, o validation"
        } else {
            "training loss"
        };
        let (first, last) = self.steps;
        drawn.push(format!("{:width$} +- step {first:.0} to {last:.0}, {legend}", ""));
        drawn
    }
}

/// A grid of characters.
struct Canvas {
    dots: Vec<Vec<u32>>,
    marks: Vec<Vec<bool>>,
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Self {
        Self {
            dots: vec![vec![0; columns]; rows],
            marks: vec![vec![false; columns]; rows],
        }
    }

    fn line(&mut self, frame: &Frame, points: &[(f64, f64)]) {
        let mut before = frame.dot(points[0]);
        for &point in points {
            let here = frame.dot(point);
            self.stroke(before, here);
            before = here;
        }
    }

    fn stroke(&mut self, from: (usize, usize), to: (usize, usize)) {
        let length = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |a: usize, b: usize, i: usize| {
            (a as f64 + (b as f64 - a as f64) * i as f64 / length as f64).round() as usize
        };
        for i in 0..=length {
            let (x, y) = (between(from.0, to.0, i), between(from.1, to.1, i));
            self.dots[y / 4][x / 2] |= DOTS[y % 4][x % 2];
        }
    }

    fn mark(&mut self, frame: &Frame, point: (f64, f64)) {
        let (x, y) = frame.dot(point);
        self.marks[y / 4][x / 2] = true;
    }

    fn lines(&self) -> Vec<String> {
        let character = |dots: u32, marked: bool| match (dots, marked) {
            (_, true) => 'o',
            (0, false) => ' ',
            (dots, false) => char::from_u32(0x2800 + dots).unwrap_or(' '),
        };
        let line = |(dots, marks): (&Vec<u32>, &Vec<bool>)| {
            let text: String = dots
                .iter()
                .zip(marks)
                .map(|(&dots, &marked)| character(dots, marked))
                .collect();
            text.trim_end().to_owned()
        };
        self.dots.iter().zip(&self.marks).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling(steps: u64) -> Losses {
        let mut losses = Losses::default();
        for step in 1..=steps {
            losses.add_train(step, 1.0 - step as f64 / steps as f64);
        }
        losses
    }

    #[test]
    fn a_falling_loss_runs_from_the_upper_left_to_the_lower_right() {
        let mut losses = falling(100);
        losses.add_validation(50, 0.9);
        let expected = [
            "0.990 |⠙⠲⢤⣀ o",
            "      |   ⠈⠉⠒⠤⣀⡀",
            "    0 |        ⠉⠓⠦⣄",
            "      +- step 1 to 100, loss: dots training, o validation",
        ];
        assert_eq!(losses.draw(12, 3).unwrap(), expected);
    }

    #[test]
    fn two_points_are_needed() {
        assert_eq!(Losses::default().draw(20, 5), None);
        assert_eq!(falling(1).draw(20, 5), None);
        assert!(falling(2).draw(20, 5).is_some());
    }

    #[test]
    fn a_rewind_takes_later_points_back() {
        let mut losses = falling(50);
        losses.add_validation(25, 0.5);
        losses.add_validation(50, 0.1);
        losses.rewind(30);
        assert_eq!(losses.train.len(), 30);
        assert_eq!(losses.validation.len(), 1);
    }

    #[test]
    fn a_flat_curve_and_values_that_are_none_are_drawn() {
        let mut losses = Losses::default();
        for step in 1..=5 {
            losses.add_train(step, if step == 3 { f64::NAN } else { 2.0 });
        }
        assert_eq!(losses.draw(10, 3).unwrap().len(), 4);
    }

    #[test]
    fn a_long_job_does_not_fill_the_memory() {
        let losses = falling(100_000);
        assert!(losses.train.len() <= MOST_POINTS);
        assert_eq!(losses.train.last().unwrap().0, 100_000.0);
    }
}
