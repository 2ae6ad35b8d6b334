//! The model zoo: one short file per network.

mod airbench;
mod alexnet;
mod alexnet2012;
mod cifar_resnet;
mod conv_norm;
mod densenet;
mod googlenet;
mod inception3;
mod lenet;
mod mobilenet;
mod nin;
mod resnet;
mod resnet9;
mod separable_net;
mod small_vgg;
mod squeezenet;
mod vgg;
mod whitening;

pub use airbench::{AirbenchNet, identity_filters};
pub use alexnet::AlexNet;
pub use alexnet2012::AlexNet2012;
pub use cifar_resnet::{BasicBlock, CifarResNet, Shortcut};
pub use densenet::DenseNet;
pub use googlenet::GoogLeNet;
pub use inception3::InceptionV3;
pub use lenet::LeNet;
pub use mobilenet::MobileNetV1;
pub use nin::NetworkInNetwork;
pub use resnet::ResNet;
pub use resnet9::ResNet9;
pub use separable_net::SeparableNet;
pub use small_vgg::SmallVgg;
pub use squeezenet::SqueezeNet;
pub use vgg::Vgg;
pub use whitening::whitening_filters;

use crate::Layer;

/// The networks for small images, 28 pixels and up, that [`by_name`] knows. A `b` behind a CIFAR ResNet's depth asks for the
/// shortcuts of option B.
pub const NAMES: &[&str] = &[
    "airbench94",
    "lenet",
    "nin",
    "resnet8",
    "resnet9",
    "resnet20",
    "resnet20b",
    "resnet32",
    "resnet32b",
    "resnet44",
    "resnet44b",
    "resnet56",
    "resnet56b",
    "resnet110",
    "resnet110b",
    "vgg",
];

/// The networks for ImageNet that [`by_name`] knows, with torchvision's names where it has them: made for 224 pixels (`alexnet2012`
/// 227, `inception_v3` 299), they take images of 79 and more, most of them smaller ones too (each says so). `squeezenet1_1-caffe` is
/// the net as its authors trained it, with zeros around the last convolution's input.
/// `googlenet`, `googlenet_paper` and `inception_v3` hand out auxiliary logits in training.
pub const IMAGENET_NAMES: &[&str] = &[
    "alexnet",
    "alexnet2012",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "squeezenet1_0",
    "squeezenet1_1",
    "squeezenet1_1-caffe",
    "mobilenet_v1",
    "mobilenet_v1_0.75",
    "mobilenet_v1_0.5",
    "mobilenet_v1_0.25",
    "separable",
    "nin_imagenet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "googlenet",
    "googlenet_paper",
    "inception_v3",
];

/// A network of the zoo for images of `in_channels` channels and `classes` classes; `None` for a name that is neither in
/// [`NAMES`] nor in [`IMAGENET_NAMES`].
///
/// ```
/// use wgrad_layers::{Summary, models};
/// use wgrad_tensor::TensorDesc;
///
/// let net = models::by_name("resnet20", 3, 10).expect("a name of the zoo");
/// let summary = Summary::new(&net, TensorDesc::f32([1, 3, 32, 32])).expect("the shapes fit");
/// assert_eq!(summary.parameters(), 269_722);
/// assert!(models::by_name("resnet21", 3, 10).is_none());
/// ```
pub fn by_name(name: &str, in_channels: usize, classes: usize) -> Option<Box<dyn Layer>> {
    if IMAGENET_NAMES.contains(&name) {
        return imagenet(name, in_channels, classes);
    }
    if !NAMES.contains(&name) {
        return None;
    }
    Some(match name {
        "airbench94" => Box::new(AirbenchNet::new(in_channels, classes)),
        "nin" => Box::new(NetworkInNetwork::cifar(in_channels, classes)),
        "lenet" => Box::new(LeNet::new(in_channels, classes)),
        "resnet9" => Box::new(ResNet9::new(in_channels, classes)),
        "vgg" => Box::new(SmallVgg::new(in_channels, classes)),
        _ => {
            let depth = name.strip_prefix("resnet")?;
            let (depth, shortcut) = match depth.strip_suffix('b') {
                Some(depth) => (depth, Shortcut::B),
                None => (depth, Shortcut::A),
            };
            let net = CifarResNet::with_depth(depth.parse().ok()?)?;
            Box::new(net.in_channels(in_channels).classes(classes).shortcut(shortcut))
        }
    })
}

fn imagenet(name: &str, in_channels: usize, classes: usize) -> Option<Box<dyn Layer>> {
    if let Some(depth) = name.strip_prefix("resnet") {
        let net = ResNet::with_depth(depth.parse().ok()?)?;
        return Some(Box::new(net.in_channels(in_channels).classes(classes)));
    }
    if let Some(depth) = name.strip_prefix("vgg") {
        let (depth, batch_norm) = depth.strip_suffix("_bn").map_or((depth, false), |depth| (depth, true));
        let net = Vgg::with_depth(depth.parse().ok()?)?;
        return Some(Box::new(net.in_channels(in_channels).classes(classes).batch_norm(batch_norm)));
    }
    if let Some(depth) = name.strip_prefix("densenet") {
        let net = DenseNet::with_depth(depth.parse().ok()?)?;
        return Some(Box::new(net.in_channels(in_channels).classes(classes)));
    }
    if let Some(width) = name.strip_prefix("mobilenet_v1") {
        let width = width.strip_prefix('_').map_or(Ok(1.0), str::parse).ok()?;
        return Some(Box::new(MobileNetV1::with_width(width)?.in_channels(in_channels).classes(classes)));
    }
    let resnext = |depth, width| {
        Some(Box::new(ResNet::resnext(depth, 32, width)?.in_channels(in_channels).classes(classes)) as Box<dyn Layer>)
    };
    Some(match name {
        "alexnet" => Box::new(AlexNet::new(in_channels, classes)),
        "alexnet2012" => Box::new(AlexNet2012::new(in_channels, classes)),
        "resnext50_32x4d" => resnext(50, 4)?,
        "resnext101_32x8d" => resnext(101, 8)?,
        "squeezenet1_0" => Box::new(SqueezeNet::v1_0().in_channels(in_channels).classes(classes)),
        "squeezenet1_1" => Box::new(SqueezeNet::v1_1().in_channels(in_channels).classes(classes)),
        "squeezenet1_1-caffe" => {
            Box::new(SqueezeNet::v1_1().classifier_padding(1).in_channels(in_channels).classes(classes))
        }
        "separable" => Box::new(SeparableNet::new(in_channels, classes)),
        "nin_imagenet" => Box::new(NetworkInNetwork::imagenet(in_channels, classes)),
        "googlenet" => Box::new(GoogLeNet::new(in_channels, classes)),
        "googlenet_paper" => Box::new(GoogLeNet::paper(in_channels, classes)),
        "inception_v3" => Box::new(InceptionV3::new(in_channels, classes)),
        _ => return None,
    })
}
