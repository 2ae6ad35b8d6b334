//! Which layers of a network are its head, and in what order the others lie below it: read off its training trace.

use std::collections::BTreeSet;

use wgrad_layers::Layer;
use wgrad_tensor::graph::{GraphData, Origin, TensorId};
use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};

/// The layers with weights of a network, by name, as [`Pattern`](crate::Pattern)s take them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Layers whose weights are the last before logits, those of auxiliary classifiers among them: what another set of classes
    /// replaces.
    pub heads: Vec<String>,
    /// All others, in the order in which they are declared: from the images up.
    pub body: Vec<String>,
    /// For each of [`Parts::body`], how many matrices and filters of the body come before its own; a norm has the depth of the
    /// filters before it.
    pub depth: Vec<usize>,
}

impl Parts {
    /// The parts of `model` on an input. None where it does not fit together: compiling it says why.
    ///
    /// ```
    /// use wgrad_layers::models::GoogLeNet;
    /// use wgrad_tensor::TensorDesc;
    /// use wgrad_trainer::Parts;
    ///
    /// let parts = Parts::of(&GoogLeNet::new(3, 10), TensorDesc::f32([1, 3, 96, 96]));
    /// assert_eq!(parts.heads, ["aux1.fc2", "aux2.fc2", "fc"]);
    /// ```
    #[must_use]
    pub fn of(model: &(impl Layer + ?Sized), input: TensorDesc) -> Parts {
        let graph = Graph::new();
        let images = graph.feed("images", input);
        let logits = model.forward(&Scope::new(&graph, Mode::Train), images);
        let data = graph.data();
        if !data.errors.is_empty() {
            return Parts::default();
        }
        let ends = std::iter::once(logits.id()).chain(data.auxiliary.iter().map(|(id, _)| *id));
        let (fed, mut heads) = (fed(&data), BTreeSet::new());
        ends.for_each(|end| Walk { data: &data, fed: &fed }.last_weights(end, &mut heads));
        let mut parts = Parts::default();
        let mut filters = 0;
        for (id, decl) in data.params().filter(|(_, decl)| decl.kind == wgrad_tensor::ParamKind::Weight) {
            let layer = layer_of(decl.whole_name());
            let list = if heads.contains(&id) { &mut parts.heads } else { &mut parts.body };
            let is_first = list.last().is_none_or(|last| last != layer);
            if is_first {
                list.push(layer.to_string());
            }
            if !heads.contains(&id) {
                let has_filters = decl.shape.rank() >= 2;
                if is_first {
                    // A norm belongs to the filters before it.
                    parts.depth.push(if has_filters { filters } else { filters.saturating_sub(1) });
                }
                // A matrix in blocks of rows is one.
                filters += usize::from(has_filters && is_first);
            }
        }
        parts
    }
}

/// The layer that a parameter belongs to: its name without the last part.
fn layer_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer)
}

/// Whether each tensor follows from a feed.
pub(crate) fn fed(data: &GraphData) -> Vec<bool> {
    let mut fed: Vec<bool> = data.tensors.iter().map(|tensor| matches!(tensor.origin, Origin::Feed(_))).collect();
    for node in &data.nodes {
        let any = node.inputs.iter().any(|id| fed[id.0]);
        node.outputs.iter().for_each(|id| fed[id.0] = any);
    }
    fed
}

pub(crate) struct Walk<'d> {
    pub(crate) data: &'d GraphData,
    pub(crate) fed: &'d [bool],
}

