//! What happens to the head of base weights: it is kept only where its classes are known by name and all classes of the dataset are among
//! them. The number of classes alone says nothing about what they are.

use tch::Tensor;

use crate::{
    domain::{
        architecture::{Head, HeadKind, Outputs, layer::joined},
        spec::{Architecture, HeadKeep},
    },
    worker::{
        files::state::StateDict,
        nets::heads::{self, FoundHead},
    },
};

/// Leaves in `state` either a head of the wanted kind for exactly these classes, in their order, or none. Returns what was done, for the log.
///
/// `known`: names of the outputs of the head, if they are known.
pub fn choose(
    state: &mut StateDict,
    architecture: Architecture,
    known: Option<&[String]>,
    classes: &[String],
    (wanted, keep): (Outputs, HeadKeep),
) -> String {
    let Some(kind) = wanted.head.kind() else {
        for name in heads::names(architecture) {
            state.remove(&name);
        }
        return "the backbone is trained alone; a head of the weights is left out".to_owned();
    };
    let made = match kind.learns() {
        true => "initialised",
        false => "made of the training images",
    };
    let count = classes.len();
    let Some(found) = heads::found(state, architecture) else {
        return format!("the weights have no head; a new one for {count} classes is {made}");
    };
    let outputs = found.classes;
    let of_so_many = FoundHead {
        classes: wanted.classes as i64,
        ..found
    };
    let rows = match (keep, known) {
        (HeadKeep::Never, _) => Err("`head.keep` is `never`".to_owned()),
        _ if !of_so_many.can_be_kept_as(wanted) => Err(format!(
            "it is of kind `{}`, and one of kind `{}` is {made}",
            found.kind.as_str(),
            kind.as_str()
        )),
        (HeadKeep::Auto, None) => Err("the names of its classes are not known".to_owned()),
        (HeadKeep::Auto, Some(known)) => rows(known, outputs, classes),
    };
    match rows {
        Ok(rows) => {
            let rows = Tensor::from_slice(&rows);
            for name in output_names(architecture, found.kind) {
                if let Some(tensor) = state.get_mut(&name) {
                    *tensor = tensor.index_select(0, &rows);
                }
            }
            format!(
                "the head of the weights is kept: all {count} classes of the dataset are among its {outputs}, and are put in the dataset's order"
            )
        }
        Err(why) => {
            for name in heads::names(architecture) {
                state.remove(&name);
            }
            format!(
                "the head of the weights, for {outputs} classes, is replaced by a new one for {count}: {why}"
            )
        }
    }
}

/// The tensors that have a row for each class.
fn output_names(architecture: Architecture, kind: HeadKind) -> [String; 2] {
    let layer = match kind {
        HeadKind::Mlp => joined(architecture.head(), Head::OUTPUT),
        HeadKind::Linear | HeadKind::Prototype | HeadKind::Knn => architecture.head().to_owned(),
    };
    ["weight", "bias"].map(|tensor| joined(&layer, tensor))
}

/// For each class of the dataset its output.
fn rows(known: &[String], outputs: i64, classes: &[String]) -> Result<Vec<i64>, String> {
    if known.len() as i64 != outputs {
        return Err(format!("it has names of {} classes", known.len()));
    }
    classes
        .iter()
        .map(|class| {
            let mut same = (0..).zip(known).filter(|(_, name)| *name == class);
            match (same.next(), same.next()) {
                (Some((row, _)), None) => Ok(row),
                (None, _) => Err(format!("`{class}` is not among its classes")),
                (Some(_), Some(_)) => Err(format!("several of its classes are called `{class}`")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn state() -> StateDict {
        let weight = Tensor::arange(12, (tch::Kind::Float, tch::Device::Cpu)).view([3, 4]);
        let bias = Tensor::from_slice(&[0f32, 1.0, 2.0]);
        StateDict::from([("fc.weight".to_owned(), weight), ("fc.bias".to_owned(), bias)])
    }

    fn chosen(known: Option<&[&str]>, classes: &[&str], keep: HeadKeep) -> (Option<Vec<f32>>, String) {
        let mut state = state();
        let known = known.map(names);
        let told = choose(
            &mut state,
            Architecture::Resnet18,
            known.as_deref(),
            &names(classes),
            (Outputs::from(classes.len()), keep),
        );
        let bias = state.get("fc.bias").map(|bias| Vec::try_from(bias).unwrap());
        if let (Some(bias), Some(weight)) = (&bias, state.get("fc.weight")) {
            let first = Vec::<f32>::try_from(weight.select(1, 0).contiguous()).unwrap();
            assert_eq!(first, bias.iter().map(|row| row * 4.0).collect::<Vec<_>>());
        }
        assert_eq!(bias.is_some(), state.contains_key("fc.weight"));
        (bias, told)
    }

    #[test]
    fn a_head_is_kept_for_classes_that_it_knows_by_name_in_the_datasets_order() {
        let known = ["ant", "bee", "cow"];
        let auto = HeadKeep::Auto;
        assert_eq!(
            chosen(Some(&known), &["cow", "ant"], auto).0,
            Some(vec![2.0, 0.0])
        );
        assert_eq!(chosen(Some(&known), &known, auto).0, Some(vec![0.0, 1.0, 2.0]));
        for (known, classes, keep, told) in [
            (
                Some(&known[..]),
                &["ant", "dog", "cow"][..],
                auto,
                "`dog` is not among",
            ),
            (None, &["x", "y", "z"], auto, "not known"),
            (Some(&known), &["cow", "ant"], HeadKeep::Never, "`never`"),
            (Some(&["ant", "ant", "bee"]), &["ant"], auto, "several"),
            (Some(&["ant", "bee"]), &["ant"], auto, "names of 2 classes"),
        ] {
            let (rows, why) = chosen(known, classes, keep);
            assert_eq!(rows, None);
            assert!(why.contains(told), "{why}");
        }
    }
}
