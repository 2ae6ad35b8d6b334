//! The layers: names, defaults, modes, mistakes; traced only, no adapter needed.

use wgrad_layers::losses::{self, cross_entropy, mse, scores};
use wgrad_layers::*;
use wgrad_tensor::graph::GraphData;
use wgrad_tensor::reference::{self, Tensors};
use wgrad_tensor::{Graph, Init, Mode, ParamKind, Scope, Shape, TensorDesc, Value};

/// Traces a layer on f32 `shape`; returns the trace and the shape of the result.
fn trace(layer: &dyn Layer, mode: Mode, shape: impl Into<Shape>) -> (GraphData, Shape) {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32(shape));
    let y = layer.forward(&Scope::new(&graph, mode), x).shape();
    (graph.data(), y)
}

/// The only mistake of a trace, as text.
fn mistake(layer: &dyn Layer, mode: Mode, shape: impl Into<Shape>) -> String {
    let (data, _) = trace(layer, mode, shape);
    assert_eq!(data.errors.len(), 1, "{:?}", data.errors);
    data.errors[0].to_string()
}

fn names(data: &GraphData) -> Vec<&str> {
    data.params().map(|(_, decl)| decl.name.as_str()).collect()
}

fn ops(data: &GraphData) -> Vec<String> {
    data.nodes.iter().map(|node| node.label()).collect()
}

#[test]
fn conv2d_declares_what_pytorch_declares() {
    let conv = Conv2d::new(6, 4, [3, 1]).groups(2);
    let (data, y) = trace(&conv, Mode::Train, [2, 6, 9, 9]);
    assert_eq!(y, [2, 4, 7, 9].into());
    let (weight, bias) = (data.params().next().expect("weight").1, data.params().nth(1).expect("bias").1);
    assert_eq!((weight.name.as_str(), weight.shape), ("weight", [4, 3, 3, 1].into()));
    assert_eq!((bias.name.as_str(), bias.shape), ("bias", [4].into()));
    for param in [weight, bias] {
        // fan_in = 3 * 3 * 1; both are uniform within 1 / sqrt(9).
        let Init::Uniform { bound } = param.init.resolve(&param.shape) else { panic!("{:?}", param.init) };
        assert!((bound - 1.0 / 3.0).abs() < 1e-6, "{bound}");
    }
}

#[test]
fn conv2d_refuses_groups_that_do_not_divide() {
    for groups in [0, 4] {
        let message = mistake(&Conv2d::new(6, 4, 3).groups(groups), Mode::Train, [2, 6, 9, 9]);
        assert!(message.contains("groups must divide"), "{message}");
    }
}

#[test]
fn conv_transpose2d_gives_pytorchs_values() {
    let value = |layer: &ConvTranspose2d, weight: &[f64], x: &[f64], shape: [usize; 4]| {
        let graph = Graph::new();
        let y = layer.forward(&Scope::new(&graph, Mode::Eval), graph.feed("x", TensorDesc::f32(shape)));
        let tensors = Tensors::from([("x".to_string(), x.to_vec())]);
        let mut params = Tensors::from([("weight".to_string(), weight.to_vec())]);
        let run = reference::run(&graph.data(), &tensors, &mut params).expect("runs");
        (y.shape(), run.value(y.id()).to_vec())
    };
    let plain = |kernel: usize| ConvTranspose2d::new(1, 1, kernel).bias(false);
    let counted = [1.0, 2.0, 3.0, 4.0];
    // The full convolution of [[1,2],[3,4]] with itself.
    let (shape, y) = value(&plain(2), &counted, &counted, [1, 1, 2, 2]);
    assert_eq!((shape.dims(), y), ([1, 1, 3, 3].as_slice(), vec![1.0, 4.0, 4.0, 6.0, 20.0, 16.0, 9.0, 24.0, 16.0]));
    // With a stride of the filter's size every pixel becomes its own copy of the filter.
    let (shape, y) = value(&plain(2).stride(2), &counted, &[1.0, 10.0], [1, 1, 1, 2]);
    assert_eq!((shape.dims(), y), ([1, 1, 2, 4].as_slice(), vec![1.0, 2.0, 10.0, 20.0, 3.0, 4.0, 30.0, 40.0]));
    // Padding cuts a row and a column off each side, output padding adds them below and to the right again.
    let nine = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let cut = plain(3).stride(2).padding(1).output_padding(1);
    let (shape, y) = value(&cut, &nine, &[1.0], [1, 1, 1, 1]);
    assert_eq!((shape.dims(), y), ([1, 1, 2, 2].as_slice(), vec![5.0, 6.0, 8.0, 9.0]));
}

