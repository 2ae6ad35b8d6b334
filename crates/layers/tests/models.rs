//! The zoo: parameter counts, multiply-adds, tensor names, and shapes for every kind of image.

use std::collections::BTreeSet;
use wgrad_layers::models::{
    self, AirbenchNet, AlexNet, CifarResNet, DenseNet, GoogLeNet, InceptionV3, LeNet, MobileNetV1, NetworkInNetwork,
    ResNet, ResNet9, Shortcut, SmallVgg, Vgg,
};
use wgrad_layers::{Layer, Summary, losses};
use wgrad_tensor::ops::Target;
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::{Array, Graph, Init, Mode, ParamDecl, ParamKind, Scope, Shape, TensorDesc, gradients, weights};

fn summary(net: &dyn Layer, channels: usize, size: usize) -> Summary {
    Summary::new(net, TensorDesc::f32([1, channels, size, size])).expect("the shapes fit")
}

fn millions(macs: u64) -> f64 {
    (macs as f64 / 1e5).round() / 10.0
}

/// Names and shapes of all parameters, in order of declaration.
fn params(net: &dyn Layer, channels: usize, size: usize) -> Vec<(String, Shape, Init)> {
    let graph = Graph::new();
    let x = graph.feed("images", TensorDesc::f32([4, channels, size, size]));
    net.forward(&Scope::new(&graph, Mode::Train), x);
    graph.data().check().expect("the shapes fit");
    // As the store shows them: the largest weights lie in blocks of rows.
    let (mut store, target) = (StoreLayout::default(), Target::default());
    store.declare(graph.data().params().map(|(_, decl)| decl), &target).expect("fits");
    store.tensors().map(|decl| (decl.name, decl.shape, decl.init)).collect()
}

#[test]
fn cifar_resnets_have_the_published_sizes() {
    let published =
        [(20, 269_722, 40.6), (32, 464_154, 68.9), (44, 658_586, 97.2), (56, 853_018, 125.5), (110, 1_727_962, 252.9)];
    for (depth, parameters, macs) in published {
        let net = CifarResNet::with_depth(depth).expect("6n + 2");
        let summary = summary(&net, 3, 32);
        assert_eq!(summary.parameters(), parameters, "depth {depth}");
        assert_eq!(millions(summary.macs()), macs, "depth {depth}");
    }
    let b = CifarResNet::with_blocks([3; 3]).shortcut(Shortcut::B);
    assert_eq!(summary(&b, 3, 32).parameters(), 272_474);
    assert!([2, 7, 21].into_iter().all(|depth| CifarResNet::with_depth(depth).is_none()));
}

#[test]
fn multiply_adds_of_resnet20_are_exact() {
    let [first, stage1] = [27 * 16, 6 * 144 * 16].map(|per_pixel| per_pixel * 1024);
    let stage2 = (144 * 32 + 5 * 288 * 32) * 256;
    let stage3 = (288 * 64 + 5 * 576 * 64) * 64;
    let summary = summary(&CifarResNet::with_blocks([3; 3]), 3, 32);
    assert_eq!(summary.macs(), first + stage1 + stage2 + stage3 + 640);
    assert_eq!(summary.buffers, 2 * (7 * 16 + 6 * 32 + 6 * 64));
}

#[test]
fn the_other_nets_have_the_published_sizes() {
    let resnet9 = summary(&ResNet9::new(3, 10), 3, 32);
    assert_eq!((resnet9.parameters(), millions(resnet9.macs())), (6_573_120, 379.3));
    assert_eq!(summary(&LeNet::new(1, 10), 1, 28).parameters(), 61_706);
    assert_eq!(summary(&LeNet::new(1, 10), 1, 32), {
        let mut same = summary(&LeNet::new(1, 10), 1, 28);
        same.input = Some([1, 1, 32, 32].into());
        same
    });
    assert_eq!(summary(&SmallVgg::new(3, 10), 3, 32).parameters(), 288_746);
    let nin = summary(&NetworkInNetwork::cifar(3, 10), 3, 32);
    assert_eq!((nin.parameters(), millions(nin.macs())), (966_986, 222.5));
    let airbench = summary(&AirbenchNet::new(3, 10), 3, 32);
    assert_eq!((airbench.parameters(), millions(airbench.macs())), (1_971_352, 118.1));
    // Frozen: the filters of 2x2, and with each norm its scale beside the running statistics.
    assert_eq!(airbench.buffers, 24 * 3 * 4 + 3 * 2 * (64 + 256 + 256));
}

