//! The template of a line: what is left when ids, numbers and times are masked.

/// How long a template is at most, in characters.
const LONGEST: usize = 200;

/// Masks everything in `line` that differs between lines of one origin.
///
/// A word that holds a digit is an id, a number or a time; it becomes `#`. `prefix` begins every id of
/// the run. Terminal colours are dropped.
pub fn template(line: &str, prefix: &str) -> String {
    let plain = without_colours(line);
    let mut masked = String::new();
    let mut word = String::new();
    for character in plain.chars().chain(std::iter::once(' ')) {
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        let is_id = word.chars().any(|c| c.is_ascii_digit())
            || (!prefix.is_empty() && word.contains(prefix));
        push_folded(&mut masked, if is_id { "#" } else { &word });
        word.clear();
        push_folded(&mut masked, character.encode_utf8(&mut [0; 4]));
        if masked.chars().count() >= LONGEST {
            break;
        }
    }
    masked.trim_end().to_owned()
}

/// Repeated masks and spaces say no more than one.
fn push_folded(masked: &mut String, piece: &str) {
    let piece = if piece.trim().is_empty() && !piece.is_empty() { " " } else { piece };
    let repeats = (piece == "#" || piece == " ") && masked.ends_with(piece);
    if !repeats {
        masked.push_str(piece);
    }
}

/// The text without terminal colours.
pub fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            plain.push(character);
            continue;
        }
        for skipped in characters.by_ref() {
            if skipped.is_ascii_alphabetic() {
                break;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn lines_of_one_origin_have_one_template() {
        let line = |id: &str, at: &str| {
            format!(
                "\u{1b}[92m{at} - LiteLLM:ERROR\u{1b}[0m: cache.py:126 - failed for key='{id}' of User"
            )
        };
        let first = template(&line("g1c2xi0", "08:01:02"), "g1c");
        assert_eq!(first, template(&line("g1c77xi1:a", "11:59:59"), "g1c").replace("#:a", "#"));
        assert_snapshot!(first, @"#:#:# - LiteLLM:ERROR: cache.py:# - failed for key='#' of User");
    }
}