#[test]
fn conv_transpose2d_declares_what_pytorch_declares() {
    let layer = ConvTranspose2d::new(6, 4, [3, 1]).groups(2).stride([2, 1]);
    let (data, y) = trace(&layer, Mode::Train, [2, 6, 5, 9]);
    assert_eq!(y, [2, 4, 11, 9].into());
    let shapes: Vec<Shape> = data.params().map(|(_, decl)| decl.shape).collect();
    assert_eq!(shapes, [[6, 2, 3, 1].into(), [4].into()]);
    let message = mistake(&ConvTranspose2d::new(6, 4, 3).output_padding(1), Mode::Train, [2, 6, 5, 5]);
    assert!(message.contains("less than the stride"), "{message}");
    let message = mistake(&ConvTranspose2d::new(6, 4, 3).padding(9), Mode::Train, [2, 6, 5, 5]);
    assert!(message.contains("pad less"), "{message}");
    let message = mistake(&ConvTranspose2d::new(6, 4, 3).groups(4), Mode::Train, [2, 6, 5, 5]);
    assert!(message.contains("groups must divide"), "{message}");
}

#[test]
fn impossible_arguments_are_mistakes_not_panics() {
    let layers: [&dyn Layer; 5] = [
        &Conv2d::new(6, 4, 3).stride(0),
        &Conv2d::new(6, 4, 0),
        &Conv2d::new(6, 0, 3),
        &MaxPool2d::new(0),
        &AvgPool2d::new(3).stride(0),
    ];
    for layer in layers {
        let (data, _) = trace(layer, Mode::Train, [2, 6, 9, 9]);
        assert!(data.check().is_err(), "{layer:?}");
    }
    assert!(mistake(&Dropout::new(1.0), Mode::Train, [2, 6]).contains("less than 1"));
    assert!(mistake(&Dropout::new(f32::NAN), Mode::Eval, [2, 6]).contains("NaN"));
    assert!(mistake(&OptionA::new(8, 4, 2), Mode::Eval, [2, 8, 4, 4]).contains("fewer channels"));
    let message = mistake(&OptionA::new(8, 16, 2), Mode::Eval, [2, 6, 4, 4]);
    assert!(message.contains("images of 8 channels, got [2, 6, 4, 4]"), "{message}");
}

#[test]
fn batch_norm_uses_the_batch_in_training_and_the_running_statistics_in_evaluation() {
    let bn = BatchNorm2d::new(3).zero_init();
    let (train, y) = trace(&bn, Mode::Train, [2, 3, 4, 4]);
    assert_eq!(y, [2, 3, 4, 4].into());
    assert_eq!(names(&train), ["weight", "bias", "running_mean", "running_var"]);
    let inits: Vec<Init> = train.params().map(|(_, decl)| decl.init).collect();
    assert_eq!(inits, [0.0, 0.0, 0.0, 1.0].map(Init::Constant));
    let updated: Vec<&str> =
        train.write_backs.iter().filter_map(|&(id, _)| train.param(id)).map(|decl| decl.name.as_str()).collect();
    assert_eq!(updated, ["running_mean", "running_var"]);
    let (eval, _) = trace(&bn, Mode::Eval, [2, 3, 4, 4]);
    assert_eq!((eval.nodes.len(), eval.write_backs.len()), (1, 0));
}

