//! Recomputation, planned without an adapter: budgets are met, as cheaply as promised.

mod common;

use common::{plan, temporary_bytes};
use wgrad_layers::{BatchNorm2d, Conv2d, Dropout, Layer, Relu, Residual, models};
use wgrad_tensor::graph::GraphData;
use wgrad_tensor::ops::{OpDef, Target, Tier};
use wgrad_tensor::passes::recompute::recompute;
use wgrad_tensor::plan::{PlanDesc, optimise};
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::{CompileOptions, Error, Graph, Mode, Scope, TensorDesc, UsageError, gradients, weights};

/// The plan of a network of the zoo within a budget, or without one.
fn within(name: &str, tier: Tier, temporary_bytes: Option<u64>) -> Result<PlanDesc, Error> {
    let net = models::by_name(name, 3, 10).expect("a name of the zoo");
    let options = CompileOptions { temporary_bytes, ..CompileOptions::default() };
    plan(&net, 32, Target { tier, ..Target::default() }, &options)
}

fn runs(graph: &GraphData, op: &str) -> usize {
    graph.nodes.iter().filter(|node| node.op.name() == op).count()
}

/// Estimated time, in bytes of traffic at 8 FLOP a byte.
fn cost(graph: &GraphData) -> f64 {
    let of = |op: &dyn OpDef, x: &[TensorDesc], y: &[TensorDesc]| {
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
        let full = within(name, tier, None).expect("lowers");
        let budget = temporary_bytes(&full) * share / 100;
        let less = within(name, tier, Some(budget)).unwrap_or_else(|e| panic!("{name} {tier:?}: {e}"));
        assert!(temporary_bytes(&less) <= budget, "{name}: {} of {budget}", temporary_bytes(&less));
        let (full, less) = (full.graph, less.graph);
        let more = cost(&less) / cost(&full);
        assert!(more > 1.0 && more <= most, "{name}: {more} times the work");
        for once in ["batch_norm", "batch_norm_update", "batch_norm.backward", "sgd", "cross_entropy"] {
            assert_eq!(runs(&less, once), runs(&full, once), "{name}: {once}");
        }
        assert!(runs(&less, "batch_norm_eval") > 0, "{name}: statistics are used again");
    }
}

#[test]
fn a_small_cut_costs_no_convolution() {
    let full = within("resnet56", Tier::Base, None).expect("lowers");
    let bytes = temporary_bytes(&full);
    let less = within("resnet56", Tier::Base, Some(bytes * 7 / 8)).expect("fits").graph;
    assert!(cost(&less) < 1.02 * cost(&full.graph), "{}", cost(&less) / cost(&full.graph));
    let same = within("resnet56", Tier::Base, Some(bytes)).expect("fits").graph;
    assert_eq!(same.nodes.len(), full.graph.nodes.len(), "nothing is done twice without need");
}

#[test]
fn an_impossible_budget_names_a_possible_one() {
    for name in ["resnet20", "lenet", "vgg"] {
        let Err(Error::Usage(UsageError::Budget { budget_bytes: 1000, least_bytes })) =
            within(name, Tier::Base, Some(1000))
        else {
            panic!("{name}: 1000 bytes are not enough")
        };
        let least = within(name, Tier::Base, Some(least_bytes)).expect("the least is enough");
        assert!(temporary_bytes(&least) <= least_bytes, "{name}");
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
