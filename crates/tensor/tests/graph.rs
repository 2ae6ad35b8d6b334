//! Mistakes of a trace: each is recorded where it is made, nothing panics. No adapter is needed.

use wgrad_tensor::ops::elementwise::Binary;
use wgrad_tensor::ops::matmul::MatMul;
use wgrad_tensor::ops::sgd::{Sgd, SgdGroup};
use wgrad_tensor::{Graph, Init, Mode, Scope, TensorDesc, gradients};

/// The only mistake of a graph must contain every one of `words`.
fn says(graph: &Graph, words: &[&str]) {
    let errors = graph.data().errors;
    assert_eq!(errors.len(), 1, "{errors:?}");
    let text = errors[0].to_string();
    assert!(words.iter().all(|word| text.contains(word)) && text.contains("graph.rs:"), "{text}");
}

#[test]
fn operands_are_counted_and_typed() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([2, 2]));
    graph.apply1(MatMul::default(), &[x]);
    says(&graph, &["matmul", "2 operands", "[f32, f32]"]);

    let graph = Graph::new();
    let whole = graph.feed("whole", TensorDesc::u32([2, 2]));
    graph.apply1(Binary::Add, &[whole, whole]);
    says(&graph, &["add", "u32[2, 2]", "[f32, f32]"]);

    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([2, 2]));
    graph.apply1(MatMul { bias: true, ..MatMul::default() }, &[x, x, x]);
    says(&graph, &["bias must be f32[2]"]);
}

#[test]
fn empty_tensors_never_get_into_a_graph() {
    let graph = Graph::new();
    graph.feed("x", TensorDesc::f32([0, 4])).relu();
    says(&graph, &["\"x\"", "f32[0, 4]", "no elements"]);

    let graph = Graph::new();
    graph.constant([1 << 40, 1 << 40], 1.0).sum();
    says(&graph, &["fill", "more than"]);

    let graph = Graph::new();
    Scope::new(&graph, Mode::Train).weight("w", [3, 0], Init::Constant(0.0));
    says(&graph, &["\"w\"", "no elements"]);
}

#[test]
fn names_are_given_once() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([4]));
    graph.feed("x", TensorDesc::f32([5]));
    says(&graph, &["\"x\"", "twice"]);

    let graph = Graph::new();
    let y = graph.feed("x", x.desc());
    graph.output("y", y);
    graph.output("y", y.relu());
    says(&graph, &["\"y\"", "twice"]);
}

#[test]
fn graphs_are_not_mixed() {
    let other = Graph::new();
    let foreign = other.feed("x", TensorDesc::f32([4]));
    let graph = Graph::new();
    let own = graph.feed("x", TensorDesc::f32([4]));
    graph.output("y", own + foreign);
    says(&graph, &["add", "operand 1", "another graph"]);

    let graph = Graph::new();
    graph.output("y", foreign);
    says(&graph, &["output", "another graph"]);

    let graph = Graph::new();
    let own = graph.feed("x", TensorDesc::f32([4]));
    assert!(gradients(own.sum(), &[foreign]).is_ok_and(|found| found[0].is_none()));
    says(&graph, &["gradients", "operand 2", "another graph"]);
}

#[test]
fn updates_are_of_parameters_alike_and_once() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([4]));
    graph.write_back(x, x.relu());
    says(&graph, &["wanted a parameter"]);

    let graph = Graph::new();
    let w = Scope::new(&graph, Mode::Train).weight("w", [4], Init::Constant(0.0));
    graph.write_back(w, w.sum());
    says(&graph, &["\"w\"", "f32[4]", "f32[]"]);

    let graph = Graph::new();
    let w = Scope::new(&graph, Mode::Train).weight("w", [4], Init::Constant(0.0));
    let lr = graph.constant([], 0.1);
    for _ in 0..2 {
        let group = SgdGroup { lr_scale: 1.0, weight_decay: 0.0, members: vec![(w, w.scale(2.0))] };
        graph
            .sgd(&Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false }, &[group], lr)
            .expect("sound settings");
    }
    says(&graph, &["\"w\"", "call sgd once"]);
}

#[test]
fn impossible_arguments_are_refused() {
    for slope in [-0.1, f32::NAN, f32::INFINITY] {
        let graph = Graph::new();
        graph.feed("x", TensorDesc::f32([4])).leaky_relu(slope);
        says(&graph, &["slope", "at least 0"]);
    }

    let graph = Graph::new();
    graph.concat(&[]);
    says(&graph, &["concat", "at least one operand"]);

    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([4]));
    assert!(gradients(x.relu(), &[x]).is_ok());
    says(&graph, &["loss must be a scalar", "f32[4]"]);
}

#[test]
fn every_random_layer_has_a_stream_of_its_own() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let streams = [
        scope.enter("a", |s| s.random_stream()),
        scope.enter("a", |s| s.random_stream()),
        scope.enter("b", |s| s.random_stream()),
    ];
    assert!(streams[0] != streams[1] && streams[0] != streams[2] && streams[1] != streams[2], "{streams:?}");
    let again = Graph::new();
    assert_eq!(Scope::new(&again, Mode::Train).enter("a", |s| s.random_stream()), streams[0]);
}