#[test]
fn batch_norm_refuses_to_train_on_one_value_per_channel() {
    assert!(mistake(&BatchNorm2d::new(3), Mode::Train, [1, 3, 1, 1]).contains("more than one value"));
    assert!(trace(&BatchNorm2d::new(3), Mode::Eval, [1, 3, 1, 1]).0.check().is_ok());
}

#[test]
fn dropout_is_active_in_training_only_and_keyed_by_its_path() {
    let net = (Dropout::new(0.5), Dropout::new(0.5), Dropout::new(0.0));
    let (train, _) = trace(&net, Mode::Train, [2, 6]);
    assert_eq!(ops(&train), ["0/dropout", "1/dropout"]);
    assert_ne!(format!("{:?}", train.nodes[0].op), format!("{:?}", train.nodes[1].op), "streams of their own");
    assert_eq!(train.feeds().filter(|(_, name)| *name == "rng").count(), 1);
    let (eval, _) = trace(&net, Mode::Eval, [2, 6]);
    assert!(eval.nodes.is_empty());
    assert!(eval.feeds().all(|(_, name)| name != "rng"), "an evaluation needs no seed");
}

#[test]
fn sequences_name_their_children_as_pytorch_does() {
    let linear = |n, m| Linear::new(n, m).bias(false);
    let vec: Vec<Box<dyn Layer>> = vec![Box::new(linear(4, 3)), Box::new(Relu), Box::new((Identity, linear(3, 2)))];
    let (data, y) = trace(&(linear(5, 4), &vec), Mode::Train, [7, 5]);
    assert_eq!(y, [7, 2].into());
    assert_eq!(names(&data), ["0.weight", "1.0.weight", "1.2.1.weight"]);
    assert_eq!(data.nodes.last().map(|node| node.path.as_str()), Some("1.2.1"));
    let empty: Vec<Relu> = Vec::new();
    assert_eq!(trace(&empty, Mode::Train, [7, 5]).1, [7, 5].into());
}

#[test]
fn activations_are_the_functions_of_their_names() {
    let net = (Relu, LeakyRelu::default(), Sigmoid, Tanh, Gelu, Scale { alpha: 2.0 });
    let (data, _) = trace(&net, Mode::Train, [2, 3]);
    let text: Vec<String> = data.nodes.iter().map(|node| format!("{:?}", node.op)).collect();
    for (text, name) in text.iter().zip(["Relu", "LeakyRelu { slope: 0.01 }", "Sigmoid", "Tanh", "Gelu", "Scale"]) {
        assert!(text.contains(name), "{text} {name}");
    }
}

#[test]
fn pooling_and_reshaping_give_pytorchs_shapes() {
    let shape = |layer: &dyn Layer| {
        let (data, y) = trace(layer, Mode::Train, [2, 4, 14, 9]);
        data.check().expect("the shapes fit");
        y
    };
    assert_eq!(shape(&MaxPool2d::new(2)), [2, 4, 7, 4].into());
    assert_eq!(shape(&MaxPool2d::new([3, 2]).stride([2, 1]).padding([1, 0])), [2, 4, 7, 8].into());
    assert_eq!(shape(&AvgPool2d::new(3).stride(2).ceil_mode(true).count_include_pad(false)), [2, 4, 7, 4].into());
    assert_eq!(shape(&GlobalAvgPool), [2, 4].into());
    assert_eq!(shape(&GlobalMaxPool), [2, 4].into());
    assert_eq!(shape(&Flatten), [2, 504].into());
    assert_eq!(shape(&OptionA::new(4, 9, 2)), [2, 9, 7, 5].into());
    assert_eq!(shape(&Concat((Conv2d::new(4, 5, 1), Identity))), [2, 9, 14, 9].into());
    assert_eq!(shape(&Concat(vec![Relu; 3])), [2, 12, 14, 9].into());
    assert_eq!(shape(&Residual::new(Conv2d::new(4, 4, 3).padding(1))), [2, 4, 14, 9].into());
}

