//! `cargo xtask bench gemm`: matrix products.

use super::item::Item;
use wgrad::tensor::ops::matmul::MatMul;
use wgrad::tensor::ops::{Case, CaseInput, Fill};

/// Square ones; a layer of ResNet-20 as a product; a tall one. On a GPU also a large one.
pub(super) fn items(is_software: bool) -> Vec<Item> {
    let mut extents = vec![(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (32_768, 16, 144), (2048, 64, 576)];
    if !is_software {
        extents.push((4096, 4096, 4096));
    }
    let mut items = Vec::new();
    for (m, n, k) in extents {
        for transposed in [false, true] {
            let uniform = |shape: [usize; 2]| CaseInput::f32(shape, Fill::Uniform(-1.0, 1.0));
            let op = MatMul { transpose_b: transposed, ..MatMul::default() };
            let inputs = [uniform([m, k]), uniform(if transposed { [n, k] } else { [k, n] })];
            let name = format!("gemm {m}x{n}x{k} {}", if transposed { "a b^T" } else { "a b" });
            items.push(Item {
                name,
                algo: String::new(),
                batch: None,
                case: Case::new("gemm", op, inputs).within(1e-4),
            });
        }
    }
    items
}
