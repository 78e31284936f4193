//! DINO: the network says of one view what its teacher, a moving average of itself, says of the other (Caron et al. 2021, "Emerging
//! Properties in Self-Supervised Vision Transformers"). What the teacher says is centred and sharpened, so that it is neither always the
//! same nor nothing at all.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::views::Views;
use crate::worker::autograd::without_gradients;
use crate::{
    domain::architecture::layer::Activation,
    worker::{
        files::state::StateDict,
        nets::{
            Parameter,
            layers::unit,
            perceptron::{Norms, Perceptron},
        },
        train::transfer::term::Term,
    },
};

/// Widths of the head (appendix C), and the number of its outputs: for thousands of images fewer than the paper's 65,536 for millions.
const HIDDEN: u64 = 2048;
const BOTTLENECK: u64 = 256;
const OUTPUTS: u64 = 4096;
/// By which the outputs of the student and of the teacher are divided.
const STUDENT_TEMPERATURE: f64 = 0.1;
const TEACHER_TEMPERATURE: f64 = 0.04;
/// Of the moving average of the teacher's outputs.
const CENTRE_DECAY: f64 = 0.9;
/// Epochs in which the last layer stays as it is, so that it does not follow random features.
const FIXED_EPOCHS: u32 = 1;
const CENTRE: &str = "centre";

/// The heads of student and teacher.
pub struct Dino {
    student: Head,
    teacher: Head,
    /// Mean output of the teacher over the last steps, `[1, outputs]`.
    centre: Tensor,
    epochs: u32,
    /// The sum of the teacher's outputs in this step, `[outputs]`, and their number.
    seen: RefCell<Option<(Tensor, i64)>>,
}

/// Three layers and a bottleneck; its outputs are cosines to directions that are learned.
struct Head {
    layers: Perceptron,
    directions: Perceptron,
    name: &'static str,
}

impl Dino {
    pub fn new(features: u64, epochs: u32, seed: u64, device: Device) -> Self {
        let (student, teacher) = (
            Head::new("student", features, seed, device),
            Head::new("teacher", features, seed, device),
        );
        // They begin with the same weights.
        teacher.follow(&student, 0.0);
        Self {
            student,
            teacher,
            centre: Tensor::zeros([1, OUTPUTS as i64], (Kind::Float, device)),
            epochs,
            seen: RefCell::new(None),
        }
    }

    /// The loss, and the teacher's outputs.
    pub fn of_views(&self, own: Views, theirs: Views) -> (Term, Option<Tensor>) {
        let own = own.map(|features| self.student.outputs(features));
        let theirs = without_gradients(|| theirs.map(|features| self.teacher.outputs(features)));
        let loss = loss(own.each_ref(), theirs.each_ref(), &self.centre);
        let term = Term {
            told: loss.detach(),
            added: loss,
        };
        (term, Some(Tensor::cat(&theirs, 0)))
    }

    pub fn count(&self, outputs: Tensor) {
        let rows = outputs.size()[0];
        let sum = outputs.sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
        let mut seen = self.seen.borrow_mut();
        *seen = Some(match seen.take() {
            Some((before, count)) => (before + sum, count + rows),
            None => (sum, rows),
        });
    }

    /// Moves the teacher's head and the centre.
    pub fn follow(&self, decay: f64) {
        self.teacher.follow(&self.student, decay);
        if let Some((sum, count)) = self.seen.take() {
            let mean = sum / count as f64;
            let _ = without_gradients(|| {
                self.centre
                    .shallow_clone()
                    .lerp_(&mean.view([1, -1]), 1.0 - CENTRE_DECAY)
            });
        }
    }

    pub fn parameters(&self, epoch: u32) -> Vec<Parameter> {
        let mut parameters = self.student.layers.parameters();
        if epoch > FIXED_EPOCHS || self.epochs <= FIXED_EPOCHS {
            parameters.extend(self.student.directions());
        }
        parameters
    }

    pub fn state(&self) -> StateDict {
        let mut state = StateDict::from([(CENTRE.to_owned(), self.centre.shallow_clone())]);
        for head in [&self.student, &self.teacher] {
            for (name, tensor) in head.state() {
                state.insert(format!("{}.{name}", head.name), tensor.shallow_clone());
            }
        }
        state
    }

    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        for (name, own) in self.state() {
            match saved.get(&name).filter(|saved| saved.size() == own.size()) {
                Some(saved) => without_gradients(|| own.shallow_clone().copy_(saved)),
                None => return Err(name),
            }
        }
        Ok(())
    }
}

