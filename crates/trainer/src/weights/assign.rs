//! Named tensors into the parameters of a model.

use super::names::wrappers;
use super::{LoadReport, NameMap, Naming, Weights, WeightsError};
use crate::checkpoint::OPTIMIZER;
use crate::parts::Parts;
use crate::pattern::Pattern;
use std::collections::BTreeMap;
use wgrad_tensor::{Array, ParamKind, Params, Shape};

/// How weights are loaded. The default is strict: every parameter must be in the file and every tensor in the model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    names: Option<NameMap>,
    bgr: bool,
    lenient: bool,
    fresh: Vec<Pattern>,
}

impl LoadOptions {
    /// Strict, with names as they are. (Prefixes of wrappers, `module.`, `model.` and `_orig_mod.`, are taken off in any case if
    /// all tensors have them and no parameter does. Names of a program that [`Naming`] knows are mapped to the zoo's, and its
    /// BGR filters turned, where no [`LoadOptions::names`] are given and no parameter has such a name; the report says so.)
    #[must_use]
    pub fn new() -> LoadOptions {
        LoadOptions::default()
    }

    /// What is done to the names of the file.
    #[must_use]
    pub fn names(mut self, names: NameMap) -> LoadOptions {
        self.names = Some(names);
        self
    }

    /// For networks that were trained on blue, green, red, as OpenCV and Caffe load images: reverses the input channels of the
    /// first convolution, which then computes the same from red, green, blue. It is the one weight `[k, 3, r, s]` of the model.
    #[must_use]
    pub fn bgr(mut self) -> LoadOptions {
        self.bgr = true;
        self
    }

    /// Takes what fits and leaves the rest fresh; the report says what. That nothing fits is an error still.
    #[must_use]
    pub fn lenient(mut self) -> LoadOptions {
        self.lenient = true;
        self
    }

    /// Leaves parameters at their initial values, whether or not the file has them.
    #[must_use]
    pub fn fresh(mut self, pattern: impl Into<Pattern>) -> LoadOptions {
        self.fresh.push(pattern.into());
        self
    }

    /// Leaves the heads of the model at their initial values, those of auxiliary classifiers too: for another set of classes.
    /// [`Parts::of`] a model knows them; [`Trainer::replace_head`](crate::Trainer::replace_head) asks it.
    #[must_use]
    pub fn replace_head(self, parts: &Parts) -> LoadOptions {
        parts.heads.iter().fold(self, |options, head| options.fresh(head))
    }
}

impl Weights {
    /// Writes the tensors into the weights and running statistics of a store, after all of them have been looked at; the
    /// optimiser's state is left alone.
    ///
    /// # Errors
    /// Strict and not complete, or lenient and nothing fits: nothing is changed then. Two tensors that get one name; a lost
    /// device.
    pub fn load_into(
        &self,
        params: &mut Params,
        options: &LoadOptions,
        origin: &str,
    ) -> Result<LoadReport, WeightsError> {
        let decls = params.decls().filter(|decl| decl.kind.is_model());
        let wanted: Vec<_> = decls.map(|decl| (decl.name.clone(), decl.shape, decl.kind)).collect();
        let (report, values) = self.plan(&wanted, options, origin)?;
        if (!options.lenient && !report.is_complete()) || report.loaded() == 0 {
            return Err(WeightsError::OtherModel { origin: origin.to_string(), report: Box::new(report) });
        }
        values.iter().try_for_each(|(name, array)| params.set(name, array))?;
        Ok(report)
    }

    /// What would be loaded into parameters of these names, shapes and kinds: pure, so that it is tested without a device.
    fn plan(
        &self,
        wanted: &[(String, Shape, ParamKind)],
        options: &LoadOptions,
        origin: &str,
    ) -> Result<(LoadReport, Vec<(String, Array)>), WeightsError> {
        let naming = match options.names {
            None => Naming::of(self.tensors.keys().map(String::as_str)),
            Some(_) => None,
        };
        let taken = |naming: &Naming| {
            let maps = |name: &str| naming.names.apply(name).as_deref() != Some(name);
            wanted.iter().any(|(name, ..)| self.tensors.contains_key(name) && maps(name))
        };
        let naming = naming.filter(|naming| !taken(naming));
        let names = naming.as_ref().map(|naming| &naming.names).or(options.names.as_ref());
        let mut file = self.renamed(wanted, names.unwrap_or(&NameMap::new()), origin)?;
        let bgr = options.bgr || naming.as_ref().is_some_and(|naming| naming.bgr);
        let first = bgr.then(|| first_convolution(wanted, origin)).transpose()?;
        let is_fresh = |name: &str| options.fresh.iter().any(|pattern| pattern.matches(name));
        let naming = naming.map(|naming| naming.title);
        let mut report = LoadReport { skipped: self.skipped.clone(), naming, ..LoadReport::default() };
        let mut values = Vec::new();
        for (name, shape, _) in wanted {
            let found = file.remove(name.as_str());
            if is_fresh(name) {
                report.fresh.push(name.clone());
                continue;
            }
            let Some(array) = found else {
                report.missing.push((name.clone(), *shape));
                continue;
            };
            if array.shape == *shape {
                report.matched.push(name.clone());
            } else if without_ones(array.shape) == without_ones(*shape) {
                report.reshaped.push((name.clone(), *shape, array.shape));
            } else {
                report.mismatched.push((name.clone(), *shape, array.shape));
                continue;
            }
            let mut data = array.data.clone();
            if first == Some(name) {
                reverse_channels(&mut data, *shape);
                report.reversed = Some(name.clone());
            }
            values.push((name.clone(), Array { shape: *shape, data }));
        }
        // A checkpoint's memory of its optimiser is no part of the model.
        file.retain(|name, _| !is_fresh(name) && !name.starts_with(OPTIMIZER));
        report.unexpected = file.into_iter().map(|(name, array)| (name, array.shape)).collect();
        Ok((report, values))
    }

