//! A compiled kernel: pipeline and bind-group layout.

use super::{KernelKey, Reflection, reflect, source};
use crate::device::{catch, create_shader_module};
use crate::error::{DeviceError, Error, Result};

/// A kernel ready to be launched.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) reflection: Reflection,
}

impl Kernel {
    /// Expands the text and has wgpu make a pipeline of it; `checked` keeps the checks that wgpu injects.
    pub(crate) fn compile(gpu: &wgpu::Device, checked: bool, key: &KernelKey) -> Result<Kernel> {
        let broken = |message: String| Error::Device(DeviceError::Kernel { kernel: key.to_string(), message });
        let text = source::expand(key).map_err(broken)?;
        let (_, reflection) = reflect::reflect(&text).map_err(broken)?;
        let label = key.to_string();
        let storage = reflection.storage.values().map(|storage| wgpu::BindGroupLayoutEntry {
            binding: storage.binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: !storage.writes },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        });
        let uniform = reflection.uniform.map(|binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        });
        let entries: Vec<wgpu::BindGroupLayoutEntry> = storage.chain(uniform).collect();
        let made = catch(gpu, |gpu| {
            let module = create_shader_module(gpu, checked, key, &text);
            let layout = gpu
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
            let pipeline_layout = gpu.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = gpu.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                // wgrad's kernels write their workgroup arrays before they read them.
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: !key.is_builtin(),
                    ..Default::default()
                },
                cache: None,
            });
            (pipeline, layout)
        });
        let (pipeline, layout) = made.map_err(|error| broken(error.to_string()))?;
        Ok(Kernel { pipeline, layout, reflection })
    }
}
