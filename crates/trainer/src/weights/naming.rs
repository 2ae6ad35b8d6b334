//! Files whose names of tensors tell which program made them, and so what the network expects to see.

use super::NameMap;

/// What is known of a network from another program, by the names of its tensors.
#[derive(Clone, Debug)]
pub struct Naming {
    /// Program and network, for messages.
    pub title: &'static str,
    /// The network, as [`by_name`](wgrad_layers::models::by_name) takes it.
    pub architecture: &'static str,
    /// From its names to those of the zoo.
    pub names: NameMap,
    /// Whether its first convolution saw the channels as blue, green, red.
    pub bgr: bool,
    /// What it took from red, green and blue, where pixels run from 0 to 1: [`Dataset::mean`](crate::Dataset::mean).
    pub mean: [f32; 3],
    /// What it divided red, green and blue by then: [`Dataset::std`](crate::Dataset::std).
    pub std: [f32; 3],
    /// Rows and columns of its images, in pixels.
    pub size: usize,
}

/// A tensor that no other program calls so, and what its name tells.
type Known = (&'static str, fn() -> Naming);

const KNOWN: [Known; 1] = [("fire2/squeeze1x1.weight", caffe_squeezenet1_1)];

impl Naming {
    /// What these names tell; `None` where they are no known program's. Names of the zoo and of torchvision tell nothing.
    ///
    /// ```
    /// use wgrad_trainer::weights::Naming;
    ///
    /// let naming = Naming::of(["conv1.weight", "fire2/squeeze1x1.weight"]).expect("Caffe's names");
    /// assert!(naming.bgr);
    /// assert!(Naming::of(["features.3.squeeze.weight"]).is_none());
    /// ```
    #[must_use]
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Naming> {
        names.into_iter().find_map(|name| KNOWN.iter().find(|(mark, _)| *mark == name)).map(|(_, make)| make())
    }
}

/// SqueezeNet 1.1 of its authors (`train_val.prototxt` of their repository): pixels of 0..255 minus a mean, channels as OpenCV
/// loads them. Images are 227 pixels wide, pools round up, and the last convolution has a padding of 1, as
/// [`SqueezeNet::classifier_padding`](wgrad_layers::models::SqueezeNet::classifier_padding) gives it.
fn caffe_squeezenet1_1() -> Naming {
    Naming {
        title: "Caffe's SqueezeNet 1.1",
        architecture: "squeezenet1_1-caffe",
        names: NameMap::caffe_squeezenet1_1(),
        bgr: true,
        mean: [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0],
        std: [1.0 / 255.0; 3],
        size: 227,
    }
}
