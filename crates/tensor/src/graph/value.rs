//! Handles to traced tensors.

use super::{Graph, Origin, TensorId};
use crate::dtype::DType;
use crate::shape::{Shape, TensorDesc};
use std::fmt;

/// A handle to a tensor of a graph under construction: `Copy`, with operators and one method per operation.
///
/// The methods stand beside the operations in [`crate::ops`]; each adds one node. None returns a `Result`: see
/// [`crate::graph`] on poison.
#[derive(Clone, Copy)]
pub struct Value<'g> {
    graph: &'g Graph,
    id: TensorId,
}

impl<'g> Value<'g> {
    pub(super) fn new(graph: &'g Graph, id: TensorId) -> Value<'g> {
        Value { graph, id }
    }

    /// The graph this value belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// The tensor's index in its graph.
    pub fn id(self) -> TensorId {
        self.id
    }

    /// Shape and type.
    pub fn desc(self) -> TensorDesc {
        self.graph.with_data(|data| data.desc(self.id))
    }

    /// Extents in PyTorch's order. A poisoned value has the shape of a scalar.
    pub fn shape(self) -> Shape {
        self.desc().shape
    }

    /// Extent of dimension `i`, 1 where there is none.
    pub fn dim(self, i: usize) -> usize {
        self.shape().dim(i)
    }

    /// Element type.
    pub fn dtype(self) -> DType {
        self.desc().dtype
    }

    /// Whether this is the result of an operation that did not fit.
    pub fn is_poison(self) -> bool {
        self.graph.with_data(|data| matches!(data.tensors[self.id.0].origin, Origin::Poison))
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}: {}", self.id.0, self.desc())
    }
}