impl Head {
    fn new(name: &'static str, features: u64, seed: u64, device: Device) -> Self {
        let make = |name, widths: &[u64]| {
            Perceptron::of(name, widths, (Activation::Gelu, Norms::Nowhere), seed, device)
        };
        Self {
            layers: make("head", &[features, HIDDEN, HIDDEN, BOTTLENECK]),
            directions: make("directions", &[BOTTLENECK, OUTPUTS]),
            name,
        }
    }

    /// `[N, outputs]` of feature vectors: the cosines between what the layers make of them and the directions.
    fn outputs(&self, features: &Tensor) -> Tensor {
        let directions = self.directions().remove(0).tensor;
        unit(&self.layers.forward(features)).matmul(&unit(&directions).tr())
    }

    /// `[outputs, bottleneck]`; the layer has no bias.
    fn directions(&self) -> Vec<Parameter> {
        let parameters = self.directions.parameters().into_iter();
        parameters
            .filter(|parameter| parameter.name.ends_with(".weight"))
            .collect()
    }

    fn state(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.layers.state().iter().chain(self.directions.state())
    }

    /// Moves towards another one.
    fn follow(&self, other: &Head, decay: f64) {
        without_gradients(|| {
            for ((_, own), (_, other)) in self.state().zip(other.state()) {
                let _ = own.shallow_clone().lerp_(other, 1.0 - decay);
            }
        });
    }
}

/// Algorithm 1, the mean over images and both directions, above 0. `[N, outputs]` each.
fn loss(own: Views, theirs: Views, centre: &Tensor) -> Tensor {
    let [first, second] = own.map(|outputs| (outputs / STUDENT_TEMPERATURE).log_softmax(1, Kind::Float));
    let [of_first, of_second] = theirs.map(|outputs| {
        ((outputs - centre) / TEACHER_TEMPERATURE)
            .softmax(1, Kind::Float)
            .detach()
    });
    let cross_entropy = |said: Tensor, own: Tensor| {
        let each = (said * own).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        each.mean(Kind::Float)
    };
    (cross_entropy(of_first, second) + cross_entropy(of_second, first)) * -0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::train::transfer::pretraining::golden;

    #[test]
    fn the_loss_is_numpys() {
        let expected = golden::golden().dino;
        let [student, teacher] = [&expected.student, &expected.teacher]
            .map(|pair| pair.each_ref().map(|rows| golden::tensor(rows)));
        let centre = golden::tensor(std::slice::from_ref(&expected.centre));
        let found = loss(student.each_ref(), teacher.each_ref(), &centre).double_value(&[]);
        assert!((found - expected.loss).abs() < 1e-6, "{found}");
    }

    #[test]
    fn the_teacher_follows_the_student_and_the_centre_what_it_says() {
        let dino = Dino::new(5, 3, 1, Device::Cpu);
        let features = Tensor::arange(20, (Kind::Float, Device::Cpu)).sin().view([4, 5]);
        let views = [&features, &features];
        assert!(
            dino.student
                .outputs(&features)
                .equal(&dino.teacher.outputs(&features))
        );
        let (term, seen) = dino.of_views(views, views);
        assert!(term.told.double_value(&[]) > 0.0);
        dino.count(seen.unwrap());
        let mean = dino
            .teacher
            .outputs(&features)
            .mean_dim([0i64].as_slice(), true, Kind::Float);
        for parameter in dino.student.layers.parameters() {
            let _ = without_gradients(|| parameter.tensor.shallow_clone().g_add_scalar_(1.0));
        }
        dino.follow(0.75);
        let off = |one: &Tensor, other: &Tensor| (one - other).abs().max().double_value(&[]);
        assert!(off(&dino.centre, &(mean * 0.1)) < 1e-6);
        let bias = |head: &Head| head.layers.state()["head.linear1.bias"].copy();
        assert!(off(&(bias(&dino.student) - 0.75), &bias(&dino.teacher)) < 1e-5);
        // Resumed, it has the same state.
        let other = Dino::new(5, 3, 2, Device::Cpu);
        other.restore(&dino.state()).unwrap();
        assert!(
            other
                .teacher
                .outputs(&features)
                .equal(&dino.teacher.outputs(&features))
        );
        assert!(other.centre.equal(&dino.centre));
    }

    #[test]
    fn the_last_layer_learns_after_the_first_epoch() {
        let has_directions = |epochs, epoch| {
            let parameters = Dino::new(5, epochs, 1, Device::Cpu).parameters(epoch);
            parameters
                .iter()
                .any(|parameter| parameter.name == "directions.linear1.weight")
        };
        assert!(!has_directions(3, 1) && has_directions(3, 2) && has_directions(1, 1));
    }
}