/// Line of this file on which the model below makes its stem.
const STEM_LINE: u32 = line!() + 8;

#[derive(Clone, Debug)]
struct TwoMistakes;

impl Layer for TwoMistakes {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        // The stem hands 8 channels to a normalisation of 6; the head is independent of it and wants 20 features of 3.
        let stem = (Conv2d::new(3, 8, 3).padding(1), BatchNorm2d::new(6), Relu, GlobalAvgPool);
        let body = s.layer("stem", &stem, x);
        let head = s.layer("head", &Linear::new(20, 10), x.global_avg_pool());
        s.layer("tail", &Linear::new(10, 10), body + head)
    }
}

#[test]
fn adaptive_pools_take_any_image() {
    let shape = |layer: AdaptiveAvgPool2d, h, w| trace(&layer, Mode::Train, [2, 3, h, w]).1;
    assert_eq!(shape(AdaptiveAvgPool2d::new([2, 3]), 4, 9), [2, 3, 2, 3].into());
    assert_eq!(shape(AdaptiveAvgPool2d::new(6), 13, 3), [2, 3, 6, 6].into());
    assert_eq!(shape(AdaptiveAvgPool2d::at_most(6), 13, 2), [2, 3, 6, 2].into());
    let text = mistake(&AdaptiveAvgPool2d::new(0), Mode::Train, [2, 3, 4, 4]);
    assert!(text.contains("1 to 32768 rows and columns, got 0 and 0") && text.contains("layers.rs"), "{text}");
    assert!(mistake(&AdaptiveAvgPool2d::new(2), Mode::Train, [2, 3]).contains("images"));
}

#[test]
fn frozen_weights_are_buffers() {
    let net = (Conv2d::new(3, 4, 3).frozen(true), BatchNorm2d::new(4).scale(false));
    let (data, _) = trace(&net, Mode::Train, [2, 3, 9, 9]);
    let learned: Vec<&str> =
        data.params().filter(|(_, decl)| decl.kind == ParamKind::Weight).map(|(_, decl)| decl.name.as_str()).collect();
    assert_eq!(learned, ["0.bias", "1.bias"]);
    assert!(names(&data).contains(&"0.weight") && names(&data).contains(&"1.weight"));
}

#[test]
fn separable_blocks_are_two_convolutions() {
    let block = DepthwiseSeparable::new(6, 10, [3, 5]).stride(2).multiplier(4);
    let (data, y) = trace(&block, Mode::Train, [2, 6, 9, 9]);
    assert_eq!(y, [2, 10, 5, 5].into());
    let shapes: Vec<Shape> =
        data.params().filter(|(_, decl)| decl.shape.rank() == 4).map(|(_, decl)| decl.shape).collect();
    assert_eq!(shapes, [[24, 1, 3, 5].into(), [10, 24, 1, 1].into()]);
    assert_eq!(ops(&data).iter().filter(|op| op.ends_with("activation")).count(), 2);
    let (data, _) = trace(&block.linear_depthwise(true), Mode::Eval, [2, 6, 9, 9]);
    assert_eq!(ops(&data).iter().filter(|op| op.ends_with("activation")).count(), 1);
}

