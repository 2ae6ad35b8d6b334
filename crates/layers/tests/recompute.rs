//! Recomputation, planned without an adapter: budgets are met, as cheaply as promised.

use wgrad_layers::{BatchNorm2d, Conv2d, Dropout, Layer, Relu, Residual, losses, models};
use wgrad_tensor::graph::GraphData;
use wgrad_tensor::ops::sgd::{Sgd, SgdGroup};
use wgrad_tensor::ops::{Target, Tier};
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::passes::recompute::recompute;
use wgrad_tensor::plan::{PlanDesc, fit, lower, optimise};
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::{CompileOptions, Error, Graph, Mode, Scope, TensorDesc, UsageError, gradients, weights};

/// A training step of a network of the zoo, optimised, and the store's layout.
fn training_step(name: &str, batch: usize, target: Target) -> (GraphData, StoreLayout) {
    let net = models::by_name(name, 3, 10).expect("a name of the zoo");
    let graph = Graph::new();
    let pixels = graph.feed("pixels", TensorDesc::u32([batch, 32, 32]));
    let labels = graph.feed("labels", TensorDesc::u32([batch]));
    let images = pixels.decode_image(3, [0.5; 3], [0.25; 3]);
    let loss = losses::cross_entropy(net.forward(&Scope::new(&graph, Mode::Train), images), labels, 0.0);
    graph.output("loss", loss);
    let weights = weights(&graph);
    let gradients = gradients(loss, &weights).expect("differentiable");
    let members = weights.into_iter().zip(gradients).filter_map(|(w, g)| Some((w, g?))).collect();
    let group = SgdGroup { lr_scale: 1.0, weight_decay: 1e-4, members };
    let lr = graph.feed("lr", TensorDesc::f32([]));
    graph.sgd(&Sgd { momentum: 0.9, nesterov: false }, &[group], lr).expect("good settings");
    let mut store = StoreLayout::default();
    store.declare(graph.data().params().map(|(_, decl)| decl), &target).expect("fits");
    (optimise(&graph, &CompileOptions::default()).expect("no mistakes"), store)
}

/// The plan within a budget, or without one.
fn plan(
    data: &GraphData,
    store: &StoreLayout,
    target: Target,
    temporary_bytes: Option<u64>,
) -> Result<PlanDesc, Error> {
    let options = CompileOptions { temporary_bytes, ..CompileOptions::default() };
    lower(fit(data.clone(), store, target, &options)?, store, target, "no adapter", &options)
}

/// What a plan's temporaries take.
fn temporary_bytes(desc: &PlanDesc) -> u64 {
    desc.buffers.iter().filter(|buffer| buffer.label.starts_with("slot")).map(|buffer| buffer.bytes).sum()
}

fn runs(graph: &GraphData, op: &str) -> usize {
    graph.nodes.iter().filter(|node| node.op.name() == op).count()
}

/// Estimated time, in bytes of traffic at 8 FLOP a byte.
fn cost(graph: &GraphData) -> f64 {
    let of = |op: &dyn wgrad_tensor::ops::OpDef, x: &[TensorDesc], y: &[TensorDesc]| {
        let cost = op.cost(x, y);
        if op.view_of(x).is_some() { 0.0 } else { cost.bytes + cost.flops / 8.0 }
    };
    graph.nodes.iter().map(|n| of(n.op.as_ref(), &graph.descs(&n.inputs), &graph.descs(&n.outputs))).sum()
}

