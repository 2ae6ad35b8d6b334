//! When parameters were written: what tells a plan that results kept from them have grown old.

use std::cell::RefCell;
use std::rc::Rc;

/// One clock for a store, shared with its plans, and its reading at the last write of each parameter. Writes and runs go
/// through one queue in the order in which they are handed in, so the host's order is the device's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions(Rc<RefCell<Writes>>);

#[derive(Debug, Default)]
struct Writes {
    clock: u64,
    /// By number of the parameter in the store; those never written have none, or 0.
    last: Vec<u64>,
}

impl Versions {
    /// These parameters are written.
    pub(crate) fn note(&self, numbers: &[usize]) {
        let Some(&most) = numbers.iter().max() else { return };
        let writes = &mut *self.0.borrow_mut();
        writes.clock += 1;
        if writes.last.len() <= most {
            writes.last.resize(most + 1, 0);
        }
        numbers.iter().for_each(|&number| writes.last[number] = writes.clock);
    }

    /// When the last of these was written.
    pub(crate) fn newest(&self, numbers: &[usize]) -> u64 {
        let writes = self.0.borrow();
        numbers.iter().filter_map(|&number| writes.last.get(number)).copied().max().unwrap_or(0)
    }

    /// How many writes there were.
    pub(crate) fn clock(&self) -> u64 {
        self.0.borrow().clock
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;

    #[test]
    fn each_parameter_has_the_time_of_its_last_write() {
        let store = Versions::default();
        let plan = store.clone();
        assert_eq!(plan.newest(&[0, 7]), 0);
        store.note(&[2]);
        store.note(&[0, 1]);
        plan.note(&[]);
        assert_eq!([plan.newest(&[2]), plan.newest(&[1, 2]), plan.newest(&[3]), plan.clock()], [1, 2, 0, 2]);
    }
}
