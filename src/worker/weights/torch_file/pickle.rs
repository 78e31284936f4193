//! Reads a pickle as far as tensors require, and executes nothing: no class is looked up and no function called.
//!
//! A pickle is a program for a stack machine (documented in Python's `pickletools`). Only the opcodes that `torch.save` uses for tensors by
//! name are implemented; of globals only those that build tensors are known, and only as something to *describe*. Any other global ends the
//! reading, by name. Objects are stored in tables that the values point into: a pickle may nest deeply or contain itself, and nothing here
//! recurses into it.

mod choice;
mod fault;
mod global;
mod input;

use std::collections::HashMap;

use tch::Kind;

pub use self::fault::{PickleFault, shown};
use self::{
    fault::Outcome,
    global::Global,
    input::{Input, malformed},
};

/// Most bytes of a pickle. A ResNet-152 with its optimiser state has 300 KB; a byte can make us keep fewer than 64.
pub const MAX_BYTES: u64 = 4 << 20;

/// The data of a tensor: a file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub key: String,
    pub kind: Kind,
    pub count: i64,
}

/// A tensor described by the pickle. Nothing in it has been checked against the storage or for consistency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub storage: Storage,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// The pickle's dictionary of tensors: the outermost one, or one in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary {
    pub tensors: Vec<(String, Described)>,
    /// Keys of values that are not tensors.
    pub others: Vec<String>,
    /// The keys that lead to it, joined by dots; empty for the outermost one.
    pub under: String,
    /// Where other dictionaries of about as many tensors are.
    pub alternatives: Vec<String>,
}

/// Reads the dictionary.
///
/// # Errors
/// [`PickleFault`] for anything that is not a pickle of tensors in a dictionary.
pub fn read(bytes: &[u8]) -> Outcome<Dictionary> {
    let mut machine = Machine::new(bytes);
    let top = machine.run()?;
    machine.dictionary(top)
}

/// What a file from before PyTorch 1.6 contains after its magic number.
#[derive(Debug)]
pub struct Legacy<'a> {
    pub is_little_endian: bool,
    pub dictionary: Dictionary,
    /// Of the storages, in the order of their data.
    pub keys: Vec<String>,
    /// The bytes after the pickles.
    pub data: &'a [u8],
}

/// Reads the version, the machine, the dictionary and the keys, a pickle each.
///
/// # Errors
/// As [`read`].
pub fn read_legacy(bytes: &[u8]) -> Outcome<Legacy<'_>> {
    const VERSION: i64 = 1001;
    let mut rest = bytes;
    let mut next = || {
        let within = rest.len().min(MAX_BYTES as usize);
        let mut machine = Machine::new(&rest[..within]);
        let top = machine.run()?;
        rest = &rest[within - machine.input.rest.len()..];
        Ok((machine, top))
    };
    match next()? {
        (_, Value::Int(VERSION)) => {}
        _ => return malformed("has an unknown version"),
    }
    let (machine, about) = next()?;
    let is_little_endian = machine.truth(about, "little_endian");
    let (machine, top) = next()?;
    let dictionary = machine.dictionary(top)?;
    let (machine, top) = next()?;
    let keys = machine.texts_of(top)?;
    Ok(Legacy {
        is_little_endian,
        dictionary,
        keys,
        data: rest,
    })
}

