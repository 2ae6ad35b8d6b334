//! LARS and Muon against their papers' formulas, written out in f64.

use super::*;
use crate::graph::Init;
use crate::precision::Storage;
use crate::{Array, CompileOptions, Device, DeviceOptions, Feed, Mode, Params, Plan, Scope, Tier};

/// A wide filter, a tall one, a matrix, a vector.
const SHAPES: [&[usize]; 4] = [&[6, 2, 3, 3], &[10, 3, 1, 1], &[5, 7], &[9]];
const STEPS: usize = 4;
const LR: f64 = 0.05;
const DECAY: f64 = 0.02;
/// Factor on gradients where there is one; they are multiplied by its inverse before.
const FACTOR: f32 = 1.0 / 1024.0;

fn shapes() -> [Shape; SHAPES.len()] {
    SHAPES.map(|dims| Shape::try_new(dims).expect("few dimensions"))
}

fn numbers(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| ((i as f64 + 1.0) * phase).sin()).collect()
}

fn close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    let most = got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
    assert!(got.len() == want.len() && most <= tolerance, "{name}: differs by {most}");
}

/// Some steps with gradients `w * x`; with `scaled`, through a factor, and with steps between them that it skips.
fn run(
    tier: Tier,
    storage: Storage,
    scaled: bool,
    largest: Option<u64>,
    trace: impl for<'g> Fn(&'g Graph, ParamGroup<'g>, Value<'g>, Option<Value<'g>>),
) -> Vec<Vec<f32>> {
    let device = Device::open(&DeviceOptions { tier: Some(tier), ..DeviceOptions::default() }).expect("adapter");
    let graph = Graph::new();
    if let Some(bytes) = largest {
        graph.set_largest_parameter(bytes);
    }
    let scope = Scope::new(&graph, Mode::Train);
    let shapes = shapes();
    let mut members = Vec::new();
    for (i, &shape) in shapes.iter().enumerate() {
        let blocks = match shape.rank() {
            2 => scope.weight_rows(&format!("w{i}"), shape, Init::Constant(0.0)),
            _ => vec![scope.weight(&format!("w{i}"), shape, Init::Constant(0.0))],
        };
        let mut first = 0;
        for block in blocks {
            let x = graph.feed(&format!("x{i}.{first}"), TensorDesc::f32(block.shape()));
            first += block.dim(0);
            members.push((block, block * x));
        }
    }
    let blocks: Vec<(String, usize)> =
        graph.data().feeds().map(|(id, name)| (name.to_string(), graph.data().desc(id).shape.numel())).collect();
    let factor = scaled.then(|| graph.feed("factor", TensorDesc::f32([])));
    let group = ParamGroup { lr_scale: 1.0, weight_decay: DECAY as f32, members };
    trace(&graph, group, graph.feed("lr", TensorDesc::f32([])), factor);
    let mut params = Params::with_weights(&device, 1, storage);
    let options = CompileOptions { poison_memory: true, ..CompileOptions::default() };
    let mut plan = Plan::compile(&device, &graph, &mut params, &options).expect("compiles");
    for (i, &shape) in shapes.iter().enumerate() {
        let data = numbers(shape.numel(), 0.7 + i as f64).into_iter().map(|v| v as f32).collect();
        params.set(&format!("w{i}"), &Array { shape, data }).expect("known");
    }
    let mut step = |step: usize, scale: f32, factor: f32| {
        let mut feeds: Vec<(String, Vec<f32>)> = vec![("lr".to_string(), vec![LR as f32])];
        let mut done = [0; SHAPES.len()];
        for (name, elements) in &blocks {
            let i: usize = name[1..].split('.').next().and_then(|i| i.parse().ok()).expect("named above");
            let x = numbers(shapes[i].numel(), 0.3 + (i + step) as f64);
            let part = x[done[i]..][..*elements].iter().map(|&v| v as f32 * scale).collect();
            done[i] += elements;
            feeds.push((name.clone(), part));
        }
        if scaled {
            feeds.push(("factor".to_string(), vec![factor]));
        }
        let feeds: Vec<(&str, Feed<'_>)> = feeds.iter().map(|(name, x)| (name.as_str(), Feed::F32(x))).collect();
        plan.run(&feeds).expect("runs");
    };
    for i in 0..STEPS {
        if scaled {
            step(7, f32::INFINITY, 0.0);
            step(i, 1.0 / FACTOR, FACTOR);
        } else {
            step(i, 1.0, 1.0);
        }
    }
    (0..SHAPES.len()).map(|i| params.get(&format!("w{i}")).expect("known").data).collect()
}

/// The same with one tensor after the other and `update(shape, w, g, v)`.
fn by_hand(update: impl Fn(Shape, &mut [f64], &[f64], &mut [f64])) -> Vec<Vec<f64>> {
    let trained = |(i, shape): (usize, Shape)| {
        let n = shape.numel();
        let (mut w, mut v) = (numbers(n, 0.7 + i as f64), vec![0.0; n]);
        for step in 0..STEPS {
            let x = numbers(n, 0.3 + (i + step) as f64);
            let g: Vec<f64> = w.iter().zip(x).map(|(w, x)| w * x).collect();
            update(shape, &mut w, &g, &mut v);
        }
        w
    };
    shapes().into_iter().enumerate().map(trained).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn lars_follows_its_paper() {
    let rule = Lars { momentum: 0.9, trust: 0.1 };
    let want = by_hand(|shape, w, g, v| {
        let ratio = if shape.rank() < 2 { 1.0 } else { 0.1 * norm(w) / (norm(g) + DECAY * norm(w)) };
        for ((w, g), v) in w.iter_mut().zip(g).zip(v) {
            *v = 0.9 * *v + LR * ratio * (g + DECAY * *w);
            *w -= *v;
        }
    });
    for (tier, storage, scaled, largest, tolerance) in [
        (Tier::Base, Storage::F32, false, None, 2e-6),
        (Tier::Cpu, Storage::F32, true, None, 2e-6),
        // The matrix in blocks of four rows and one, of one rate.
        (Tier::Cpu, Storage::F32, false, Some(2 * 7 * 4), 2e-6),
        (Tier::Base, Storage::Bf16, true, None, 0.02),
    ] {
        let got = run(tier, storage, scaled, largest, |graph, group, lr, factor| {
            graph.lars(&rule, &[group], lr, factor).expect("sound");
        });
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            close(&format!("w{i} {tier:?} {storage:?} {scaled} {largest:?}"), got, want, tolerance);
        }
    }
}

/// `a b` of matrices in rows.
fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let column = |row: &[f64], j: usize| row.iter().zip(b).map(|(a, b)| a * b[j]).sum();
    a.iter().map(|row| (0..b[0].len()).map(|j| column(row, j)).collect()).collect()
}

