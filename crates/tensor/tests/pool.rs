//! Max pooling where finite differences cannot look: ties, NaN and infinities.

use std::collections::HashMap;
use wgrad_tensor::ops::global_pool::GlobalMaxPool;
use wgrad_tensor::ops::pool::{MaxPool, PoolConfig};
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::shape::TensorDesc;
use wgrad_tensor::{CompileOptions, Device, DeviceOptions, Feed, Graph, Params, Plan, Tier};

#[test]
fn the_first_maximum_wins_and_nan_passes_through() {
    for tier in [Tier::Base, Tier::Cpu] {
        let device = Device::open(&DeviceOptions { tier: Some(tier), ..DeviceOptions::default() }).expect("an adapter");
        for channels in [3, 4] {
            let shape = [2, channels, 7, 6];
            // Few distinct values make many ties; whole windows of minus infinity are the padding's own value.
            let kind = |i: usize| match i * 2_654_435_761 % 97 {
                0..4 => f32::NAN,
                4..60 => f32::NEG_INFINITY,
                60..62 => f32::INFINITY,
                rest => (rest % 3) as f32,
            };
            let x: Vec<f32> = (0..2 * channels * 42).map(kind).collect();
            let graph = Graph::new();
            let value = graph.feed("x", TensorDesc::f32(shape));
            let mut outputs = graph.apply(GlobalMaxPool, &[value]);
            for config in [
                PoolConfig::square(2, 2),
                PoolConfig::square(3, 2).padded(1),
                PoolConfig::square(3, 2).ceil(),
                PoolConfig::square(5, 1).padded(2),
            ] {
                outputs.extend(graph.apply(MaxPool { config }, &[value]));
            }
            for (i, output) in outputs.iter().enumerate() {
                graph.output(&i.to_string(), *output);
            }
            let feeds: Tensors = [("x".to_string(), x.iter().map(|v| f64::from(*v)).collect())].into();
            let expected = reference::run(&graph.data(), &feeds, &mut HashMap::new()).expect("reference runs");
            let mut params = Params::new(&device, 0);
            let mut plan =
                Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect("the plan compiles");
            let ticket = plan.run(&[("x", Feed::F32(&x))]).expect("the plan runs");
            for (i, output) in outputs.iter().enumerate() {
                let words = plan.read_words(ticket, &i.to_string()).expect("known output");
                for (at, (&word, &want)) in words.iter().zip(expected.value(output.id())).enumerate() {
                    // Even outputs are the maxima, odd ones the places.
                    let got = if i % 2 == 0 { f64::from(f32::from_bits(word)) } else { f64::from(word) };
                    let same = got == want || (got.is_nan() && want.is_nan());
                    assert!(same, "{tier:?} channels {channels} output {i} element {at}: got {got} want {want}");
                }
            }
        }
    }
}