#[test]
fn the_nets_for_imagenet_have_the_published_sizes() {
    let published = [
        ("alexnet", 61_100_840, 714.0),
        ("alexnet2012", 60_965_224, 724.0),
        ("vgg11", 132_863_336, 7609.0),
        ("vgg11_bn", 132_868_840, 7609.0),
        ("vgg13", 133_047_848, 11_308.0),
        ("vgg13_bn", 133_053_736, 11_308.0),
        ("vgg16", 138_357_544, 15_470.0),
        ("vgg16_bn", 138_365_992, 15_470.0),
        ("vgg19", 143_667_240, 19_632.0),
        ("vgg19_bn", 143_678_248, 19_632.0),
        ("resnet18", 11_689_512, 1814.0),
        ("resnet34", 21_797_672, 3664.0),
        ("resnet50", 25_557_032, 4089.0),
        ("resnet101", 44_549_160, 7801.0),
        ("resnet152", 60_192_808, 11_514.0),
        ("resnext50_32x4d", 25_028_904, 4230.0),
        ("resnext101_32x8d", 88_791_336, 16_414.0),
        ("squeezenet1_0", 1_248_424, 819.0),
        ("squeezenet1_1", 1_235_496, 349.0),
        ("squeezenet1_1-caffe", 1_235_496, 378.0),
        ("mobilenet_v1", 4_231_976, 569.0),
        ("mobilenet_v1_0.75", 2_585_560, 325.0),
        ("mobilenet_v1_0.5", 1_331_592, 149.0),
        ("mobilenet_v1_0.25", 470_072, 41.0),
        ("separable", 4_604_416, 1520.0),
        ("nin_imagenet", 7_595_176, 1100.0),
        ("densenet121", 7_978_856, 2834.0),
        ("densenet161", 28_681_000, 7728.0),
        ("densenet169", 14_149_480, 3360.0),
        ("densenet201", 20_013_928, 4291.0),
        ("googlenet", 6_624_904, 1498.0),
        ("googlenet_paper", 6_998_552, 1583.0),
        ("inception_v3", 23_834_568, 5713.0),
    ];
    assert_eq!(published.map(|(name, ..)| name), models::IMAGENET_NAMES);
    for (name, parameters, macs) in published {
        let size = match name {
            "alexnet2012" => 227,
            "inception_v3" => 299,
            _ => 224,
        };
        let summary = summary(&*models::by_name(name, 3, 1000).expect("listed"), 3, size);
        assert_eq!(summary.parameters(), parameters, "{name}");
        assert_eq!((summary.macs() as f64 / 1e6).round(), macs, "{name}");
    }
    assert!([17, 50, 20].into_iter().all(|depth| Vgg::with_depth(depth).is_none()));
    assert!([20, 19, 49].into_iter().all(|depth| ResNet::with_depth(depth).is_none()));
    assert!([(34, 32, 4), (50, 0, 4), (50, 32, 0)].into_iter().all(|(d, g, w)| ResNet::resnext(d, g, w).is_none()));
    assert!([120, 0].into_iter().all(|depth| DenseNet::with_depth(depth).is_none()));
    assert!([0.0, -1.0, f64::NAN, f64::INFINITY].into_iter().all(|width| MobileNetV1::with_width(width).is_none()));
}