/// A value, or its index in the machine's tables.
#[derive(Clone, Copy)]
enum Value {
    /// Irrelevant: none, floats, integers beyond 64 bits.
    Other,
    Bool(bool),
    Int(i64),
    Text(usize),
    Tuple(usize),
    List(usize),
    Dictionary(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
}

struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Value>,
    /// Marks on the stack: everything above the last one belongs to the next tuple, list or run of items.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    texts: Vec<&'a str>,
    tuples: Vec<Vec<Value>>,
    lists: Vec<Vec<Value>>,
    dictionaries: Vec<Vec<(Value, Value)>>,
    storages: Vec<Storage>,
    tensors: Vec<Described>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            input: Input { rest: bytes },
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            texts: Vec::new(),
            tuples: Vec::new(),
            lists: Vec::new(),
            dictionaries: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Executes the opcodes up to the last one and returns the result.
    fn run(&mut self) -> Outcome<Value> {
        loop {
            let value = match self.input.byte()? {
                b'.' => return self.pop(),
                0x80 => match self.input.byte()? {
                    2 => continue,
                    other => return malformed(format!("has protocol {other}, and `torch.save` writes 2")),
                },
                b'(' => {
                    self.marks.push(self.stack.len());
                    continue;
                }
                b'N' => Value::Other,
                0x88 => Value::Bool(true),
                0x89 => Value::Bool(false),
                b'G' => self.input.take(8).map(|_| Value::Other)?,
                b'J' => Value::Int(i32::from_le_bytes(self.input.array()?).into()),
                b'K' => Value::Int(self.input.byte()?.into()),
                b'M' => Value::Int(u16::from_le_bytes(self.input.array()?).into()),
                0x8a => self.input.long()?.map_or(Value::Other, Value::Int),
                b'X' => self.text()?,
                b']' => {
                    self.lists.push(Vec::new());
                    Value::List(self.lists.len() - 1)
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend_list(vec![item])?
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.extend_list(items)?
                }
                b'}' => self.new_dictionary(),
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(vec![key, value])?
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set_items(items)?
                }
                b')' => self.tuple(Vec::new()),
                0x85 => self.short_tuple(1)?,
                0x86 => self.short_tuple(2)?,
                0x87 => self.short_tuple(3)?,
                b't' => {
                    let parts = self.pop_to_mark()?;
                    self.tuple(parts)
                }
                b'c' => {
                    let (module, name) = (self.input.line()?, self.input.line()?);
                    Value::Global(Global::find(module, name)?)
                }
                b'R' => {
                    let (arguments, global) = (self.pop()?, self.pop()?);
                    self.put_together(global, arguments)?
                }
                b'b' => {
                    // Attributes of the dictionary, such as the versions of its modules.
                    self.pop()?;
                    match self.pop()? {
                        dictionary @ Value::Dictionary(_) => dictionary,
                        _ => return malformed("sets attributes of something that is not a dictionary"),
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.storage(id)?
                }
                b'q' => {
                    let place = self.input.byte()?.into();
                    self.remember(place)?;
                    continue;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.input.array()?);
                    self.remember(place)?;
                    continue;
                }
                b'h' => {
                    let place = self.input.byte()?.into();
                    self.remembered(place)?
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.input.array()?);
                    self.remembered(place)?
                }
                other => {
                    return malformed(format!("has the opcode {other:#04x}, which no tensor needs"));
                }
            };
            self.stack.push(value);
        }
    }

    fn pop(&mut self) -> Outcome<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(value) if self.stack.len() >= floor => Ok(value),
            _ => malformed("pops from an empty stack"),
        }
    }

    fn pop_to_mark(&mut self) -> Outcome<Vec<Value>> {
        let floor = self.marks.pop();
        match floor.filter(|floor| *floor <= self.stack.len()) {
            Some(floor) => Ok(self.stack.split_off(floor)),
            None => malformed("pops to a missing mark"),
        }
    }

    fn remember(&mut self, place: u32) -> Outcome<()> {
        let value = self.pop()?;
        self.stack.push(value);
        self.memo.insert(place, value);
        Ok(())
    }

    fn remembered(&self, place: u32) -> Outcome<Value> {
        let value = self.memo.get(&place).copied();
        value.map_or_else(|| malformed("refers to a missing memo entry"), Ok)
    }

    fn text(&mut self) -> Outcome<Value> {
        let length = u32::from_le_bytes(self.input.array()?);
        let bytes = self.input.take(length as usize)?;
        let Ok(text) = str::from_utf8(bytes) else {
            return malformed("contains an invalid string");
        };
        self.texts.push(text);
        Ok(Value::Text(self.texts.len() - 1))
    }

    fn tuple(&mut self, parts: Vec<Value>) -> Value {
        self.tuples.push(parts);
        Value::Tuple(self.tuples.len() - 1)
    }

    fn short_tuple(&mut self, count: usize) -> Outcome<Value> {
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            parts.push(self.pop()?);
        }
        parts.reverse();
        Ok(self.tuple(parts))
    }

    /// Appends what was just taken from the stack to the list below it.
    fn extend_list(&mut self, items: Vec<Value>) -> Outcome<Value> {
        match self.pop()? {
            Value::List(place) => {
                self.lists[place].extend(items);
                Ok(Value::List(place))
            }
            _ => malformed("appends to something that is not a list"),
        }
    }

    /// Whether a dictionary says so.
    fn truth(&self, dictionary: Value, name: &str) -> bool {
        let Value::Dictionary(place) = dictionary else {
            return false;
        };
        let named = |key: &Value| matches!(key, Value::Text(text) if self.texts[*text] == name);
        let mut pairs = self.dictionaries[place].iter();
        pairs.any(|(key, value)| named(key) && matches!(value, Value::Bool(true)))
    }

    fn texts_of(&self, list: Value) -> Outcome<Vec<String>> {
        let Value::List(place) = list else {
            return malformed("has no list of storages");
        };
        let text = |value: &Value| match value {
            Value::Text(text) => Some(self.texts[*text].to_owned()),
            _ => None,
        };
        let texts: Option<Vec<String>> = self.lists[place].iter().map(text).collect();
        texts.map_or_else(|| malformed("has a list of storages with other things in it"), Ok)
    }

    fn new_dictionary(&mut self) -> Value {
        self.dictionaries.push(Vec::new());
        Value::Dictionary(self.dictionaries.len() - 1)
    }

    /// Alternating keys and values, for the dictionary below them.
    fn set_items(&mut self, items: Vec<Value>) -> Outcome<Value> {
        let Value::Dictionary(place) = self.pop()? else {
            return malformed("sets items of something that is not a dictionary");
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return malformed("has a key without a value");
        }
        self.dictionaries[place].extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(Value::Dictionary(place))
    }

    fn put_together(&mut self, global: Value, arguments: Value) -> Outcome<Value> {
        let (Value::Global(global), Value::Tuple(place)) = (global, arguments) else {
            return malformed("calls something unknown");
        };
        let arguments = self.tuples[place].as_slice();
        match (global, arguments) {
            (Global::OrderedDict, []) => Ok(self.new_dictionary()),
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(shape),
                    Value::Tuple(strides),
                    ..,
                ],
            ) => {
                let described = Described {
                    storage: self.storages[*storage].clone(),
                    offset: *offset,
                    shape: self.numbers(*shape)?,
                    strides: self.numbers(*strides)?,
                };
                self.tensors.push(described);
                Ok(Value::Tensor(self.tensors.len() - 1))
            }
            // A parameter is a tensor and whether it is trainable, which is not for a file to say.
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
            _ => malformed("builds a tensor from invalid arguments"),
        }
    }

    fn numbers(&self, tuple: usize) -> Outcome<Vec<i64>> {
        let number = |value: &Value| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        let numbers: Option<Vec<i64>> = self.tuples[tuple].iter().map(number).collect();
        numbers.map_or_else(|| malformed("has an invalid shape"), Ok)
    }

    /// `("storage", type, key, place it was at, count)`; older files add the storage that it is a view of, which must be none.
    fn storage(&mut self, id: Value) -> Outcome<Value> {
        let parts = match id {
            Value::Tuple(place) => self.tuples[place].as_slice(),
            _ => &[],
        };
        let [
            Value::Text(tag),
            Value::Global(Global::Storage(kind)),
            Value::Text(key),
            Value::Text(_),
            Value::Int(count),
            ..,
        ] = parts
        else {
            return malformed("refers to a storage unlike `torch.save`");
        };
        if !matches!(parts[5..], [] | [Value::Other]) {
            return malformed(
                "refers to a part of a storage, as only old files do; load it and save it again",
            );
        }
        if self.texts[*tag] != "storage" {
            return malformed("refers to an external object that is not a storage");
        }
        let key = self.texts[*key];
        if key.len() > 64 {
            return malformed("has a storage name that is too long");
        }
        self.storages.push(Storage {
            key: key.to_owned(),
            kind: *kind,
            count: *count,
        });
        Ok(Value::Storage(self.storages.len() - 1))
    }

    fn dictionary(&self, top: Value) -> Outcome<Dictionary> {
        let Value::Dictionary(place) = top else {
            return malformed("contains no dictionary of tensors");
        };
        let choice = choice::choose(place, &|place| self.held(place));
        let mut dictionary = Dictionary {
            tensors: Vec::new(),
            others: Vec::new(),
            under: choice.under,
            alternatives: choice.alternatives,
        };
        for (key, value) in &self.dictionaries[choice.place] {
            let name = match key {
                Value::Text(key) => self.texts[*key].to_owned(),
                Value::Int(number) => number.to_string(),
                _ => return malformed("has a dictionary with keys that are not strings"),
            };
            match value {
                Value::Tensor(tensor) => dictionary.tensors.push((name, self.tensors[*tensor].clone())),
                _ => dictionary.others.push(name),
            }
        }
        Ok(dictionary)
    }

    /// What [`choice`] looks at: how many tensors a dictionary has, and the dictionaries in it.
    fn held(&self, place: usize) -> choice::Held<'a> {
        let mut held = choice::Held::default();
        for (key, value) in &self.dictionaries[place] {
            match (key, value) {
                (Value::Text(_), Value::Tensor(_)) => held.tensors += 1,
                (Value::Text(key), Value::Dictionary(inner)) => held.inner.push((self.texts[*key], *inner)),
                _ => {}
            }
        }
        held
    }
}
