//! How kernels over a row of vec4s share it among workgroups: not an operation, but how pointwise ones lower.

use super::{DispatchBuilder, Target, Tier};

/// Records a kernel over `n` vec4s that has `override WG` and the arguments `n` and `strip`: workgroup `i` takes the
/// vec4s from `i * strip` on. On a GPU each lane takes one; a software adapter, where starting a workgroup costs as
/// much as a few dozen vec4s, gets some tens of long strips.
pub(super) fn launch_strips(kernel: DispatchBuilder<'_, '_>, target: &Target, n: usize) {
    let (size, strip) = match target.tier {
        Tier::Base => (128, 128),
        Tier::Cpu => {
            let lanes = target.subgroup_size as usize;
            (lanes, n.div_ceil(32).next_multiple_of(16 * lanes))
        }
    };
    kernel.set("WG", size as u32).args(&[("n", n), ("strip", strip)]).groups(n.div_ceil(strip));
}