    /// Tensors under the model's names.
    fn renamed(
        &self,
        wanted: &[(String, Shape, ParamKind)],
        names: &NameMap,
        origin: &str,
    ) -> Result<BTreeMap<String, &Array>, WeightsError> {
        let mut wrapper = wrappers(self.tensors.keys().map(String::as_str));
        if wanted.iter().any(|(name, ..)| name.starts_with(&wrapper)) {
            wrapper.clear();
        }
        let mut renamed: BTreeMap<String, (&str, &Array)> = BTreeMap::new();
        for (old, array) in &self.tensors {
            let bare = old.strip_prefix(&wrapper).unwrap_or(old);
            let Some(new) = names.apply(bare) else { continue };
            if let Some((first, _)) = renamed.insert(new.clone(), (old, array)) {
                let (origin, first, second) = (origin.to_string(), first.to_string(), old.clone());
                return Err(WeightsError::Clash { origin, first, second, name: new });
            }
        }
        Ok(renamed.into_iter().map(|(name, (_, array))| (name, array)).collect())
    }
}

/// The convolution that sees the images: the only one of the zoo's networks with three input channels to a filter.
fn first_convolution<'w>(wanted: &'w [(String, Shape, ParamKind)], origin: &str) -> Result<&'w String, WeightsError> {
    let sees_colours = |(_, shape, kind): &&(String, Shape, ParamKind)| {
        *kind == ParamKind::Weight && shape.rank() == 4 && shape.dim(1) == 3
    };
    let found: Vec<_> = wanted.iter().filter(sees_colours).map(|(name, ..)| name).collect();
    match found[..] {
        [name] => Ok(name),
        _ => {
            let found = found.into_iter().cloned().collect();
            Err(WeightsError::Channels { origin: origin.to_string(), found })
        }
    }
}

/// Reverses dimension 1 of `[k, 3, r, s]`.
fn reverse_channels(data: &mut [f32], shape: Shape) {
    let plane = shape.dim(2) * shape.dim(3);
    for filter in data.chunks_exact_mut((3 * plane).max(1)) {
        let (blue, rest) = filter.split_at_mut(plane);
        blue.swap_with_slice(&mut rest[plane..]);
    }
}