impl Walk<'_> {
    /// The parameters of the layers that make `end`: down to the first operation on every way that has a matrix or a filter.
    /// Biases and norms on the way belong to it.
    pub(crate) fn last_weights(&self, end: TensorId, found: &mut BTreeSet<TensorId>) {
        self.down(end, &mut |_, params| found.extend(params));
    }

    /// Whether `value` follows from the weights of the layer that makes `logits`.
    pub(crate) fn is_above_head(data: &GraphData, value: TensorId, logits: TensorId) -> bool {
        let mut follows = BTreeSet::new();
        Walk { data, fed: &fed(data) }.last_weights(logits, &mut follows);
        for node in &data.nodes {
            if node.inputs.iter().any(|id| follows.contains(id)) {
                follows.extend(node.outputs.iter().copied());
            }
        }
        follows.contains(&value)
    }

    /// What the layers that make `end` work on: the other operands of their matrices and filters.
    pub(crate) fn operands(&self, end: TensorId) -> BTreeSet<TensorId> {
        let mut found = BTreeSet::new();
        self.down(end, &mut |operand, _| found.extend(operand));
        found
    }

    /// Tells `visit` of every operation with parameters on the ways down: with its operand, where the way ends there, and its
    /// parameters.
    fn down(&self, end: TensorId, visit: &mut impl FnMut(Option<TensorId>, &[TensorId])) {
        let (mut open, mut seen) = (vec![end], BTreeSet::new());
        while let Some(id) = open.pop() {
            let Origin::Node { node, .. } = self.data.tensors[id.0].origin else { continue };
            if !seen.insert(node) {
                continue;
            }
            let inputs = &self.data.nodes[node].inputs;
            let params: Vec<TensorId> =
                inputs.iter().filter(|id| !self.fed[id.0]).flat_map(|id| self.params_behind(*id)).collect();
            let is_end = params.iter().any(|id| self.data.desc(*id).shape.rank() >= 2);
            let operand = inputs.iter().copied().find(|id| self.fed[id.0]).filter(|_| is_end);
            visit(operand, &params);
            if !is_end {
                open.extend(inputs.iter().filter(|id| self.fed[id.0]));
            }
        }
    }

    /// The parameters that a tensor without feeds follows from.
    fn params_behind(&self, id: TensorId) -> Vec<TensorId> {
        match &self.data.tensors[id.0].origin {
            Origin::Param(_) => vec![id],
            Origin::Node { node, .. } => {
                self.data.nodes[*node].inputs.iter().flat_map(|id| self.params_behind(*id)).collect()
            }
            Origin::Feed(_) | Origin::Poison => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad_layers::{BatchNorm2d, Conv2d, Flatten, Linear, Relu, models};

    fn heads(name: &str, size: usize) -> Vec<String> {
        let model = models::by_name(name, 3, 7).expect("known");
        Parts::of(&model, TensorDesc::f32([2, 3, size, size])).heads
    }

    #[test]
    fn heads_are_what_makes_the_logits() {
        for (name, size, wanted) in [
            ("squeezenet1_1", 64, &["classifier.1"][..]),
            ("googlenet", 96, &["aux1.fc2", "aux2.fc2", "fc"]),
            ("inception_v3", 299, &["AuxLogits.fc", "fc"]),
            ("resnet18", 64, &["fc"]),
            ("vgg11_bn", 64, &["classifier.6"]),
            ("densenet121", 64, &["classifier"]),
            ("mobilenet_v1_0.25", 64, &["classifier"]),
        ] {
            assert_eq!(heads(name, size), wanted, "{name}");
        }
    }

    #[test]
    fn bodies_are_in_order_and_a_model_that_does_not_fit_has_no_parts() {
        let net = (
            (Conv2d::new(1, 4, 3), BatchNorm2d::new(4), Relu),
            (Conv2d::new(4, 4, 3), Relu),
            Flatten,
            Linear::new(64, 3),
        );
        let parts = Parts::of(&net, TensorDesc::f32([1, 1, 8, 8]));
        assert_eq!((parts.heads.join(" "), parts.body.join(" ")), ("3".to_string(), "0.0 0.1 1.0".to_string()));
        assert_eq!(parts.depth, [0, 0, 1]);
        assert_eq!(Parts::of(&net, TensorDesc::f32([1, 3, 8, 8])), Parts::default());
    }
}
