//! `cargo xtask shaders`: every kernel variant through naga's validator and its SPIR-V, MSL and HLSL writers.

use anyhow::{Context, Result, bail};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use std::collections::BTreeSet;
use wgrad::tensor::kernel::{KernelKey, reflect, source};
use wgrad::tensor::ops::{Case, REGISTRY, Target};
use wgrad::tensor::params::layout::StoreLayout;
use wgrad::tensor::{CompileOptions, DType, Graph, Tier, plan};

/// Validates and translates every variant that the registry's cases lower to.
pub(crate) fn check() -> Result<()> {
    let variants = variants()?;
    let mut broken = Vec::new();
    for key in &variants {
        if let Err(error) = check_variant(key) {
            broken.push(format!("{key}: {error:#}"));
        }
    }
    let names: BTreeSet<&str> = variants.iter().map(KernelKey::name).collect();
    println!("{} variants of {} kernels: SPIR-V, MSL, HLSL", variants.len(), names.len());
    let unused = wgrad::tensor::kernel::names().filter(|name| !names.contains(name));
    broken.extend(unused.map(|name| format!("shaders/{name}.wgsl: no case of any operation uses it")));
    if broken.is_empty() { Ok(()) } else { bail!("{} broken shaders:\n{}", broken.len(), broken.join("\n")) }
}

/// Every variant that a case needs, in each tier and for each subgroup size, from feeds and from temporaries (which
/// share storage with results where they may). No adapter is needed.
fn variants() -> Result<BTreeSet<KernelKey>> {
    let tiers = [(Tier::Base, 8), (Tier::Cpu, 4), (Tier::Cpu, 8), (Tier::Cpu, 16)];
    let mut variants = BTreeSet::new();
    for case in REGISTRY.iter().flat_map(|entry| (entry.cases)()) {
        for (tier, subgroup_size) in tiers {
            for copied in [false, true] {
                let target = Target { tier, subgroup_size, ..Target::default() };
                let lowered = lower_case(&case, target, copied);
                variants.extend(lowered.with_context(|| format!("{} {}", case.op.name(), case.name))?);
            }
        }
    }
    Ok(variants)
}

fn lower_case(case: &Case, target: Target, copied: bool) -> Result<Vec<KernelKey>> {
    let graph = Graph::new();
    let mut operands = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        let feed = graph.feed(&format!("x{i}"), input.desc);
        operands.push(if copied && feed.dtype() == DType::F32 { feed.scale(1.0) } else { feed });
    }
    for (i, output) in graph.apply_rc(case.op.clone(), &operands).into_iter().enumerate() {
        graph.output(&format!("y{i}"), output);
    }
    let data = plan::optimise(&graph, &CompileOptions { fuse: false, ..CompileOptions::default() })?;
    let desc = plan::lower(data, &StoreLayout::default(), target, "no adapter", &CompileOptions::default())?;
    Ok(desc.dispatches.into_iter().map(|dispatch| dispatch.kernel).collect())
}

pub(crate) fn check_variant(key: &KernelKey) -> Result<()> {
    let text = source::expand(key).map_err(anyhow::Error::msg)?;
    let (module, _) = reflect::reflect(&text).map_err(anyhow::Error::msg)?;
    let capabilities = Capabilities::SUBGROUP;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&module).map_err(|error| anyhow::anyhow!(error.emit_to_string(&text)))?;
    spirv(&module, &info).context("SPIR-V writer")?;
    metal(&module, &info).context("MSL writer")?;
    direct3d(&module, &info).context("HLSL writer")
}

fn spirv(module: &naga::Module, info: &ModuleInfo) -> Result<()> {
    let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
    spv::write_vec(module, info, &options, None)?;
    Ok(())
}

fn metal(module: &naga::Module, info: &ModuleInfo) -> Result<()> {
    let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..msl::Options::default() };
    msl::write_string(module, info, &options, &msl::PipelineOptions::default())?;
    Ok(())
}

fn direct3d(module: &naga::Module, info: &ModuleInfo) -> Result<()> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(module, info, None)?;
    Ok(())
}
