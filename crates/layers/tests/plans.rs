//! Plans of whole training steps, without an adapter: how many dispatches, which buffers.

mod common;

use common::{plan, temporary_bytes};
use std::collections::BTreeSet;
use wgrad_layers::{Concat, Conv2d, Flatten, Layer, Linear, Relu, models};
use wgrad_tensor::ops::{BufferRef, Target, Tier};
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::plan::{PlanDesc, lower, optimise};
use wgrad_tensor::{CompileOptions, Graph, Mode, Scope, TensorDesc};

#[test]
fn an_optimiser_is_one_dispatch_a_group() {
    for (name, norms) in [("resnet20", 19), ("resnet9", 8), ("vgg", 6)] {
        let net = models::by_name(name, 3, 10).expect("a name of the zoo");
        let desc = plan(&net, 16, Target::default(), &CompileOptions::default()).expect("lowers");
        let count = |part: &str| desc.dispatches.iter().filter(|dispatch| dispatch.label.ends_with(part)).count();
        assert_eq!(count("/sgd"), 2, "{name}: two groups\n{desc}");
        assert_eq!(count("/batch_norm_update"), 2 * norms, "{name}: mean and variance of each batch norm");
        assert!(desc.copies.is_empty(), "{name}: all updates are made in place");
    }
}

#[test]
fn no_activation_gradient_is_left_where_a_convolution_can_take_it() {
    // Of ResNet-20's 19 activations 18 feed a convolution, whose input gradient ends with their derivative; behind the last one
    // is the global average.
    let net = models::by_name("resnet20", 3, 10).expect("a name of the zoo");
    let count = |fuse: bool| {
        let options = CompileOptions { fuse, ..CompileOptions::default() };
        let desc = plan(&net, 16, Target::default(), &options).expect("lowers");
        desc.graph.nodes.iter().filter(|node| node.op.name() == "activation.backward").count()
    };
    assert_eq!((count(false), count(true)), (19, 1));
}

/// Buffers that the forward dispatches of branch `i` bind under a name that is `wanted`.
fn buffers(desc: &PlanDesc, i: usize, wanted: impl Fn(&str) -> bool) -> BTreeSet<BufferRef> {
    let branch = format!("1.{i}.");
    let own = desc.dispatches.iter().filter(|d| d.label.contains(&branch) && !d.label.contains("backward"));
    own.flat_map(|d| d.bindings.iter().filter(|(name, _)| wanted(name)).map(|(_, place)| place.buffer)).collect()
}

#[test]
fn independent_branches_have_no_buffer_of_temporaries_in_common() {
    let branch =
        || (Conv2d::new(8, 4, 1), Relu, Conv2d::new(4, 8, 3).padding(1), Relu, Conv2d::new(8, 4, 3).padding(1), Relu);
    let stem = (Conv2d::new(3, 8, 3).padding(1), Relu);
    let net = (stem, Concat((branch(), branch(), branch())), Flatten, Linear::new(12 * 1024, 10));
    let lowered = |overlap: bool| {
        let options = CompileOptions { overlap, ..CompileOptions::default() };
        let target = Target { tier: Tier::Cpu, ..Target::default() };
        plan(&net, 4, target, &options).expect("lowers")
    };
    let in_common = |desc: &PlanDesc| {
        let written: Vec<BTreeSet<BufferRef>> = (0..3).map(|i| buffers(desc, i, |name| name == "y")).collect();
        let bound: Vec<BTreeSet<BufferRef>> = (0..3).map(|i| buffers(desc, i, |_| true)).collect();
        assert!(written.iter().all(|buffers| buffers.len() >= 2), "{written:?}");
        (0..3).any(|i| (0..3).any(|j| i != j && !written[i].is_disjoint(&bound[j])))
    };
    let (shared, apart) = (lowered(false), lowered(true));
    assert!(!in_common(&apart), "{apart}");
    assert!(temporary_bytes(&apart) > temporary_bytes(&shared));
    // In an evaluation nothing waits for a backward pass, so that slots are free early.
    assert!(in_common(&lowered_forward(&net, false)) && !in_common(&lowered_forward(&net, true)));
}

/// The forward pass alone.
fn lowered_forward(net: &dyn Layer, overlap: bool) -> PlanDesc {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([4, 3, 32, 32]));
    graph.output("y", net.forward(&Scope::new(&graph, Mode::Eval), x));
    let target = Target { tier: Tier::Cpu, ..Target::default() };
    let mut store = StoreLayout::default();
    store.declare(graph.data().params().map(|(_, decl)| decl), &target).expect("the parameters fit");
    let options = CompileOptions { overlap, ..CompileOptions::default() };
    lower(optimise(&graph, &options).expect("no mistakes"), &store, target, "no adapter", &options).expect("lowers")
}
