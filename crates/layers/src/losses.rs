//! Losses, and what an evaluation counts.

use wgrad_tensor::Value;

/// The label of a row that only fills up the last batch: it adds nothing to a loss, a gradient or a count.
pub const NO_LABEL: u32 = u32::MAX;

/// Softmax cross-entropy with label smoothing, **mean over all rows**: what a training step minimises.
///
/// For a row `z` of `K` logits with label `t` and smoothing `e`: `loss = logsumexp(z) - (1 - e) * z[t] - e / K * sum_k
/// z[k]`, PyTorch's `CrossEntropyLoss(label_smoothing=e)`. Shapes: `logits` f32 `[N, K]`, `labels` u32 `[N]`; the
/// result is a scalar. The divisor is `N`, rows labelled [`NO_LABEL`] included, so train on full batches.
#[track_caller]
pub fn cross_entropy<'g>(logits: Value<'g>, labels: Value<'g>, label_smoothing: f32) -> Value<'g> {
    logits.cross_entropy(labels, label_smoothing).mean()
}

/// The loss of a model in training: `criterion` of its logits, plus that of every auxiliary classifier's times its weight
/// ([`Scope::auxiliary`](wgrad_tensor::Scope::auxiliary)).
#[track_caller]
pub fn with_auxiliary<'g>(logits: Value<'g>, criterion: impl Fn(Value<'g>) -> Value<'g>) -> Value<'g> {
    let others = logits.graph().auxiliary();
    others.into_iter().fold(criterion(logits), |loss, (logits, weight)| loss + criterion(logits).scale(weight))
}

/// Mean squared error over all elements, equal shapes: `mean((x - target)^2)`.
#[track_caller]
pub fn mse<'g>(x: Value<'g>, target: Value<'g>) -> Value<'g> {
    let difference = x + target.scale(-1.0);
    (difference * difference).mean()
}

/// What one batch adds to the score of a classifier. All are **sums over the rows that are not padding**, so that the
/// scores of a data set are the sums over its batches divided by its size, however the last batch is filled up.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'g> {
    /// Sum of the losses without smoothing, f32 `[]`.
    pub loss_sum: Value<'g>,
    /// Rows whose largest logit is the label's, u32 `[]`.
    pub correct: Value<'g>,
    /// Rows whose label is among the five largest logits, u32 `[]`; all rows when there are at most five classes.
    pub correct_top5: Value<'g>,
}

/// Scores `logits` f32 `[N, K]` against `labels` u32 `[N]`: what an evaluation step reads back.
#[track_caller]
pub fn scores<'g>(logits: Value<'g>, labels: Value<'g>) -> Scores<'g> {
    Scores {
        loss_sum: logits.cross_entropy(labels, 0.0).sum(),
        correct: logits.top_k_correct(labels, 1),
        correct_top5: logits.top_k_correct(labels, 5),
    }
}
