//! The register tile of the `cpu` kernels: how many outputs a subgroup computes at once.

/// `LANE` and `SHARED` of gemm_cpu.wgsl, conv2d_cpu.wgsl and conv2d_backward_weight_cpu.wgsl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegisterTile {
    /// vec4s of outputs that a lane has to itself.
    pub(super) lane: usize,
    /// Outputs along the side that is shared by broadcast.
    pub(super) shared: usize,
}

impl RegisterTile {
    /// Larger ones are faster by a tenth, but the driver compiles (2, 64) for a minute.
    const ALL: [(usize, usize); 5] = [(1, 16), (2, 16), (1, 32), (2, 32), (1, 64)];

    /// What a tile takes for four steps of the sum, in units of half a load. A software adapter turns a load of vec4s into a
    /// loop over the lanes: 360 instructions, where the smallest tile's 256 multiply-adds a lane take 850, that is 5 halves.
    fn cost(self, lanes: usize) -> usize {
        5 * self.lane * self.shared / 16 + 2 * (4 * self.lane + self.shared.div_ceil(lanes))
    }

    /// The tile that computes `lane_extent` by `shared_extent` outputs (`copies` times) soonest: small extents want small tiles,
    /// and there must be enough of them for the cores.
    pub(super) fn choose(lane_extent: usize, shared_extent: usize, copies: usize, lanes: usize) -> RegisterTile {
        let tiles = Self::ALL.map(|(lane, shared)| RegisterTile { lane, shared });
        let time = |tile: &RegisterTile| tile.time(lane_extent, shared_extent, copies, lanes);
        tiles.into_iter().min_by_key(time).unwrap_or(RegisterTile { lane: 1, shared: 16 })
    }

    /// How long [`RegisterTile::choose`] expects it to take.
    pub(super) fn time(self, lane_extent: usize, shared_extent: usize, copies: usize, lanes: usize) -> usize {
        /// Fewer tiles leave cores idle.
        const ENOUGH: usize = 8;
        let tiles = lane_extent.div_ceil(4 * self.lane * lanes) * shared_extent.div_ceil(self.shared) * copies;
        tiles.max(ENOUGH) * self.cost(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_extents_get_large_tiles_and_small_ones_small() {
        let choose = |lane, shared, copies| {
            let tile = RegisterTile::choose(lane, shared, copies, 8);
            (tile.lane, tile.shared)
        };
        assert_eq!(choose(1024, 1024, 1), (2, 32));
        assert_eq!(choose(1056, 64, 1), (1, 64), "33 tiles along the lanes are odd");
        assert_eq!(choose(32_768, 16, 1), (2, 16));
        assert_eq!(choose(64, 32, 1), (1, 16), "one core would have all the work");
        assert_eq!(choose(32, 10, 100), (1, 16));
    }
}
