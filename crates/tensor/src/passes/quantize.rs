//! Fixed-point training emulated: puts every feature map, gradient and new weight of a traced step on a grid.

use super::schedule::renumber;
use crate::dtype::DType;
use crate::graph::{Graph, GraphData, Init, Mode, Node, Origin, ParamDecl, ParamKind, Scope, TensorId, TensorInfo};
use crate::ops::OpDef;
use crate::ops::quantize::{DynamicRule, FixedPoint, Quantize, QuantizeDynamic};
use crate::precision::Rounding;
use crate::shape::TensorDesc;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Where the numbers of one kind may lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grid {
    /// A grid that never changes.
    Fixed(FixedPoint),
    /// A grid for each tensor, whose range follows its values.
    Dynamic(DynamicRule),
}

/// The arithmetic of a run. Sums inside an operation are f32, and converted once (Gupta et al., arXiv:1502.02551); batch
/// statistics, losses and the optimiser's velocities stay f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberFormat {
    /// Weights after each update.
    pub weights: Grid,
    /// Results of the forward pass of rank 2 and above.
    pub activations: Grid,
    /// Gradients: of feature maps, and of weights.
    pub gradients: Grid,
    /// How a number gets onto its grid.
    pub rounding: Rounding,
}

/// Rewrites a traced training step. Call it last, after the optimiser; gradients pass straight through the rounding, since
/// they were taken before it was put in. The ranges of moving grids are parameters `optimizer.range.…`.
pub fn quantize(graph: &Graph, format: &NumberFormat) {
    let rng = (format.rounding == Rounding::Stochastic).then(|| Scope::new(graph, Mode::Train).rng().id());
    graph.with_data_mut(|data| Rewrite { format, rng, moved: HashMap::new(), ranges: 0 }.run(data));
}

struct Rewrite<'f> {
    format: &'f NumberFormat,
    rng: Option<TensorId>,
    /// From a tensor to what it is on its grid.
    moved: HashMap<TensorId, TensorId>,
    /// Moving grids so far.
    ranges: usize,
}

impl Rewrite<'_> {
    fn run(mut self, data: &mut GraphData) {
        let roots = data.roots();
        let is_weight = |id: TensorId| data.param(id).is_some_and(|decl| decl.kind == ParamKind::Weight);
        let updates = data.write_backs.iter();
        let updated: HashSet<TensorId> = updates.clone().map(|(_, value)| roots[value.0]).collect();
        let weights: HashSet<TensorId> =
            updates.filter(|(param, _)| is_weight(*param)).map(|(_, value)| roots[value.0]).collect();
        let weight_gradients: HashSet<TensorId> = data.flat_gradients.iter().map(|(id, _)| roots[id.0]).collect();
        let grid_of = |data: &GraphData, id: TensorId| {
            let desc = data.desc(id);
            if desc.dtype != DType::F32 || roots[id.0] != id {
                None
            } else if weights.contains(&id) {
                Some(self.format.weights)
            } else if updated.contains(&id) {
                None
            } else if weight_gradients.contains(&id) {
                Some(self.format.gradients)
            } else if desc.shape.rank() < 2 {
                None
            } else if data.first_gradient.is_some_and(|first| id >= first) {
                Some(self.format.gradients)
            } else {
                Some(self.format.activations)
            }
        };
        let mut plan = Vec::new();
        for node in &data.nodes {
            plan.push(
                // What has no gradient is a statistic that the backward pass reads, no feature map.
                (node.outputs.iter().enumerate().filter(|(i, _)| node.op.is_differentiable(*i)))
                    .filter_map(|(_, &id)| grid_of(data, id).map(|grid| (id, grid)))
                    .collect::<Vec<_>>(),
            );
        }
        let nodes = std::mem::take(&mut data.nodes);
        for (mut node, results) in nodes.into_iter().zip(plan) {
            node.inputs.iter_mut().for_each(|id| *id = self.of(*id));
            let (path, location) = (node.path.clone(), node.location);
            data.nodes.push(node);
            for (id, grid) in results {
                let (op, operands, outputs) = self.rounding(data, id, grid, &path);
                self.moved.insert(id, outputs[0]);
                data.nodes.push(Node { op, inputs: operands, outputs, path: path.clone(), location });
            }
        }
        let moved = |id: &mut TensorId| *id = self.of(*id);
        data.outputs.iter_mut().for_each(|(_, id)| moved(id));
        data.flat_gradients.iter_mut().for_each(|(id, _)| moved(id));
        data.write_backs.iter_mut().for_each(|(_, id)| moved(id));
        renumber(data);
    }

    fn of(&self, id: TensorId) -> TensorId {
        self.moved.get(&id).copied().unwrap_or(id)
    }

    /// The operation that puts `id` on a grid, its operands and results.
    fn rounding(
        &mut self,
        data: &mut GraphData,
        id: TensorId,
        grid: Grid,
        path: &str,
    ) -> (Rc<dyn OpDef>, Vec<TensorId>, Vec<TensorId>) {
        let (rounding, stream) = (self.format.rounding, id.0 as u32);
        let desc = data.desc(id);
        let result = add(data, desc, Origin::Poison);
        match grid {
            Grid::Fixed(format) => {
                let operands = [Some(id), self.rng].into_iter().flatten().collect();
                (Rc::new(Quantize { format, rounding, stream }), operands, vec![result])
            }
            Grid::Dynamic(rule) => {
                let state = TensorDesc::f32([4]);
                let name = format!("optimizer.range.{:04}.{path}", self.ranges);
                self.ranges += 1;
                let (kind, init) = (ParamKind::Optimizer, Init::Constant(0.0));
                let decl = ParamDecl { name, shape: state.shape, kind, init, group: 0, rows: None };
                let range = add(data, state, Origin::Param(decl));
                let next = add(data, state, Origin::Poison);
                data.write_backs.push((range, next));
                let operands = [Some(id), Some(range), self.rng].into_iter().flatten().collect();
                (Rc::new(QuantizeDynamic { rule, rounding, stream }), operands, vec![result, next])
            }
        }
    }
}

