//! Attention within windows, and the merging of patches, in TorchScript: for maps of any size.

use super::{
    modules::{Builder, INPUT, Module},
    products::{decimal, product},
};
use crate::{
    domain::architecture::{layer::joined, windows::WindowAttention},
    worker::nets::tokens::windows::MERGED,
};

/// 32-bit floats.
const FLOAT: &str = "6";

pub fn attention(name: &str, design: &WindowAttention) -> Module {
    let mut module = Builder::new("WindowAttention");
    let WindowAttention {
        features,
        heads,
        window,
        shift,
        ..
    } = *design;
    let (size, places) = (features / heads, design.places());
    let [table, positions] = ["relative_position_bias_table", "relative_position_index"];
    let table = module.parameter(table, joined(name, table));
    let positions = module.buffer(positions, joined(name, positions));
    let [count, height, width] = [0, 2, 3].map(|axis| module.value(&format!("torch.size({INPUT}, {axis})")));
    // Windows along each side.
    let [rows, columns] = [&height, &width].map(|length| {
        module.value(&format!(
            "torch.floordiv(torch.add({length}, {}), {window})",
            window - 1
        ))
    });
    let [down, across] =
        [&rows, &columns].map(|windows| module.value(&format!("torch.mul({windows}, {window})")));
    let below = module.value(&format!("torch.sub({down}, {height})"));
    let right = module.value(&format!("torch.sub({across}, {width})"));
    let mut map = module.value(&format!(
        "torch.constant_pad_nd({INPUT}, [0, {right}, 0, {below}], 0)"
    ));
    // A direction with a single window is not shifted.
    let shifts = (shift > 0).then(|| {
        [&rows, &columns].map(|windows| {
            let more = module.value(&format!("torch.sub({windows}, 1)"));
            module.value(&format!("torch.mul(ops.prim.min({more}, 1), {shift})"))
        })
    });
    if let Some([down, across]) = &shifts {
        map = module.value(&format!(
            "torch.roll({map}, [torch.neg({down}), torch.neg({across})], [2, 3])"
        ));
    }
    let windows = module.value(&format!("torch.mul({rows}, {columns})"));
    let map = module.value(&format!(
        "torch.reshape({map}, [{count}, {features}, {rows}, {window}, {columns}, {window}])"
    ));
    let parted = module.value(&format!(
        "torch.reshape(torch.permute({map}, [0, 2, 4, 3, 5, 1]), [{count}, {windows}, {places}, {features}])"
    ));
    let qkv = product(&mut module, name, "qkv", true, &parted);
    let qkv = module.value(&format!(
        "torch.reshape({qkv}, [{count}, {windows}, {places}, 3, {heads}, {size}])"
    ));
    let qkv = module.value(&format!("torch.permute({qkv}, [3, 0, 1, 4, 2, 5])"));
    let [queries, keys, values] =
        [0, 1, 2].map(|place| module.value(&format!("torch.select({qkv}, 0, {place})")));
    let keys = module.value(&format!("torch.transpose({keys}, 3, 4)"));
    let scale = decimal(1.0 / (size as f64).sqrt());
    let scores = module.value(&format!("torch.mul(torch.matmul({queries}, {keys}), {scale})"));
    let biases = module.value(&format!(
        "torch.view(torch.index_select({table}, 0, {positions}), [{places}, {places}, {heads}])"
    ));
    let mut scores = module.value(&format!(
        "torch.add({scores}, torch.permute({biases}, [2, 0, 1]))"
    ));
    if let Some(shifts) = &shifts {
        let sides = [(&rows, &down, &shifts[0]), (&columns, &across, &shifts[1])];
        let unseen = unseen(&mut module, design, sides);
        scores = module.value(&format!("torch.add({scores}, {unseen})"));
    }
    let mixed = module.value(&format!("torch.matmul(torch.softmax({scores}, -1), {values})"));
    let mixed = module.value(&format!(
        "torch.reshape(torch.permute({mixed}, [0, 1, 3, 2, 4]), [{count}, {windows}, {places}, {features}])"
    ));
    let mixed = product(&mut module, name, "proj", true, &mixed);
    let mixed = module.value(&format!(
        "torch.reshape({mixed}, [{count}, {rows}, {columns}, {window}, {window}, {features}])"
    ));
    let mut map = module.value(&format!(
        "torch.reshape(torch.permute({mixed}, [0, 5, 1, 3, 2, 4]), [{count}, {features}, {down}, {across}])"
    ));
    if let Some([down, across]) = &shifts {
        map = module.value(&format!("torch.roll({map}, [{down}, {across}], [2, 3])"));
    }
    let value = module.value(&format!(
        "torch.slice(torch.slice({map}, 2, 0, {height}), 3, 0, {width})"
    ));
    module.returning(&value)
}

/// What is added to the scores of places that are no neighbours in the map, `[windows, 1, places, places]`. `sides`: windows, length and
/// shift of each.
fn unseen(module: &mut Builder, design: &WindowAttention, sides: [(&String, &String, &String); 2]) -> String {
    let (window, places) = (design.window, design.places());
    let device = module.value(&format!("ops.prim.device({INPUT})"));
    let [down, across] = sides.map(|(_, length, shift)| {
        let all = module.value(&format!(
            "torch.arange({length}, dtype={FLOAT}, layout=None, device={device}, pin_memory=None)"
        ));
        let last = module.value(&format!("torch.ge({all}, torch.sub({length}, {window}))"));
        let back = module.value(&format!("torch.ge({all}, torch.sub({length}, {shift}))"));
        module.value(&format!(
            "torch.add(torch.to({last}, {FLOAT}), torch.to({back}, {FLOAT}))"
        ))
    });
    let regions = module.value(&format!(
        "torch.add(torch.mul(torch.unsqueeze({down}, 1), 3), torch.unsqueeze({across}, 0))"
    ));
    let [(rows, ..), (columns, ..)] = sides;
    let regions = module.value(&format!(
        "torch.reshape({regions}, [{rows}, {window}, {columns}, {window}])"
    ));
    let regions = module.value(&format!(
        "torch.reshape(torch.permute({regions}, [0, 2, 1, 3]), [-1, 1, {places}])"
    ));
    let apart = module.value(&format!(
        "torch.ne(torch.unsqueeze({regions}, 2), torch.unsqueeze({regions}, 3))"
    ));
    let most = decimal(WindowAttention::UNSEEN);
    module.value(&format!("torch.mul(torch.to({apart}, {FLOAT}), {most})"))
}

pub fn merged(around: &mut Builder, value: &str) -> String {
    let [below, right] = [2, 3].map(|axis| {
        let length = around.value(&format!("torch.size({value}, {axis})"));
        around.value(&format!("torch.remainder({length}, 2)"))
    });
    let even = around.value(&format!(
        "torch.constant_pad_nd({value}, [0, {right}, 0, {below}], 0)"
    ));
    let end = i64::MAX;
    let quarters = MERGED.map(|[row, column]| {
        let rows = around.value(&format!("torch.slice({even}, 2, {row}, {end}, 2)"));
        around.value(&format!("torch.slice({rows}, 3, {column}, {end}, 2)"))
    });
    format!("torch.cat([{}], 1)", quarters.join(", "))
}
