//! The model zoo: one short file per network.

mod alexnet;
mod cifar_resnet;
mod lenet;
mod resnet;
mod resnet9;
mod small_vgg;
mod vgg;

pub use alexnet::AlexNet;
pub use cifar_resnet::{BasicBlock, CifarResNet, Shortcut};
pub use lenet::LeNet;
pub use resnet::ResNet;
pub use resnet9::ResNet9;
pub use small_vgg::SmallVgg;
pub use vgg::Vgg;

use crate::Layer;

/// The networks for small images, 28 pixels and up, that [`by_name`] knows. A `b` behind a CIFAR ResNet's depth asks for the
/// shortcuts of option B.
pub const NAMES: &[&str] = &[
    "lenet",
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

/// The networks for ImageNet that [`by_name`] knows, with torchvision's names: made for 224 pixels, they take images of 63
/// and more (each says what is different then).
pub const IMAGENET_NAMES: &[&str] = &[
    "alexnet",
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
    Some(Box::new(AlexNet::new(in_channels, classes)))
}
