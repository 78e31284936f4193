//! Which dictionary of a checkpoint has the weights. Programs call it `state_dict`, `model`, `net`, `params` and many other things, and put
//! it beside the state of the optimiser: so what counts is how many tensors a dictionary has, not its name.

use std::collections::HashSet;

/// How deep dictionaries are looked for, and how many of them are looked at.
const MAX_DEPTH: usize = 4;
const MAX_LOOKED_AT: usize = 10_000;

/// What is in a dictionary.
#[derive(Default)]
pub struct Held<'a> {
    /// Tensors by name, directly in it.
    pub tensors: usize,
    /// Dictionaries by name, with their places.
    pub inner: Vec<(&'a str, usize)>,
}

/// The dictionary with the weights.
pub struct Choice {
    pub place: usize,
    /// The keys that lead to it, joined by dots.
    pub under: String,
    /// Where others are that could be meant.
    pub alternatives: Vec<String>,
}

struct Candidate {
    place: usize,
    under: String,
    tensors: usize,
}

/// The one with the most tensors. Averages of the weights have as many; they are used only if there is nothing else.
pub fn choose<'a>(top: usize, held: &dyn Fn(usize) -> Held<'a>) -> Choice {
    let mut candidates = Vec::new();
    let mut known = HashSet::new();
    let mut open = vec![(top, String::new(), 0)];
    while let Some((place, under, depth)) = open.pop() {
        if known.len() == MAX_LOOKED_AT || !known.insert(place) {
            continue;
        }
        let held = held(place);
        if depth < MAX_DEPTH {
            for (key, inner) in held.inner.iter().rev() {
                let separator = if under.is_empty() { "" } else { "." };
                open.push((*inner, format!("{under}{separator}{key}"), depth + 1));
            }
        }
        candidates.push(Candidate {
            place,
            under,
            tensors: held.tensors,
        });
    }
    // An average may have a counter more.
    let most = candidates
        .iter()
        .map(|candidate| candidate.tensors)
        .max()
        .unwrap_or(0);
    let mut likely: Vec<Candidate> = candidates
        .into_iter()
        .filter(|it| it.tensors > 0 && it.tensors * 10 >= most * 9)
        .collect();
    // The order of the file decides between equals.
    likely.sort_by_key(|candidate| is_average(&candidate.under));
    let mut likely = likely.into_iter();
    match likely.next() {
        None => Choice {
            place: top,
            under: String::new(),
            alternatives: Vec::new(),
        },
        Some(first) => Choice {
            place: first.place,
            under: first.under,
            alternatives: likely.map(|other| other.under).collect(),
        },
    }
}

fn is_average(under: &str) -> bool {
    const WORDS: [&str; 5] = ["ema", "swa", "average", "averaged", "shadow"];
    under.split(['.', '_']).any(|word| WORDS.contains(&word))
}
