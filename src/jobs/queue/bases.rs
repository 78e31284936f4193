//! Backbones that models share: a training child is told of those that are there, and a model that it made of one is held to it.

use std::{collections::HashSet, path::PathBuf};

use crate::{
    domain::{models::model::ModelCard, spec::Architecture},
    error::{Error, Result},
    jobs::{children::paths::absolute, context::Context},
    protocol::{KnownBase, TrainResult, frames::BaseFile},
};

/// Most of them that a child is told of.
const MOST: usize = 8;

/// Whole backbones of this architecture that models have as their base. A failure makes the job slower, no more.
pub async fn known(context: &Context, architecture: Architecture) -> Vec<KnownBase> {
    let cards = context.store.cards_beside_a_base(architecture).await;
    let cards = cards.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot list the weights that models share");
        Vec::new()
    });
    let path = |digest: &str| absolute(&context.blobs.path(digest));
    let mut seen = HashSet::new();
    let bases = cards
        .iter()
        .filter_map(|card| base_of(card, path))
        .filter(|base| !context.blobs.is_known_damaged(&base.file.sha256))
        .filter(|base| seen.insert((base.source_sha256.clone(), base.file.sha256.clone())));
    bases.take(MOST).collect()
}

/// The base of a model whose whole backbone it is, and of which it is certain what it was made from.
fn base_of(card: &ModelCard, path: impl Fn(&str) -> PathBuf) -> Option<KnownBase> {
    let adapter = card.adapter.as_ref().filter(|adapter| adapter.adapt.is_none())?;
    let source_sha256 = card.base_weights_sha256.clone()?;
    (!card.base_weights_guessed).then(|| KnownBase {
        source_sha256,
        file: BaseFile {
            path: path(&adapter.base_sha256),
            sha256: adapter.base_sha256.clone(),
        },
        bytes: adapter.base_bytes,
    })
}

/// Whether the base of a new model is there, or comes with it. Nothing may be swept meanwhile.
///
/// # Errors
/// It was removed while the job ran.
pub async fn check(context: &Context, result: &TrainResult) -> Result<()> {
    let Some(adapter) = result.card.adapter.as_ref().filter(|_| result.base.is_none()) else {
        return Ok(());
    };
    match tokio::fs::try_exists(context.blobs.path(&adapter.base_sha256)).await {
        Ok(true) => Ok(()),
        _ => Err(Error::internal(anyhow::anyhow!(
            "the weights that a new model shares with others are gone"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{models::adapter::Adapter, spec::Adapt},
        fixtures::Stand,
    };

    #[tokio::test]
    async fn a_base_is_known_by_the_file_that_it_was_surely_made_from() {
        let path = |digest: &str| PathBuf::from(digest);
        let mut card = Stand::new().await.model().await.card;
        assert_eq!(base_of(&card, path), None, "it is whole");
        card.adapter = Some(Box::new(Adapter {
            adapt: None,
            parameters: 1026,
            base_sha256: "b".repeat(64),
            base_bytes: 44,
        }));
        assert_eq!(base_of(&card, path), None, "it is not known what from");
        card.base_weights_sha256 = Some("a".repeat(64));
        let known = base_of(&card, path).unwrap();
        assert_eq!((known.source_sha256, known.bytes), ("a".repeat(64), 44));
        assert_eq!(known.file.sha256, "b".repeat(64));
        card.base_weights_guessed = true;
        assert_eq!(base_of(&card, path), None, "what was guessed is to be said again");
        card.base_weights_guessed = false;
        card.adapter.as_mut().unwrap().adapt = Some(Adapt::NormOnly);
        assert_eq!(base_of(&card, path), None, "it lacks what the adapter changes");
    }
}