#[test]
fn half_the_bytes_are_enough_for_a_residual_net() {
    // The workspace of im2col, which tier `base` chooses, is no activation, but it counts.
    let nets =
        [("resnet20", Tier::Cpu, 50, 1.25), ("resnet20", Tier::Base, 75, 1.25), ("resnet56", Tier::Cpu, 50, 1.15)];
    for (name, tier, share, most) in nets {
        let target = Target { tier, ..Target::default() };
        let (data, store) = training_step(name, 32, target);
        let full = temporary_bytes(&plan(&data, &store, target, None).expect("lowers"));
        let budget = full * share / 100;
        let desc = plan(&data, &store, target, Some(budget)).unwrap_or_else(|e| panic!("{name} {tier:?}: {e}"));
        assert!(temporary_bytes(&desc) <= budget, "{name}: {} of {budget}", temporary_bytes(&desc));
        let found = desc.graph;
        let more = cost(&found) / cost(&data);
        assert!(more > 1.0 && more <= most, "{name}: {more} times the work");
        for once in ["batch_norm", "batch_norm_update", "batch_norm.backward", "sgd", "cross_entropy"] {
            assert_eq!(runs(&found, once), runs(&data, once), "{name}: {once}");
        }
        assert!(runs(&found, "batch_norm_eval") > 0, "{name}: statistics are used again");
    }
}

#[test]
fn a_small_cut_costs_no_convolution() {
    let target = Target::default();
    let (data, store) = training_step("resnet56", 32, target);
    let full = temporary_bytes(&plan(&data, &store, target, None).expect("lowers"));
    let found = plan(&data, &store, target, Some(full * 7 / 8)).expect("fits").graph;
    assert!(cost(&found) < 1.02 * cost(&data), "{}", cost(&found) / cost(&data));
    let found = plan(&data, &store, target, Some(full)).expect("fits").graph;
    assert_eq!(found.nodes.len(), data.nodes.len(), "nothing is done twice without need");
}

#[test]
fn an_impossible_budget_names_a_possible_one() {
    for name in ["resnet20", "lenet", "vgg"] {
        let target = Target::default();
        let (data, store) = training_step(name, 8, target);
        let Err(Error::Usage(UsageError::Budget { budget_bytes: 1000, least_bytes })) =
            plan(&data, &store, target, Some(1000))
        else {
            panic!("{name}: 1000 bytes are not enough")
        };
        let desc = plan(&data, &store, target, Some(least_bytes)).expect("the least is enough");
        assert!(temporary_bytes(&desc) <= least_bytes, "{name}");
    }
}

/// In f64, through the operations' references: the same numbers, with everything recomputed that can be.
#[test]
fn values_are_the_same_numbers() {
    let block = || (Conv2d::new(4, 4, 3).padding(1).bias(false), BatchNorm2d::new(4), Relu);
    let net = (Conv2d::new(1, 4, 3), block(), Residual::new((block(), Dropout::new(0.3))), block(), block());
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([3, 1, 8, 8]));
    let y = net.forward(&Scope::new(&graph, Mode::Train), x);
    let loss = (y * y).sum();
    graph.output("loss", loss);
    let all = weights(&graph);
    for (i, gradient) in gradients(loss, &all).expect("differentiable").into_iter().enumerate() {
        graph.output(&format!("gradient {i}"), gradient.expect("all are used"));
    }
    let data = optimise(&graph, &CompileOptions::default()).expect("no mistakes");
    // As if every node that runs later than the turning point made the plan smaller.
    let found = recompute(&data, 0, &|graph| 1_000_000 - graph.nodes.len() as u64);
    assert!(found.nodes >= 6, "{} nodes run again", found.nodes);
    let mut feeds: Tensors =
        data.feeds().map(|(id, name)| (name.into(), numbers(data.desc(id).shape.numel()))).collect();
    feeds.insert("rng".into(), vec![1.0, 2.0, 3.0, 4.0]);
    let params: Tensors = data.params().map(|(id, d)| (d.name.clone(), numbers(data.desc(id).shape.numel()))).collect();
    let run = |graph: &GraphData| {
        let mut params = params.clone();
        let run = reference::run(graph, &feeds, &mut params).expect("runs");
        let outputs: Vec<Vec<f64>> = graph.outputs.iter().map(|(_, id)| run.value(*id).to_vec()).collect();
        (outputs, params)
    };
    assert!(run(&data) == run(&found.graph));
}

fn numbers(n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.1 + ((i * 37 + 11) % 19) as f64 / 19.0).collect()
}
