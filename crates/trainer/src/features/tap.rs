//! Where features leave a network.

use crate::error::TrainError;
use crate::parts::{Walk, fed};
use std::collections::BTreeSet;
use std::fmt;
use wgrad_tensor::graph::{GraphData, TensorId};
use wgrad_tensor::{Graph, Value};

/// A place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tap {
    /// What the head works on ([`Parts::heads`](crate::Parts)), be it a vector or a feature map.
    #[default]
    BeforeHead,
    /// What a layer returns, by its name: `features.12`, `layer4`.
    Layer(String),
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tap::BeforeHead => f.write_str("before the head"),
            Tap::Layer(name) => f.write_str(name),
        }
    }
}

/// Names of layers that a message shows.
const SHOWN: usize = 24;

impl Tap {
    /// The value there, in a graph whose model has returned `logits`.
    ///
    /// # Errors
    /// No layer of that name, or one that returns several values; heads that work on several.
    pub(super) fn value<'g>(&self, graph: &'g Graph, logits: Value<'g>) -> Result<Value<'g>, TrainError> {
        let data = graph.data();
        let found = match self {
            Tap::BeforeHead => Walk { data: &data, fed: &fed(&data) }.operands(logits.id()),
            Tap::Layer(name) => leaving(&data, name, logits.id()),
        };
        let one = found.iter().next().copied().filter(|_| found.len() == 1);
        one.map(|id| graph.value(id)).ok_or_else(|| {
            let wanted = match self {
                Tap::BeforeHead => "a model whose logits come from one layer with weights; name a layer".to_string(),
                Tap::Layer(_) => format!("a layer that returns one value: {}", names(&data)),
            };
            TrainError::setting("layer", wanted, format!("{self} ({} values)", found.len()))
        })
    }
}

/// Whether a node of layer `path` is part of layer `name`.
fn is_inside(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The results of a layer that are used outside it.
fn leaving(data: &GraphData, name: &str, logits: TensorId) -> BTreeSet<TensorId> {
    let inside = |node: &&wgrad_tensor::graph::Node| is_inside(&node.path, name);
    let made: BTreeSet<TensorId> = data.nodes.iter().filter(inside).flat_map(|node| node.outputs.clone()).collect();
    let outside = data.nodes.iter().filter(|node| !inside(node)).flat_map(|node| node.inputs.iter().copied());
    outside.chain([logits]).filter(|id| made.contains(id)).collect()
}

/// Some layers, from the images up: the first two parts of their names.
fn names(data: &GraphData) -> String {
    let short = |path: &str| path.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let mut names: Vec<String> =
        data.nodes.iter().map(|node| short(&node.path)).filter(|name| !name.is_empty()).collect();
    names.dedup();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names.truncate(SHOWN);
    format!("{}{more}", names.join(", "))
}
