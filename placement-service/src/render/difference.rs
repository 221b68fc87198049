//! The lines in which two texts differ: everything between their common beginning and their common end.

/// The differing lines: those of `old` with `-`, those of `new` with `+`, after their line number. `None`: the texts are
/// equal.
#[must_use]
pub fn describe(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let pairs = old.iter().zip(&new);
    let begin = pairs.take_while(|(one, other)| one == other).count();
    let rest = old.len().min(new.len()) - begin;
    let pairs = old.iter().rev().zip(new.iter().rev()).take(rest);
    let end = pairs.take_while(|(one, other)| one == other).count();
    let changed = |lines: &[&str], sign: char| {
        let lines = lines.iter().skip(begin).take(lines.len() - begin - end);
        let lines = lines.map(|line| format!("{sign}{line}\n"));
        lines.collect::<String>()
    };
    let text = format!(
        "line {}:\n{}{}",
        begin + 1,
        changed(&old, '-'),
        changed(&new, '+')
    );
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differing_lines_are_named() {
        assert_eq!(describe("a\nb\n", "a\nb\n"), None);
        for (old, new, text) in [
            ("a\nb\nc\n", "a\nx\nc\n", "line 2:\n-b\n+x"),
            ("a\nc\n", "a\nb\nc\n", "line 2:\n+b"),
            ("a\na\n", "a\n", "line 2:\n-a"),
            ("a", "a\n", "line 2:\n+"),
            ("", "a\n", "line 1:\n+a"),
        ] {
            assert_eq!(describe(old, new).as_deref(), Some(text));
        }
    }
}
