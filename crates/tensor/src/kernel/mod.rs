//! From WGSL text and a variant key to a pipeline.
//!
//! [`KernelKey`] says which text and which variant; [`source`] expands imports and ifdefs and fixes constants; [`reflect`]
//! reads the bindings and the uniform block back out of the parsed module, so that operations bind by name and nothing is
//! kept equal by comment; `pipeline` makes the wgpu objects.

mod pipeline;
pub mod reflect;
pub mod source;
pub mod storage;
mod variant;

pub(crate) use pipeline::Kernel;
pub use reflect::Reflection;
pub use variant::KernelKey;

/// Names of all kernels in `shaders/`.
pub fn names() -> impl Iterator<Item = &'static str> {
    wgrad_shaders::KERNELS.iter().map(|(name, _)| *name)
}

/// Names and texts of all of wgrad's own kernels and of what they import.
pub(crate) fn texts() -> impl Iterator<Item = &'static str> {
    wgrad_shaders::KERNELS.iter().chain(wgrad_shaders::LIBRARY).flat_map(|&(name, text)| [name, text])
}
