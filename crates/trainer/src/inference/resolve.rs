//! From what a file says about itself and what a user says to how its weights are used.

use super::InferenceError;
use crate::data::classes::Classes;
use crate::model_card::{ChannelOrder, MAX_CLASSES, ModelCard, Preprocessing};
use crate::weights::{Naming, Weights};
use wgrad_layers::{Layer, models};
use wgrad_tensor::{Graph, Mode, ParamKind, Scope, TensorDesc};

/// What a user says about a file of weights; it goes before what the file says. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Name of the network, as [`models::by_name`] takes it.
    pub architecture: Option<String>,
    /// Names of the classes.
    pub classes: Option<Classes>,
    /// Height and width of the images, in pixels.
    pub size: Option<usize>,
    /// Mean of red, green and blue, where pixels run from 0 to 1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, where pixels run from 0 to 1.
    pub std: Option<[f32; 3]>,
    /// Whether the network takes blue first.
    pub bgr: bool,
}

impl Overrides {
    /// How these weights are used. What nobody says follows from the names of the tensors, where they tell a program ([`Naming`]),
    /// and from the network's name, where published weights have one usual preprocessing ([`Preprocessing::of_architecture`]);
    /// classes without names are called by their numbers.
    ///
    /// # Errors
    /// Something that nobody says; a name of no network; numbers out of their ranges; class names that are not as many as the
    /// network has classes, which its last layer tells.
    pub fn resolve(&self, weights: &Weights, origin: &str) -> Result<ModelCard, InferenceError> {
        let ModelCard { architecture, class_names, preprocessing } = self.without_classes(weights, origin)?;
        let architecture = architecture.unwrap_or_default();
        let head = head(&architecture, &preprocessing)?;
        let classes = classes(weights, &head).ok_or_else(|| InferenceError::OtherNetwork {
            origin: origin.to_string(),
            architecture: architecture.clone(),
            head,
        })?;
        let class_names = match &self.classes {
            Some(given) => given.names(classes, origin)?,
            None if !class_names.is_empty() => class_names,
            None => (0..classes).map(|index| index.to_string()).collect(),
        };
        if class_names.len() != classes {
            let (origin, names) = (origin.to_string(), class_names.len());
            return Err(InferenceError::ClassNames { origin, classes, names });
        }
        Ok(ModelCard { architecture: Some(architecture), class_names, preprocessing })
    }

    /// [`Overrides::resolve`] for weights whose head is replaced: the classes are those that the file names, if it names any.
    ///
    /// # Errors
    /// Something that nobody says; numbers out of their ranges.
    pub fn without_classes(&self, weights: &Weights, origin: &str) -> Result<ModelCard, InferenceError> {
        let card = ModelCard::from_metadata(&weights.metadata, origin)?;
        let said = card.as_ref().and_then(|card| card.architecture.clone());
        // Before files told their network apart, runs were called after it.
        let called = || weights.metadata.get("model").filter(|name| models::by_name(name, 3, 1000).is_some()).cloned();
        let naming = Naming::of(weights.tensors.keys().map(String::as_str));
        let made = || naming.as_ref().map(|naming| naming.architecture.to_string());
        let architecture = self.architecture.clone().or(said);
        let architecture = architecture.or_else(|| if card.is_none() { called() } else { None }).or_else(made);
        let preprocessing = self.preprocessing(card.as_ref(), naming.as_ref(), architecture.as_deref());
        let (Some(_), Some(preprocessing)) = (&architecture, preprocessing) else {
            return Err(self.unsaid(card.is_some(), architecture.as_deref(), origin));
        };
        preprocessing.check(origin)?;
        let class_names = card.map_or_else(Vec::new, |card| card.class_names);
        Ok(ModelCard { architecture, class_names, preprocessing })
    }

