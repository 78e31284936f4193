//! What is done to all parameters, in a few kernels of a card and not in some for each parameter: a ResNet-50 has 161 of them, and a kernel
//! takes longer to start than most of them take to update.
//!
//! The formulas are those of `sgd`, `adamw`, `clip` and `ema`, which the processor uses: there the bits of earlier versions count, and a
//! kernel starts at once. Nothing here waits for the card.

use std::{
    ffi::{c_char, c_void},
    ptr,
};

use tch::{Kind, Tensor};

use super::{Memory, Moments, Slot, adamw::AdamW, sgd::Sgd};
use crate::worker::nets::foreign;

/// Whether these are to be worked on together.
pub fn is_for(tensor: &Tensor) -> bool {
    tensor.device().is_cuda()
}

/// Updates parameters by their gradients; as [`Sgd::step`] of each.
pub fn sgd(slots: &mut [(&mut Slot, Tensor)], lr: f64, rule: &Sgd) {
    let [momentum, none] = [rule.momentum(), 0.0];
    for group in groups(slots, |slot| matches!(slot.memory, Memory::Momentum(_)).into()) {
        let (first, _) = &group[0];
        let is_first = !matches!(first.memory, Memory::Momentum(_));
        let momenta: Vec<Tensor> = group
            .iter()
            .map(|(slot, gradient)| match &slot.memory {
                Memory::Momentum(momentum) => momentum.shallow_clone(),
                _ => gradient.empty_like(),
            })
            .collect();
        let [rate, decay] = first.rates(lr);
        let [parameters, gradients] = sides(&group);
        // SAFETY: three lists of `group.len()` tensors that live until the call is over.
        must(unsafe {
            finetuned_sgd_together(
                parameters.as_ptr(),
                gradients.as_ptr(),
                pointers(momenta.iter()).as_ptr(),
                group.len(),
                rate,
                decay,
                momentum,
                rule.is_nesterov(),
                is_first,
            )
        });
        if momentum != none {
            for ((slot, _), momentum) in group.into_iter().zip(momenta) {
                slot.memory = Memory::Momentum(momentum);
            }
        }
    }
}

/// As [`AdamW::step`] of each.
pub fn adamw(slots: &mut [(&mut Slot, Tensor)], lr: f64, rule: &AdamW) {
    for (slot, _) in slots.iter_mut() {
        if !matches!(slot.memory, Memory::Moments(_)) {
            slot.memory = Memory::Moments(Moments::before(&slot.parameter));
        }
    }
    for group in groups(slots, |slot| slot.steps()) {
        let (first, _) = &group[0];
        let steps = first.steps() + 1;
        // Filled on the card: a number of ours would have to be sent, and waited for.
        let taken = Tensor::full(
            [] as [i64; 0],
            steps as f64,
            (Kind::Float, first.parameter.device()),
        );
        let [rate, decay] = first.rates(lr);
        let [parameters, gradients] = sides(&group);
        let moments = group.iter().filter_map(|(slot, _)| match &slot.memory {
            Memory::Moments(moments) => Some(moments),
            _ => None,
        });
        let (means, squares): (Vec<_>, Vec<_>) = moments.map(|own| (&own.mean, &own.square)).unzip();
        let (means, squares) = (pointers(means.into_iter()), pointers(squares.into_iter()));
        assert_eq!(means.len(), group.len(), "each has moments");
        // SAFETY: four lists of `group.len()` tensors, and one more, that live until the call is over; two numbers.
        must(unsafe {
            finetuned_adamw_together(
                parameters.as_ptr(),
                gradients.as_ptr(),
                means.as_ptr(),
                squares.as_ptr(),
                taken.as_ptr().cast(),
                group.len(),
                rate,
                decay,
                rule.betas().as_ptr(),
                rule.epsilon(),
            )
        });
        for (slot, _) in group {
            if let Memory::Moments(moments) = &mut slot.memory {
                moments.steps = steps;
            }
        }
    }
}

