//! A network as TorchScript modules: a tree of attributes, and for each kind of module the source of its class.
//!
//! Sizes that differ from layer to layer are attributes, so that one class serves all convolutions. The words of the source are those of
//! torch's own writer, which leaves nothing to infer: every attribute is annotated, every call is positional.

use crate::domain::architecture::{
    Architecture,
    design::{Block, Convolution, Design, Shortcut},
};

/// The classes are `__torch__.finetuned.…`.
pub const NAMESPACE: &str = "finetuned";

/// BatchNorm's, as torch has them and as its own writer writes them.
const MOMENTUM: &str = "0.10000000000000001";
const EPSILON: &str = "1.0000000000000001e-05";

/// A module and everything below it.
pub struct Module {
    pub class: String,
    pub slots: Vec<(String, Slot)>,
    /// Lines of `forward`, each with its own indentation; the argument is `input`.
    forward: Vec<String>,
}

/// An attribute of a module.
pub enum Slot {
    /// A tensor that learns, by its name in the model.
    Parameter(String),
    /// A tensor that does not.
    Buffer(String),
    Integer(u64),
    Module(Module),
}

/// The module of a whole network: `[N, 3, H, W]` to logits `[N, classes]`.
pub fn of(architecture: Architecture) -> Module {
    let design = Design::of(architecture);
    let stem = design.stem();
    let mut root = Builder::new("ResNet");
    root.module("conv1", conv("conv1", &stem.convolution));
    root.module("bn1", norm("bn1"));
    let value = root.call("conv1", "input");
    let value = root.call("bn1", &value);
    let mut value = root.value(&format!("torch.relu_({value})"));
    if stem.pooling {
        value = root.value(&format!(
            "torch.max_pool2d({value}, [3, 3], [2, 2], [1, 1], [1, 1], False)"
        ));
    }
    for (stage, blocks) in design.blocks() {
        let name = stage.as_str();
        root.module(name, sequence(name, &blocks));
        value = root.call(name, &value);
    }
    let head = architecture.head();
    root.module(head, linear(head));
    let value = root.value(&format!("torch.adaptive_avg_pool2d({value}, [1, 1])"));
    let value = root.value(&format!("torch.flatten({value}, 1)"));
    let logits = root.call(head, &value);
    root.returning(&logits)
}

/// The blocks of a stage, one after another.
fn sequence(stage: &str, blocks: &[Block]) -> Module {
    let class = format!("{}{}", stage[..1].to_uppercase(), &stage[1..]);
    let mut sequence = Builder::new(&class);
    let mut value = "input".to_owned();
    for (index, block) in blocks.iter().enumerate() {
        let name = index.to_string();
        sequence.module(&name, residual(&format!("{stage}.{index}."), block));
        value = sequence.call(&name, &value);
    }
    sequence.returning(&value)
}

fn residual(prefix: &str, block: &Block) -> Module {
    let class = match block.shortcut {
        Shortcut::Identity => "Block",
        Shortcut::Projection(_) => "BlockWithProjection",
        Shortcut::Padded { .. } => "BlockWithPadding",
    };
    let mut module = Builder::new(class);
    let mut value = "input".to_owned();
    for (number, convolution) in (1..).zip(&block.branch) {
        let (conv_name, norm_name) = (format!("conv{number}"), format!("bn{number}"));
        module.module(&conv_name, conv(&format!("{prefix}{conv_name}"), convolution));
        module.module(&norm_name, norm(&format!("{prefix}{norm_name}")));
        value = module.call(&conv_name, &value);
        value = module.call(&norm_name, &value);
        if number < block.branch.len() {
            value = module.value(&format!("torch.relu_({value})"));
        }
    }
    let shortcut = match &block.shortcut {
        Shortcut::Identity => "input".to_owned(),
        Shortcut::Projection(convolution) => {
            module.module(
                "downsample",
                projection(&format!("{prefix}downsample."), convolution),
            );
            module.call("downsample", "input")
        }
        Shortcut::Padded { stride, channels } => {
            module.integer("stride", *stride);
            module.integer("channels", *channels);
            let [stride, channels] = ["stride", "channels"].map(|name| module.attribute(name));
            let end = i64::MAX;
            let rows = module.value(&format!("torch.slice(input, 2, 0, {end}, {stride})"));
            let fewer = module.value(&format!("torch.slice({rows}, 3, 0, {end}, {stride})"));
            module.value(&format!(
                "torch.constant_pad_nd({fewer}, [0, 0, 0, 0, {channels}, {channels}], 0)"
            ))
        }
    };
    let sum = module.value(&format!("torch.add_({value}, {shortcut})"));
    let output = module.value(&format!("torch.relu_({sum})"));
    module.returning(&output)
}