#[test]
fn auxiliary_classifiers_are_there_in_training() {
    let trained = |net: &dyn Layer, size: usize| {
        let graph = Graph::new();
        let x = graph.feed("images", TensorDesc::f32([2, 3, size, size]));
        let labels = graph.feed("labels", TensorDesc::u32([2]));
        let logits = net.forward(&Scope::new(&graph, Mode::Train), x);
        let loss = losses::with_auxiliary(logits, |logits| losses::cross_entropy(logits, labels, 0.0));
        let weights = weights(&graph);
        let learned = weights.iter().map(|weight| weight.shape().numel()).sum::<usize>();
        let gradients = gradients(loss, &weights).expect("differentiable");
        assert!(gradients.iter().all(Option::is_some), "every classifier counts");
        let others = graph.auxiliary();
        assert!(others.iter().all(|(logits, _)| logits.shape() == [2, 1000].into()));
        graph.data().check().expect("the shapes fit");
        (learned, others.into_iter().map(|(_, weight)| weight).collect::<Vec<_>>())
    };
    assert_eq!(trained(&GoogLeNet::new(3, 1000), 224), (13_004_888, vec![0.3; 2]));
    assert_eq!(trained(&GoogLeNet::paper(3, 1000), 224), (13_378_280, vec![0.3; 2]));
    assert_eq!(trained(&InceptionV3::new(3, 1000), 299), (27_161_264, vec![0.4]));
    assert_eq!(trained(&InceptionV3::new(3, 1000), 298), (23_834_568, vec![]), "too small for it");
    assert_eq!(trained(&GoogLeNet::new(3, 1000).auxiliary(false), 224), (6_624_904, vec![]));
    assert_eq!(trained(&InceptionV3::new(3, 1000).auxiliary(false), 299), (23_834_568, vec![]));
}

