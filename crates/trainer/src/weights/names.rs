//! From a file's names of tensors to a model's.

/// What is done to the names of a file, in order. Names that no rule concerns stay.
///
/// ```
/// use wgrad_trainer::weights::NameMap;
///
/// let map = NameMap::new().strip_prefix("module.").replace("head.", "fc.");
/// assert_eq!(map.apply("module.head.weight").as_deref(), Some("fc.weight"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct NameMap {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    Strip(String),
    Replace { from: String, to: String },
    Hook(fn(&str) -> Option<String>),
}

/// What wrappers put before the names: `DataParallel`, Lightning and others, `torch.compile`.
const WRAPPERS: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// Caffe's layers of SqueezeNet 1.1 and torchvision's.
const SQUEEZENET1_1: [(&str, &str); 13] = [
    ("conv1.", "features.0."),
    ("fire2/", "features.3."),
    ("fire3/", "features.4."),
    ("fire4/", "features.6."),
    ("fire5/", "features.7."),
    ("fire6/", "features.9."),
    ("fire7/", "features.10."),
    ("fire8/", "features.11."),
    ("fire9/", "features.12."),
    ("conv10.", "classifier.1."),
    ("squeeze1x1.", "squeeze."),
    ("expand1x1.", "expand1x1."),
    ("expand3x3.", "expand3x3."),
];

impl NameMap {
    /// Names as they are.
    #[must_use]
    pub fn new() -> NameMap {
        NameMap::default()
    }

    /// Takes a prefix off names that have it.
    #[must_use]
    pub fn strip_prefix(mut self, prefix: impl Into<String>) -> NameMap {
        self.rules.push(Rule::Strip(prefix.into()));
        self
    }

    /// Replaces part of a name, where it stands at the start or behind a dot: `replace("conv10.", "classifier.1.")`.
    #[must_use]
    pub fn replace(mut self, from: impl Into<String>, to: impl Into<String>) -> NameMap {
        self.rules.push(Rule::Replace { from: from.into(), to: to.into() });
        self
    }

    /// A rule of one's own; `None` leaves a tensor out.
    #[must_use]
    pub fn hook(mut self, hook: fn(&str) -> Option<String>) -> NameMap {
        self.rules.push(Rule::Hook(hook));
        self
    }

    /// Caffe's names of SqueezeNet 1.1 to torchvision's: `fire2/squeeze1x1.weight` becomes `features.3.squeeze.weight`.
    #[must_use]
    pub fn caffe_squeezenet1_1() -> NameMap {
        SQUEEZENET1_1.into_iter().fold(NameMap::new(), |map, (from, to)| map.replace(from, to))
    }

    /// The name of a tensor in the model; `None` if it is to be left out.
    #[must_use]
    pub fn apply(&self, name: &str) -> Option<String> {
        let mut name = name.to_string();
        for rule in &self.rules {
            name = match rule {
                Rule::Strip(prefix) => name.strip_prefix(prefix.as_str()).unwrap_or(&name).to_string(),
                Rule::Replace { from, to } => replace(&name, from, to),
                Rule::Hook(hook) => hook(&name)?,
            };
        }
        Some(name)
    }
}

fn replace(name: &str, from: &str, to: &str) -> String {
    let found = name.match_indices(from).find(|&(at, _)| at == 0 || name[..at].ends_with('.'));
    match found {
        Some((at, _)) if !from.is_empty() => format!("{}{to}{}", &name[..at], &name[at + from.len()..]),
        _ => name.to_string(),
    }
}

/// The prefix of wrappers that all of these names have.
pub(super) fn wrappers<'n>(names: impl Iterator<Item = &'n str> + Clone) -> String {
    let mut prefix = String::new();
    while let Some(wrapper) = WRAPPERS.iter().find(|wrapper| {
        let longer = format!("{prefix}{wrapper}");
        let mut names = names.clone().peekable();
        names.peek().is_some() && names.all(|name| name.starts_with(&longer))
    }) {
        prefix.push_str(wrapper);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_follow_each_other() {
        let map = NameMap::new().strip_prefix("a.").strip_prefix("b.").replace("x.", "y.z.");
        let apply = |name: &str| map.apply(name).expect("kept");
        assert_eq!(apply("a.b.x.w"), "y.z.w");
        assert_eq!(apply("b.a.x"), "a.x");
        assert_eq!(apply("c.xx.w"), "c.xx.w");
        assert_eq!(apply("c.x.w"), "c.y.z.w");
        let drops = map.hook(|name| (!name.starts_with("aux")).then(|| name.to_string()));
        assert_eq!(drops.apply("a.aux1.w"), None);
    }

    #[test]
    fn squeezenet_gets_torchvision_s_names() {
        let map = NameMap::caffe_squeezenet1_1();
        for (from, to) in [
            ("conv1.weight", "features.0.weight"),
            ("fire2/squeeze1x1.bias", "features.3.squeeze.bias"),
            ("fire9/expand3x3.weight", "features.12.expand3x3.weight"),
            ("conv10.bias", "classifier.1.bias"),
        ] {
            assert_eq!(map.apply(from).as_deref(), Some(to));
        }
    }

    #[test]
    fn wrappers_are_what_all_names_share() {
        let of = |names: &[&str]| wrappers(names.iter().copied());
        assert_eq!(of(&["module.a", "module.b"]), "module.");
        assert_eq!(of(&["model.module.a", "model.module.b.c"]), "model.module.");
        assert_eq!(of(&["module.a", "b"]), "");
        assert_eq!(of(&[]), "");
    }
}