/// The Euclidean norm over all numbers of these, at least one; a scalar where they are.
pub fn norm(tensors: &[&Tensor]) -> Tensor {
    let mut output = ptr::null_mut();
    let all = pointers(tensors.iter().copied());
    // SAFETY: a list of so many tensors that live until the call is over, and room for a pointer.
    unsafe {
        let fault = finetuned_norm_together(all.as_ptr(), all.len(), &mut output);
        foreign::tensor(fault, output)
    }
}

/// Multiplies each by a scalar where they are.
pub fn multiply(tensors: &[&Tensor], factor: &Tensor) {
    let all = pointers(tensors.iter().copied());
    // SAFETY: a list of so many tensors, and one more, that live until the call is over.
    must(unsafe { finetuned_multiply_together(all.as_ptr(), all.len(), factor.as_ptr().cast()) });
}

/// Moves each by the share `weight` towards another.
pub fn lerp(pairs: &[(&Tensor, &Tensor)], weight: f64) {
    if pairs.is_empty() {
        return;
    }
    let own = pointers(pairs.iter().map(|(own, _)| *own));
    let towards = pointers(pairs.iter().map(|(_, towards)| *towards));
    // SAFETY: two lists of so many tensors that live until the call is over.
    must(unsafe { finetuned_lerp_together(own.as_ptr(), towards.as_ptr(), own.len(), weight) });
}

type Group<'a, 'b> = Vec<&'a mut (&'b mut Slot, Tensor)>;