fn without_ones(shape: Shape) -> Vec<usize> {
    shape.dims().iter().copied().filter(|&extent| extent != 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize]) -> Array {
        let shape = Shape::try_new(dims).expect("at most four");
        Array { shape, data: (0..shape.numel()).map(|i| i as f32).collect() }
    }

    fn file(tensors: &[(&str, &[usize])]) -> Weights {
        let tensors = tensors.iter().map(|(name, dims)| (name.to_string(), array(dims)));
        Weights { tensors: tensors.collect(), ..Weights::default() }
    }

    fn model() -> Vec<(String, Shape, ParamKind)> {
        let weight = |name: &str, dims: &[usize]| (name.to_string(), array(dims).shape, ParamKind::Weight);
        vec![
            weight("conv.weight", &[2, 1, 3, 3]),
            ("bn.running_mean".to_string(), Shape::from([2]), ParamKind::Buffer),
            weight("fc.weight", &[3, 2]),
            weight("fc.bias", &[3]),
        ]
    }

    fn plan(weights: &Weights, options: &LoadOptions) -> LoadReport {
        weights.plan(&model(), options, "x").expect("no clash").0
    }

    #[test]
    fn every_tensor_is_told() {
        let weights =
            file(&[("conv.weight", &[2, 1, 3, 3]), ("fc.weight", &[3, 2, 1, 1]), ("fc.bias", &[4]), ("aux", &[1])]);
        let report = plan(&weights, &LoadOptions::new());
        assert_eq!(report.matched, ["conv.weight"]);
        assert_eq!(report.reshaped, [("fc.weight".to_string(), [3, 2].into(), [3, 2, 1, 1].into())]);
        assert_eq!(report.missing, [("bn.running_mean".to_string(), [2].into())]);
        assert_eq!(report.unexpected, [("aux".to_string(), [1].into())]);
        assert_eq!(report.mismatched, [("fc.bias".to_string(), [3].into(), [4].into())]);
        assert!(!report.is_complete() && report.loaded() == 2);
        let text = report.to_string();
        assert!(
            text.starts_with("2 tensors loaded, 1 of them reshaped; 0 left fresh, 1 missing, 1 unexpected"),
            "{text}"
        );
        assert!(text.contains("other shape  fc.bias: model [3], file [4]"), "{text}");
    }

    #[test]
    fn a_head_is_replaced_where_that_is_asked_for() {
        let weights = file(&[
            ("module.conv.weight", &[2, 1, 3, 3]),
            ("module.bn.running_mean", &[2]),
            ("module.fc.weight", &[1000, 2]),
            ("module.fc.bias", &[1000]),
        ]);
        let report = plan(&weights, &LoadOptions::new());
        assert_eq!(report.mismatched.len(), 2);
        let parts = Parts { heads: vec!["fc".to_string()], ..Parts::default() };
        for options in [LoadOptions::new().replace_head(&parts), LoadOptions::new().fresh("fc")] {
            let report = plan(&weights, &options);
            assert!(report.is_complete(), "{report}");
            assert_eq!(report.fresh, ["fc.weight", "fc.bias"]);
            assert_eq!(report.matched, ["conv.weight", "bn.running_mean"]);
        }
    }

    #[test]
    fn a_permuted_shape_is_no_reshaped_one() {
        let report = plan(&file(&[("fc.weight", &[2, 3])]), &LoadOptions::new());
        assert_eq!(report.mismatched.len(), 1);
    }

    #[test]
    fn filters_for_bgr_are_turned_and_the_naming_is_told() {
        let weight = |name: &str, dims: &[usize]| (name.to_string(), array(dims).shape, ParamKind::Weight);
        let (stem, deep): ([usize; 4], [usize; 4]) = ([2, 3, 1, 2], [2, 4, 1, 1]);
        let own = [weight("features.0.weight", &stem), weight("features.3.squeeze.weight", &deep)];
        let caffe = file(&[("conv1.weight", &stem), ("fire2/squeeze1x1.weight", &deep)]);
        let (report, values) = caffe.plan(&own, &LoadOptions::new(), "x").expect("fits");
        assert!(report.is_complete(), "{report}");
        assert_eq!(values[0].1.data, [4., 5., 2., 3., 0., 1., 10., 11., 8., 9., 6., 7.]);
        assert_eq!(values[1].1.data, array(&deep).data, "no other weight is turned");
        let text = report.to_string();
        assert!(text.contains("names of Caffe's SqueezeNet 1.1; features.0.weight turned from BGR to RGB"), "{text}");
        // What the caller says comes first; a model with such names keeps them.
        let names = LoadOptions::new().names(NameMap::caffe_squeezenet1_1());
        let (report, values) = caffe.plan(&own, &names, "x").expect("fits");
        assert_eq!((report.naming, report.reversed), (None, None));
        assert_eq!(values[0].1.data, array(&stem).data);
        let (_, turned) = caffe.plan(&own, &names.bgr(), "x").expect("fits");
        assert_ne!(turned[0].1.data, values[0].1.data);
        let same = [weight("conv1.weight", &stem), weight("fire2/squeeze1x1.weight", &deep)];
        let (report, values) = caffe.plan(&same, &LoadOptions::new(), "x").expect("fits");
        assert_eq!((report.naming, &values[0].1.data), (None, &array(&stem).data));
        let none = [weight("fc.weight", &[2, 3])];
        let error = caffe.plan(&none, &LoadOptions::new().bgr(), "x").expect_err("no colours").to_string();
        assert!(error.contains("[k, 3, r, s]") && error.contains("got none"), "{error}");
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let weights = file(&[("a.fc.bias", &[3]), ("b.fc.bias", &[3])]);
        let names = NameMap::new().strip_prefix("a.").strip_prefix("b.");
        let error = weights.plan(&model(), &LoadOptions::new().names(names), "x").expect_err("clash").to_string();
        assert!(error.contains("\"a.fc.bias\"") && error.contains("\"b.fc.bias\""), "{error}");
    }
}
