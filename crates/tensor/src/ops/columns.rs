//! How kernels that treat an image as a matrix `[N*H*W, C]` share it among invocations: not an operation, but how bias
//! and batch norm lower. The kernels' half is `shaders/lib/columns.wgsl`.

use super::{Activation, BufId, DispatchBuilder, Lower, Tier};
use crate::shape::{Shape, TensorDesc};

/// One kernel's share-out of a matrix; extents of columns are in vec4s when `vector` is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) vector: bool,
    tier: Tier,
    size: usize,
    column_lanes: usize,
    row_lanes: usize,
    block_rows: usize,
    blocks: usize,
}

/// Rows and columns of an image or matrix whose dimension 1 lies innermost.
pub(super) fn rows_and_columns(shape: &Shape) -> (usize, usize) {
    let [n, c, h, w] = shape.nchw();
    (n * h * w, c)
}

impl Columns {
    /// For a kernel that reads and writes each element once.
    pub(super) fn apply(cx: &Lower<'_>, desc: TensorDesc) -> Columns {
        Columns::new(cx, rows_and_columns(&desc.shape), 4, 4096)
    }

    /// For the first pass of a reduction over rows.
    pub(super) fn reduce(cx: &Lower<'_>, desc: TensorDesc) -> Columns {
        Columns::new(cx, rows_and_columns(&desc.shape), 8, 256)
    }

    /// For the pass that merges [`Columns::parts`] of `self`: every column's in one workgroup.
    pub(super) fn combine(&self) -> Columns {
        let lanes = match self.tier {
            Tier::Cpu => self.size,
            _ => 8,
        };
        let column_lanes = self.columns.min(lanes);
        let row_lanes = match self.tier {
            Tier::Cpu => 1,
            _ => self.size / column_lanes,
        };
        Columns { rows: self.parts(), column_lanes, row_lanes, block_rows: self.parts(), blocks: 1, ..*self }
    }

    /// Number of partial results of each column that a reduction leaves.
    pub(super) fn parts(&self) -> usize {
        match self.tier {
            Tier::Cpu => self.blocks * self.row_lanes,
            // The lanes of a workgroup are merged in it.
            _ => self.blocks,
        }
    }

    /// `walked`: rows an invocation should walk at the least on a GPU. `most`: blocks of rows at the most there.
    fn new(cx: &Lower<'_>, (rows, channels): (usize, usize), walked: usize, most: usize) -> Columns {
        let vector = channels.is_multiple_of(4);
        let columns = if vector { channels / 4 } else { channels };
        let tier = cx.tier();
        let (size, lanes) = match tier {
            Tier::Cpu => (cx.target().subgroup_size as usize, cx.target().subgroup_size as usize),
            // 64 lanes side by side read 1 KiB in a piece; the others of the 256 take other rows.
            _ => (256, 64),
        };
        let column_lanes = columns.min(lanes);
        let row_lanes = size / column_lanes;
        let wanted = match tier {
            // A few workgroups for each core, each long enough to make the start of a workgroup cheap.
            Tier::Cpu => (32 / columns.div_ceil(column_lanes)).min(rows / (row_lanes * 16)),
            _ => (rows / (row_lanes * walked)).min(most),
        };
        // Whole rounds of four, so that only the last block has a tail.
        let block_rows = rows.div_ceil(wanted.max(1)).next_multiple_of(4 * row_lanes);
        let blocks = rows.div_ceil(block_rows);
        Columns { rows, columns, vector, tier, size, column_lanes, row_lanes, block_rows, blocks }
    }

    /// Sets what `lib/columns.wgsl` asks for and records the dispatch.
    pub(super) fn launch(&self, dispatch: DispatchBuilder<'_, '_>) {
        let column_blocks = self.columns.div_ceil(self.column_lanes);
        dispatch
            .set("WG", self.size as u32)
            .define_if(self.vector, "VECTOR")
            .args(&[("rows", self.rows), ("columns", self.columns), ("column_lanes", self.column_lanes)])
            .args(&[("row_lanes", self.row_lanes), ("block_rows", self.block_rows), ("column_blocks", column_blocks)])
            .groups(self.blocks * column_blocks);
    }

