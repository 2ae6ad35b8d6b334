//! Text form of a graph, one line per tensor source or node.

use super::{GraphData, Origin};
use std::fmt;

impl fmt::Display for GraphData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, tensor) in self.tensors.iter().enumerate() {
            match &tensor.origin {
                Origin::Feed(name) => writeln!(f, "%{i}: {} = feed {name:?}", tensor.desc)?,
                Origin::Param(decl) => writeln!(f, "%{i}: {} = {:?} {:?}", tensor.desc, decl.kind, decl.name)?,
                Origin::Node { .. } | Origin::Poison => {}
            }
        }
        for node in &self.nodes {
            let results: Vec<String> = node.outputs.iter().map(|id| format!("%{}: {}", id.0, self.desc(*id))).collect();
            let operands: Vec<String> = node.inputs.iter().map(|id| format!("%{}", id.0)).collect();
            writeln!(f, "{} = {:?}({})  # {}", results.join(", "), node.op, operands.join(", "), node.label())?;
        }
        for (param, value) in &self.write_backs {
            writeln!(f, "%{} <- %{}", param.0, value.0)?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "output {name:?} = %{}", id.0)?;
        }
        Ok(())
    }
}