/// Those with the same rates and the same `property`, in their order.
fn groups<'a, 'b>(
    slots: &'a mut [(&'b mut Slot, Tensor)],
    property: impl Fn(&Slot) -> u64,
) -> Vec<Group<'a, 'b>> {
    let mut groups: Vec<([u64; 3], Group)> = Vec::new();
    for slot in slots {
        let rates = [slot.0.group.lr_multiplier, slot.0.group.weight_decay].map(f64::to_bits);
        let key = [rates[0], rates[1], property(slot.0)];
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(slot),
            None => groups.push((key, vec![slot])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Parameters and gradients.
fn sides(group: &Group) -> [Vec<*const c_void>; 2] {
    [
        pointers(group.iter().map(|slot| &slot.0.parameter)),
        pointers(group.iter().map(|slot| &slot.1)),
    ]
}

fn pointers<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Vec<*const c_void> {
    tensors.map(|tensor| tensor.as_ptr() as *const c_void).collect()
}

/// A fault is a panic, as in tch's own calls.
fn must(fault: *mut c_char) {
    // SAFETY: null or a text that malloc made room for.
    if let Err(text) = unsafe { foreign::result(fault, ptr::null_mut()) } {
        panic!("{text}");
    }
}

unsafe extern "C" {
    fn finetuned_sgd_together(
        parameters: *const *const c_void,
        gradients: *const *const c_void,
        momenta: *const *const c_void,
        count: usize,
        rate: f64,
        decay: f64,
        momentum: f64,
        nesterov: bool,
        is_first: bool,
    ) -> *mut c_char;

    fn finetuned_adamw_together(
        parameters: *const *const c_void,
        gradients: *const *const c_void,
        means: *const *const c_void,
        squares: *const *const c_void,
        steps: *const c_void,
        count: usize,
        rate: f64,
        decay: f64,
        betas: *const f64,
        epsilon: f64,
    ) -> *mut c_char;

    fn finetuned_norm_together(
        tensors: *const *const c_void,
        count: usize,
        output: *mut *mut c_void,
    ) -> *mut c_char;

    fn finetuned_multiply_together(
        tensors: *const *const c_void,
        count: usize,
        factor: *const c_void,
    ) -> *mut c_char;

    fn finetuned_lerp_together(
        tensors: *const *const c_void,
        towards: *const *const c_void,
        count: usize,
        weight: f64,
    ) -> *mut c_char;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tch::Device;

    use super::*;
    use crate::{
        domain::spec::JobSpec,
        worker::{
            autograd::without_gradients,
            nets::{Parameter, tests::values},
            train::optimizer::Optimizer,
        },
    };

    const SHAPES: [&[i64]; 4] = [&[4, 3, 3, 3], &[4], &[], &[7, 5]];

    fn optimizer(settings: &Value) -> Optimizer {
        let mut spec = json!({"dataset": "d", "freeze": "none", "backbone": {"weights": "own.pth"}});
        spec["optimizer"] = settings.clone();
        let mut optimizer = Optimizer::new(&JobSpec::parse(&spec).unwrap());
        // Of the backbone and of the head, which have other rates; vectors may not decay.
        let parameters = SHAPES.iter().enumerate().map(|(number, shape)| Parameter {
            name: format!("{number}.weight"),
            stage: (number < 2).then_some(crate::domain::architecture::Stage::STEM),
            tensor: values(&format!("parameter {number}"), shape).to_kind(Kind::Float),
        });
        optimizer.learn(parameters.collect());
        optimizer
    }

    fn set_gradients(optimizer: &mut Optimizer, step: usize) {
        for (number, slot) in optimizer.slots.iter_mut().enumerate() {
            // One of them begins to learn later.
            let name = format!("gradient {number} {step}");
            let gradient = values(&name, &slot.parameter.size()).to_kind(Kind::Float);
            slot.gradient = (number != 3 || step > 1).then_some(gradient);
        }
    }

    #[test]
    fn steps_are_those_of_each_parameter_by_itself() {
        for settings in [
            json!({"name": "sgd", "lr": 0.1, "momentum": 0}),
            json!({"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
            json!({"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": true, "weight_decay": 0.01}),
            json!({"name": "adamw", "lr": 0.01, "weight_decay": 0.05}),
        ] {
            let (mut each, mut together) = (optimizer(&settings), optimizer(&settings));
            for step in 0..5 {
                set_gradients(&mut each, step);
                set_gradients(&mut together, step);
                let lr = 0.1 / (step + 1) as f64;
                without_gradients(|| {
                    each.update_each(lr);
                    together.update_together(lr);
                });
            }
            for (one, other) in each.slots.iter().zip(&together.slots) {
                let off = (&one.parameter - &other.parameter).abs().max().double_value(&[]);
                assert!(off < 1e-6, "{settings} {}: {off:e}", one.name);
            }
            let (one, other) = (each.state(), together.state());
            assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
            for (name, tensor) in one {
                let off = (tensor.to_kind(Kind::Double) - other[&name].to_kind(Kind::Double))
                    .abs()
                    .max();
                assert!(off.double_value(&[]) < 1e-6, "{settings} {name}");
            }
        }
    }

    #[test]
    fn norms_products_and_averages_are_those_of_each_tensor_by_itself() {
        let make = |word: &str| -> Vec<Tensor> {
            let shapes = SHAPES.iter().enumerate();
            let tensor = |(number, shape): (usize, &&[i64])| values(&format!("{word} {number}"), shape);
            shapes.map(|all| tensor(all).to_kind(Kind::Float)).collect()
        };
        let (own, towards) = (make("own"), make("towards"));
        let expected = super::super::clip::norm(own.iter());
        let all: Vec<&Tensor> = own.iter().collect();
        assert!((norm(&all) - expected).abs().double_value(&[]) < 1e-6);

        let before = make("own");
        multiply(&all, &Tensor::from(0.25f32));
        for (own, before) in own.iter().zip(&before) {
            assert!((own - before * 0.25).abs().max().double_value(&[]) < 1e-7);
        }
        let pairs: Vec<_> = before.iter().zip(&towards).collect();
        let expected: Vec<Tensor> = pairs
            .iter()
            .map(|(own, towards)| own.lerp(towards, 0.1))
            .collect();
        lerp(&pairs, 0.1);
        for (own, expected) in before.iter().zip(&expected) {
            assert!((own - expected).abs().max().double_value(&[]) < 1e-6);
        }
        lerp(&[], 0.1);
        assert!(!is_for(&Tensor::zeros([1], (Kind::Float, Device::Cpu))));
    }
}
