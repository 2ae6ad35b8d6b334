//! Rust source with its comments, and if wished its strings, blanked out: rules are about code.

/// What to blank besides comments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    /// Strings stay as they are.
    Keep,
    /// What is between the quotes goes, too.
    Blank,
}

/// `source` with every blanked character replaced by a space, so that lines and columns stay what they were.
pub(super) fn code(source: &str, strings: Strings) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let (end, blank) = token(&chars, i);
        let blank = match blank {
            Blank::No => false,
            Blank::Comment => true,
            Blank::Text => strings == Strings::Blank,
        };
        for &c in &chars[i..end] {
            out.push(if blank && c != '\n' { ' ' } else { c });
        }
        i = end;
    }
    out
}

/// Which kind of token this is.
enum Blank {
    No,
    Comment,
    Text,
}

/// The end of the token that starts at `i`, and what it is.
fn token(chars: &[char], i: usize) -> (usize, Blank) {
    let at = |k: usize| chars.get(k).copied().unwrap_or('\0');
    match (at(i), at(i + 1)) {
        ('/', '/') => {
            let end = (i..chars.len()).find(|&k| chars[k] == '\n');
            (end.unwrap_or(chars.len()), Blank::Comment)
        }
        ('/', '*') => (block_comment_end(chars, i), Blank::Comment),
        ('"', _) => (string_end(chars, i + 1), Blank::Text),
        ('\'', '\\') => {
            let end = (i + 3..chars.len()).find(|&k| chars[k] == '\'');
            (end.map_or(chars.len(), |k| k + 1), Blank::Text)
        }
        // A character; a lifetime has no quote behind its first letter.
        ('\'', _) if at(i + 2) == '\'' => (i + 3, Blank::Text),
        (c, _) if c.is_alphabetic() || c == '_' => {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let end = (i..chars.len()).find(|&k| !is_word(chars[k])).unwrap_or(chars.len());
            let word: String = chars[i..end].iter().collect();
            if ["r", "br", "cr"].contains(&word.as_str())
                && let Some(end) = raw_string_end(chars, end)
            {
                return (end, Blank::Text);
            }
            (end, Blank::No)
        }
        _ => (i + 1, Blank::No),
    }
}

/// Block comments nest.
fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut i = start;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut i = start;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// The end of `#"…"#` at `start`, if a raw string stands there.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|&&c| c == '#').count();
    if chars.get(start + hashes) != Some(&'"') {
        return None;
    }
    let closes = |k: usize| chars[k] == '"' && chars[k + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    let end = (start + hashes + 1..chars.len()).find(|&k| closes(k));
    Some(end.map_or(chars.len(), |k| (k + 1 + hashes).min(chars.len())))
}

/// Blanks the modules under `#[cfg(test)]` in source that [`code`] has already blanked the strings of.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        let end = item_end(&rest[start..]) + start;
        out.push_str(&rest[..start]);
        out.extend(rest[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// Where the item at the start of `code` ends: at its `;`, or where its braces close.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (i, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return i + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The numbers of the lines in which `word` stands by itself, not as a part of a longer one.
pub(super) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let lines = code.lines().enumerate();
    lines.filter(|(_, line)| has_word(line, word)).map(|(i, _)| i + 1).collect()
}

/// Whether `word` stands in `text` by itself.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let behind = text[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !behind.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(source: &str) -> String {
        code(source, Strings::Blank)
    }

    #[test]
    fn comments_go_and_lines_stay() {
        assert_eq!(blanked("a // b\nc"), "a     \nc");
        assert_eq!(blanked("a /* b /* c */\n d */ e"), "a             \n      e");
        assert_eq!(code("\"// no comment\" // x", Strings::Keep), "\"// no comment\"     ");
    }

    #[test]
    fn strings_of_every_kind_go_when_asked() {
        for source in
            ["x(\"wgpu\")", "x(\"\\\"wgpu\")", "x(r\"wgpu\")", "x(r#\"\"wgpu\"#)", "x(b\"wgpu\")", "x(br##\"wgpu\"##)"]
        {
            assert!(!blanked(source).contains("wgpu"), "{source}");
            assert!(blanked(source).ends_with(')'), "{source}");
            assert!(code(source, Strings::Keep).contains("wgpu"), "{source}");
        }
    }

    #[test]
    fn lifetimes_are_not_characters() {
        assert_eq!(blanked("fn f<'g>(x: &'g str)"), "fn f<'g>(x: &'g str)");
        assert_eq!(blanked("['\"', '\\'', 'a'] // x"), "[   ,     ,    ]     ");
        assert_eq!(blanked("'\\u{1f600}' y"), "            y");
        assert_eq!(blanked("r#type // x"), "r#type     ");
    }

    #[test]
    fn test_modules_go() {
        let source = "a\n#[cfg(test)]\nmod tests {\n fn f() { b }\n}\nc\n#[cfg(test)]\nmod more;\nd";
        let words: Vec<_> = source.split('\n').map(|_| ()).collect();
        let left = without_tests(source);
        assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["a", "c", "d"]);
        assert_eq!(left.split('\n').count(), words.len());
    }

    #[test]
    fn a_word_is_a_whole_word() {
        assert_eq!(lines_with_word("unsafe_code\nunsafe {\n(unsafe)", "unsafe"), [2, 3]);
    }
}
