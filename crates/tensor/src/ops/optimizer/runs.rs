//! Tensors that lie side by side: what makes one dispatch of many parameters.

use super::super::{BufId, FlatPlace, Lower, Target};
use crate::params::layout::aligned_elements;

/// The buffers of one parameter, all of one length, in the order of a kernel's bindings.
pub(in crate::ops) struct Member {
    buffers: Vec<BufId>,
    /// Places of the same, when all of them have one.
    places: Option<Vec<FlatPlace>>,
    elements: usize,
}

impl Member {
    pub(in crate::ops) fn new(cx: &Lower<'_>, buffers: Vec<BufId>, elements: usize) -> Member {
        let places = buffers.iter().map(|&buf| cx.flat_place(buf)).collect();
        Member { buffers, places, elements }
    }
}

/// Members that follow each other in all their buffers, as the buffers of the first and the number of elements, gaps among them, a
/// multiple of four. A member without a place is a run of its own.
pub(in crate::ops) fn runs(mut members: Vec<Member>, target: &Target) -> Vec<(Vec<BufId>, usize)> {
    // By place, so that neighbours follow each other whatever the order of the group.
    members.sort_by_key(|member| member.places.as_ref().map(|places| (places[0].buffer, places[0].offset)));
    let follows = |last: &Member, next: &Member| match (&last.places, &next.places) {
        (Some(last_places), Some(places)) => last_places
            .iter()
            .zip(places)
            .all(|(a, b)| a.buffer == b.buffer && a.offset + aligned_elements(last.elements, target) == b.offset),
        _ => false,
    };
    let run = |run: &[Member]| {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let before: usize = run[..run.len() - 1].iter().map(|m| aligned_elements(m.elements, target)).sum();
        (first.buffers.clone(), before + last.elements.next_multiple_of(4))
    };
    members.chunk_by(follows).map(run).collect()
}

/// Operands `0..members` that follow each other without a gap, as (first buffer, elements): what lies in a gap is nobody's and must
/// not be counted.
pub(in crate::ops) fn gapless_runs(cx: &Lower<'_>, members: usize) -> Vec<(BufId, usize)> {
    let target = cx.target();
    let members = (0..members).map(|i| (cx.x(i), cx.x_desc(i).shape.numel(), cx.flat_place(cx.x(i))));
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|(_, _, place)| place.map(|place| (place.buffer, place.offset)));
    let mut runs: Vec<(BufId, usize)> = Vec::new();
    let mut end = None;
    for (buf, elements, place) in members {
        let start = place.map(|place| (place.buffer, place.offset));
        match runs.last_mut() {
            Some(run) if start.is_some() && start == end => run.1 += elements,
            _ => runs.push((buf, elements)),
        }
        let gapless = aligned_elements(elements, &target) == elements;
        end = start.filter(|_| gapless).map(|(buffer, offset)| (buffer, offset + elements));
    }
    runs
}