fn projection(prefix: &str, convolution: &Convolution) -> Module {
    let mut module = Builder::new("Downsample");
    module.module("0", conv(&format!("{prefix}0"), convolution));
    module.module("1", norm(&format!("{prefix}1")));
    let value = module.call("0", "input");
    let value = module.call("1", &value);
    module.returning(&value)
}

fn conv(name: &str, design: &Convolution) -> Module {
    let mut module = Builder::new("Conv2d");
    module.parameter("weight", name);
    let sizes = [
        ("stride", design.stride),
        ("padding", design.side / 2),
        ("groups", design.groups),
    ];
    for (size, value) in sizes {
        module.integer(size, value);
    }
    let [weight, stride, padding, groups] =
        ["weight", "stride", "padding", "groups"].map(|name| module.attribute(name));
    let value = module.value(&format!(
        "torch.conv2d(input, {weight}, None, [{stride}, {stride}], [{padding}, {padding}], [1, 1], {groups})"
    ));
    module.returning(&value)
}

/// As `torch.nn.BatchNorm2d`, also where the module is trained on.
fn norm(name: &str) -> Module {
    let mut module = Builder::new("BatchNorm2d");
    for parameter in ["weight", "bias"] {
        module.parameter(parameter, name);
    }
    for buffer in ["running_mean", "running_var", "num_batches_tracked"] {
        module.buffer(buffer, name);
    }
    let parts = [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "training",
    ];
    let [weight, bias, mean, variance, counter, training] = parts.map(|name| module.attribute(name));
    module.forward.extend([
        format!("if {training}:"),
        format!("  _ = torch.add_({counter}, 1)"),
        "else:".to_owned(),
        "  pass".to_owned(),
    ]);
    let value = module.value(&format!(
        "torch.batch_norm(input, {weight}, {bias}, {mean}, {variance}, {training}, {MOMENTUM}, {EPSILON}, True)"
    ));
    module.returning(&value)
}

fn linear(name: &str) -> Module {
    let mut module = Builder::new("Linear");
    for parameter in ["weight", "bias"] {
        module.parameter(parameter, name);
    }
    let [weight, bias] = ["weight", "bias"].map(|name| module.attribute(name));
    let value = module.value(&format!("torch.linear(input, {weight}, {bias})"));
    module.returning(&value)
}

/// A module whose `forward` is being written; every value gets a name of its own.
struct Builder {
    class: String,
    slots: Vec<(String, Slot)>,
    forward: Vec<String>,
    values: usize,
}

impl Builder {
    fn new(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            slots: Vec::new(),
            forward: Vec::new(),
            values: 0,
        }
    }

    fn parameter(&mut self, part: &str, of: &str) {
        let slot = Slot::Parameter(format!("{of}.{part}"));
        self.slots.push((part.to_owned(), slot));
    }

    fn buffer(&mut self, part: &str, of: &str) {
        let slot = Slot::Buffer(format!("{of}.{part}"));
        self.slots.push((part.to_owned(), slot));
    }

    fn integer(&mut self, name: &str, value: u64) {
        self.slots.push((name.to_owned(), Slot::Integer(value)));
    }

    fn module(&mut self, name: &str, module: Module) {
        self.slots.push((name.to_owned(), Slot::Module(module)));
    }

    /// A line that computes something, and the name of what it computes.
    fn value(&mut self, expression: &str) -> String {
        let name = format!("_{}", self.values);
        self.values += 1;
        self.forward.push(format!("{name} = {expression}"));
        name
    }

    fn attribute(&mut self, name: &str) -> String {
        self.value(&format!("self.{name}"))
    }

    fn call(&mut self, module: &str, input: &str) -> String {
        let named_by_number = module.starts_with(|first: char| first.is_ascii_digit());
        let module = if named_by_number {
            self.value(&format!("getattr(self, \"{module}\")"))
        } else {
            self.attribute(module)
        };
        self.value(&format!("({module}).forward({input}, )"))
    }

    fn returning(mut self, value: &str) -> Module {
        self.forward.push(format!("return {value}"));
        Module {
            class: self.class,
            slots: self.slots,
            forward: self.forward,
        }
    }
}

impl Module {
    /// The classes of all modules, each once.
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
            line(if name.starts_with(|first: char| first.is_ascii_digit()) {
                format!("__annotations__[\"{name}\"] = {kind}")
            } else {
                format!("{name} : {kind}")
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