    fn preprocessing(
        &self,
        card: Option<&ModelCard>,
        naming: Option<&Naming>,
        architecture: Option<&str>,
    ) -> Option<Preprocessing> {
        let usual = || architecture.and_then(Preprocessing::of_architecture);
        let made = || naming.map(Preprocessing::of_naming);
        let known = card.map(|card| card.preprocessing.clone()).or_else(made).or_else(usual);
        let mut own = match (known, self.size, self.mean, self.std) {
            (Some(known), ..) => known,
            (None, Some(size), Some(..), Some(..)) => Preprocessing { view: None, ..Preprocessing::imagenet(size) },
            _ => return None,
        };
        if let Some(size) = self.size {
            (own.height, own.width) = (size, size);
        }
        own.mean = self.mean.unwrap_or(own.mean);
        own.std = self.std.unwrap_or(own.std);
        if self.bgr {
            own.order = ChannelOrder::Bgr;
        }
        Some(own)
    }

    fn unsaid(&self, has_card: bool, architecture: Option<&str>, origin: &str) -> InferenceError {
        let usual = has_card || architecture.and_then(Preprocessing::of_architecture).is_some();
        let missing = [
            ("--model NAME", architecture.is_none()),
            ("--size PX", !usual && self.size.is_none()),
            ("--mean R,G,B", !usual && self.mean.is_none()),
            ("--std R,G,B", !usual && self.std.is_none()),
        ];
        let missing: Vec<&str> = missing.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
        let hint = if architecture.is_none() && !usual {
            " (a model of the zoo for ImageNet has the last three of its own)"
        } else {
            ""
        };
        InferenceError::Unsaid { origin: origin.to_string(), missing: format!("{}{hint}", missing.join(", ")) }
    }
}

/// The network of that name.
///
/// # Errors
/// No network of the zoo.
pub(super) fn network(architecture: &str, channels: usize, classes: usize) -> Result<Box<dyn Layer>, InferenceError> {
    models::by_name(architecture, channels, classes).ok_or_else(|| InferenceError::Architecture {
        known: [models::NAMES, models::IMAGENET_NAMES].concat().join(", "),
        got: architecture.to_string(),
    })
}

/// The weights and running statistics of a network, by name, in one mode.
pub(super) fn declared(
    net: &dyn Layer,
    input: &Preprocessing,
    mode: Mode,
) -> Result<Vec<(String, ParamKind)>, InferenceError> {
    let graph = Graph::new();
    let images = graph.feed("images", TensorDesc::f32([1, input.channels, input.height, input.width]));
    net.forward(&Scope::new(&graph, mode), images);
    let data = graph.data();
    data.check().map_err(|errors| InferenceError::Train(wgrad_tensor::Error::from(errors).into()))?;
    Ok(data.params().map(|(_, decl)| (decl.whole_name().to_string(), decl.kind)).collect())
}

/// The weight of a network's last layer.
fn head(architecture: &str, input: &Preprocessing) -> Result<String, InferenceError> {
    let params = declared(&*network(architecture, input.channels, 1000)?, input, Mode::Eval)?;
    // A bias has the classes in its first dimension, too.
    Ok(params.into_iter().rfind(|(_, kind)| *kind == ParamKind::Weight).map_or_else(String::new, |(name, _)| name))
}

