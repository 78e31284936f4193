//! Layers of transformers, and heads of nearest neighbours, in TorchScript.

use super::{
    modules::{Builder, INPUT, Module},
    products::{decimal, product},
};
use crate::{
    domain::architecture::layer::{Attention, AttentionNames, Neighbours, PositionEmbedding, Rotary, joined},
    worker::nets::tokens::rotary,
};

/// Position embeddings for as many tokens as `value` has; for as many as there are, they stay the same.
pub fn interpolated(
    around: &mut Builder,
    design: &PositionEmbedding,
    positions: &str,
    value: &str,
) -> String {
    let PositionEmbedding {
        grid,
        prefix,
        features,
    } = *design;
    let tokens = around.value(&format!("torch.size({value}, 1)"));
    let side = around.value(&format!("int(torch.sqrt(torch.sub({tokens}, {prefix})))"));
    let first = around.value(&format!("torch.slice({positions}, 1, 0, {prefix})"));
    let rest = around.value(&format!(
        "torch.slice({positions}, 1, {prefix}, {})",
        design.tokens()
    ));
    let map = around.value(&format!("torch.view({rest}, [1, {grid}, {grid}, {features}])"));
    let map = around.value(&format!("torch.permute({map}, [0, 3, 1, 2])"));
    let map = around.value(&format!(
        "torch._upsample_bicubic2d_aa({map}, [{side}, {side}], False, None, None)"
    ));
    let rest = around.value(&format!("torch.transpose(torch.flatten({map}, 2), 1, 2)"));
    around.value(&format!("torch.cat([{first}, {rest}], 1)"))
}

pub fn attention(name: &str, design: &Attention) -> Module {
    let mut module = Builder::new("Attention");
    let (heads, size) = (design.heads, design.features / design.heads);
    let (qkv, out) = match design.names {
        AttentionNames::Timm => (product(&mut module, name, "qkv", design.bias, INPUT), "proj"),
        AttentionNames::Torch => {
            let weight = module.parameter("in_proj_weight", joined(name, "in_proj_weight"));
            let bias = match design.bias {
                true => module.parameter("in_proj_bias", joined(name, "in_proj_bias")),
                false => "None".to_owned(),
            };
            let qkv = module.value(&format!("torch.linear({INPUT}, {weight}, {bias})"));
            (qkv, "out_proj")
        }
    };
    let [count, tokens] = [0, 1].map(|dimension| module.value(&format!("torch.size({INPUT}, {dimension})")));
    let parted = module.value(&format!(
        "torch.view({qkv}, [{count}, {tokens}, 3, {heads}, {size}])"
    ));
    let parted = module.value(&format!("torch.permute({parted}, [2, 0, 3, 1, 4])"));
    let [mut queries, mut keys, values] =
        [0, 1, 2].map(|place| module.value(&format!("torch.select({parted}, 0, {place})")));
    if let Some(rotary) = &design.rotary {
        let angles = angles(&mut module, rotary, &tokens, size);
        let [cos, sin] = ["cos", "sin"].map(|of| module.value(&format!("torch.{of}({angles})")));
        [queries, keys] = [queries, keys].map(|vectors| turned(&mut module, &vectors, [&cos, &sin], size));
    }
    let keys = module.value(&format!("torch.transpose({keys}, 2, 3)"));
    let scale = decimal(1.0 / (size as f64).sqrt());
    let scores = module.value(&format!("torch.mul(torch.matmul({queries}, {keys}), {scale})"));
    let mixed = module.value(&format!("torch.matmul(torch.softmax({scores}, -1), {values})"));
    let mixed = module.value(&format!(
        "torch.reshape(torch.transpose({mixed}, 1, 2), [{count}, {tokens}, {}])",
        design.features
    ));
    let value = product(&mut module, name, out, true, &mixed);
    module.returning(&value)
}

/// The angles of a rotary embedding for so many tokens, `[tokens, size]`.
fn angles(module: &mut Builder, rotary: &Rotary, tokens: &str, size: u64) -> String {
    let frequencies: Vec<String> = rotary::frequencies(rotary, size as usize)
        .into_iter()
        .map(decimal)
        .collect();
    let (prefix, quarter) = (rotary.prefix, size / 4);
    let frequencies = module.value(&format!("torch.tensor([{}])", frequencies.join(", ")));
    let device = module.value(&format!("ops.prim.device({INPUT})"));
    let frequencies = module.value(&format!("torch.to({frequencies}, {device})"));
    let side = module.value(&format!("int(torch.sqrt(torch.sub({tokens}, {prefix})))"));
    let places = module.value(&format!(
        "torch.arange({side}, dtype=6, layout=None, device={device}, pin_memory=None)"
    ));
    let places = module.value(&format!(
        "torch.sub(torch.mul(torch.add({places}, 0.5), torch.div(2, {side})), 1)"
    ));
    let turns = module.value(&format!(
        "torch.mul(torch.unsqueeze({places}, 1), torch.unsqueeze({frequencies}, 0))"
    ));
    let shape = format!("[{side}, {side}, {quarter}]");
    let rows = module.value(&format!("torch.expand(torch.unsqueeze({turns}, 1), {shape})"));
    let columns = module.value(&format!("torch.expand(torch.unsqueeze({turns}, 0), {shape})"));
    let all = module.value(&format!("torch.cat([{rows}, {columns}, {rows}, {columns}], 2)"));
    let all = module.value(&format!("torch.flatten({all}, 0, 1)"));
    module.value(&format!("torch.constant_pad_nd({all}, [0, 0, {prefix}, 0], 0)"))
}

/// Queries or keys, turned by angles with these cosines and sines.
fn turned(module: &mut Builder, vectors: &str, [cos, sin]: [&str; 2], size: u64) -> String {
    let half = size / 2;
    let first = module.value(&format!("torch.slice({vectors}, 3, 0, {half})"));
    let second = module.value(&format!("torch.slice({vectors}, 3, {half}, {size})"));
    let turned = module.value(&format!("torch.cat([torch.neg({second}), {first}], 3)"));
    module.value(&format!(
        "torch.add(torch.mul({vectors}, {cos}), torch.mul({turned}, {sin}))"
    ))
}

pub fn neighbours(name: &str, design: &Neighbours) -> Module {
    let mut module = Builder::new("Neighbours");
    let [bank, labels] = ["bank", "labels"].map(|slot| module.buffer(slot, joined(name, slot)));
    let products = module.value(&format!("torch.matmul({INPUT}, torch.t({bank}))"));
    module.lines([format!(
        "nearest, places = torch.topk({products}, {}, 1, True, True)",
        design.k
    )]);
    let votes = module.value(&format!(
        "torch.softmax(torch.div(nearest, {}), 1)",
        decimal(design.temperature)
    ));
    let chosen = module.value(&format!(
        "torch.index_select({labels}, 0, torch.reshape(places, [-1]))"
    ));
    // 4 is the type of 64-bit integers.
    let classes = module.value(&format!("torch.to(torch.view_as({chosen}, places), 4)"));
    let chosen = module.value(&format!("torch.one_hot({classes}, {})", design.classes));
    let shares = module.value(&format!(
        "torch.sum(torch.mul({chosen}, torch.unsqueeze({votes}, 2)), [1])"
    ));
    let least = decimal(Neighbours::SMALLEST_SHARE);
    let value = module.value(&format!("torch.log(torch.clamp_min({shares}, {least}))"));
    module.returning(&value)
}
