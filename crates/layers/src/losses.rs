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

/// Binary cross-entropy of logits, mean over all elements: `mean(log(1 + exp(z)) - t z)`, PyTorch's `BCEWithLogitsLoss`. Each
/// element is a yes-or-no question of its own. Shapes: equal, targets f32 from 0 to 1.
#[track_caller]
pub fn bce_with_logits<'g>(logits: Value<'g>, targets: Value<'g>) -> Value<'g> {
    (logits.softplus() + (logits * targets).scale(-1.0)).mean()
}

/// Multi-class hinge loss, mean over all rows: `sum over k != t of max(0, 1 + z_k - z_t) / K`, PyTorch's `MultiMarginLoss`. Shapes and
/// padding as for [`cross_entropy`].
#[track_caller]
pub fn hinge<'g>(scores: Value<'g>, labels: Value<'g>) -> Value<'g> {
    scores.hinge(labels, 1.0, false).mean()
}

/// [`hinge`] with squared summands, `MultiMarginLoss(p=2)`: with weight decay a linear layer under it is an L2-loss SVM.
#[track_caller]
pub fn squared_hinge<'g>(scores: Value<'g>, labels: Value<'g>) -> Value<'g> {
    scores.hinge(labels, 1.0, true).mean()
}

/// Softmax cross-entropy against shares of the classes, mean over all rows: `-sum_k t_k log softmax(z)_k`, PyTorch's
/// `CrossEntropyLoss` with class probabilities. Shapes: both f32 `[N, K]`; what mixup, cutmix and distillation train with.
#[track_caller]
pub fn soft_cross_entropy<'g>(logits: Value<'g>, targets: Value<'g>) -> Value<'g> {
    logits.soft_cross_entropy(targets).mean()
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
