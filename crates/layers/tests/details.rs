//! What layers do in corners: derivatives at 0, masks that depend on nothing but the step, squares beyond 16 bits.

use wgrad_layers::{DropConnect, L2Pool2d, Layer, PRelu};
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::{
    CompileOptions, Device, DeviceOptions, Feed, Graph, Mode, Params, Plan, Rounding, Scope, Storage, TensorDesc,
    gradients,
};

#[test]
fn the_derivative_of_prelu_at_0_is_pytorchs() {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([1, 2, 1, 3]));
    let y = PRelu { num_parameters: 2 }.forward(&Scope::new(&graph, Mode::Train), x);
    let weight = graph.value(graph.data().params().next().expect("weight").0);
    let got = gradients(y.sum(), &[x, weight]).expect("differentiable");
    let feeds = Tensors::from([("x".to_string(), vec![0.0, -2.0, 3.0, -0.0, 0.5, -1.0])]);
    let mut params = Tensors::from([("weight".to_string(), vec![0.25, -0.5])]);
    let run = reference::run(&graph.data(), &feeds, &mut params).expect("runs");
    assert_eq!(run.value(y.id()), [0.0, -0.5, 3.0, 0.0, 0.5, 0.5]);
    // torch.nn.functional.prelu, backward of the sum.
    assert_eq!(run.value(got[0].expect("depends").id()), [0.25, 0.25, 1.0, -0.5, 1.0, -0.5]);
    assert_eq!(run.value(got[1].expect("depends").id()), [-2.0, -1.0]);
}

/// `DropConnect` of 5 inputs and 10 outputs, seen through the unit vectors; `rng` as [`wgrad_tensor::ops::dropout::Dropout`] wants it.
fn dropped(rng: [f64; 4], largest: Option<u64>) -> Vec<f64> {
    let graph = Graph::new();
    if let Some(bytes) = largest {
        graph.set_largest_parameter(bytes);
    }
    let x = graph.feed("x", TensorDesc::f32([5, 5]));
    let y = DropConnect::new(5, 10, 0.5).forward(&Scope::new(&graph, Mode::Train), x);
    let unit = (0..25).map(|i| f64::from(u8::from(i % 6 == 0))).collect();
    let feeds = Tensors::from([("x".to_string(), unit), ("rng".to_string(), rng.to_vec())]);
    let data = graph.data();
    let mut next = 0;
    let mut count = |n: usize| -> Vec<f64> {
        next += n;
        (next - n..next).map(|i| i as f64 + 1.0).collect()
    };
    // Blocks of rows follow each other, and the bias comes last.
    let mut params: Tensors = data.params().map(|(_, decl)| (decl.name.clone(), count(decl.shape.numel()))).collect();
    params.insert("bias".to_string(), vec![0.0; 10]);
    reference::run(&data, &feeds, &mut params).expect("runs").value(y.id()).to_vec()
}

#[test]
fn the_mask_of_drop_connect_depends_on_neither_batch_nor_blocks() {
    let first = dropped([7.0, 0.0, 3.0, 0.0], None);
    let zeros = first.iter().filter(|value| **value == 0.0).count();
    assert!((10..40).contains(&zeros), "{first:?}");
    assert_eq!(dropped([7.0, 0.0, 3.0, 640.0], None), first, "another part of the batch");
    assert_eq!(dropped([7.0, 0.0, 3.0, 64.0], Some(4 * 5 * 4)), first, "blocks of four rows");
    assert_ne!(dropped([7.0, 0.0, 4.0, 0.0], None), first, "another step");
    assert_ne!(dropped([8.0, 0.0, 3.0, 0.0], None), first, "another seed");
}

#[test]
fn squares_beyond_f16_are_pooled() {
    let device = Device::open(&DeviceOptions::default()).expect("tests on a device need an adapter");
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([1, 8, 4, 4])).scale(2.0);
    let scope = Scope::new(&graph, Mode::Train);
    let y = L2Pool2d::new(2).forward(&scope, x);
    graph.output("y", y.scale(0.5));
    let dx = gradients(y.sum(), &[x]).expect("differentiable")[0].expect("depends");
    graph.output("dx", dx);
    let mut options = CompileOptions::default();
    options.storage.activations = Storage::F16;
    options.storage.activation_rounding = Rounding::Nearest;
    let mut plan = Plan::compile(&device, &graph, &mut Params::new(&device, 1), &options).expect("compiles");
    let values = vec![3000.0f32; 128];
    let ticket = plan.run(&[("x", Feed::F32(&values))]).expect("runs");
    // 6000 four times: 12000, and the derivative of each is a half.
    assert_eq!(plan.read(ticket, "y").expect("reads"), [6000.0; 32]);
    assert_eq!(plan.read(ticket, "dx").expect("reads"), [0.5; 128]);
}
