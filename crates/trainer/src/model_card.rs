//! What a model file says about its use: which network, which classes, and what becomes of an image on the way in.
//!
//! It stands in the metadata of a safetensors file, whose values are text: `architecture` plainly, `classes` and
//! `preprocessing` as JSON. Other programs pass over these keys. Reading takes nothing for granted: lengths and counts are bounded
//! before anything is kept, and every number is looked at.

use crate::augment::View;
use crate::data::Dataset;
use crate::weights::Naming;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Metadata keys.
const ARCHITECTURE: &str = "architecture";
const CLASSES: &str = "classes";
const PREPROCESSING: &str = "preprocessing";

/// Most classes of a model.
pub const MAX_CLASSES: usize = 1 << 16;
/// Longest name of a class or network, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Longest list of classes and longest preprocessing, in bytes of JSON.
const MAX_CLASSES_BYTES: usize = 8 << 20;
const MAX_PREPROCESSING_BYTES: usize = 4096;
/// Largest height and width that a model is used with, in pixels.
pub const MAX_SIDE: usize = 8192;
/// Most pixels to which the shorter side is resized.
const MAX_SHORTER: usize = u16::MAX as usize;

/// The order of the colours in which a network takes an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red first: PyTorch's networks, and every network that wgrad trains.
    #[default]
    Rgb,
    /// Blue first: Caffe's networks.
    Bgr,
}

/// What becomes of an image before a network sees it: a view of it, resized to `height` by `width`, then
/// `(pixel / 255 - mean) / std` in each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Colours per pixel: 1 (grey) or 3.
    pub channels: usize,
    /// Rows that the network sees, in pixels.
    pub height: usize,
    /// Columns that the network sees, in pixels.
    pub width: usize,
    /// Mean of red, green and blue (whatever `order` says), where pixels run from 0 to 1; grey repeats its one value.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, where pixels run from 0 to 1; grey repeats its one value.
    pub std: [f32; 3],
    /// In which order the network's first layer takes the colours.
    #[serde(default)]
    pub order: ChannelOrder,
    /// Which part of an image is seen. If not given, all of an image of this very size, and of others the middle
    /// ([`View::CENTRE`]).
    #[serde(default)]
    pub view: Option<View>,
}

/// What a model file says about its use.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// Name of the network as [`by_name`](wgrad_layers::models::by_name) takes it; none for a network of the user's own.
    pub architecture: Option<String>,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// What becomes of an image.
    pub preprocessing: Preprocessing,
}

/// Why what a file says about its use cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// More than any model has. It was not parsed.
    #[error("{origin}: metadata {key:?}: wanted at most {limit} bytes, got {got}; the file is damaged")]
    TooLong {
        /// Path, or name of the bytes.
        origin: String,
        /// Key of the metadata.
        key: &'static str,
        /// Most bytes.
        limit: usize,
        /// Bytes got.
        got: usize,
    },
    /// Text that is no JSON of the wanted form.
    #[error("{origin}: metadata {key:?}: {message}; the file is damaged, or of a newer wgrad")]
    Syntax {
        /// Path, or name of the bytes.
        origin: String,
        /// Key of the metadata.
        key: &'static str,
        /// What is wrong, and where.
        message: String,
    },
    /// A number out of its range.
    #[error("{origin}: {name}: wanted {wanted}, got {got}")]
    Value {
        /// Path, or name of the bytes.
        origin: String,
        /// Which number.
        name: &'static str,
        /// What would have been right.
        wanted: &'static str,
        /// What is there.
        got: String,
    },
}

impl Preprocessing {
    /// For images of `size` by `size` with ImageNet's mean and deviation, as torchvision's networks take them.
    #[must_use]
    pub fn imagenet(size: usize) -> Preprocessing {
        Preprocessing {
            channels: 3,
            height: size,
            width: size,
            mean: crate::data::folder::IMAGENET_MEAN,
            std: crate::data::folder::IMAGENET_STD,
            order: ChannelOrder::Rgb,
            view: Some(View::CENTRE),
        }
    }

    /// As networks of Caffe take images, pixels of 0 to 255 less the mean colour (104, 117, 123) of ImageNet, blue first.
    #[must_use]
    pub fn caffe(size: usize) -> Preprocessing {
        Preprocessing {
            mean: [123.0, 117.0, 104.0].map(|mean: f32| mean / 255.0),
            std: [1.0 / 255.0; 3],
            order: ChannelOrder::Bgr,
            view: Some(View::Whole),
            ..Preprocessing::imagenet(size)
        }
    }

