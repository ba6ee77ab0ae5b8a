//! Markup under construction: the one door through which text enters the page.
//!
//! Names of elements and attributes are written in our source, so they are `&'static str`; all other
//! text is escaped on its way in. What a gateway said can therefore never become an element, leave an
//! attribute, or turn a line of the page around.

use std::fmt::Write as _;

/// Names and values of an element's attributes.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// Markup that is well-formed and escaped.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// The document as text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// The element `name` around what `inside` writes.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Markup),
    ) {
        self.open(name, attributes);
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        if ends_its_line(name) {
            self.0.push('\n');
        }
    }

    /// The element `name` around `text`.
    pub(super) fn words(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(name, attributes, |inside| inside.text(text));
    }

    /// The element `name`, which holds nothing and has no end.
    pub(super) fn void(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
        self.0.push('\n');
    }

    /// `text`, escaped.
    pub(super) fn text(&mut self, text: &str) {
        escape(text, &mut self.0);
    }

    /// A part of our own source: the style sheet, the script.
    pub(super) fn verbatim(&mut self, own: &'static str) {
        self.0.push_str(own);
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            escape(value, &mut self.0);
            self.0.push('"');
        }
        self.0.push('>');
    }
}

/// Elements after which the source goes on in a new line, for whoever reads it.
fn ends_its_line(name: &str) -> bool {
    !matches!(name, "a" | "b" | "button" | "code" | "i" | "option" | "span" | "td" | "th" | "title")
}

/// Writes `text` with what means something to HTML, or to whoever shows it, made harmless.
///
/// Sequences that colour a terminal's text are left out, and line ends become spaces; any other
/// character that cannot be seen but moves or turns the rest is written as its escape.
fn escape(text: &str, out: &mut String) {
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            '\u{1b}' => match after_colour(rest.as_str()) {
                Some(after) => rest = after.chars(),
                None => out.push_str("\\u{1b}"),
            },
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                write!(out, "{}", character.escape_unicode()).expect("a string takes all text");
            }
            character if character.is_control() => {
                write!(out, "{}", character.escape_default()).expect("a string takes all text");
            }
            character => out.push(character),
        }
    }
}

/// What follows a sequence that only colours, where `text` goes on with one: `[1;31m`.
fn after_colour(text: &str) -> Option<&str> {
    text.strip_prefix('[')?
        .trim_start_matches(|character: char| character.is_ascii_digit() || character == ';')
        .strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        escape(text, &mut out);
        out
    }

    #[test]
    fn text_stays_text() {
        let mut markup = Markup::default();
        markup.words("p", &[("title", "a\"b' onload='x")], "</p><script>alert(1)</script>&amp;");
        assert_eq!(
            markup.into_text(),
            "<p title=\"a&quot;b&#39; onload=&#39;x\">&lt;/p&gt;&lt;script&gt;alert(1)\
             &lt;/script&gt;&amp;amp;</p>\n"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_written_out_and_colours_are_left_out() {
        assert_eq!(escaped("\u{1b}[92mWARN\u{1b}[0m\tx\ny"), "WARN x y");
        assert_eq!(escaped("\u{1b}[2Jgone\u{0}"), "\\u{1b}[2Jgone\\u{0}");
        assert_eq!(escaped("a\u{202e}b"), "a\\u{202e}b");
    }
}
