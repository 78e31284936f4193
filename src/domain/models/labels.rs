//! Names of classes as people have them: one per line, a JSON array, or an object of numbers and names as other programs save it.

use serde_json::{Map, Value};

use crate::domain::datasets::class_name;

/// The names, in the order of the network's outputs.
///
/// # Errors
/// What is wrong with them.
pub fn parse(text: &str, most: usize) -> Result<Vec<String>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let texts = match text.trim_start().chars().next() {
        Some('[' | '{') => of_json(text)?,
        _ => of_lines(text),
    };
    if texts.is_empty() || texts.len() > most {
        return Err(format!(
            "must be 1 to {most} classes, but there are {}",
            texts.len()
        ));
    }
    let labels: Result<Vec<_>, String> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| class_name::parse(text).map_err(|rule| format!("class {index}: {rule}")))
        .collect();
    let labels = labels?;
    match twice(&labels) {
        Some(label) => Err(format!("the class `{label}` occurs twice")),
        None => Ok(labels),
    }
}

/// One per line. Where every line begins with its own number, that is not part of the names.
fn of_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .trim_end()
        .split('\n')
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    // Old programs of the Macintosh end lines so.
    let lines: Vec<&str> = match lines.as_slice() {
        [one] => one.split('\r').collect(),
        _ => lines,
    };
    let numbered: Option<Vec<&str>> = lines
        .iter()
        .copied()
        .enumerate()
        .map(|(index, line)| behind_number(line, index))
        .collect();
    let names = numbered.filter(|names| names.len() > 1).unwrap_or(lines);
    match names.as_slice() {
        [""] => Vec::new(),
        names => names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// What follows `7 `, `7: ` or `7,`.
fn behind_number(line: &str, number: usize) -> Option<&str> {
    let rest = line.trim_start().strip_prefix(&number.to_string())?;
    let name = rest.strip_prefix([' ', '\t', ':', ',', ';'])?.trim();
    (!name.is_empty()).then_some(name)
}

fn of_json(text: &str) -> Result<Vec<String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|fault| {
        format!(
            "is no valid JSON (line {}); send a JSON array of strings, or one class per line",
            fault.line()
        )
    })?;
    of_value(&value)
        .unwrap_or_else(|| {
            Err("must be a JSON array of strings, an object of numbers and names such as `id2label`, or one class per line".to_owned())
        })
}

/// None if it is nothing of the kind.
fn of_value(value: &Value) -> Option<Result<Vec<String>, String>> {
    /// Keys under which programs save the names, among other things.
    const KEYS: [&str; 8] = [
        "id2label",
        "label2id",
        "class_to_idx",
        "idx_to_class",
        "classes",
        "class_names",
        "labels",
        "names",
    ];
    match value {
        Value::Array(items) => items.iter().map(name).collect::<Option<Vec<_>>>().map(Ok),
        Value::Object(object) => match KEYS.iter().find_map(|key| object.get(*key)) {
            Some(inner) => of_value(inner),
            None => of_numbers(object),
        },
        _ => None,
    }
}

/// `{"0": "cat"}` or `{"cat": 0}`
fn of_numbers(object: &Map<String, Value>) -> Option<Result<Vec<String>, String>> {
    let by_key = |(key, value): (&String, &Value)| Some((key.trim().parse().ok()?, name(value)?));
    let by_value = |(key, value): (&String, &Value)| Some((number(value)?, key.clone()));
    let pairs: Option<Vec<(u64, String)>> = object.iter().map(by_key).collect();
    let mut pairs = pairs.or_else(|| object.iter().map(by_value).collect())?;
    pairs.sort();
    let wrong = pairs
        .iter()
        .zip(0..)
        .find(|((number, _), expected)| number != expected);
    if let Some(((number, _), expected)) = wrong {
        return Some(Err(format!(
            "the numbers of the classes must be 0 to {} without gaps, but {expected} is missing and {number} is there",
            pairs.len() - 1
        )));
    }
    Some(Ok(pairs.into_iter().map(|(_, name)| name).collect()))
}

/// A name, or one after its code as in ImageNet's own list: `["n01440764", "tench"]`; or an object that has one.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => match names.as_slice() {
            [Value::String(_), Value::String(name)] => Some(name.clone()),
            _ => None,
        },
        Value::Object(object) => ["name", "label"]
            .iter()
            .find_map(|key| object.get(*key)?.as_str())
            .map(str::to_owned),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A label that occurs more than once.
pub fn twice(labels: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    labels.iter().find(|label| !seen.insert(*label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_in_many_forms() {
        for text in [
            "ants\nbees",
            "ants\r\nbees\r\n\r\n",
            "ants\rbees\r",
            "\u{feff}ants\r\nbees\r\n",
            "\u{feff}[\"ants\", \"bees\"]",
            "[\"ants\",\n \"bees\"]",
            "0 ants\n1 bees\n",
            "0: ants\n1: bees",
            "0,ants\n1,bees",
            "{\"0\": \"ants\", \"1\": \"bees\"}",
            "{\"1\": \"bees\", \"0\": \"ants\"}",
            "\u{feff}{\"ants\": 0, \"bees\": 1}",
            "{\"bees\": \"1\", \"ants\": \"0\"}",
            "{\"0\": [\"n02219486\", \"ants\"], \"1\": [\"n02206856\", \"bees\"]}",
            "{\"model_type\": \"resnet\", \"id2label\": {\"0\": \"ants\", \"1\": \"bees\"}, \"label2id\": {\"ants\": 0, \"bees\": 1}}",
            "{\"label2id\": {\"bees\": 1, \"ants\": 0}}",
            "{\"class_to_idx\": {\"bees\": 1, \"ants\": 0}}",
            "{\"classes\": [\"ants\", \"bees\"]}",
            "[{\"id\": 0, \"name\": \"ants\"}, {\"id\": 1, \"name\": \"bees\"}]",
        ] {
            assert_eq!(
                parse(text, 3).as_deref(),
                Ok(&["ants".to_owned(), "bees".to_owned()][..]),
                "{text:?}"
            );
        }
        // From ten on the order of the keys is not that of the numbers.
        let many: Vec<String> = (0..12)
            .map(|number| format!("\"{number}\": \"c{number}\""))
            .collect();
        let names: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
        assert_eq!(parse(&format!("{{{}}}", many.join(",")), 20), Ok(names));
        // Names that are numbers, or begin with some.
        assert_eq!(parse("0\n1\n2", 3).unwrap(), ["0", "1", "2"]);
        assert_eq!(parse("1 euro\n2 euro", 3).unwrap(), ["1 euro", "2 euro"]);
        assert_eq!(parse("two words", 3).unwrap(), ["two words"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (wrong, word) in [
            ("", "there are 0"),
            ("\u{feff}", "there are 0"),
            ("[]", "there are 0"),
            ("[1]", "array of strings"),
            ("[\"a\"", "no valid JSON"),
            ("{\"a\": \"b\"}", "id2label"),
            ("{\"0\": \"a\", \"2\": \"b\"}", "1 is missing"),
            ("{\"a\": 1, \"b\": 2}", "0 is missing"),
            ("{\"a\": 0, \"b\": 0}", "1 is missing"),
            ("a\na", "twice"),
            ("a\n\nb", "class 1"),
            ("a\nb\nc\nd", "there are 4"),
            ("a/b", "slashes"),
            ("[\"a\\u0000\"]", "control"),
        ] {
            let message = parse(wrong, 3).unwrap_err();
            assert!(message.contains(word), "{wrong:?}: {message}");
        }
    }
}