#[test]
fn all_mistakes_of_a_model_are_reported_with_their_paths() {
    for mode in [Mode::Train, Mode::Eval] {
        let (data, _) = trace(&TwoMistakes, mode, [4, 3, 8, 8]);
        let errors = data.check().expect_err("two mistakes");
        let paths: Vec<&str> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["stem.1", "head"], "{errors}");
        assert!(errors.to_string().starts_with("the model has 2 mistakes:"), "{errors}");
        for (error, line) in errors.0.iter().zip([STEM_LINE, STEM_LINE + 2]) {
            assert_eq!(
                (error.location.file(), error.location.line()),
                (file!(), line),
                "the model's line, not the library's"
            );
        }
        assert!(data.write_backs.is_empty(), "no statistics of a layer that does not fit");
    }
    assert!(Summary::new(&TwoMistakes, TensorDesc::f32([1, 3, 8, 8])).is_err());
}

/// Line of this file on which the layer below multiplies what does not fit.
const SQUARE_LINE: u32 = line!() + 7;

#[derive(Clone, Debug)]
struct Square;

impl Layer for Square {
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.matmul(x)
    }
}

#[test]
fn a_boxed_tuple_reports_the_lines_that_made_its_layers() {
    // As a trainer holds it: no line of this file calls these layers.
    let line = line!();
    let narrow = Linear::new(63, 10);
    let wide = Linear::new(65, 10).bias(false);
    let net: Box<dyn Layer> = Box::new((GlobalAvgPool, Concat((narrow, Square, wide))));
    let (data, _) = trace(&net, Mode::Train, [4, 64, 2, 2]);
    let places: Vec<(&str, u32)> =
        data.errors.iter().map(|error| (error.location.file(), error.location.line())).collect();
    assert_eq!(places, [line + 1, SQUARE_LINE, line + 2].map(|line| (file!(), line)), "{:?}", data.errors);
}

#[test]
fn losses_are_scalars_and_scores_are_sums() {
    let graph = Graph::new();
    let logits = graph.feed("logits", TensorDesc::f32([8, 10]));
    let labels = graph.feed("labels", TensorDesc::u32([8]));
    let scores = scores(logits, labels);
    let f32s = [cross_entropy(logits, labels, 0.1), mse(logits, logits), scores.loss_sum];
    assert!(f32s.iter().all(|value| value.desc() == TensorDesc::f32([])));
    assert!([scores.correct, scores.correct_top5].iter().all(|value| value.desc() == TensorDesc::u32([])));
    graph.data().check().expect("the shapes fit");
}

#[test]
fn scores_of_few_classes_still_trace() {
    let graph = Graph::new();
    let logits = graph.feed("logits", TensorDesc::f32([8, 3]));
    let labels = graph.feed("labels", TensorDesc::u32([8]));
    scores(logits, labels);
    graph.data().check().expect("three classes have no more than five");
}

#[test]
fn summary_lists_layers_in_order_of_execution() {
    let net = Residual::new((Linear::new(4, 4), Relu));
    let summary = Summary::new(&(net, Relu), TensorDesc::f32([1, 4])).expect("the shapes fit");
    let rows: Vec<(&str, &str)> = summary.rows.iter().map(|row| (row.path.as_str(), row.kind.as_str())).collect();
    let linear = ("0.body.0", "matmul + bias");
    assert_eq!(rows, [linear, ("0.body.1", "relu"), ("0", "add"), ("1", "relu")]);
    assert_eq!((summary.parameters(), summary.macs()), (20, 16));
}

#[test]
fn summary_groups_operations_by_layer() {
    let net = (Conv2d::new(3, 8, 3), LeakyRelu::default(), GlobalAvgPool, Linear::new(8, 10));
    let summary = Summary::new(&net, TensorDesc::f32([2, 3, 6, 6])).expect("the shapes fit");
    let paths: Vec<&str> = summary.rows.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(paths, ["0", "1", "2", "3"]);
    let conv = &summary.rows[0];
    assert_eq!(conv.kind, "conv2d + bias");
    assert_eq!((conv.output, conv.parameters), (Some([2, 8, 4, 4].into()), 3 * 8 * 9 + 8));
    assert_eq!(conv.macs, 2 * 8 * 16 * 27);
    assert_eq!(summary.rows[1].kind, "leaky_relu");
    assert_eq!(summary.rows[3].macs, 2 * 80);
    let text = summary.to_string();
    assert!(text.lines().last().is_some_and(|line| line.starts_with("314 parameters, 7.1 k multiply-adds")), "{text}");
    assert_eq!(text.lines().count(), 4 + 4, "{text}");
}