fn add(data: &mut GraphData, desc: TensorDesc, origin: Origin) -> TensorId {
    data.tensors.push(TensorInfo { desc, origin });
    TensorId(data.tensors.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::sgd::{Sgd, SgdGroup};
    use crate::passes::differentiate::gradients;

    fn step(graph: &Graph) {
        let scope = Scope::new(graph, Mode::Train);
        let x = graph.feed("x", TensorDesc::f32([2, 3]));
        let w = scope.weight("w", [4, 3], Init::Constant(0.5));
        let y = x.matmul_transposed(w).relu();
        let loss = (y * y).mean();
        graph.output("loss", loss);
        let dw = gradients(loss, &[w]).expect("differentiable")[0].expect("depends");
        let lr = graph.feed("lr", TensorDesc::f32([]));
        let group = SgdGroup { lr_scale: 1.0, weight_decay: 0.0, members: vec![(w, dw)] };
        graph.sgd(&Sgd { momentum: 0.9, nesterov: false, lr_in_velocity: false }, &[group], lr).expect("valid");
    }

    fn format(weights: Grid) -> NumberFormat {
        let fixed = |integer_bits, fraction_bits| Grid::Fixed(FixedPoint { integer_bits, fraction_bits });
        NumberFormat { weights, activations: fixed(6, 10), gradients: fixed(2, 14), rounding: Rounding::Nearest }
    }

    #[test]
    fn each_kind_gets_its_grid() {
        let graph = Graph::new();
        step(&graph);
        let before = graph.data();
        quantize(&graph, &format(Grid::Fixed(FixedPoint { integer_bits: 1, fraction_bits: 15 })));
        let after = graph.data();
        let count = |bits: &str| {
            let text = format!("fraction_bits: {bits}");
            after.nodes.iter().filter(|node| format!("{:?}", node.op).contains(&text)).count()
        };
        // Product, ReLU, square; the weight; every gradient of rank 2 behind the loss.
        let gradients = before.first_gradient.expect("differentiated");
        let behind = before.nodes.iter().flat_map(|node| &node.outputs).filter(|id| **id >= gradients);
        let behind = behind.filter(|id| before.desc(**id).shape.rank() == 2).count();
        assert_eq!((count("10"), count("15")), (3, 1));
        assert_eq!(count("14"), behind - 2, "all but the new weight and the velocity");
        let weight = after.write_backs.iter().find(|(id, _)| after.param(*id).is_some_and(|d| d.name == "w"));
        let Origin::Node { node, .. } = after.tensors[weight.expect("updated").1.0].origin else { panic!("a result") };
        assert_eq!(after.nodes[node].op.name(), "quantize");
    }

    #[test]
    fn statistics_for_the_backward_pass_stay_as_they_are() {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        let w = scope.weight("w", [2, 4, 3, 3], Init::Constant(0.5));
        let y = w.group_norm(crate::ops::group_norm::Together::Groups(2), 1e-5);
        graph.output("loss", (y * y).mean());
        let dw = gradients((y * y).mean(), &[w]).expect("differentiable")[0].expect("depends");
        graph.output("dw", dw);
        quantize(&graph, &format(Grid::Fixed(FixedPoint { integer_bits: 1, fraction_bits: 15 })));
        let after = graph.data();
        let find = |name: &str| after.nodes.iter().find(|node| node.op.name() == name).expect("traced");
        let (forward, backward) = (find("group_norm"), find("group_norm.backward"));
        assert_ne!(backward.inputs[0], forward.outputs[0], "what is normalised lies on the grid");
        assert_eq!(backward.inputs[1], forward.outputs[1], "its deviation does not");
    }

    #[test]
    fn moving_grids_have_states_that_are_written_back() {
        let graph = Graph::new();
        step(&graph);
        let before = graph.data().write_backs.len();
        quantize(&graph, &format(Grid::Dynamic(DynamicRule { bits: 12, max_overflow: 1e-4, interval: 10 })));
        let after = graph.data();
        assert_eq!(after.write_backs.len(), before + 1);
        assert!(after.params().any(|(_, decl)| decl.name.starts_with("optimizer.range.")));
        crate::passes::schedule::schedule(&after).expect("every reader comes before its update");
    }
}
