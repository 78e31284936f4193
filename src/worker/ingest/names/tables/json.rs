//! JSON that people keep labels in, as lines of objects.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::worker::ingest::names::layout::split_of;

type Object = Map<String, Value>;

/// Objects with the line or number of each; none if the value has no such form.
pub fn objects(value: Value) -> Option<Vec<(u64, Object)>> {
    let objects = match value {
        Value::Array(items) => of_array(items)?,
        Value::Object(object) => of_object(object)?,
        _ => return None,
    };
    Some((1..).zip(objects).collect())
}

fn of_array(items: Vec<Value>) -> Option<Vec<Object>> {
    let object = |item| match item {
        Value::Object(object) => Some(object),
        _ => None,
    };
    items.into_iter().map(object).collect()
}

fn of_object(mut object: Object) -> Option<Vec<Object>> {
    if let Some(labelled) = coco(&object) {
        return Some(labelled);
    }
    let is_flat = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    let are = |value: &Value, kind: fn(&Value) -> bool| {
        value.as_array().is_some_and(|items| items.iter().all(kind))
    };
    if object.values().all(is_flat) {
        return Some(
            object
                .into_iter()
                .map(|(file, label)| row(json!(file), label))
                .collect(),
        );
    }
    // `{"train": [["a.png", 0, "cat"], …], "val": […]}`
    if object.keys().all(|key| split_of(key).is_some())
        && object.values().all(|rows| are(rows, Value::is_array))
    {
        return Some(of_splits(object));
    }
    // `{"train": [{…}, …], "val": […]}`
    if object.keys().all(|key| split_of(key).is_some())
        && object.values().all(|rows| are(rows, Value::is_object))
    {
        let with_split = |(split, rows): (String, Value)| {
            let add = move |mut row: Object| {
                row.entry("split").or_insert_with(|| json!(split));
                row
            };
            of_array(rows.as_array().cloned().unwrap_or_default())
                .map(|rows| rows.into_iter().map(add).collect::<Vec<_>>())
        };
        let rows: Option<Vec<Vec<Object>>> = object.into_iter().map(with_split).collect();
        return rows.map(|rows| rows.concat());
    }
    if let Some(named) = class_index(&object) {
        return Some(named);
    }
    // `{"cat": ["a.png", …], "dog": […]}`, or a list of labels for each file.
    if object.values().all(|files| are(files, Value::is_string)) {
        let looks_like_file = |name: &String| {
            name.rsplit_once('.')
                .is_some_and(|(_, end)| (2..=4).contains(&end.len()))
        };
        if object.keys().all(looks_like_file) {
            return Some(
                object
                    .into_iter()
                    .map(|(file, labels)| row(json!(file), labels))
                    .collect(),
            );
        }
        let files = |(class, files): (String, Value)| {
            let files = files.as_array().cloned().unwrap_or_default();
            files.into_iter().map(move |file| row(file, json!(class.clone())))
        };
        return Some(object.into_iter().flat_map(files).collect());
    }
    // One list of objects beside descriptions of the whole.
    let mut lists: Vec<String> = object
        .iter()
        .filter(|(_, value)| {
            are(value, Value::is_object) && value.as_array().is_some_and(|items| !items.is_empty())
        })
        .map(|(key, _)| key.clone())
        .collect();
    match (lists.pop(), lists.is_empty()) {
        (Some(list), true) => match object.remove(&list) {
            Some(Value::Array(items)) => of_array(items),
            _ => None,
        },
        _ => None,
    }
}

/// `{"0": ["n01440764", "tench"], …}`: number, class and name, as Keras has them for ImageNet.
fn class_index(object: &Object) -> Option<Vec<Object>> {
    let is_name = |value: &Value| value.as_str().is_some_and(|text| !text.contains(['.', '/']));
    let named = object
        .iter()
        .map(|(number, names)| match names.as_array()?.as_slice() {
            [class, name] if number.parse::<u32>().is_ok() && is_name(class) && is_name(name) => {
                Some(Map::from_iter([
                    ("class_number".to_owned(), json!(number)),
                    ("class".to_owned(), class.clone()),
                    ("class_name".to_owned(), name.clone()),
                ]))
            }
            _ => None,
        });
    named.collect::<Option<Vec<_>>>().filter(|rows| !rows.is_empty())
}

fn row(file: Value, label: Value) -> Object {
    Map::from_iter([("file".to_owned(), file), ("label".to_owned(), label)])
}

fn of_splits(object: Object) -> Vec<Object> {
    let mut rows = Vec::new();
    for (split, items) in object {
        for item in items.as_array().into_iter().flatten() {
            let cells = (1..).zip(item.as_array().into_iter().flatten());
            let mut row = Map::from_iter([("split".to_owned(), json!(split))]);
            row.extend(cells.map(|(number, cell): (u32, &Value)| (number.to_string(), cell.clone())));
            rows.push(row);
        }
    }
    rows
}

/// Images with the categories of their annotations, in the form of COCO: <https://cocodataset.org/#format-data>.
fn coco(object: &Object) -> Option<Vec<Object>> {
    let list = |key: &str| object.get(key).and_then(Value::as_array);
    let key = |value: Option<&Value>| value.map(Value::to_string);
    let categories: HashMap<String, &str> = list("categories")?
        .iter()
        .filter_map(|category| Some((key(category.get("id"))?, category.get("name")?.as_str()?)))
        .collect();
    let mut labels: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for annotation in list("annotations")? {
        let image = key(annotation.get("image_id"));
        let name = key(annotation.get("category_id")).and_then(|category| categories.get(&category));
        if let (Some(image), Some(name)) = (image, name) {
            let names = labels.entry(image).or_default();
            if !names.contains(name) {
                names.push(name);
            }
        }
    }
    let images = list("images")?.iter().filter_map(|image| {
        let file = image.get("file_name").or_else(|| image.get("path"))?;
        let label = match labels.get(&key(image.get("id"))?).map(Vec::as_slice) {
            None => json!(""),
            Some([only]) => json!(only),
            Some(several) => json!(several),
        };
        Some(row(file.clone(), label))
    });
    Some(images.collect())
}

/// A value as the text of a cell; lists stay JSON.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}
