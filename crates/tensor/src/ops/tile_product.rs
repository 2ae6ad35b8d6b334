//! The tile of a workgroup in `shaders/lib/product.wgsl`: its extents, and what multiplies it.

use super::{DispatchBuilder, Target};

/// How the operands in workgroup memory are multiplied. Sums are f32 in each.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Multiply {
    F32,
    F16,
    /// Cooperative matrices of this many rows and columns.
    Cooperative(u32),
}

/// A tile of `bm` by `bn` results, of which an invocation holds `tm` by `tn` (but for cooperative matrices).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TileProduct {
    pub(super) bm: usize,
    pub(super) bn: usize,
    tm: usize,
    tn: usize,
    multiply: Multiply,
    subgroup_size: u32,
}

/// Rows, columns, and rows and columns of an invocation, for 256 of them.
const TILES: [[usize; 4]; 6] =
    [[128, 128, 8, 8], [128, 64, 8, 4], [64, 128, 4, 8], [64, 64, 4, 4], [128, 32, 4, 4], [32, 128, 4, 4]];

/// Tiles below which cooperative matrices lose to registers (measured by others on NVIDIA's).
const ENOUGH_COOPERATIVE: usize = 20;

/// Subgroups side by side along the columns of a cooperative tile.
const WAVES_N: u32 = 2;

/// Invocations for a tile by cooperative matrices of `size`, and how many of these a subgroup has along rows and columns.
fn cooperative(bm: u32, bn: u32, subgroup_size: u32, size: u32) -> (u32, [u32; 2]) {
    let wg = (8 * subgroup_size).min(256);
    (wg, [bm * WAVES_N * subgroup_size / (size * wg), bn / (size * WAVES_N)])
}

impl TileProduct {
    /// Workgroups below which a GPU is partly idle.
    pub(super) const ENOUGH: usize = 128;

    /// The tile that wastes least for `copies` products `[m, n]`: what it computes beside the results, what it reads again, and
    /// what is idle for want of workgroups. `exact`: operands are f32 and must stay so.
    pub(super) fn choose(m: usize, n: usize, copies: usize, exact: bool, target: &Target) -> TileProduct {
        let half = target.f16_products && !exact;
        let tile = |&[bm, bn, tm, tn]: &[usize; 4]| TileProduct {
            bm,
            bn,
            tm,
            tn,
            multiply: if half { Multiply::F16 } else { Multiply::F32 },
            subgroup_size: target.subgroup_size,
        };
        let best = TILES.iter().map(tile).min_by(|a, b| a.time(m, n, copies).total_cmp(&b.time(m, n, copies)));
        let best = best.unwrap_or_else(|| tile(&TILES[0]));
        if half && target.cooperative > 0 {
            let large = [128, 64].map(|side| TileProduct {
                bm: side,
                bn: side,
                multiply: Multiply::Cooperative(target.cooperative),
                ..best
            });
            let wanted = [TileProduct::ENOUGH, ENOUGH_COOPERATIVE];
            // They are so much faster that a quarter of a tile is worth it, but not an eighth.
            let fits = |(tile, wanted): &(&TileProduct, usize)| {
                let tiles = tile.tiles(m, n);
                tiles * copies >= *wanted && tiles * tile.bm * tile.bn <= 4 * m * n
            };
            return large.iter().zip(wanted).find(fits).map_or(best, |(tile, _)| *tile);
        }
        best
    }

