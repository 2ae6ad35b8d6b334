//! Who may write where: in-place pairs, updates of parameters, gradients, seen against the reference.

use wgrad_tensor::ops::conv2d::Conv2dConfig;
use wgrad_tensor::ops::flatten;
use wgrad_tensor::ops::sgd::{Sgd, SgdGroup};
use wgrad_tensor::reference;
use wgrad_tensor::{
    Array, CompileOptions, Device, DeviceOptions, Feed, Graph, Init, Mode, Params, Plan, Scope, TensorDesc, gradients,
};

fn device() -> Device {
    Device::open(&DeviceOptions::default())
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

/// A deterministic filling of a parameter or feed, the same for device and reference.
fn filling(name: &str, elements: usize) -> Vec<f32> {
    let phase: u32 = name.bytes().map(u32::from).sum();
    (0..elements).map(|i| ((i as f32 + 1.0) * 0.37 + phase as f32).sin()).collect()
}

/// Runs one step on the device and in the reference; outputs and parameters must agree.
fn agrees_with_the_reference(graph: &Graph) -> Plan {
    let data = graph.data();
    let device = device();
    let mut params = Params::new(&device, 0);
    let options = CompileOptions { poison_memory: true, ..CompileOptions::default() };
    let mut plan = Plan::compile(&device, graph, &mut params, &options).expect("compiles");
    let wide = |data: &[f32]| data.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let mut expected_params = reference::Tensors::new();
    for (_, decl) in data.params() {
        let array = Array::new(decl.shape, filling(&decl.name, decl.shape.numel())).expect("as many elements");
        params.set(&decl.name, &array).expect("declared");
        expected_params.insert(decl.name.clone(), wide(&array.data));
    }
    let feeds: Vec<(&str, Vec<f32>)> =
        data.feeds().map(|(id, name)| (name, filling(name, data.desc(id).shape.numel()))).collect();
    let wide_feeds = feeds.iter().map(|(name, data)| (name.to_string(), wide(data))).collect();
    let expected = reference::run(&data, &wide_feeds, &mut expected_params).expect("the reference runs");
    let fed: Vec<(&str, Feed<'_>)> = feeds.iter().map(|(name, data)| (*name, Feed::F32(data))).collect();
    let ticket = plan.run(&fed).expect("runs");
    let close = |what: &str, got: &[f32], want: &[f64]| {
        let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(*got) - want).abs() <= 1e-4 * scale, "{what}[{i}]: got {got}, want {want}");
        }
    };
    for (name, _) in &data.outputs {
        let got = plan.read(ticket, name).expect("reads");
        close(name, &got, expected.output(&data, name).expect("known"));
    }
    for (_, decl) in data.params() {
        close(&decl.name, &params.get(&decl.name).expect("declared").data, &expected_params[&decl.name]);
    }
    plan
}

#[test]
fn an_operand_in_two_roles_is_not_overwritten() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Eval);
    let x = graph.feed("x", TensorDesc::f32([160, 160]));
    let w = scope.weight("w", [160, 160], Init::Constant(0.0));
    let h = x.tanh();
    // Fused to a product with the operands h, w and, as the residual, h once more.
    graph.output("y", h + h.matmul(w));
    let v = scope.weight("v", [160, 160], Init::Constant(0.0));
    graph.write_back(v, x.matmul(v) + v);
    agrees_with_the_reference(&graph);

    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Eval);
    let image = graph.feed("image", TensorDesc::f32([1, 8, 40, 40])).tanh();
    let filter = scope.weight("filter", [8, 8, 3, 3], Init::Constant(0.0));
    graph.output("y", image + image.conv2d(filter, Conv2dConfig { padding: [1, 1], ..Conv2dConfig::default() }));
    agrees_with_the_reference(&graph);
}

#[test]
fn a_view_of_a_parameter_is_the_parameter() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let w = scope.weight("w", [160, 160, 1, 1], Init::Constant(0.0));
    let flat = w.flatten();
    let product = graph.apply1(flatten::Unflatten { x_shape: w.shape() }, &[flat.matmul(flat)]);
    graph.write_back(w, product);
    agrees_with_the_reference(&graph);

    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let w = scope.weight("w", [4, 4, 1, 1], Init::Constant(0.0));
    let flat = w.flatten();
    graph.write_back(w, w.scale(0.5));
    graph.output("late", flat.relu());
    let device = device();
    let mut params = Params::new(&device, 0);
    let error = Plan::compile(&device, &graph, &mut params, &CompileOptions::default()).expect_err("reads too late");
    assert!(error.to_string().contains("after its update"), "{error}");
}

#[test]
fn outputs_and_copies_of_parameters_are_their_old_values() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| scope.weight(name, [5, 3, 1, 1], Init::Constant(0.0)));
    graph.output("a", a);
    graph.output("a flat", a.flatten());
    graph.output("d", d);
    graph.write_back(a, a.scale(0.5));
    // Two parameters change places.
    graph.write_back(b, c);
    graph.write_back(c, b);
    let plan = agrees_with_the_reference(&graph);
    assert_eq!(plan.desc().snapshots.len(), 3, "{}", plan.dump());
}

#[test]
fn parameters_of_one_buffer_may_be_computed_from_each_other() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| scope.weight(name, [7], Init::Constant(0.0)));
    let fresh = a.scale(0.5) + b;
    graph.write_back(a, fresh);
    graph.write_back(b, fresh);
    graph.write_back(c, c + d);
    graph.write_back(e, d.scale(-1.0));
    agrees_with_the_reference(&graph);

    // A moving average of weights that are updated in place.
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let w = scope.weight("w", [6], Init::Constant(0.0));
    let average = scope.weight("average", [6], Init::Constant(0.0));
    let fresh = w + graph.feed("step", TensorDesc::f32([6]));
    graph.write_back(average, average.scale(0.9) + fresh.scale(0.1));
    graph.write_back(w, fresh);
    agrees_with_the_reference(&graph);
}

#[test]
fn gradients_that_need_each_other_share_no_buffer() {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let [a, b] = ["a", "b"].map(|name| scope.weight(name, [6], Init::Constant(0.0)));
    let loss = (a.scale(2.0) + b).tanh().sum();
    let found = gradients(loss, &[a, b]).expect("differentiable");
    let members = vec![(a, found[0].expect("depends")), (b, found[1].expect("depends"))];
    let group = SgdGroup { lr_scale: 1.0, weight_decay: 0.0, members };
    graph
        .sgd(&Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false }, &[group], graph.constant([], 0.1))
        .expect("sound settings");
    agrees_with_the_reference(&graph);
}
