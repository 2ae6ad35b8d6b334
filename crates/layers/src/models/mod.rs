//! The model zoo: one short file per network.

mod cifar_resnet;
mod lenet;
mod resnet9;
mod vgg;

pub use cifar_resnet::{BasicBlock, CifarResNet, Shortcut};
pub use lenet::LeNet;
pub use resnet9::ResNet9;
pub use vgg::SmallVgg;

use crate::Layer;

/// The names that [`by_name`] knows. A `b` behind a CIFAR ResNet's depth asks for the shortcuts of option B.
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

/// A network of the zoo for images of `in_channels` channels and `classes` classes; `None` for a name that is not in
/// [`NAMES`].
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