    /// As a program that is told by its names of tensors takes images; all of each.
    #[must_use]
    pub fn of_naming(naming: &Naming) -> Preprocessing {
        let order = if naming.bgr { ChannelOrder::Bgr } else { ChannelOrder::Rgb };
        let &Naming { mean, std, size, .. } = naming;
        Preprocessing { mean, std, order, view: Some(View::Whole), ..Preprocessing::imagenet(size) }
    }

    /// What published weights of a network of the zoo are meant for: torchvision's, or Caffe's for `squeezenet1_1-caffe` (227
    /// pixels). None where that depends on the data set: for networks of small images, and those without published weights of
    /// one kind.
    #[must_use]
    pub fn of_architecture(name: &str) -> Option<Preprocessing> {
        let own = ["alexnet2012", "separable", "nin_imagenet", "googlenet_paper"];
        match name {
            "squeezenet1_1-caffe" => Some(Preprocessing::caffe(227)),
            "inception_v3" => Some(Preprocessing::imagenet(299)),
            _ if own.contains(&name) || name.starts_with("mobilenet") => None,
            _ => wgrad_layers::models::IMAGENET_NAMES.contains(&name).then(|| Preprocessing::imagenet(224)),
        }
    }

    /// What the images of a data set become in evaluation.
    #[must_use]
    pub fn of_dataset(dataset: &Dataset, view: Option<View>) -> Preprocessing {
        let &Dataset { channels, height, width, mean, std, .. } = dataset;
        Preprocessing { channels, height, width, mean, std, order: ChannelOrder::Rgb, view }
    }

