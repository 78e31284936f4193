//! A network as TorchScript modules: a tree of attributes, and the source of a class for each kind of module.
//!
//! Sizes that differ from layer to layer are attributes, so that one class serves all convolutions. The syntax is that of torch's own
//! writer, which leaves nothing to infer: every attribute is annotated, every call is positional.

/// The classes are `__torch__.finetuned.…`.
pub const NAMESPACE: &str = "finetuned";
/// The argument of every `forward`.
pub const INPUT: &str = "input";

/// A module and everything below it.
pub struct Module {
    pub class: String,
    pub slots: Vec<(String, Slot)>,
    /// Lines of `forward`, each with its own indentation; the argument is `input`.
    forward: Vec<String>,
}

/// An attribute of a module.
pub enum Slot {
    /// A parameter, by its name in the model.
    Parameter(String),
    /// A buffer.
    Buffer(String),
    Integer(u64),
    Module(Module),
}

/// A module whose `forward` is being written; every value gets a unique name.
pub struct Builder {
    class: String,
    slots: Vec<(String, Slot)>,
    forward: Vec<String>,
    values: usize,
}

impl Builder {
    pub fn new(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            slots: Vec::new(),
            forward: Vec::new(),
            values: 0,
        }
    }

    /// A parameter, the tensor with this full name.
    pub fn parameter(&mut self, slot: &str, tensor: String) -> String {
        self.slots.push((slot.to_owned(), Slot::Parameter(tensor)));
        self.attribute(slot)
    }

    /// A buffer.
    pub fn buffer(&mut self, slot: &str, tensor: String) -> String {
        self.slots.push((slot.to_owned(), Slot::Buffer(tensor)));
        self.attribute(slot)
    }

    pub fn integer(&mut self, slot: &str, value: u64) -> String {
        self.slots.push((slot.to_owned(), Slot::Integer(value)));
        self.attribute(slot)
    }

    /// A child module, applied to `input`.
    pub fn module(&mut self, slot: &str, module: Module, input: &str) -> String {
        self.slots.push((slot.to_owned(), Slot::Module(module)));
        let module = self.attribute(slot);
        self.value(&format!("({module}).forward({input}, )"))
    }

    /// A line that computes a value; returns its name.
    pub fn value(&mut self, expression: &str) -> String {
        let name = format!("_{}", self.values);
        self.values += 1;
        self.forward.push(format!("{name} = {expression}"));
        name
    }

    /// Whether the module is in training mode.
    pub fn training(&mut self) -> String {
        self.attribute("training")
    }

    /// Lines that compute no value.
    pub fn lines(&mut self, lines: impl IntoIterator<Item = String>) {
        self.forward.extend(lines);
    }

    fn attribute(&mut self, name: &str) -> String {
        self.value(&match is_identifier(name) {
            false => format!("getattr(self, \"{name}\")"),
            true => format!("self.{name}"),
        })
    }

    pub fn returning(mut self, value: &str) -> Module {
        self.forward.push(format!("return {value}"));
        Module {
            class: self.class,
            slots: self.slots,
            forward: self.forward,
        }
    }
}

/// Whether a name can be written after `self.`.
fn is_identifier(name: &str) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(is_word)
}

impl Module {
    /// Modules with the same source share one class, others get different ones. `known`: names of classes with their source.
    pub fn name_classes(&mut self, known: &mut Vec<(String, String)>) {
        for (_, slot) in &mut self.slots {
            if let Slot::Module(module) = slot {
                module.name_classes(known);
            }
        }
        let wanted = self.class.clone();
        for number in 1.. {
            if number > 1 {
                self.class = format!("{wanted}{number}");
            }
            let source = self.class_source();
            match known.iter().find(|(class, _)| *class == self.class) {
                Some((_, same)) if *same == source => return,
                Some(_) => {}
                None => {
                    known.push((self.class.clone(), source));
                    return;
                }
            }
        }
    }

    /// The classes of all modules, each once, children first.
    pub fn source(&self) -> String {
        let mut classes: Vec<(String, String)> = Vec::new();
        self.collect(&mut classes);
        classes.into_iter().map(|(_, source)| source).collect()
    }

    fn collect(&self, classes: &mut Vec<(String, String)>) {
        for (_, slot) in &self.slots {
            if let Slot::Module(module) = slot {
                module.collect(classes);
            }
        }
        if classes.iter().all(|(class, _)| *class != self.class) {
            classes.push((self.class.clone(), self.class_source()));
        }
    }

    fn class_source(&self) -> String {
        let named = |wanted: fn(&Slot) -> bool| -> String {
            let names = self.slots.iter().filter(|(_, slot)| wanted(slot));
            names.map(|(name, _)| format!("\"{name}\", ")).collect()
        };
        let parameters = named(|slot| matches!(slot, Slot::Parameter(_)));
        let buffers = named(|slot| matches!(slot, Slot::Buffer(_)));
        let mut source = format!(
            "class {}(Module):\n  __parameters__ = [{parameters}]\n  __buffers__ = [{buffers}]\n",
            self.class
        );
        let mut line = |text: String| source.extend(["  ", &text, "\n"]);
        for (name, slot) in &self.slots {
            let kind = match slot {
                Slot::Parameter(_) | Slot::Buffer(_) => "Tensor".to_owned(),
                Slot::Integer(_) => "int".to_owned(),
                Slot::Module(module) => module.path(),
            };
            line(match is_identifier(name) {
                false => format!("__annotations__[\"{name}\"] = {kind}"),
                true => format!("{name} : {kind}"),
            });
        }
        line("training : bool".to_owned());
        line("_is_full_backward_hook : Optional[bool]".to_owned());
        line(format!("def forward(self: {},", self.path()));
        line("  input: Tensor) -> Tensor:".to_owned());
        for text in &self.forward {
            line(format!("  {text}"));
        }
        source
    }

    fn path(&self) -> String {
        format!("__torch__.{NAMESPACE}.{}", self.class)
    }
}