/// How many classes the file's last layer tells apart.
fn classes(weights: &Weights, head: &str) -> Option<usize> {
    let names = Naming::of(weights.tensors.keys().map(String::as_str)).map(|naming| naming.names).unwrap_or_default();
    let below = format!(".{head}");
    let named = |is_head: &dyn Fn(&str) -> bool| {
        weights.tensors.iter().find(|(name, _)| names.apply(name).is_some_and(|name| is_head(&name)))
    };
    // Wrappers put something in front of all names; an auxiliary classifier may end in the same name.
    let (_, array) = named(&|name| name == head).or_else(|| named(&|name| name.ends_with(&below)))?;
    array.shape.dims().first().copied().filter(|classes| (1..=MAX_CLASSES).contains(classes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::classes;
    use wgrad_tensor::{Array, Shape};

    fn lenet(classes: usize) -> Weights {
        let net = models::by_name("lenet", 3, classes).expect("known");
        let graph = Graph::new();
        let images = graph.feed("images", TensorDesc::f32([1, 3, 32, 32]));
        net.forward(&Scope::new(&graph, Mode::Eval), images);
        let data = graph.data();
        let tensors = data.params().map(|(_, decl)| {
            let array = Array { shape: decl.shape, data: vec![0.0; decl.shape.numel()] };
            (format!("module.{}", decl.name), array)
        });
        Weights { tensors: tensors.collect(), ..Weights::default() }
    }

    fn given() -> Overrides {
        Overrides {
            architecture: Some("lenet".to_string()),
            size: Some(32),
            mean: Some([0.5; 3]),
            std: Some([0.25; 3]),
            ..Overrides::default()
        }
    }

    #[test]
    fn a_file_that_says_nothing_needs_to_be_told() {
        let says = |given: &Overrides, parts: &[&str], never: &str| {
            let error = given.resolve(&lenet(7), "old.pth").expect_err("unsaid");
            assert!(matches!(error, InferenceError::Unsaid { .. }), "{error}");
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)) && !text.contains(never), "{text}");
        };
        says(&Overrides::default(), &["old.pth", "--model NAME", "--size PX", "--mean", "--std"], "\n");
        says(&Overrides { architecture: None, ..given() }, &["--model NAME"], "--size");
        says(&Overrides { mean: None, ..given() }, &["--mean R,G,B"], "--std");
        let card = given().resolve(&lenet(7), "f").expect("complete");
        assert_eq!(card.class_names, ["0", "1", "2", "3", "4", "5", "6"]);
        assert_eq!((card.preprocessing.height, card.preprocessing.mean, card.preprocessing.view), (32, [0.5; 3], None));
        let other = Overrides { architecture: Some("lenot".to_string()), ..given() };
        assert!(matches!(other.resolve(&lenet(7), "f"), Err(InferenceError::Architecture { .. })));
        let other = Overrides { architecture: Some("resnet8".to_string()), ..given() };
        let error = other.resolve(&Weights::default(), "f").expect_err("no tensors");
        assert!(matches!(error, InferenceError::OtherNetwork { .. }), "{error}");
        let none = Overrides { std: Some([0.0; 3]), ..given() };
        assert!(matches!(none.resolve(&lenet(7), "f"), Err(InferenceError::Card(_))));
        let large = Overrides { size: Some(usize::MAX), ..given() };
        assert!(matches!(large.resolve(&lenet(7), "f"), Err(InferenceError::Card(_))));
    }

    #[test]
    fn what_is_given_goes_before_what_the_file_says() {
        let mut weights = lenet(3);
        let own = ModelCard {
            architecture: Some("lenet".to_string()),
            class_names: ["a", "b", "c"].map(String::from).to_vec(),
            preprocessing: Preprocessing { view: None, ..Preprocessing::imagenet(32) },
        };
        own.put(&mut weights.metadata);
        assert_eq!(Overrides::default().resolve(&weights, "f").expect("says all"), own);
        let classes = classes::parse(b"1\tx", "c").expect("good");
        let given = Overrides { classes: Some(classes), bgr: true, std: Some([0.5; 3]), ..Overrides::default() };
        let card = given.resolve(&weights, "f").expect("good");
        assert_eq!(card.class_names, ["0", "x", "2"]);
        assert_eq!((card.preprocessing.order, card.preprocessing.std), (ChannelOrder::Bgr, [0.5; 3]));
        assert_eq!(card.preprocessing.mean, own.preprocessing.mean);

        ModelCard { class_names: vec!["a".to_string()], ..own.clone() }.put(&mut weights.metadata);
        let error = Overrides::default().resolve(&weights, "f").expect_err("one name").to_string();
        assert!(error.contains("3 classes") && error.contains("got 1"), "{error}");
    }

    #[test]
    fn an_old_run_is_called_after_its_network() {
        let mut weights = lenet(3);
        weights.metadata.insert("model".to_string(), "lenet".to_string());
        let given = Overrides { architecture: None, ..given() };
        assert_eq!(given.resolve(&weights, "f").expect("known").architecture.as_deref(), Some("lenet"));
        for array in weights.tensors.values_mut() {
            *array = Array { shape: Shape::scalar(), data: vec![0.0] };
        }
        let error = given.resolve(&weights, "f").expect_err("a head without classes");
        assert!(matches!(error, InferenceError::OtherNetwork { .. }), "{error}");
    }
}
