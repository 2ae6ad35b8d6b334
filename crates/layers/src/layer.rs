//! The trait every layer implements, and how layers are composed.

use std::fmt::Debug;
use wgrad_tensor::{Scope, Value};

/// A piece of a network: given an input, appends its operations to the graph and returns its output.
///
/// A layer is plain data, `Clone + Debug`, and names no shader, buffer or dispatch. It asks the scope for its
/// parameters by name ([`Scope::weight`], [`Scope::buffer`]) and traces its children with [`ScopeExt::layer`]. There is
/// no `?` in model code: shapes that do not fit are recorded with the path of the layer, and `Plan::compile` returns
/// all of them together.
///
/// Tuples of up to twelve layers, and `Vec<L>`, are sequences whose children are called `0`, `1`, … as in PyTorch's
/// `Sequential`; longer ones nest. `Box<L>` (also `Box<dyn Layer>`) and `&L` stand for `L`.
///
/// ```
/// use wgrad_layers::{Layer, ScopeExt};
/// use wgrad_tensor::{Init, Scope, Value};
///
/// /// `y = x W^T` with a `W` that starts at zero.
/// #[derive(Clone, Debug)]
/// struct ZeroLinear {
///     in_features: usize,
///     out_features: usize,
/// }
///
/// impl Layer for ZeroLinear {
///     fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
///         let weight = s.weight("weight", [self.out_features, self.in_features], Init::Constant(0.0));
///         x.matmul_transposed(weight)
///     }
/// }
/// ```
pub trait Layer: Debug {
    /// Traces the layer on `x`.
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g>;
}

/// What a model's `forward` is written with.
pub trait ScopeExt<'g> {
    /// Traces `layer` on `x` under the name `name`: its parameters are called `path.name.…`, its nodes carry that path.
    fn layer<L: Layer + ?Sized>(&self, name: &str, layer: &L, x: Value<'g>) -> Value<'g>;
}

impl<'g> ScopeExt<'g> for Scope<'g> {
    #[track_caller]
    fn layer<L: Layer + ?Sized>(&self, name: &str, layer: &L, x: Value<'g>) -> Value<'g> {
        layer.forward(&self.child(name), x)
    }
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    #[track_caller]
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        (**self).forward(s, x)
    }
}

impl<L: Layer + ?Sized> Layer for &L {
    #[track_caller]
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        (**self).forward(s, x)
    }
}

impl<L: Layer> Layer for Vec<L> {
    #[track_caller]
    fn forward<'g>(&self, s: &Scope<'g>, mut x: Value<'g>) -> Value<'g> {
        for (i, layer) in self.iter().enumerate() {
            x = s.layer(&i.to_string(), layer, x);
        }
        x
    }
}

macro_rules! sequence {
    ($($layer:ident $i:tt),*) => {
        impl<$($layer: Layer),*> Layer for ($($layer,)*) {
            #[track_caller]
            fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
                $(let x = s.layer(stringify!($i), &self.$i, x);)*
                x
            }
        }
    };
}

// The standard library implements `Debug` for tuples of up to twelve.
sequence!(A 0);
sequence!(A 0, B 1);
sequence!(A 0, B 1, C 2);
sequence!(A 0, B 1, C 2, D 3);
sequence!(A 0, B 1, C 2, D 3, E 4);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
sequence!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
