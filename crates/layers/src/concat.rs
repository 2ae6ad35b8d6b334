//! Parallel branches.

use crate::{Layer, ScopeExt};
use std::fmt::Debug;
use wgrad_tensor::{Scope, Value};

/// Layers that are all given the same input: tuples of up to twelve, and `Vec<L>`. The children are called `0`, `1`, ….
pub trait Branches: Debug {
    /// Traces every branch on `x`.
    fn forward_all<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Vec<Value<'g>>;
}

/// The outputs of parallel branches joined along dimension 1, as in GoogLeNet (arXiv:1409.4842) or SqueezeNet: images
/// `[N, C_i, H, W]` to `[N, sum C_i, H, W]`.
///
/// ```
/// use wgrad_layers::{Concat, Conv2d, Layer, Relu};
/// use wgrad_tensor::{Graph, Mode, Scope, TensorDesc};
///
/// let expand = Concat((Conv2d::new(16, 64, 1), Conv2d::new(16, 48, 3).padding(1)));
/// let graph = Graph::new();
/// let x = graph.feed("x", TensorDesc::f32([1, 16, 7, 7]));
/// let y = (expand, Relu).forward(&Scope::new(&graph, Mode::Train), x);
/// assert_eq!(y.shape().dims(), [1, 112, 7, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct Concat<B>(
    /// The branches, in the order of their channels.
    pub B,
);

impl<B: Branches> Layer for Concat<B> {
    #[track_caller]
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        s.graph().concat(&self.0.forward_all(s, x))
    }
}

impl<L: Layer> Branches for Vec<L> {
    #[track_caller]
    fn forward_all<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Vec<Value<'g>> {
        let mut outputs = Vec::with_capacity(self.len());
        for (i, layer) in self.iter().enumerate() {
            outputs.push(s.layer(&i.to_string(), layer, x));
        }
        outputs
    }
}

macro_rules! branches {
    ($($layer:ident $i:tt),*) => {
        impl<$($layer: Layer),*> Branches for ($($layer,)*) {
            #[track_caller]
            fn forward_all<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Vec<Value<'g>> {
                vec![$(s.layer(stringify!($i), &self.$i, x)),*]
            }
        }
    };
}

branches!(A 0);
branches!(A 0, B 1);
branches!(A 0, B 1, C 2);
branches!(A 0, B 1, C 2, D 3);
branches!(A 0, B 1, C 2, D 3, E 4);
branches!(A 0, B 1, C 2, D 3, E 4, F 5);
branches!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
branches!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
branches!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
branches!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
branches!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
branches!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
