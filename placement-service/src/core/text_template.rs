//! Texts with placeholders, such as `{team}/{room}`. Decides where a placeholder begins and ends; what a placeholder
//! stands for is the user's decision.

/// A text, split at its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate(Vec<Piece>);

/// A part of a [`TextTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stays as it is; never empty.
    Literal(String),
    /// The text between `{` and `}`; never empty.
    Placeholder(String),
}

/// A brace without its counterpart, or nothing between two braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has a brace that belongs to no placeholder such as {{name}}")]
pub struct BraceError;

impl TextTemplate {
    /// Splits a text.
    ///
    /// # Errors
    /// The text has a brace that belongs to no placeholder.
    pub fn parse(text: &str) -> Result<Self, BraceError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = match rest.split_once('{') {
                Some((literal, after)) => (literal, Some(after)),
                None => (rest, None),
            };
            if literal.contains('}') {
                return Err(BraceError);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let Some(after) = after else { break };
            let (name, after) = after.split_once('}').ok_or(BraceError)?;
            if name.is_empty() || name.contains('{') {
                return Err(BraceError);
            }
            pieces.push(Piece::Placeholder(name.to_owned()));
            rest = after;
        }
        Ok(Self(pieces))
    }

    /// Its parts in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The names of its placeholders in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_split_at_their_placeholders() {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let placeholder = |name: &str| Piece::Placeholder(name.to_owned());
        for (text, pieces) in [
            ("", vec![]),
            ("plain", vec![literal("plain")]),
            ("{a}", vec![placeholder("a")]),
            ("{a}{b}", vec![placeholder("a"), placeholder("b")]),
            (
                "x {a}/{b.c}!",
                vec![
                    literal("x "),
                    placeholder("a"),
                    literal("/"),
                    placeholder("b.c"),
                    literal("!"),
                ],
            ),
        ] {
            assert_eq!(
                TextTemplate::parse(text).unwrap().pieces(),
                pieces,
                "{text}"
            );
        }
        for text in ["{", "}", "{}", "a}", "{a", "{a}}", "{{a}", "{a{b}}", "}{"] {
            assert_eq!(TextTemplate::parse(text), Err(BraceError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole_text(text in "[a{}é/]{0,20}") {
            if let Ok(template) = TextTemplate::parse(&text) {
                let joined: String = template.pieces().iter().map(|piece| match piece {
                    Piece::Literal(literal) => literal.clone(),
                    Piece::Placeholder(name) => format!("{{{name}}}"),
                }).collect();
                prop_assert_eq!(joined, text);
            }
        }
    }
}
