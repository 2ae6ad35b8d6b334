//! What the tests of whole plans share: a training step, planned without an adapter.

use wgrad_layers::{Layer, losses};
use wgrad_tensor::ops::Target;
use wgrad_tensor::ops::sgd::{Sgd, SgdGroup};
use wgrad_tensor::params::layout::StoreLayout;
use wgrad_tensor::plan::{PlanDesc, fit, lower, optimise};
use wgrad_tensor::{CompileOptions, Error, Graph, Mode, Scope, TensorDesc, Value, gradients, weights};

/// The plan of a training step on 32x32 images: cross entropy of ten classes, SGD with momentum in two groups (weight decay
/// for filters and matrices alone).
pub(crate) fn plan(net: &dyn Layer, batch: usize, target: Target, options: &CompileOptions) -> Result<PlanDesc, Error> {
    let graph = Graph::new();
    let pixels = graph.feed("pixels", TensorDesc::u32([batch, 32, 32]));
    let labels = graph.feed("labels", TensorDesc::u32([batch]));
    let images = pixels.decode_image(3, [0.5; 3], [0.25; 3]);
    let loss = losses::cross_entropy(net.forward(&Scope::new(&graph, Mode::Train), images), labels, 0.0);
    graph.output("loss", loss);
    let weights = weights(&graph);
    let gradients = gradients(loss, &weights)?;
    let pairs = weights.into_iter().zip(gradients).filter_map(|(w, g)| Some((w, g?)));
    let (decayed, others): (Vec<(Value<'_>, Value<'_>)>, Vec<_>) = pairs.partition(|(w, _)| w.shape().rank() >= 2);
    let groups = [(decayed, 1e-4), (others, 0.0)].map(|(members, weight_decay)| SgdGroup {
        lr_scale: 1.0,
        weight_decay,
        members,
    });
    graph.sgd(
        &Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false },
        &groups,
        graph.feed("lr", TensorDesc::f32([])),
    )?;
    let mut store = StoreLayout::default();
    store.declare(graph.data().params().map(|(_, decl)| decl), &target).expect("the parameters fit");
    let data = fit(optimise(&graph, options)?, &store, target, options)?;
    lower(data, &store, target, "no adapter", options)
}

/// What a plan's temporaries take.
pub(crate) fn temporary_bytes(desc: &PlanDesc) -> u64 {
    desc.buffers.iter().filter(|buffer| buffer.label.starts_with("slot")).map(|buffer| buffer.bytes).sum()
}