    /// [`Columns::launch`] for a reduction, which also merges a workgroup's lanes where the tier allows it.
    pub(super) fn launch_reduction(&self, dispatch: DispatchBuilder<'_, '_>) {
        let tree = self.row_lanes.next_power_of_two();
        self.launch(dispatch.define_if(self.tier != Tier::Cpu, "TREE").arg("tree", tree));
    }

    /// Elements of a workspace for `planes` partial results of each column.
    pub(super) fn partial_elements(&self, planes: usize) -> usize {
        planes * self.parts() * self.columns * if self.vector { 4 } else { 1 }
    }
}

/// What [`column_sums`] needs beyond `dy` for the second sum, `dweight = sum dy * (x - mean) / sqrt(var + eps)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighted {
    pub(super) x: BufId,
    pub(super) mean: BufId,
    pub(super) var: BufId,
    pub(super) dweight: BufId,
    pub(super) eps: f32,
    pub(super) through: Activated,
    /// Takes both sums once more, side by side: `[2, columns]`.
    pub(super) sums: Option<BufId>,
}

/// An activation whose derivative a gradient is multiplied by while it is loaded (`lib/gradient.wgsl`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activated {
    /// What the derivative follows from; `None`: there is no activation.
    pub(super) known: Option<BufId>,
    pub(super) activation: Activation,
}

impl Activated {
    /// Binds and sets what `lib/gradient.wgsl` asks for.
    pub(super) fn bind<'b, 'a>(self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let kernel = kernel.bind_some("known", self.known).define_if(self.known.is_some(), "ACTIVATED");
        kernel.set("ACT", self.activation.code())
    }
}

/// Records `dbias = sum dy` over the rows of `desc`, and the weighted sum if wanted.
pub(super) fn column_sums(cx: &mut Lower<'_>, desc: TensorDesc, dy: BufId, dbias: BufId, weighted: Option<Weighted>) {
    let first = Columns::reduce(cx, desc);
    let eps = weighted.map_or(0.0, |w| w.eps);
    let slope = weighted.map_or(0.0, |w| w.through.activation.slope());
    let both = weighted.and_then(|w| w.sums);
    let single = first.parts() == 1;
    let planes = if weighted.is_some() { 2 } else { 1 };
    let partial = (!single).then(|| cx.workspace(first.partial_elements(planes)));
    let parts = first.parts();
    let sums = |cx: &mut Lower<'_>, layout: Columns, combines: bool, is_last: bool| {
        let mut kernel = cx.dispatch("column_sums").part(if combines { "combine" } else { "sums" });
        kernel = kernel.define_if(combines, "COMBINE").define_if(is_last, "FINAL");
        kernel =
            kernel.define_if(weighted.is_some(), "BATCH_NORM").arg("eps", eps).arg("slope", slope).arg("parts", parts);
        if combines {
            kernel = kernel.bind_some("partials", partial);
        } else {
            let through = weighted.map_or(Activated::default(), |w| w.through);
            kernel = through.bind(kernel.bind("dy", dy)).bind_some("x", weighted.map(|w| w.x));
            kernel = kernel.bind_some("mean", weighted.map(|w| w.mean));
        }
        if is_last {
            kernel = kernel.bind("dbias", dbias).bind_some("dweight", weighted.map(|w| w.dweight));
            kernel = kernel.bind_some("variance", weighted.map(|w| w.var));
            kernel = kernel.bind_some("sums", both).define_if(both.is_some(), "SUMS");
        } else {
            kernel = kernel.bind_some("partial", partial);
        }
        layout.launch_reduction(kernel);
    };
    sums(cx, first, false, single);
    if !single {
        sums(cx, first.combine(), true, true);
    }
}
