//! A linear classifier in the place of a network's head.

use super::{LinearClassifier, Tap};
use crate::data::Dataset;
use crate::error::TrainError;
use crate::parts::{Walk, fed};
use std::collections::BTreeSet;
use wgrad_layers::Layer;
use wgrad_tensor::graph::GraphData;
use wgrad_tensor::ops::{Activation, Epilogue};
use wgrad_tensor::{Array, Graph, Mode, Params, Scope, Shape};

/// What may stand between a head's weights and the logits so that the network still ranks classes as the classifier does.
const MONOTONE: [&str; 5] = ["matmul", "conv2d", "bias", "global_avg_pool", "flatten"];

impl LinearClassifier {
    /// Writes weights and biases into the head of `model`: a last matrix as it is, or a last convolution of 1x1 before a global
    /// average, whose mean over height and width is the classifier of pooled features.
    ///
    /// SqueezeNet has a ReLU between that convolution and the average. All biases are then raised by the same number, 16 times
    /// the largest score or more: softmax and ranks are the classifier's, the logits higher by it, but where the score of a single
    /// pixel lies further below zero than that. Meant for f32: the raise takes digits of 16-bit logits.
    ///
    /// # Errors
    /// Features of another layer than the head's; a head of another shape, or with anything else behind it; a lost device.
    pub fn into_head(
        &self,
        params: &mut Params,
        model: &(impl Layer + ?Sized),
        dataset: &Dataset,
        tap: &Tap,
    ) -> Result<(), TrainError> {
        let graph = Graph::new();
        let images = graph.feed("images", dataset.input(1));
        let logits = model.forward(&Scope::new(&graph, Mode::Eval), images);
        graph.data().check().map_err(wgrad_tensor::Error::from)?;
        let own = Tap::BeforeHead.value(&graph, logits)?;
        if tap.value(&graph, logits)?.id() != own.id() {
            let wanted = "features from right before the head, to put the classifier in its place";
            return Err(TrainError::setting("layer", wanted, tap));
        }
        let data = graph.data();
        let behind = behind(&data, own.id().0);
        let relu = |node: usize| data.nodes[node].op.as_epilogue() == Some(Epilogue::Activation(Activation::Relu));
        let name = |&node: &usize| if relu(node) { "relu" } else { data.nodes[node].op.name() };
        let names: BTreeSet<&str> = behind.iter().map(name).collect();
        let head = Head::of(&data, logits.id());
        let (classes, width) = (self.bias.data.len(), self.weight.data.len() / self.bias.data.len().max(1));
        // A padded convolution has pixels that the features do not know.
        let keeps_size = behind.iter().filter(|&&node| data.nodes[node].op.name() == "conv2d").all(|&node| {
            let [x, y] = [data.nodes[node].inputs[0], data.nodes[node].outputs[0]].map(|id| data.desc(id).shape);
            x.dims()[2..] == y.dims()[2..]
        });
        let (Some((matrix, shape)), Some(bias)) = (&head.matrix, &head.bias) else {
            return Err(TrainError::setting("head", "a layer with a matrix and a bias", format!("{head:?}")));
        };
        let fits = shape.dim(0) == classes && shape.dim(1) == width && shape.numel() == classes * width;
        if !fits || !keeps_size || !names.iter().all(|name| *name == "relu" || MONOTONE.contains(name)) {
            let wanted =
                format!("one matrix [{classes}, {width}] before the logits, or a convolution of 1x1 without padding");
            let names: Vec<&str> = names.into_iter().collect();
            return Err(TrainError::setting("head", wanted, format!("{matrix} {shape} in {}", names.join(", "))));
        }
        let raise =
            if names.contains("relu") { (16.0 * self.largest_score.max(1.0)).log2().ceil().exp2() } else { 0.0 };
        let biases = Array { shape: self.bias.shape, data: self.bias.data.iter().map(|b| b + raise).collect() };
        params.set(matrix, &Array { shape: *shape, data: self.weight.data.clone() })?;
        params.set(bias, &biases)?;
        Ok(())
    }
}

/// A layer's parameters by what they are.
#[derive(Debug, Default)]
struct Head {
    matrix: Option<(String, Shape)>,
    bias: Option<String>,
}

impl Head {
    fn of(data: &GraphData, logits: wgrad_tensor::graph::TensorId) -> Head {
        let mut found = BTreeSet::new();
        Walk { data, fed: &fed(data) }.last_weights(logits, &mut found);
        let mut head = Head::default();
        for decl in found.into_iter().filter_map(|id| data.param(id)) {
            match decl.shape.rank() {
                0 | 1 => head.bias = Some(decl.name.clone()),
                _ => head.matrix = Some((decl.name.clone(), decl.shape)),
            }
        }
        head
    }
}

/// The nodes that follow from a tensor.
fn behind(data: &GraphData, from: usize) -> Vec<usize> {
    let mut follows = vec![false; data.tensors.len()];
    follows[from] = true;
    let mut nodes = Vec::new();
    for (i, node) in data.nodes.iter().enumerate() {
        if node.inputs.iter().any(|id| follows[id.0]) {
            node.outputs.iter().for_each(|id| follows[id.0] = true);
            nodes.push(i);
        }
    }
    nodes
}
