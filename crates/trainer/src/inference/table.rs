//! The counts of an evaluation as text.

use super::Tally;

/// Pairs of classes that are listed.
const PAIRS: usize = 10;
/// Letters of a name that are shown.
const NAME: usize = 32;

/// A row for each class that has images, then the pairs of classes that are confused most often. `names` are those of all classes.
#[must_use]
pub fn table(tally: &Tally, names: &[String]) -> String {
    let name = |class: usize| names.get(class).map_or_else(|| class.to_string(), |name| short(name));
    let width = tally.classes().iter().enumerate().filter(|(_, class)| class.images > 0);
    let width = width.map(|(i, _)| name(i).chars().count()).max().unwrap_or(0).max("class".len());
    let mut lines = vec![format!("{:width$}  {:>7}  {:>7}  {:>7}", "class", "images", "top-1", "top-5")];
    for (i, class) in tally.classes().iter().enumerate().filter(|(_, class)| class.images > 0) {
        let share = |count: u64| format!("{:.1} %", 100.0 * count as f64 / class.images as f64);
        let top5 = if tally.classes().len() >= 5 { share(class.top5) } else { String::new() };
        lines.push(format!("{:width$}  {:>7}  {:>7}  {top5:>7}", name(i), class.images, share(class.correct)));
    }
    let confusions = tally.confusions();
    if !confusions.is_empty() {
        lines.push(String::new());
        lines.push("most often taken for another:".to_string());
    }
    for pair in confusions.iter().take(PAIRS) {
        let [own, other] = [pair.label, pair.taken_for].map(|class| name(class as usize));
        lines.push(format!("{:>5}  {own:width$}  as  {other}", pair.images));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn short(name: &str) -> String {
    match name.chars().count() > NAME {
        true => name.chars().take(NAME - 1).chain(['…']).collect(),
        false => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_with_images_and_the_most_frequent_pairs() {
        let mut tally = Tally::new(5);
        for _ in 0..2 {
            tally.add(1, &[0.5, 0.2, 0.1, 0.1, 0.1]);
        }
        tally.add(1, &[0.0, 1.0, 0.0, 0.0, 0.0]);
        tally.add(3, &[0.0, 0.0, 0.0, 0.4, 0.6]);
        let names = ["ant", "bee", "cat", "a name that is far too long for a table", "eel"].map(String::from);
        let wanted = "\
class                              images    top-1    top-5
bee                                     3   33.3 %  100.0 %
a name that is far too long for…        1    0.0 %  100.0 %

most often taken for another:
    2  bee                               as  ant
    1  a name that is far too long for…  as  eel
";
        assert_eq!(table(&tally, &names), wanted);
        assert!(table(&Tally::new(0), &[]).starts_with("class"));
    }
}
