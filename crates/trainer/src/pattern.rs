//! Names of layers and parameters by pattern: which ones to freeze, to leave out, to give another learning rate.

use std::fmt;

/// A pattern for dotted names. It matches a name, or any layer that the name lies in: `layer1` matches `layer1.0.conv1.weight` but
/// not `layer10.0.conv1.weight`. `*` stands for any letters, dots among them: `*.bias`, `*bn*`.
///
/// ```
/// use wgrad_trainer::Pattern;
///
/// assert!(Pattern::new("layer1").matches("layer1.0.conv1.weight"));
/// assert!(Pattern::new("layer*.conv1").matches("layer2.1.conv1.weight"));
/// assert!(!Pattern::new("layer1").matches("layer10.weight"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern from its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    /// Whether a parameter of this name is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let ends = name.match_indices('.').map(|(end, _)| end).chain([name.len()]);
        ends.into_iter().any(|end| name.get(..end).is_some_and(|path| glob(&self.0, path)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Into<String>> From<T> for Pattern {
    fn from(text: T) -> Pattern {
        Pattern::new(text)
    }
}

/// Whether `text` is the pattern with something for each `*`: the first piece in front, the last at the end, and those between
/// as far to the left as they go.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(front) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(found) = text.find(piece) else { return false };
        text = &text[found + piece.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_names_and_what_lies_below() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
        for (pattern, name) in [
            ("fc", "fc.weight"),
            ("fc.weight", "fc.weight"),
            ("*", "a.b"),
            ("*.bias", "layer1.0.bias"),
            ("features.*.bias", "features.3.squeeze.bias"),
            ("*bn*", "layer1.0.bn1.weight"),
            ("a*b*c", "a.xbb.c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("fc", "fc2.weight"),
            ("weight", "fc.weight"),
            ("", "fc.weight"),
            ("*.bias", "fc.weight"),
            ("a*a", "a"),
            ("a*bc*c", "a.bc"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