    /// Workgroups for one product.
    pub(super) fn tiles(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.bm) * n.div_ceil(self.bn)
    }

    /// Relative time: products with those that are thrown away, loads at a sixteenth of a step's worth of products a row, and
    /// the share of the device that has work.
    fn time(&self, m: usize, n: usize, copies: usize) -> f64 {
        let tiles = self.tiles(m, n) * copies;
        let products = (tiles * self.bm * self.bn) as f64;
        let loads = 16.0 * (1.0 / self.bm as f64 + 1.0 / self.bn as f64);
        products * (1.0 + loads) * (TileProduct::ENOUGH as f64 / tiles as f64).max(1.0)
    }

    /// Sets the constants of lib/product.wgsl.
    pub(super) fn set<'b, 'a>(self, kernel: DispatchBuilder<'b, 'a>) -> DispatchBuilder<'b, 'a> {
        let (bm, bn) = (self.bm as u32, self.bn as u32);
        // Two tiles of 16 KiB in all, WebGPU's default limit; cooperative ones are padded and have their sums beside them.
        let bk = if self.multiply == Multiply::F32 && bm + bn > 128 { 16 } else { 32 };
        let wg = match self.multiply {
            Multiply::Cooperative(size) => cooperative(bm, bn, self.subgroup_size, size).0,
            _ => 256,
        };
        let rounds = ((bm + bn) * bk / 16).div_ceil(wg);
        let kernel = kernel.set("BM", bm).set("BN", bn).set("BK", bk).set("WG", wg).set("ROUNDS", rounds);
        match self.multiply {
            Multiply::F32 => kernel.set("TM", self.tm as u32).set("TN", self.tn as u32),
            Multiply::F16 => kernel.define("F16_TILES").set("TM", self.tm as u32).set("TN", self.tn as u32),
            Multiply::Cooperative(size) => {
                let (_, [cm, cn]) = cooperative(bm, bn, self.subgroup_size, size);
                let kernel = kernel.define("F16_TILES").define("COOPERATIVE").define("SUBGROUPS");
                let kernel = kernel.define_if(size == 8, "COOP_8").set("COOP", size).set("SG", self.subgroup_size);
                kernel.set("WAVES_N", WAVES_N).set("CM", cm).set("CN", cn)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_products_take_large_tiles_and_narrow_ones_narrow_tiles() {
        let target = Target::default();
        let choose = |m, n, copies| {
            let tile = TileProduct::choose(m, n, copies, false, &target);
            [tile.bm, tile.bn]
        };
        assert_eq!(choose(4096, 4096, 1), [128, 128]);
        assert_eq!(choose(100_352, 64, 1), [128, 64]);
        assert_eq!(choose(64, 100_352, 1), [64, 128]);
        assert_eq!(choose(32_768, 16, 1), [128, 32]);
        assert_eq!(choose(16, 144, 64), [32, 128]);
        assert_eq!(choose(64, 64, 1), [64, 64]);
        assert_eq!(choose(512, 512, 1), [64, 64], "too few tiles of 128 to fill a device");
    }

    #[test]
    fn sixteen_bits_are_for_those_who_asked() {
        let target = Target { f16_products: true, cooperative: 16, subgroup_size: 32, ..Target::default() };
        let multiply = |m, n, exact| TileProduct::choose(m, n, 1, exact, &target).multiply;
        assert_eq!(multiply(4096, 4096, false), Multiply::Cooperative(16));
        assert_eq!(multiply(4096, 4096, true), Multiply::F32);
        assert_eq!(multiply(128, 128, false), Multiply::F16, "too few tiles for cooperative matrices");
        let narrow = |n| TileProduct::choose(100_352, n, 1, false, &target);
        assert_eq!((narrow(16).bm, narrow(16).multiply), (64, Multiply::Cooperative(16)), "a quarter of 64 columns");
        assert_eq!(narrow(8).multiply, Multiply::F16);
    }

    #[test]
    fn cooperative_tiles_are_covered_by_the_subgroups_of_a_workgroup() {
        for (subgroup_size, size) in [4, 8, 16, 32, 64, 128].into_iter().flat_map(|lanes| [(lanes, 8), (lanes, 16)]) {
            for side in [64, 128] {
                let (wg, [cm, cn]) = cooperative(side, side, subgroup_size, size);
                let waves = wg / subgroup_size;
                assert!(wg <= 256 && waves % WAVES_N == 0, "{subgroup_size} lanes");
                assert_eq!(
                    [cm * size * (waves / WAVES_N), cn * size * WAVES_N],
                    [side; 2],
                    "{subgroup_size} lanes, {size}"
                );
                let bytes = 2 * 32 * 8 * (side / 4 + 2) + 4 * waves * size * size;
                assert!(bytes <= crate::device::COOPERATIVE_BYTES, "{bytes} bytes of workgroup memory");
            }
        }
    }
}
