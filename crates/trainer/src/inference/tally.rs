//! What an evaluation counts: overall, class by class, and which classes are taken for which.

use super::top;
use crate::train::Evaluation;
use std::collections::BTreeMap;

/// How one class does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassTally {
    /// Images of it.
    pub images: u64,
    /// Those of them that are classified rightly.
    pub correct: u64,
    /// Those whose class is among the five most likely.
    pub top5: u64,
}

/// Images of one class that were taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// Their class.
    pub label: u32,
    /// What they were taken for.
    pub taken_for: u32,
    /// How many.
    pub images: u64,
}

/// Counts of an evaluation.
#[derive(Clone, Debug)]
pub struct Tally {
    classes: Vec<ClassTally>,
    confusions: BTreeMap<(u32, u32), u64>,
    loss: f64,
}

impl Tally {
    /// Nothing counted yet, for a network of so many classes.
    #[must_use]
    pub fn new(classes: usize) -> Tally {
        Tally { classes: vec![ClassTally::default(); classes], confusions: BTreeMap::new(), loss: 0.0 }
    }

    /// Counts an image of class `label`; one of no class counts nowhere. Of equal probabilities the first class is the more
    /// likely one, as on the device. What is no number is before everything, so that a network that has diverged is right nowhere.
    pub fn add(&mut self, label: u32, probabilities: &[f64]) {
        let (Some(class), Some(&own)) = (self.classes.get_mut(label as usize), probabilities.get(label as usize))
        else {
            return;
        };
        let first = |i: usize, v: f64| v.is_nan() || own.is_nan() || v > own || (v == own && i < label as usize);
        let before = probabilities.iter().enumerate();
        let rank = before.filter(|&(i, &v)| i != label as usize && first(i, v)).count() + usize::from(own.is_nan());
        class.images += 1;
        class.correct += u64::from(rank == 0);
        class.top5 += u64::from(rank < 5);
        self.loss -= own.max(f64::MIN_POSITIVE).ln();
        if own.is_nan() {
            self.loss = f64::NAN;
        }
        if rank > 0
            && let Some(&(taken_for, _)) = top(probabilities, 1).first()
            && taken_for != label as usize
        {
            *self.confusions.entry((label, taken_for as u32)).or_default() += 1;
        }
    }

    /// The counts over all classes. The loss is that of the averaged probabilities.
    #[must_use]
    pub fn evaluation(&self) -> Evaluation {
        let sum = |count: fn(&ClassTally) -> u64| self.classes.iter().map(count).sum::<u64>();
        let (images, correct, top5) = (sum(|c| c.images), sum(|c| c.correct), sum(|c| c.top5));
        let n = images.max(1) as f64;
        Evaluation {
            loss: self.loss / n,
            accuracy: correct as f64 / n,
            accuracy_top5: (self.classes.len() >= 5).then_some(top5 as f64 / n),
            correct,
            images,
        }
    }

    /// Class by class.
    #[must_use]
    pub fn classes(&self) -> &[ClassTally] {
        &self.classes
    }

    /// Which classes are taken for which, the most frequent pair first.
    #[must_use]
    pub fn confusions(&self) -> Vec<Confusion> {
        let pairs = self.confusions.iter();
        let mut pairs: Vec<Confusion> =
            pairs.map(|(&(label, taken_for), &images)| Confusion { label, taken_for, images }).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.images));
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_losses_and_confusions() {
        let mut tally = Tally::new(3);
        tally.add(2, &[0.25, 0.25, 0.5]);
        tally.add(1, &[0.5, 0.25, 0.25]);
        tally.add(1, &[0.25, 0.375, 0.375]);
        tally.add(1, &[0.5, 0.5, 0.0]);
        tally.add(7, &[1.0, 0.0, 0.0]);
        let got = tally.evaluation();
        assert_eq!((got.correct, got.images, got.accuracy_top5), (2, 4, None));
        let wanted = -(0.5f64.ln() + 0.25f64.ln() + 0.375f64.ln() + 0.5f64.ln()) / 4.0;
        assert!((got.loss - wanted).abs() < 1e-12, "{got:?}");
        assert_eq!(tally.classes()[1], ClassTally { images: 3, correct: 1, top5: 3 });
        assert_eq!(tally.confusions(), [Confusion { label: 1, taken_for: 0, images: 2 }]);
    }

    #[test]
    fn five_of_many_and_no_numbers() {
        let mut tally = Tally::new(7);
        let falling: Vec<f64> = (0..7).map(|i| 1.0 - f64::from(i) / 10.0).collect();
        (0..7).for_each(|label| tally.add(label, &falling));
        let got = tally.evaluation();
        assert_eq!((got.correct, got.accuracy_top5), (1, Some(5.0 / 7.0)));
        let mut diverged = Tally::new(3);
        diverged.add(1, &[f64::NAN; 3]);
        let got = diverged.evaluation();
        assert!(got.correct == 0 && got.images == 1 && got.loss.is_nan(), "{got:?}");
        let mut sure = Tally::new(2);
        sure.add(0, &[0.0, 1.0]);
        assert!(sure.evaluation().loss.is_finite());
    }
}
