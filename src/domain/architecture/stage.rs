//! Names of the stages of a network.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A stage of a network between its input and its head, such as `stem` or `layer3`. Stages are ordered from the input to the head;
/// [`super::Architecture::stages`] lists those of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stage {
    /// 0 for the stem.
    number: u8,
    word: Word,
}

crate::text_schema!(Stage, "^(stem|(layer|stage|block)[1-9][0-9]?)$", "layer3");

/// What the authors of a network call its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Word {
    /// What is before the first numbered stage: the first convolutions, or the embedding of patches.
    Stem,
    /// In ResNets.
    Layer,
    Stage,
    /// A block of a transformer, or the convolutions between two poolings.
    Block,
}

impl Word {
    const NUMBERED: [Word; 3] = [Word::Layer, Word::Stage, Word::Block];

    fn as_str(self) -> &'static str {
        match self {
            Word::Stem => "stem",
            Word::Layer => "layer",
            Word::Stage => "stage",
            Word::Block => "block",
        }
    }
}

impl Stage {
    pub const STEM: Stage = Stage {
        number: 0,
        word: Word::Stem,
    };

    /// `layer1`, `layer2`, …
    pub const fn layer(number: u8) -> Self {
        Self::numbered(Word::Layer, number)
    }

    /// `stage1`, `stage2`, …
    pub const fn of(number: u8) -> Self {
        Self::numbered(Word::Stage, number)
    }

    /// `block1`, `block2`, …
    pub const fn block(number: u8) -> Self {
        Self::numbered(Word::Block, number)
    }

    const fn numbered(word: Word, number: u8) -> Self {
        Self { number, word }
    }

    /// How many stages there are from this one up to and including `last`.
    pub fn count_to(self, last: Self) -> u32 {
        (u32::from(last.number) + 1).saturating_sub(u32::from(self.number))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word.as_str())?;
        match self.word {
            Word::Stem => Ok(()),
            _ => write!(out, "{}", self.number),
        }
    }
}

impl FromStr for Stage {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Word::Stem.as_str() {
            return Ok(Self::STEM);
        }
        let numbered = |word: Word| {
            let digits = text.strip_prefix(word.as_str())?;
            let plain = matches!(digits.len(), 1 | 2) && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits
                .parse()
                .ok()
                .filter(|_| plain && !digits.starts_with('0'))?;
            Some(Self::numbered(word, number))
        };
        let found = Word::NUMBERED.into_iter().find_map(numbered);
        found.ok_or("a stage is `stem`, or `layer`, `stage` or `block` with a number from 1 to 99")
    }
}

impl TryFrom<String> for Stage {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Stage> for String {
    fn from(stage: Stage) -> String {
        stage.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (stage, name) in [
            (Stage::STEM, "stem"),
            (Stage::layer(4), "layer4"),
            (Stage::of(7), "stage7"),
            (Stage::block(24), "block24"),
        ] {
            assert_eq!(stage.to_string(), name);
            assert_eq!(name.parse(), Ok(stage));
            assert_eq!(serde_json::to_value(stage).unwrap(), name);
        }
        for wrong in [
            "", "stem1", "layer", "layer0", "layer01", "layer100", "layer+1", "Layer1", "layer-1",
        ] {
            assert!(wrong.parse::<Stage>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn they_are_ordered_from_the_input_to_the_head() {
        let stages = [Stage::STEM, Stage::block(1), Stage::block(2), Stage::block(10)];
        assert!(stages.is_sorted());
        assert_eq!(Stage::block(2).count_to(Stage::block(10)), 9);
        assert_eq!(Stage::STEM.count_to(Stage::layer(4)), 5);
    }
}
