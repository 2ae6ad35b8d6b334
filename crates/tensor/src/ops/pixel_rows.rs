//! How the kernels that move or pool pixels share out their work, so that no element costs an integer division.

use super::{DispatchBuilder, Target, Tier};

/// Invocations of a workgroup that walks.
pub(super) fn group_size(target: Target) -> usize {
    match target.tier {
        Tier::Cpu => target.subgroup_size as usize,
        _ => 64,
    }
}

/// Whether the innermost extent splits into whole vec4s; otherwise the kernels go element by element.
pub(super) fn splits_in_four(extents: &[usize]) -> bool {
    extents.iter().all(|extent| extent.is_multiple_of(4))
}

/// An image batch that a kernel with `#import pixel_rows` writes: one workgroup per row of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Images times height.
    pub(super) rows: usize,
    /// Width.
    pub(super) columns: usize,
    /// Channels, in elements.
    pub(super) channels: usize,
}

impl Rows {
    /// The rows of a batch of images.
    pub(super) fn of([n, c, h, w]: [usize; 4]) -> Rows {
        Rows { rows: n * h, columns: w, channels: c }
    }

    /// Sets the walk's arguments and records the dispatch.
    pub(super) fn launch(self, kernel: DispatchBuilder<'_, '_>, target: Target) {
        let vector = splits_in_four(&[self.channels]);
        let channels = if vector { self.channels / 4 } else { self.channels };
        let size = group_size(target);
        let kernel = kernel.define_if(vector, "VEC4").set("WG", size as u32).args(&[
            ("rows", self.rows),
            ("columns", self.columns),
            ("channels", channels),
            ("step_column", size / channels),
            ("step_channel", size % channels),
        ]);
        kernel.groups(self.rows);
    }
}

/// Records a dispatch over `lines` lines of `length` items: each workgroup takes a run of PER_INVOCATION * WG items, each
/// invocation divides once and then adds `step_line` and `step_item`.
pub(super) fn launch_lines(kernel: DispatchBuilder<'_, '_>, target: Target, lines: usize, length: usize) {
    let size = group_size(target);
    let per_invocation = match target.tier {
        Tier::Cpu => 16,
        _ => 4,
    };
    let kernel = kernel.set("WG", size as u32).set("PER_INVOCATION", per_invocation).args(&[
        ("items", lines * length),
        ("length", length),
        ("step_line", size / length),
        ("step_item", size % length),
    ]);
    kernel.groups((lines * length).div_ceil(size * per_invocation as usize));
}