#[test]
fn identity_filters_pass_their_channel_on() {
    let mut weight = Array::new([3, 2, 3, 3], vec![7.0; 54]).expect("fits");
    models::identity_filters(&mut weight);
    let middle = |k: usize, c: usize| weight.data[(k * 2 + c) * 9 + 4];
    assert_eq!([middle(0, 0), middle(0, 1), middle(1, 0), middle(1, 1)], [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(weight.data[..36].iter().sum::<f32>(), 2.0);
    assert!(weight.data[36..].iter().all(|&v| v == 7.0), "no channel is left for the third");
}

#[test]
fn the_nets_for_imagenet_take_other_sizes_channels_and_classes() {
    let shape = |net: &dyn Layer, channels, size| {
        let graph = Graph::new();
        let x = graph.feed("images", TensorDesc::f32([2, channels, size, size]));
        let y = net.forward(&Scope::new(&graph, Mode::Train), x);
        graph.data().check().map(|()| y.shape().dims().to_vec()).map_err(|errors| errors.to_string())
    };
    for name in models::IMAGENET_NAMES {
        // The smallest images of some.
        let small = if matches!(*name, "alexnet2012" | "googlenet_paper" | "inception_v3") { 79 } else { 64 };
        for (channels, size, classes) in [(3, small, 10), (1, 96, 7), (3, 448, 100)] {
            let net = models::by_name(name, channels, classes).expect("listed");
            let got = shape(&*net, channels, size);
            assert_eq!(got, Ok(vec![2, classes]), "{name} {size}");
        }
    }
    assert!(shape(&AlexNet::new(3, 10), 3, 63).is_ok());
    assert!(shape(&AlexNet::new(3, 10), 3, 62).is_err());
    // The last pool leaves 2x2 pixels, and the classifier takes those.
    assert_eq!(params(&AlexNet::new(3, 10), 3, 96)[10].1, [4096, 256 * 2 * 2].into());
}

#[test]
fn tensor_names_of_the_nets_for_imagenet_are_pytorchs() {
    let named = |name: &str| {
        let net = models::by_name(name, 3, 1000).expect("listed");
        params(&*net, 3, 224).into_iter().map(|(name, shape, _)| (name, shape)).collect::<Vec<_>>()
    };
    let weights = |name: &str| -> Vec<String> {
        named(name).into_iter().filter_map(|(name, _)| name.strip_suffix(".weight").map(str::to_string)).collect()
    };
    let alexnet = ["features.0", "features.3", "features.6", "features.8", "features.10"];
    let classifier = ["classifier.1", "classifier.4", "classifier.6"];
    assert_eq!(weights("alexnet"), [&alexnet[..], &classifier].concat());
    assert_eq!(named("alexnet")[10], ("classifier.1.weight".to_string(), [4096, 9216].into()));
    let features = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28].map(|i| format!("features.{i}"));
    let classifier = [0, 3, 6].map(|i| format!("classifier.{i}"));
    assert_eq!(weights("vgg16"), [&features[..], &classifier].concat());
    assert!(weights("vgg16_bn").contains(&"features.41".to_string()));
    let block: Vec<String> = weights("resnet50").into_iter().filter(|name| name.starts_with("layer2.0.")).collect();
    let wanted = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.0", "downsample.1"];
    assert_eq!(block, wanted.map(|name| format!("layer2.0.{name}")));
    assert_eq!(named("resnet18")[0], ("conv1.weight".to_string(), [64, 3, 7, 7].into()));
    assert_eq!(named("resnet50").last(), Some(&("fc.bias".to_string(), [1000].into())));
}

#[test]
fn tensor_names_of_the_larger_zoo_are_torchvisions() {
    let named = |name: &str, size: usize| {
        let net = models::by_name(name, 3, 1000).expect("listed");
        params(&*net, 3, size).into_iter().map(|(name, ..)| name).collect::<BTreeSet<_>>()
    };
    let has = |name: &str, size: usize, wanted: &[&str]| {
        let names = named(name, size);
        for wanted in wanted {
            assert!(names.contains(*wanted), "{name} lacks {wanted}: {names:?}");
        }
    };
    let dense = ["features.conv0.weight", "features.denseblock4.denselayer16.norm2.running_var", "classifier.bias"];
    has("densenet121", 64, &dense);
    has("densenet121", 64, &["features.transition2.conv.weight", "features.norm5.weight", "features.norm0.bias"]);
    has("squeezenet1_1", 64, &["features.0.bias", "features.12.expand3x3.weight", "classifier.1.weight"]);
    has("squeezenet1_0", 64, &["features.3.squeeze.weight", "features.12.expand1x1.bias", "classifier.1.bias"]);
    let google = ["conv1.conv.weight", "inception5b.branch3.1.bn.bias", "inception3a.branch4.1.conv.weight"];
    has("googlenet", 64, &google);
    has("googlenet", 64, &["aux1.conv.conv.weight", "aux2.fc1.weight", "aux2.fc2.bias", "fc.weight"]);
    let inception =
        ["Conv2d_1a_3x3.conv.weight", "Mixed_6e.branch7x7dbl_5.bn.running_mean", "AuxLogits.conv1.bn.weight"];
    has("inception_v3", 299, &inception);
    has("inception_v3", 299, &["Mixed_7c.branch3x3dbl_3b.conv.weight", "AuxLogits.fc.bias", "fc.bias"]);
    has("resnext50_32x4d", 64, &["layer1.0.conv2.weight", "layer4.2.bn3.bias", "layer1.0.downsample.1.weight"]);
    has("alexnet2012", 79, &["conv1.weight", "conv5.bias", "fc8.bias"]);
    has("nin_imagenet", 64, &["conv4.weight", "cccp8.bias"]);
    has("mobilenet_v1", 64, &["features.0.conv.weight", "features.13.pointwise.weight", "classifier.weight"]);
}

#[test]
fn tensor_names_of_resnet20_are_those_of_the_pretrained_file() {
    let mut expected = vec!["conv1.weight".to_string()];
    let bn = |path: &str| ["weight", "bias", "running_mean", "running_var"].map(|name| format!("{path}.{name}"));
    expected.extend(bn("bn1"));
    for stage in 1..=3 {
        for block in 0..3 {
            for i in 1..=2 {
                expected.push(format!("layer{stage}.{block}.conv{i}.weight"));
                expected.extend(bn(&format!("layer{stage}.{block}.bn{i}")));
            }
        }
    }
    expected.extend(["linear.weight", "linear.bias"].map(str::to_string));
    let params = params(&CifarResNet::with_blocks([3; 3]), 3, 32);
    let names: Vec<String> = params.iter().map(|(name, ..)| name.clone()).collect();
    assert_eq!(names, expected);
    assert_eq!(params[0].1, [16, 3, 3, 3].into());
    assert_eq!(params[0].2, Init::KaimingNormal { gain: std::f32::consts::SQRT_2 });
    assert_eq!(params.last().map(|p| p.2), Some(Init::Uniform { bound: 0.125 }));

    let b = self::params(&CifarResNet::with_blocks([1; 3]).shortcut(Shortcut::B), 3, 32);
    let shortcut: Vec<&str> =
        b.iter().map(|(name, ..)| name.as_str()).filter(|name| name.starts_with("layer2.0.shortcut")).collect();
    assert_eq!(
        shortcut,
        [
            "layer2.0.shortcut.0.weight",
            "layer2.0.shortcut.1.weight",
            "layer2.0.shortcut.1.bias",
            "layer2.0.shortcut.1.running_mean",
            "layer2.0.shortcut.1.running_var"
        ]
    );
}

#[test]
fn every_name_of_the_zoo_traces_on_cifar_and_on_mnist() {
    for name in models::NAMES {
        for (channels, size, classes) in [(3, 32, 10), (1, 28, 10), (3, 32, 100)] {
            let net = models::by_name(name, channels, classes).expect("listed");
            let graph = Graph::new();
            let x = graph.feed("images", TensorDesc::f32([5, channels, size, size]));
            let y = net.forward(&Scope::new(&graph, Mode::Train), x);
            graph.data().check().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(y.shape(), [5, classes].into(), "{name}");
        }
    }
    assert!(models::by_name("resnet", 3, 10).is_none());
    assert!(models::by_name("resnet14", 3, 10).is_none(), "unlisted names are refused");
}

#[test]
fn training_and_evaluation_declare_the_same_parameters() {
    for name in models::NAMES {
        let net = models::by_name(name, 3, 10).expect("listed");
        let declared = |mode| {
            let graph = Graph::new();
            let x = graph.feed("images", TensorDesc::f32([2, 3, 32, 32]));
            net.forward(&Scope::new(&graph, mode), x);
            let data = graph.data();
            let names: BTreeSet<String> = data.params().map(|(_, decl)| format!("{decl:?}")).collect();
            let is_running = |decl: &ParamDecl| decl.kind == ParamKind::Buffer && decl.name.contains("running_");
            let buffers = data.params().filter(|(_, decl)| is_running(decl)).count();
            (names, buffers, data.write_backs.len())
        };
        let (train, eval) = (declared(Mode::Train), declared(Mode::Eval));
        assert_eq!(train.0, eval.0, "{name}");
        assert_eq!(train.2, train.1, "{name}: every running statistic is updated in training");
        assert_eq!(eval.2, 0, "{name}: evaluation changes nothing");
    }
}

#[test]
fn lenet_takes_images_of_odd_sizes() {
    for size in [27, 29, 31] {
        let net = models::by_name("lenet", 1, 10).expect("listed");
        let graph = Graph::new();
        net.forward(&Scope::new(&graph, Mode::Train), graph.feed("images", TensorDesc::f32([2, 1, size, size])));
        graph.data().check().unwrap_or_else(|error| panic!("{size} pixels: {error}"));
    }
}

#[test]
fn every_weight_gets_a_gradient() {
    for name in models::NAMES {
        let net = models::by_name(name, 1, 10).expect("listed");
        let graph = Graph::new();
        let x = graph.feed("images", TensorDesc::f32([2, 1, 28, 28]));
        let labels = graph.feed("labels", TensorDesc::u32([2]));
        let logits = net.forward(&Scope::new(&graph, Mode::Train), x);
        let loss = losses::cross_entropy(logits, labels, 0.1);
        let weights = weights(&graph);
        let gradients = gradients(loss, &weights).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (weight, gradient) in weights.iter().zip(gradients) {
            assert_eq!(gradient.map(|g| g.shape()), Some(weight.shape()), "{name}: {weight:?}");
        }
        graph.data().check().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