    /// Whether every number is in its range; `origin` says whose they are.
    ///
    /// # Errors
    /// The first number that is not.
    pub fn check(&self, origin: &str) -> Result<(), CardError> {
        let wrong = |name, wanted, got: String| Err(CardError::Value { origin: origin.to_string(), name, wanted, got });
        if ![1, 3].contains(&self.channels) {
            return wrong("channels", "1 or 3", self.channels.to_string());
        }
        if let Some(side) = [self.height, self.width].into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
            return wrong("height and width", "1 to 8192 pixels", side.to_string());
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return wrong("mean", "finite numbers", mean.to_string());
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_normal() && **std > 0.0)) {
            return wrong("std", "finite numbers above 0", std.to_string());
        }
        match self.view {
            Some(View::RandomResized { .. } | View::ScaleJitter { .. }) => {
                wrong("view", "one without chance", format!("{:?}", self.view))
            }
            Some(View::Crop { shorter, .. }) if shorter > MAX_SHORTER => {
                wrong("view", "a shorter side of at most 65535 pixels", shorter.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl ModelCard {
    /// Whether [`ModelCard::from_metadata`] would take what [`ModelCard::put`] writes.
    ///
    /// # Errors
    /// A number out of its range; a random view; names that are too many or too long.
    pub fn check(&self, origin: &str) -> Result<(), CardError> {
        self.preprocessing.check(origin)?;
        let mut written = BTreeMap::new();
        self.put(&mut written);
        ModelCard::from_metadata(&written, origin).map(|_| ())
    }

    /// Writes it into a file's metadata. Control characters in names are escaped.
    pub fn put(&self, metadata: &mut BTreeMap<String, String>) {
        let names: Vec<String> = self.class_names.iter().map(|name| plain(name)).collect();
        if let Some(architecture) = &self.architecture {
            metadata.insert(ARCHITECTURE.to_string(), plain(architecture));
        }
        // Neither can fail: text, numbers and fields with names. As text directly, since a `Value` would widen each f32.
        let preprocessing = serde_json::to_string(&self.preprocessing).unwrap_or_default();
        metadata.insert(CLASSES.to_string(), serde_json::to_string(&names).unwrap_or_default());
        metadata.insert(PREPROCESSING.to_string(), preprocessing);
    }

    /// Reads it from a file's metadata; none where the file says nothing about preprocessing. `origin` names the file in messages.
    ///
    /// # Errors
    /// Text that is too long or of another form; a number out of its range: a deviation of 0, no pixel, a random view.
    pub fn from_metadata(metadata: &BTreeMap<String, String>, origin: &str) -> Result<Option<ModelCard>, CardError> {
        let text = |key: &'static str, limit: usize| match metadata.get(key) {
            Some(text) if text.len() > limit => {
                Err(CardError::TooLong { origin: origin.to_string(), key, limit, got: text.len() })
            }
            text => Ok(text),
        };
        let syntax = |key| {
            move |error: serde_json::Error| {
                let message = plain(&error.to_string());
                CardError::Syntax { origin: origin.to_string(), key, message }
            }
        };
        // Other programs may have keys of the same names.
        let Some(json) = text(PREPROCESSING, MAX_PREPROCESSING_BYTES)? else { return Ok(None) };
        let architecture = text(ARCHITECTURE, MAX_NAME_BYTES)?.map(|name| plain(name));
        // Escapes make it longer; what is read must be readable again when it has been written.
        if let Some(got) = architecture.as_ref().map(String::len).filter(|&got| got > MAX_NAME_BYTES) {
            let (origin, key, limit) = (origin.to_string(), ARCHITECTURE, MAX_NAME_BYTES);
            return Err(CardError::TooLong { origin, key, limit, got });
        }
        let names: Names = match text(CLASSES, MAX_CLASSES_BYTES)? {
            Some(json) => serde_json::from_str(json).map_err(syntax(CLASSES))?,
            None => Names(Vec::new()),
        };
        let preprocessing: Preprocessing = serde_json::from_str(json).map_err(syntax(PREPROCESSING))?;
        preprocessing.check(origin)?;
        Ok(Some(ModelCard { architecture, class_names: names.0, preprocessing }))
    }
}

/// Text without control characters: what comes out of a file must not steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// A list of names that stops growing at its limits.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        deserializer.deserialize_seq(NamesVisitor).map(Names)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_CLASSES} names of at most {MAX_NAME_BYTES} bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element::<String>()? {
            if names.len() == MAX_CLASSES {
                return Err(serde::de::Error::invalid_length(names.len() + 1, &self));
            }
            let name = plain(&name);
            if name.len() > MAX_NAME_BYTES {
                return Err(serde::de::Error::invalid_length(name.len(), &self));
            }
            names.push(name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        ModelCard {
            architecture: Some("resnet18".to_string()),
            class_names: ["ant", "bee \"x\"", "Käfer"].map(String::from).to_vec(),
            preprocessing: Preprocessing { mean: [0.1, 0.25, 1.0 / 3.0], ..Preprocessing::imagenet(64) },
        }
    }

    fn metadata(card: &ModelCard) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([("format".to_string(), "wgrad".to_string())]);
        card.put(&mut metadata);
        metadata
    }

    #[test]
    fn there_and_back() {
        let whole = ModelCard {
            architecture: None,
            preprocessing: Preprocessing { channels: 1, ..Preprocessing::caffe(8) },
            ..card()
        };
        let mut unset = card();
        unset.preprocessing.view = None;
        for card in [card(), whole, unset] {
            assert_eq!(ModelCard::from_metadata(&metadata(&card), "f"), Ok(Some(card)));
        }
        let nothing = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        assert_eq!(ModelCard::from_metadata(&nothing, "f"), Ok(None));
        let foreign = BTreeMap::from([("classes".to_string(), "10".to_string())]);
        assert_eq!(ModelCard::from_metadata(&foreign, "f"), Ok(None), "another program's keys");
    }

    #[test]
    fn what_could_not_be_read_again_is_refused_before() {
        card().check("run").expect("good");
        let mut random = card();
        random.preprocessing.view = Some(View::RandomResized { area: [0.1, 1.0], ratio: [1.0, 1.0] });
        let error = random.check("run").expect_err("random").to_string();
        assert!(error.contains("run: view"), "{error}");
        let mut long = card();
        long.class_names[1] = "x".repeat(MAX_NAME_BYTES + 1);
        assert!(long.check("run").is_err());
    }

    #[test]
    fn names_steer_no_terminal() {
        let mut odd = card();
        odd.class_names[0] = "a\u{1b}[2J\nb".to_string();
        let read = ModelCard::from_metadata(&metadata(&odd), "f").expect("good").expect("there");
        assert_eq!(read.class_names[0], "a\\u{1b}[2J\\nb");
        assert_eq!(ModelCard::from_metadata(&metadata(&read), "f").expect("good").expect("there"), read);
        let mut raw = metadata(&card());
        raw.insert(CLASSES.to_string(), "[\"\\u001b[2J\"]".to_string());
        let read = ModelCard::from_metadata(&raw, "f").expect("good").expect("there");
        assert_eq!(read.class_names, ["\\u{1b}[2J"]);
        // Short enough as it stands there, too long when it is escaped.
        raw.insert(CLASSES.to_string(), format!("[\"{}\"]", "\\u001b".repeat(300)));
        assert!(matches!(ModelCard::from_metadata(&raw, "f"), Err(CardError::Syntax { .. })));
        let mut raw = metadata(&card());
        raw.insert(ARCHITECTURE.to_string(), "\u{1b}".repeat(300));
        assert!(matches!(ModelCard::from_metadata(&raw, "f"), Err(CardError::TooLong { got: 1800, .. })));
    }

    #[test]
    fn hostile_text_is_an_error_that_says_where() {
        let with = |key: &str, value: &str| {
            let mut metadata = metadata(&card());
            metadata.insert(key.to_string(), value.to_string());
            let error = ModelCard::from_metadata(&metadata, "file").expect_err("bad");
            assert!(error.to_string().starts_with("file: "), "{error}");
            error
        };
        assert!(matches!(with(ARCHITECTURE, &"a".repeat(2000)), CardError::TooLong { key: ARCHITECTURE, .. }));
        assert!(matches!(with(CLASSES, &" ".repeat(9 << 20)), CardError::TooLong { key: CLASSES, .. }));
        let many = format!("[{}\"\"]", "\"\",".repeat(MAX_CLASSES));
        let long = format!("[\"{}\"]", "a".repeat(1025));
        let deep = "[".repeat(100_000);
        for text in [many.as_str(), &long, &deep, "[1]", "{}", "", "[\"a\"", "[\"a\"] x"] {
            assert!(matches!(with(CLASSES, text), CardError::Syntax { key: CLASSES, .. }));
        }
        let good = metadata(&card()).remove(PREPROCESSING).expect("there");
        let changed = |from: &str, to: &str| {
            assert!(good.contains(from), "{good}");
            with(PREPROCESSING, &good.replacen(from, to, 1))
        };
        assert!(matches!(changed("{", &" ".repeat(5000)), CardError::TooLong { .. }));
        let syntax = ["\"height\":-1", "\"height\":1e3", "\"height\":99999999999999999999", "\"tall\":1"];
        for text in syntax {
            assert!(matches!(changed("\"height\":64", text), CardError::Syntax { .. }), "{text}");
        }
        for (from, to, name) in [
            ("\"height\":64", "\"height\":0", "height and width"),
            ("\"width\":64", "\"width\":8193", "height and width"),
            ("\"channels\":3", "\"channels\":2", "channels"),
            ("\"std\":[0.229", "\"std\":[0", "std"),
            ("\"std\":[0.229", "\"std\":[-1", "std"),
            ("\"std\":[0.229", "\"std\":[1e-40", "std"),
            ("\"shorter\":0", "\"shorter\":65536", "view"),
        ] {
            let error = changed(from, to);
            assert!(matches!(&error, CardError::Value { name: got, .. } if *got == name), "{from}: {error}");
        }
        assert!(matches!(changed("[0.1,", "[NaN,"), CardError::Syntax { .. }));
        // Whether the parser sees that this is beyond f32 depends on how exactly it reads numbers.
        let beyond = changed("\"mean\":[0.1", "\"mean\":[1e39");
        assert!(matches!(beyond, CardError::Syntax { .. } | CardError::Value { .. }), "{beyond}");
        let view = good.find("\"view\":").expect("there");
        let random = format!("{}\"view\":{{\"scale-jitter\":{{\"shorter\":[1,2]}}}}}}", &good[..view]);
        assert!(matches!(with(PREPROCESSING, &random), CardError::Value { name: "view", .. }));
    }

    #[test]
    fn published_weights_have_their_preprocessing() {
        let caffe = Preprocessing::of_architecture("squeezenet1_1-caffe").expect("known");
        assert_eq!((caffe.height, caffe.order, caffe.view), (227, ChannelOrder::Bgr, Some(View::Whole)));
        assert_eq!(Preprocessing::of_architecture("inception_v3").expect("known").width, 299);
        assert_eq!(Preprocessing::of_architecture("resnet18"), Some(Preprocessing::imagenet(224)));
        for name in ["resnet20", "mobilenet_v1", "nobody"] {
            assert_eq!(Preprocessing::of_architecture(name), None, "{name}");
        }
        for name in wgrad_layers::models::IMAGENET_NAMES {
            Preprocessing::of_architecture(name).map_or(Ok(()), |own| own.check(name)).expect("within its ranges");
        }
    }
}
