//! An evaluation step: forward with running statistics, and counts.

use crate::error::TrainError;
use crate::step::{StepOptions, scalar_f32, scalar_u32};
use wgrad_layers::{Layer, losses};
use wgrad_tensor::{CompileOptions, Device, Feed, Graph, Mode, Params, Plan, Ticket};

/// What an evaluation step says. Padding counts nowhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalResult {
    /// Sum of the losses, without label smoothing.
    pub loss_sum: f32,
    /// Images whose class has the largest logit.
    pub correct: u32,
    /// Images whose class is among the five largest logits, where there are five classes or more.
    pub correct_top5: Option<u32>,
}

/// An evaluation step, compiled: forward with running statistics, and counts.
#[derive(Debug)]
pub struct EvalStep {
    plan: Plan,
    options: StepOptions,
    classes: usize,
}

impl EvalStep {
    /// Compiles an evaluation step over the same parameter store as the training step.
    ///
    /// # Errors
    /// As [`TrainStep::new`](crate::TrainStep::new).
    pub fn new(
        device: &Device,
        params: &mut Params,
        model: &(impl Layer + ?Sized),
        options: &StepOptions,
    ) -> Result<EvalStep, TrainError> {
        options.check()?;
        let graph = Graph::new();
        let (logits, labels, classes) = options.trace(&graph, Mode::Eval, model);
        let scores = losses::scores(logits, labels);
        graph.output("loss_sum", scores.loss_sum);
        graph.output("correct", scores.correct);
        if classes >= 5 {
            graph.output("correct_top5", scores.correct_top5);
        }
        if options.logits {
            graph.output("logits", logits);
        }
        let storage = options.precision.for_evaluation();
        let plan = Plan::compile(device, &graph, params, &CompileOptions { storage, ..options.compile.clone() })?;
        Ok(EvalStep { plan, options: options.clone(), classes })
    }

    /// Classes that the model tells apart.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The compiled plan, for dumps, profiles and memory figures.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs one step; see [`TrainStep::run`](crate::TrainStep::run). Samples labelled [`NO_LABEL`](crate::NO_LABEL) are padding.
    ///
    /// # Errors
    /// A batch of another size, a label outside the classes, a lost device.
    pub fn run(&mut self, images: &[u32], labels: &[u32]) -> Result<Ticket, TrainError> {
        self.options.check_batch(images, labels, self.classes)?;
        Ok(self.plan.run(&[("pixels", Feed::U32(images)), ("labels", Feed::U32(labels))])?)
    }

    /// What a step said, once it is done. The last three steps can be read.
    ///
    /// # Errors
    /// A ticket that is too old, a lost device.
    pub fn read(&mut self, ticket: Ticket) -> Result<EvalResult, TrainError> {
        let correct_top5 = match self.classes >= 5 {
            true => Some(scalar_u32(&mut self.plan, ticket, "correct_top5")?),
            false => None,
        };
        Ok(EvalResult {
            loss_sum: scalar_f32(&mut self.plan, ticket, "loss_sum")?,
            correct: scalar_u32(&mut self.plan, ticket, "correct")?,
            correct_top5,
        })
    }

    /// The logits of a step, `[batch_size, classes]`, row by row.
    ///
    /// # Errors
    /// Options without [`StepOptions::logits`], a ticket that is too old, a lost device.
    pub fn logits(&mut self, ticket: Ticket) -> Result<Vec<f32>, TrainError> {
        Ok(self.plan.read(ticket, "logits")?)
    }
}
