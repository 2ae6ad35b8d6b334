//! The one module with `unsafe`: shader modules without injected checks, and wgpu's experimental features.
#![allow(unsafe_code)]

/// Compiles a shader without bounds checks, loop counters and division guards.
///
/// By default a counter stands in every loop and a clamp at every index, which costs 17–40 % in matrix kernels. Here they
/// are left out. That is sound because every kernel of `shaders/` clamps its indices by hand and has loops bounded by
/// uniform extents, and the test suite runs every kernel of tiers `base` and `cpu` checked as well as unchecked, with guard words
/// around the outputs of all tiers.
/// Only kernels of `shaders/` come here; text that users bring keeps the checks, for nobody has shown the same of it.
pub(super) fn create_shader_module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
) -> wgpu::ShaderModule {
    // SAFETY: the kernels never index out of bounds, never loop without bound and never divide by zero; see above.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// Leave to use features that wgpu calls experimental: cooperative matrices, for tier `coop` alone.
pub(super) fn experimental_features(wanted: bool) -> wgpu::ExperimentalFeatures {
    if wanted {
        // SAFETY: what wgpu warns of is undefined behaviour in what it does not validate yet, the sizes of matrices and that whole
        // subgroups reach them. `Abilities` takes only sizes that the adapter lists, and the kernels have no branch around them. naga's memory model leaves
        // open whether workgroup memory is seen across barriers beside matrices: a GPU has yet to show that its driver does.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    }
}
