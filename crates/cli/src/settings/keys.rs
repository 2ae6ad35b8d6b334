//! The keys that a config file may have, read off the structs, and what an unknown one was probably meant to be.

use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};

/// The names of a struct's fields, as its `Deserialize` asks for them.
pub(super) fn of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names = FieldNames(&[]);
    // It never succeeds: there is nothing to read.
    let _ = T::deserialize(&mut names);
    names.0
}

/// Notes which fields a struct asks for, and refuses.
struct FieldNames(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0 = fields;
        Err(Error::custom("only its fields"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// `; did you mean …?` where one of `known` is near, else all of them.
pub(super) fn hint<'k>(unknown: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    let near = known.clone().map(|key| (distance(unknown, key), key)).min();
    match near {
        Some((distance, key)) if distance <= 2.max(unknown.chars().count() / 3) => format!("; did you mean `{key}`?"),
        _ => format!("; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// Letters to insert, delete or change, or neighbours to swap, to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    // What a file holds may be long; no key is.
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j - 1] + change).min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use wgrad::prelude::Augment;

    #[test]
    fn keys_are_those_of_the_structs() {
        assert!(of::<Settings>().contains(&"batch_size") && of::<Augment>().contains(&"pad_crop"));
        assert!(of::<u32>().is_empty());
    }

    #[test]
    fn what_is_near_is_named() {
        let known = ["epochs", "batch_size", "lr"];
        for (unknown, wanted) in
            [("epoch", "epochs"), ("batchsize", "batch_size"), ("rl", "lr"), ("bacth_size", "batch_size")]
        {
            assert_eq!(hint(unknown, known.into_iter()), format!("; did you mean `{wanted}`?"));
        }
        assert_eq!(hint("optimisation", known.into_iter()), "; there are epochs, batch_size, lr");
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("ab", "ba")), (3, 0, 1));
        assert_eq!(distance(&"x".repeat(1 << 20), "lr"), 64);
    }
}
