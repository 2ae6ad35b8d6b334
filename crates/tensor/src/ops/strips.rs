//! How kernels over a row of vec4s share it among workgroups: not an operation, but how pointwise ones lower.

use super::{DispatchBuilder, Target, Tier};

/// A row of vec4s cut into strips, one a workgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strips {
    /// Invocations of a workgroup.
    pub(super) lanes: usize,
    /// Vec4s of a workgroup.
    pub(super) strip: usize,
    /// Number of strips.
    pub(super) groups: usize,
}

/// Cuts `n` vec4s. On a GPU each lane takes one; a software adapter, where starting a workgroup costs as much as a few dozen
/// vec4s, gets some tens of long strips.
pub(super) fn strips(target: &Target, n: usize) -> Strips {
    let (lanes, strip) = match target.tier {
        Tier::Cpu => {
            let lanes = target.subgroup_size as usize;
            (lanes, n.div_ceil(32).next_multiple_of(16 * lanes))
        }
        _ => (128, 128),
    };
    Strips { lanes, strip, groups: n.div_ceil(strip) }
}

/// Invocations that count something: few enough that one workgroup sums their counts.
const COUNTERS: usize = 1024;

/// Cuts `n` vec4s into strips of at most [`COUNTERS`] invocations in all, or of one round of lanes each.
pub(super) fn counting_strips(target: &Target, n: usize) -> Strips {
    let lanes = match target.tier {
        Tier::Cpu => target.subgroup_size as usize,
        _ => 64,
    };
    let strip = n.div_ceil(COUNTERS / lanes).next_multiple_of(lanes);
    Strips { lanes, strip, groups: n.div_ceil(strip) }
}

impl Strips {
    /// Records a kernel that has `override WG` and the arguments `n` and `strip`: workgroup `i` takes the vec4s from
    /// `i * strip` on.
    pub(super) fn launch(self, kernel: DispatchBuilder<'_, '_>, n: usize) {
        kernel.set("WG", self.lanes as u32).args(&[("n", n), ("strip", self.strip)]).groups(self.groups);
    }
}

/// Records a kernel over `n` vec4s; see [`Strips::launch`].
pub(super) fn launch_strips(kernel: DispatchBuilder<'_, '_>, target: &Target, n: usize) {
    strips(target, n).launch(kernel, n);
}
