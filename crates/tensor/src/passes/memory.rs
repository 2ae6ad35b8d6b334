//! Memory planning: which temporaries share a buffer.
//!
//! wgpu tracks use per whole buffer, so temporaries live in **slots**, one buffer per colour of the lifetime graph. The
//! assignment is greedy by size (Lee et al., arXiv:1907.01989, "shared objects"): the largest temporary first, each into
//! the smallest slot none of whose tenants overlaps it.
//!
//! A buffer that is written after it was read or written always costs a barrier, and a barrier makes the dispatch behind it
//! wait for all before it. Where branches shall overlap, two temporaries therefore share a slot only if every use of the one
//! comes before the other by the operands alone ([`Dependencies`](super::schedule::Dependencies)): sharing then adds no order.

/// One temporary: its size, and the first and last dispatch that touch it (inclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Bytes.
    pub bytes: u64,
    /// First dispatch.
    pub first: usize,
    /// Last dispatch.
    pub last: usize,
}

/// The result of [`assign_slots`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotPlan {
    /// Slot of each temporary.
    pub slot_of: Vec<usize>,
    /// Bytes of each slot.
    pub slot_bytes: Vec<u64>,
}

/// Gives every temporary a slot so that no two with overlapping lifetimes share one, nor two that `keep_apart` names by
/// their numbers. Deterministic.
pub fn assign_slots(lifetimes: &[Lifetime], keep_apart: &dyn Fn(usize, usize) -> bool) -> SlotPlan {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].bytes), lifetimes[i].first, i));
    let mut plan = SlotPlan { slot_of: vec![0; lifetimes.len()], slot_bytes: Vec::new() };
    let mut tenants: Vec<Vec<usize>> = Vec::new();
    for i in order {
        let new = lifetimes[i];
        let clashes = |&tenant: &usize| {
            let old = lifetimes[tenant];
            (old.first <= new.last && new.first <= old.last) || keep_apart(tenant, i)
        };
        // Slots were opened in order of falling size, so the last free one wastes least.
        let slot = tenants.iter().rposition(|slot| !slot.iter().any(clashes)).unwrap_or_else(|| {
            tenants.push(Vec::new());
            plan.slot_bytes.push(new.bytes);
            tenants.len() - 1
        });
        tenants[slot].push(i);
        plan.slot_of[i] = slot;
    }
    plan
}

/// The largest number of bytes alive at one dispatch: no assignment can do with less.
pub fn live_peak_bytes(lifetimes: &[Lifetime]) -> u64 {
    let end = lifetimes.iter().map(|l| l.last + 1).max().unwrap_or(0);
    let alive = |at: usize| lifetimes.iter().filter(|l| l.first <= at && at <= l.last).map(|l| l.bytes).sum();
    (0..end).map(alive).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::Stream;

    fn check(lifetimes: &[Lifetime]) -> SlotPlan {
        let plan = assign_slots(lifetimes, &|_, _| false);
        for (i, a) in lifetimes.iter().enumerate() {
            assert!(plan.slot_bytes[plan.slot_of[i]] >= a.bytes);
            for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                let overlap = a.first <= b.last && b.first <= a.last;
                assert!(!(overlap && plan.slot_of[i] == plan.slot_of[j]), "{i} and {j} share a slot");
            }
        }
        assert!(plan.slot_bytes.iter().sum::<u64>() >= live_peak_bytes(lifetimes));
        plan
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let chain: Vec<Lifetime> = (0..20).map(|i| Lifetime { bytes: 64, first: i, last: i + 1 }).collect();
        assert_eq!(check(&chain).slot_bytes, [64, 64]);
    }

    #[test]
    fn random_lifetimes_never_collide() {
        let mut random = Stream::new(7, 0, 0, 0);
        for _ in 0..50 {
            let items: Vec<Lifetime> = (0..random.below(60))
                .map(|_| {
                    let first = random.below(40) as usize;
                    Lifetime {
                        bytes: u64::from(random.below(9) + 1) * 256,
                        first,
                        last: first + random.below(12) as usize,
                    }
                })
                .collect();
            check(&items);
        }
        assert_eq!(check(&[]), SlotPlan::default());
    }
}
