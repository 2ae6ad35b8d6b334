//! One thing to time: a case by one algorithm. Verified first, then timed.

use super::Bench;
use super::measure::Subject;
use super::output::WRONG;
use super::row::Row;
use anyhow::Result;
use wgrad::tensor::TensorDesc;
use wgrad::tensor::ops::{Case, Target};

/// A case with the name of its row.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) algo: String,
    pub(super) batch: Option<usize>,
    pub(super) case: Case,
}

impl Item {
    /// A convolution by every algorithm that can compute it, the rules' own first; anything else as it is.
    pub(super) fn by_every_algorithm(name: &str, batch: Option<usize>, case: &Case, target: &Target) -> Vec<Item> {
        let with = |algo: &str, case: Case| Item { name: name.to_string(), algo: algo.to_string(), batch, case };
        let descs: Vec<TensorDesc> = case.inputs.iter().map(|input| input.desc).collect();
        let candidates = case.op.candidates(&descs, target);
        if candidates.is_empty() {
            return vec![with("", case.clone())];
        }
        candidates.into_iter().map(|way| with(way.name, Case { op: way.op, ..case.clone() })).collect()
    }

    /// Verifies and times; what goes wrong is said in the row.
    pub(super) fn run(&self, bench: &Bench) -> Row {
        let row = Row { name: self.name.clone(), algo: self.algo.clone(), batch: self.batch, ..bench.row() };
        match self.timed(bench, row.clone()) {
            Ok(row) => row,
            Err(error) => Row { error: Some(format!("{error:#}")), ..row },
        }
    }

    fn timed(&self, bench: &Bench, row: Row) -> Result<Row> {
        let mut subject = Subject::new(&bench.device, &self.case, bench.storage)?;
        let error = subject.error()?;
        let row = Row { max_err: Some(error.max), rms_err: Some(error.rms), ..row };
        let allowed = self.case.op.tolerance().unwrap_or(self.case.tolerance);
        if error.max > allowed {
            let message = format!("{WRONG}differs from the reference by {:.1e}, allowed {allowed:.1e}", error.max);
            return Ok(Row { error: Some(message), ..row });
        }
        let time = subject.time(bench.effort)?;
        bench.show_profile(|| subject.profile())?;
        let descs: Vec<TensorDesc> = self.case.inputs.iter().map(|input| input.desc).collect();
        let outputs = self.case.op.infer(&descs).map_err(anyhow::Error::msg)?;
        let cost = self.case.op.cost(&descs, &outputs);
        let (gflops, gb_per_s) = (cost.flops / time.ms / 1e6, cost.bytes / time.ms / 1e6);
        Ok(Row {
            ms: Some(time.ms),
            ms_min: Some(time.least),
            ms_max: Some(time.most),
            gflops: Some(gflops),
            gb_per_s: Some(gb_per_s),
            fma_percent: bench.peaks.map(|peaks| 100.0 * gflops / peaks.fma_gflops),
            copy_percent: bench.peaks.map(|peaks| 100.0 * gb_per_s / peaks.copy_gb_per_s),
            ..row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::tensor::Tier;
    use wgrad::tensor::ops::REGISTRY;
    use wgrad::tensor::ops::conv2d::ConvAlgo;

    #[test]
    fn a_convolution_has_a_row_for_every_algorithm_and_the_rest_one() {
        let target = Target { tier: Tier::Cpu, ..Target::default() };
        let mut algorithms = std::collections::BTreeSet::new();
        for entry in REGISTRY {
            for case in (entry.timed)() {
                let items = Item::by_every_algorithm("x", None, &case, &target);
                assert!(!items.is_empty(), "{} {}", case.op.name(), case.name);
                if entry.family == "conv2d" {
                    assert!(items.len() >= 2, "{} {}", case.op.name(), case.name);
                    for item in &items {
                        assert_eq!(item.case.op.name(), case.op.name());
                        let text = format!("{:?}", item.case.op);
                        let algo = ConvAlgo::ALL.into_iter().find(|algo| algo.name() == item.algo).unwrap();
                        assert!(text.contains(&format!("algo: Some({algo:?})")), "{text}");
                        algorithms.insert(item.algo.clone());
                    }
                } else {
                    assert_eq!((items.len(), items[0].algo.as_str()), (1, ""));
                }
            }
        }
        assert_eq!(algorithms.len(), ConvAlgo::ALL.len(), "{algorithms:?}");
    }
}