fn transposed(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// Newton-Schulz as the definition has it, always on the rows.
fn orthogonal(u: &[f64], rows: usize) -> Vec<f64> {
    let size = norm(u) + 1e-7;
    let mut x: Vec<Vec<f64>> = u.chunks(u.len() / rows).map(|row| row.iter().map(|v| v / size).collect()).collect();
    for _ in 0..5 {
        let gram = product(&x, &transposed(&x));
        let square = product(&gram, &gram);
        let sum = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| -4.775 * a + 2.0315 * b).collect();
        let moved = product(&gram.iter().zip(&square).map(sum).collect::<Vec<Vec<f64>>>(), &x);
        for (x, moved) in x.iter_mut().flatten().zip(moved.into_iter().flatten()) {
            *x = 3.4445 * *x + moved;
        }
    }
    x.into_iter().flatten().collect()
}

#[test]
fn muon_follows_its_definition() {
    let rule = Muon { momentum: 0.6, steps: 5, others_lr: 0.5 };
    let want = by_hand(|shape, w, g, v| {
        let is_filter = shape.rank() == 4;
        let decayed: Vec<f64> = w.iter().zip(g).map(|(w, g)| if is_filter { *g } else { g + DECAY * w }).collect();
        v.iter_mut().zip(&decayed).for_each(|(v, g)| *v = 0.6 * *v + g);
        let u: Vec<f64> = decayed.iter().zip(v.iter()).map(|(g, v)| g + 0.6 * v).collect();
        if is_filter {
            let rows = shape.dim(0);
            let longer = (rows as f64 / (shape.numel() / rows) as f64).max(1.0).sqrt();
            let direction = orthogonal(&u, rows);
            w.iter_mut().zip(direction).for_each(|(w, x)| *w -= LR * (longer * x + DECAY * *w));
        } else {
            w.iter_mut().zip(u).for_each(|(w, u)| *w -= 0.5 * LR * u);
        }
    });
    // What comes out has singular values near 1: the sum of their squares is that of the smaller extent, within a third. A sine alone would
    // make a matrix of rank 2.
    let size = norm(&orthogonal(&(1..=108).map(|i| f64::from(i * i) * 0.37).map(f64::sin).collect::<Vec<_>>(), 6));
    assert!(size * size > 4.0 && size * size < 8.0, "{size}");
    for (tier, storage, scaled, tolerance) in [
        (Tier::Base, Storage::F32, false, 1e-4),
        (Tier::Cpu, Storage::F32, true, 1e-4),
        (Tier::Base, Storage::Bf16, true, 0.05),
    ] {
        let got = run(tier, storage, scaled, None, |graph, group, lr, factor| {
            graph.muon(&rule, &[group], lr, factor).expect("sound");
        });
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            close(&format!("w{i} {tier:?} {storage:?} {scaled}"), got, want, tolerance);
        }
    }
}
