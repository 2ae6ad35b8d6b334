//! `cargo xtask shaders`: every kernel variant through naga's validator and its SPIR-V, MSL and HLSL writers.

use anyhow::{Context, Result, bail};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use std::collections::BTreeSet;
use wgrad::tensor::kernel::{KernelKey, reflect, source};
use wgrad::tensor::ops::{Case, REGISTRY, Target};
use wgrad::tensor::params::layout::StoreLayout;
use wgrad::tensor::{CompileOptions, DType, Graph, Storage, StoragePolicy, Tier, plan};

/// Validates and translates every variant that the registry's cases lower to.
pub(crate) fn check() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let variants: BTreeSet<KernelKey> =
        split(threads, |share| variants(share, threads))?.into_iter().flatten().collect();
    let keys: Vec<&KernelKey> = variants.iter().collect();
    let broken = split(threads, |share| {
        Ok(keys.iter().skip(share).step_by(threads).filter_map(|key| error(key)).collect::<Vec<String>>())
    })?;
    let mut broken: Vec<String> = broken.into_iter().flatten().collect();
    let names: BTreeSet<&str> = variants.iter().map(KernelKey::name).collect();
    println!("{} variants of {} kernels: SPIR-V, MSL, HLSL", variants.len(), names.len());
    let unused = wgrad::tensor::kernel::names().filter(|name| !names.contains(name));
    broken.extend(unused.map(|name| format!("shaders/{name}.wgsl: no case of any operation uses it")));
    if broken.is_empty() { Ok(()) } else { bail!("{} broken shaders:\n{}", broken.len(), broken.join("\n")) }
}

/// What `work` makes of each share, one thread a share.
fn split<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|share| scope.spawn(move || work(share))).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?).collect()
    })
}

fn error(key: &KernelKey) -> Option<String> {
    check_variant(key).err().map(|error| format!("{key}: {error:#}"))
}

/// Every variant that a share of the cases needs, in each tier and for each subgroup size, from feeds and from temporaries
/// (which share storage with results where they may). No adapter is needed.
fn variants(share: usize, shares: usize) -> Result<BTreeSet<KernelKey>> {
    let basic = [(Tier::Base, 8), (Tier::Cpu, 4), (Tier::Cpu, 8), (Tier::Cpu, 16)];
    // Tier, lanes of a subgroup, cooperative matrices, storage of feature maps.
    let others = [
        (Tier::Subgroup, 32, 0, Storage::F32),
        (Tier::F16, 32, 0, Storage::F16),
        (Tier::Coop, 32, 16, Storage::F16),
        (Tier::Coop, 64, 16, Storage::F16),
        (Tier::Coop, 32, 8, Storage::F16),
    ];
    // Where these have kernels of their own.
    let differs = |key: &KernelKey| {
        key.is_defined("TREE") || key.is_defined("SUBGROUPS") || key.constants().any(|(name, _)| name == "BM")
    };
    let mut variants = BTreeSet::new();
    let cases = REGISTRY.iter().flat_map(|entry| (entry.cases)());
    for case in cases.enumerate().filter(|(i, _)| i % shares == share).map(|(_, case)| case) {
        let name = || format!("{} {}", case.op.name(), case.name);
        let mut has_others = false;
        for copied in [false, true] {
            for (tier, subgroup_size) in basic {
                let target = Target { tier, subgroup_size, ..Target::default() };
                let lowered = lower_case(&case, target, Storage::F32, copied).with_context(name)?;
                has_others |= lowered.iter().any(differs);
                variants.extend(lowered);
            }
        }
        for (tier, subgroup_size, cooperative, storage) in others.into_iter().filter(|_| has_others) {
            let target = Target { tier, subgroup_size, cooperative, ..Target::default() };
            let lowered = lower_case(&case, target, storage, true).with_context(name)?;
            variants.extend(lowered.into_iter().filter(differs));
        }
    }
    Ok(variants)
}

fn lower_case(case: &Case, target: Target, activations: Storage, copied: bool) -> Result<Vec<KernelKey>> {
    let graph = Graph::new();
    let mut operands = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        let feed = graph.feed(&format!("x{i}"), input.desc);
        operands.push(if copied && feed.dtype() == DType::F32 { feed.scale(1.0) } else { feed });
    }
    for (i, output) in graph.apply_rc(case.op.clone(), &operands).into_iter().enumerate() {
        graph.output(&format!("y{i}"), output);
    }
    let storage = StoragePolicy { activations, ..StoragePolicy::default() };
    let options = CompileOptions { fuse: false, storage, ..CompileOptions::default() };
    let data = plan::optimise(&graph, &options)?;
    let desc = plan::lower(data, &StoreLayout::default(), target, "no adapter", &options)?;
    Ok(desc.dispatches.into_iter().map(|dispatch| dispatch.kernel).collect())
}

pub(crate) fn check_variant(key: &KernelKey) -> Result<()> {
    let text = source::expand(key).map_err(anyhow::Error::msg)?;
    let (module, _) = reflect::reflect(&text).map_err(anyhow::Error::msg)?;
    let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&module).map_err(|error| anyhow::anyhow!(error.emit_to_string(&text)))?;
    spirv(&module, &info).context("SPIR-V writer")?;
    // Metal has cooperative matrices of 8x8 alone, Direct3D none.
    let cooperative = key.is_defined("COOPERATIVE");
    if !cooperative || key.is_defined("COOP_8") {
        metal(&module, &info).context("MSL writer")?;
    }
    if cooperative { Ok(()) } else { direct3d(&module, &info).context("HLSL writer") }
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
        shader_model: hlsl::ShaderModel::V6_2,
        fake_missing_bindings: true,
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(module, info, None)?;
    Ok(())
}
