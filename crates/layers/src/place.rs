//! The line of the model on which a layer was made.

use std::fmt;
use std::panic::Location;
use wgrad_tensor::Scope;
use wgrad_tensor::graph::Entered;

/// The line on which a layer was made, where its shape mistakes are reported: the layer may be called by a tuple in a box,
/// which knows no line of the model. Made in a constructor that is `#[track_caller]`.
#[derive(Clone, Copy)]
pub struct Place(&'static Location<'static>);

impl Place {
    /// The caller's line.
    #[track_caller]
    pub fn here() -> Place {
        Place(Location::caller())
    }

    /// Reports what is traced until the guard is dropped at this line; see [`Scope::at`].
    pub fn enter<'g>(self, s: &Scope<'g>) -> Entered<'g> {
        s.at(self.0)
    }
}

/// Prints no line: a layer is what its sizes and options say, wherever it was made.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}
