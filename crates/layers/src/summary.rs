//! The table of a model: layers, shapes, parameters, multiply-adds.

use crate::Layer;
use std::any::Any;
use std::fmt;
use wgrad_tensor::error::ShapeErrors;
use wgrad_tensor::graph::{GraphData, Node};
use wgrad_tensor::ops::elementwise::Activate;
use wgrad_tensor::{Graph, Mode, ParamKind, Scope, Shape, TensorDesc};

/// One layer of a [`Summary`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Dotted path; empty for what the model's own `forward` computes outside its children.
    pub path: String,
    /// The operations it traced, each named once, e.g. `conv2d + bias`.
    pub kind: String,
    /// Shape of the last result, `None` for a layer that has parameters but computes nothing.
    pub output: Option<Shape>,
    /// Learned numbers.
    pub parameters: usize,
    /// Multiply-adds of its convolutions and matrix products in one forward pass of the given batch.
    pub macs: u64,
}

/// A table of the layers of a model in order of execution; print it with `{}`.
///
/// ```
/// use wgrad_layers::{Summary, models::LeNet};
/// use wgrad_tensor::TensorDesc;
///
/// let summary = Summary::new(&LeNet::new(1, 10), TensorDesc::f32([1, 1, 28, 28])).expect("the shapes fit");
/// assert_eq!(summary.parameters(), 61_706);
/// assert!(summary.to_string().contains("conv1"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Shape of the input.
    pub input: Option<Shape>,
    /// The layers.
    pub rows: Vec<Row>,
    /// Numbers that are saved with the model but not learned: running statistics.
    pub buffers: usize,
}

impl Summary {
    /// Traces `layer` for evaluation on an input `[N, C, H, W]`; with `N` = 1 the multiply-adds are per image.
    ///
    /// # Errors
    /// All places where the shapes of the model do not fit.
    pub fn new(layer: &(impl Layer + ?Sized), input: TensorDesc) -> Result<Summary, ShapeErrors> {
        let graph = Graph::new();
        let x = graph.feed("images", input);
        layer.forward(&Scope::new(&graph, Mode::Eval), x);
        let data = graph.data();
        data.check()?;
        Ok(Summary::from_graph(&data))
    }

    /// Summarises a trace: neighbouring nodes of one layer make one row, so the rows stand in the order of execution,
    /// and a layer whose children compute in between has several (its parameters stand in the first). Meant for forward
    /// traces: in a differentiated graph the backward pass is listed as well.
    pub fn from_graph(data: &GraphData) -> Summary {
        let mut rows: Vec<Row> = Vec::new();
        for node in &data.nodes {
            if rows.last().is_none_or(|last| last.path != node.path) {
                rows.push(Row::new(&node.path));
            }
            if let Some(row) = rows.last_mut() {
                row.add(&kind(node));
                row.output = node.outputs.first().map(|&id| data.desc(id).shape);
                row.macs += macs(data, node);
            }
        }
        let mut buffers = 0;
        for (_, param) in data.params() {
            let count = param.shape.numel();
            match param.kind {
                ParamKind::Weight => {
                    let path = param.whole_name().rsplit_once('.').map_or("", |(path, _)| path);
                    match rows.iter_mut().find(|row| row.path == path) {
                        Some(row) => row.parameters += count,
                        None => rows.push(Row { parameters: count, ..Row::new(path) }),
                    }
                }
                ParamKind::Buffer => buffers += count,
                ParamKind::Optimizer | ParamKind::Gradient => {}
            }
        }
        let input = data.feeds().next().map(|(id, _)| data.desc(id).shape);
        Summary { input, rows, buffers }
    }

    /// Learned numbers of the whole model.
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.parameters).sum()
    }

    /// Multiply-adds of the whole model.
    pub fn macs(&self) -> u64 {
        self.rows.iter().map(|row| row.macs).sum()
    }
}

impl Row {
    fn new(path: &str) -> Row {
        Row { path: path.to_string(), kind: String::new(), output: None, parameters: 0, macs: 0 }
    }

    fn add(&mut self, kind: &str) {
        if self.kind.is_empty() {
            self.kind = kind.to_string();
        } else if self.kind.split(" + ").all(|known| known != kind) {
            self.kind = format!("{} + {kind}", self.kind);
        }
    }
}

fn kind(node: &Node) -> String {
    let op: &dyn Any = &*node.op;
    match op.downcast_ref::<Activate>() {
        // `LeakyRelu { slope: 0.1 }` as `leaky_relu`.
        Some(op) => {
            let name = format!("{:?}", op.activation);
            let mut snake = String::new();
            for letter in name.chars().take_while(|letter| letter.is_alphanumeric()) {
                if letter.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.extend(letter.to_lowercase());
            }
            snake
        }
        None => node.op.name().to_string(),
    }
}

fn macs(data: &GraphData, node: &Node) -> u64 {
    if node.op.name().starts_with("conv2d") || node.op.name() == "matmul" {
        let (x, y) = (data.descs(&node.inputs), data.descs(&node.outputs));
        (node.op.cost(&x, &y).flops / 2.0).round() as u64
    } else {
        0
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `40551808` as `40.6 M`.
fn abbreviated(number: u64) -> String {
    let number = number as f64;
    match number {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n}"),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![["layer", "operations", "output", "parameters", "multiply-adds"].map(str::to_string)];
        for row in &self.rows {
            let blank_if_zero = |n: u64| if n == 0 { String::new() } else { grouped(n) };
            lines.push([
                if row.path.is_empty() { "(model)".to_string() } else { row.path.clone() },
                row.kind.clone(),
                row.output.map(|shape| shape.to_string()).unwrap_or_default(),
                blank_if_zero(row.parameters as u64),
                blank_if_zero(row.macs),
            ]);
        }
        let widths: [usize; 5] =
            std::array::from_fn(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0));
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        for (i, line) in lines.iter().enumerate() {
            let [a, b, c, d, e] = widths;
            let text = format!("{:<a$}  {:<b$}  {:<c$}  {:>d$}  {:>e$}", line[0], line[1], line[2], line[3], line[4]);
            writeln!(f, "{}", text.trim_end())?;
            if i == 0 {
                writeln!(f, "{rule}")?;
            }
        }
        writeln!(f, "{rule}")?;
        let parameters = grouped(self.parameters() as u64);
        write!(f, "{parameters} parameters, {} multiply-adds", abbreviated(self.macs()))?;
        if let Some(input) = self.input {
            write!(f, " for an input of {input}")?;
        }
        if self.buffers > 0 {
            write!(f, ", {} numbers of running statistics", grouped(self.buffers as u64))?;
        }
        Ok(())
    }
}