/// Runs a layer's evaluation on `x` in f64.
fn evaluated(layer: &dyn Layer, shape: impl Into<Shape>, x: &[f64], params: &[(&str, &[f64])]) -> Vec<f64> {
    let graph = Graph::new();
    let y = layer.forward(&Scope::new(&graph, Mode::Eval), graph.feed("x", TensorDesc::f32(shape)));
    let tensors = Tensors::from([("x".to_string(), x.to_vec())]);
    let mut params: Tensors = params.iter().map(|(name, data)| (name.to_string(), data.to_vec())).collect();
    let run = reference::run(&graph.data(), &tensors, &mut params).expect("runs");
    run.value(y.id()).to_vec()
}

fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}, wanted {want:?}");
}

/// The wanted values are PyTorch's.
#[test]
fn the_smaller_layers_give_pytorchs_values() {
    let x = [1.0, -2.0, 3.0, 0.5, -1.0, 4.0, 2.0, 0.0];
    let ones = [1.0; 2];
    let zeros = [0.0; 2];
    close(&evaluated(&L2Pool2d::new(2), [1, 2, 2, 2], &x, &[]), &[3.774_917_217_64, 4.582_575_694_96]);
    close(
        &evaluated(&PRelu::default(), [1, 2, 2, 2], &x, &[("weight", &[0.25])]),
        &[1.0, -0.5, 3.0, 0.5, -0.25, 4.0, 2.0, 0.0],
    );
    let each = evaluated(&PRelu { num_parameters: 2 }, [1, 2, 2, 2], &x, &[("weight", &[0.5, 0.1])]);
    close(&each, &[1.0, -1.0, 3.0, 0.5, -0.1, 4.0, 2.0, 0.0]);
    let norm = evaluated(&GroupNorm::new(1, 2), [1, 2, 2, 1], &x[..4], &[("weight", &ones), ("bias", &zeros)]);
    close(&norm, &[0.210_558_39, -1.473_908_73, 1.333_536_47, -0.070_186_13]);
    let norm = evaluated(&LayerNorm::new(2), [2, 2], &x[..4], &[("weight", &[2.0, 1.0]), ("bias", &[0.0, 1.0])]);
    close(&norm, &[1.999_995_555_57, 0.000_002_222, 1.999_993_6, 0.000_003_2]);
    close(
        &evaluated(&Upsample::nearest([1, 2]), [1, 1, 2, 2], &x[..4], &[]),
        &[1.0, 1.0, -2.0, -2.0, 3.0, 3.0, 0.5, 0.5],
    );
    close(
        &evaluated(&Upsample::bilinear([1, 2]), [1, 1, 2, 2], &x[..4], &[]),
        &[1.0, 0.25, -1.25, -2.0, 3.0, 2.375, 1.125, 0.5],
    );
    // Above 0 there are 1, 3 and 0.5: (1 + 9 + 0.25) / 4.5.
    close(&evaluated(&StochasticPool2d::new(2), [1, 1, 2, 2], &x[..4], &[]), &[10.25 / 4.5]);
    let one = [("fc1.weight", &[1.0][..]), ("fc1.bias", &[0.0]), ("fc2.weight", &[2.0]), ("fc2.bias", &[-1.0])];
    // The mean is 0.625, and sigmoid(2 * 0.625 - 1) = 0.562177.
    let excited = evaluated(&SqueezeExcite::new(1, 1), [1, 1, 2, 2], &x[..4], &one);
    close(&excited, &[0.562_176_5, -1.124_353, 1.686_529_5, 0.281_088_25]);
}

