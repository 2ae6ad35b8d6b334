//! What a kernel binds, read out of its parsed module.

use crate::ops::Arg;
use std::collections::BTreeMap;

/// One `var<storage>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageBinding {
    /// Number in group 0.
    pub binding: u32,
    /// Whether the kernel may write it.
    pub writes: bool,
    /// What it is an array of.
    pub element: Element,
}

/// What a storage binding is an array of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `f32`.
    F32,
    /// `vec4f`.
    Vec4F32,
    /// Whole numbers, structures, packed codes.
    Other,
}

impl Element {
    fn of(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Element {
        let naga::TypeInner::Array { base, .. } = module.types[ty].inner else { return Element::Other };
        match module.types[base].inner {
            naga::TypeInner::Scalar(naga::Scalar::F32) => Element::F32,
            naga::TypeInner::Vector { size: naga::VectorSize::Quad, scalar: naga::Scalar::F32 } => Element::Vec4F32,
            _ => Element::Other,
        }
    }
}

/// Bindings by name, and the layout of the uniform block `args`.
#[derive(Clone, Debug, Default)]
pub struct Reflection {
    /// Storage buffers by name.
    pub storage: BTreeMap<String, StorageBinding>,
    /// Binding of the uniform block.
    pub uniform: Option<u32>,
    /// Members of the uniform block: byte offset, and whether it is f32 (otherwise u32).
    pub args: BTreeMap<String, (u32, bool)>,
    /// Bytes of the uniform block.
    pub args_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_size: [u32; 3],
}

/// Parses and validates WGSL and reads its bindings.
pub fn reflect(wgsl: &str) -> Result<(naga::Module, Reflection), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let mut reflection = Reflection::default();
    let entry = match module.entry_points.as_slice() {
        [entry] if entry.name == "main" => entry,
        _ => return Err("a kernel has exactly one entry point, called main".to_string()),
    };
    reflection.workgroup_size = entry.workgroup_size;
    for (_, variable) in module.global_variables.iter() {
        let Some(resource) = variable.binding else { continue };
        let name = variable.name.clone().unwrap_or_default();
        if resource.group != 0 {
            return Err(format!("{name} stands in group {}; all bindings stand in group 0", resource.group));
        }
        match variable.space {
            naga::AddressSpace::Storage { access } => {
                let writes = access.contains(naga::StorageAccess::STORE);
                let element = Element::of(&module, variable.ty);
                reflection.storage.insert(name, StorageBinding { binding: resource.binding, writes, element });
            }
            naga::AddressSpace::Uniform => {
                reflection.uniform = Some(resource.binding);
                let naga::TypeInner::Struct { members, span } = &module.types[variable.ty].inner else {
                    return Err(format!("the uniform {name} must be a struct"));
                };
                reflection.args_bytes = span.next_multiple_of(16);
                for member in members {
                    let is_f32 = match module.types[member.ty].inner {
                        naga::TypeInner::Scalar(naga::Scalar::F32) => true,
                        naga::TypeInner::Scalar(naga::Scalar::U32) => false,
                        _ => return Err(format!("member {:?} of {name} must be u32 or f32", member.name)),
                    };
                    reflection.args.insert(member.name.clone().unwrap_or_default(), (member.offset, is_f32));
                }
            }
            _ => return Err(format!("{name}: only storage buffers and one uniform block can be bound")),
        }
    }
    Ok((module, reflection))
}

impl Reflection {
    /// Packs the uniform block; every member must be given, once, with its type.
    pub fn pack(&self, args: &[(&'static str, Arg)]) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0u8; self.args_bytes as usize];
        for (name, (offset, is_f32)) in &self.args {
            let mut given = args.iter().filter(|(given, _)| given == name);
            let (Some((_, value)), None) = (given.next(), given.next()) else {
                return Err(format!("the argument {name} must be given once"));
            };
            let raw = match (value, is_f32) {
                (Arg::U32(value), false) => value.to_le_bytes(),
                (Arg::F32(value), true) => value.to_le_bytes(),
                _ => return Err(format!("the argument {name} has another type in the shader")),
            };
            bytes[*offset as usize..*offset as usize + 4].copy_from_slice(&raw);
        }
        match args.iter().find(|(name, _)| !self.args.contains_key(*name)) {
            Some((name, _)) => Err(format!("the shader has no argument {name}")),
            None => Ok(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        struct Args { n: u32, alpha: f32 }
        @group(0) @binding(0) var<uniform> args: Args;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn main() { y[args.n] = args.alpha * x[0]; }";

    #[test]
    fn bindings_and_arguments_are_found_by_name() {
        let (_, found) = reflect(TEXT).expect("valid");
        assert_eq!(found.storage["x"], StorageBinding { binding: 1, writes: false, element: Element::F32 });
        assert!(found.storage["y"].writes);
        let packed = found.pack(&[("alpha", Arg::F32(1.0)), ("n", Arg::U32(3))]).expect("complete");
        assert_eq!(packed[..8], [3, 0, 0, 0, 0, 0, 0x80, 0x3f]);
        assert!(found.pack(&[("n", Arg::U32(3))]).is_err_and(|e| e.contains("alpha")));
        assert!(found.pack(&[("n", Arg::F32(3.0)), ("alpha", Arg::F32(1.0))]).is_err_and(|e| e.contains("type")));
        let extra = [("n", Arg::U32(3)), ("alpha", Arg::F32(1.0)), ("k", Arg::U32(0))];
        assert!(found.pack(&extra).is_err_and(|e| e.contains("no argument k")));
    }

    #[test]
    fn broken_shaders_are_refused() {
        assert!(reflect("fn main() { let a = ; }").is_err());
        assert!(reflect("fn helper() {}").is_err_and(|e| e.contains("entry point")));
    }
}