#[test]
fn special_dropouts_are_active_in_training_only() {
    let body = Conv2d::new(3, 3, 1).bias(false);
    let layers: [(&dyn Layer, Shape); 3] = [
        (&SpatialDropout::new(0.5), [2, 3, 4, 4].into()),
        (&StochasticDepth::new(0.5, body), [2, 3, 4, 4].into()),
        (&DropConnect::new(3, 5, 0.5), [2, 3].into()),
    ];
    for (layer, shape) in layers {
        let count = |mode| ops(&trace(layer, mode, shape).0).iter().filter(|op| op.ends_with("dropout")).count();
        assert_eq!((count(Mode::Train), count(Mode::Eval)), (1, 0), "{layer:?}");
    }
    for p in [1.0, -0.1, f32::NAN] {
        assert!(mistake(&SpatialDropout::new(p), Mode::Eval, [2, 3]).contains("less than 1"));
        assert!(mistake(&StochasticDepth::new(p, Identity), Mode::Eval, [2, 3]).contains("less than 1"));
        assert!(mistake(&DropConnect::new(3, 4, p), Mode::Train, [2, 3]).contains("less than 1"));
    }
}

/// A mask is one for all pixels of a channel, or for all of a sample.
#[test]
fn special_dropouts_drop_together() {
    let dropped = |layer: &dyn Layer| {
        let graph = Graph::new();
        let y = layer.forward(&Scope::new(&graph, Mode::Train), graph.feed("x", TensorDesc::f32([16, 8, 2, 2])));
        let rng = vec![1.0, 2.0, 3.0, 4.0];
        let feeds = Tensors::from([("x".to_string(), vec![1.0; 512]), ("rng".to_string(), rng)]);
        let run = reference::run(&graph.data(), &feeds, &mut Tensors::new()).expect("runs");
        run.value(y.id()).to_vec()
    };
    let spatial = dropped(&SpatialDropout::new(0.5));
    assert!(spatial.chunks(4).all(|channel| channel.iter().all(|v| *v == channel[0] && (*v == 0.0 || *v == 2.0))));
    let zeros = spatial.iter().filter(|v| **v == 0.0).count();
    assert!((128..384).contains(&zeros), "{zeros} of 512");
    assert!(spatial.chunks(32).any(|sample| sample.contains(&0.0) && sample.contains(&2.0)));
    let depth = dropped(&StochasticDepth::new(0.5, Identity));
    assert!(depth.chunks(32).all(|sample| sample.iter().all(|v| *v == sample[0] && (*v == 1.0 || *v == 3.0))));
    assert!(depth.contains(&1.0) && depth.contains(&3.0));
}

/// The wanted values are PyTorch's.
#[test]
fn the_other_losses_give_pytorchs_values() {
    let graph = Graph::new();
    let z = graph.feed("z", TensorDesc::f32([2, 3]));
    let t = graph.feed("t", TensorDesc::f32([2, 3]));
    let labels = graph.feed("labels", TensorDesc::u32([2]));
    let found = [
        losses::bce_with_logits(z, t),
        losses::hinge(z, labels),
        losses::squared_hinge(z, labels),
        losses::soft_cross_entropy(z, t),
        mse(z, t),
    ];
    let feeds = Tensors::from([
        ("z".to_string(), vec![0.5, -1.0, 2.0, 0.0, 0.3, -0.7]),
        ("t".to_string(), vec![0.2, 0.5, 0.3, 1.0, 0.0, 0.0]),
        ("labels".to_string(), vec![2.0, 0.0]),
    ]);
    let run = reference::run(&graph.data(), &feeds, &mut Tensors::new()).expect("runs");
    let got: Vec<f64> = found.iter().map(|loss| run.value(loss.id())[0]).collect();
    close(&got, &[0.860_825_859_4, 0.266_666_666_7, 0.296_666_666_7, 1.543_690_915_9, 1.135]);
}
