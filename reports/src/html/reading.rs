//! Reads a page back, strictly, for the tests: what is not well-formed is a panic.

/// A page in parts, in their order.
pub(super) enum Part<'a> {
    /// `<name attribute="value">`.
    Start(&'a str, Vec<(&'a str, &'a str)>),
    /// `</name>`.
    End(&'a str),
    /// Anything else, as it is written.
    Text(&'a str),
}

/// Elements that hold nothing and have no end.
const VOID: &[&str] = &["meta", "link"];

/// The parts of `page`, each start with its end.
pub(super) fn parts(page: &str) -> Vec<Part<'_>> {
    let mut rest = page.strip_prefix("<!doctype html>\n").expect("a doctype first");
    let (mut parts, mut open) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let Some(at) = rest.find('<') else {
            parts.push(Part::Text(rest));
            break;
        };
        if at > 0 {
            parts.push(Part::Text(&rest[..at]));
        }
        let (tag, after) = rest[at + 1..].split_once('>').expect("an end of the tag");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
            parts.push(Part::End(name));
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.bytes().all(|it| it.is_ascii_alphanumeric()), "not an element: {name:?}");
        parts.push(Part::Start(name, self::attributes(attributes)));
        if VOID.contains(&name) {
            continue;
        }
        open.push(name);
        if let "style" | "script" = name {
            let end = rest.find(&format!("</{name}>")).expect("an end");
            parts.push(Part::Text(&rest[..end]));
            rest = &rest[end..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    parts
}

fn attributes(mut text: &str) -> Vec<(&str, &str)> {
    let mut attributes = Vec::new();
    while !text.is_empty() {
        let (name, after) = text.split_once("=\"").expect("an attribute with a value");
        assert!(
            name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-'),
            "not an attribute: {name:?}"
        );
        let (value, after) = after.split_once('"').expect("an end of the value");
        attributes.push((name, value));
        text = after.strip_prefix(' ').unwrap_or(after);
    }
    attributes
}

/// What a person reads from `name` to its end, each heading, row and item in a line of its own.
pub(super) fn told(page: &str) -> String {
    let (mut told, mut silent) = (String::new(), 0);
    for part in parts(page) {
        match part {
            Part::Start("style" | "script" | "head" | "svg", _) => silent += 1,
            Part::End("style" | "script" | "head" | "svg") => silent -= 1,
            Part::Start(name @ ("h1" | "h2" | "h3" | "h4" | "h5"), _) if silent == 0 => {
                told.push_str(&format!("\n{} ", "#".repeat(name[1..].parse().unwrap())));
            }
            Part::Start("th" | "td", _) => told.push_str(" | "),
            Part::Start("option" | "dd" | "button", _) => told.push(' '),
            Part::Start("li", _) => told.push_str("- "),
            Part::Start("span", attributes)
                if attributes.contains(&("class", "title"))
                    || attributes.contains(&("class", "reason"))
                    || attributes.contains(&("class", "driven")) =>
            {
                told.push_str("; ");
            }
            Part::Start("span", _) => told.push(' '),
            Part::Text(text) if silent == 0 => told.push_str(&unescaped(text)),
            Part::End(
                "h1" | "h2" | "h3" | "h4" | "h5" | "tr" | "li" | "p" | "caption" | "div"
                | "figcaption" | "select" | "summary",
            ) => told.push('\n'),
            Part::Start(..) | Part::End(_) | Part::Text(_) => (),
        }
    }
    let lines = told.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.join(" ").trim_start_matches("| ").to_owned()
    });
    let lines: Vec<_> = lines.filter(|line| !line.is_empty() && line != "-").collect();
    lines.join("\n")
}

fn unescaped(text: &str) -> String {
    let escapes = [
        ("\n", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    escapes.iter().fold(text.to_owned(), |text, (escape, meant)| text.replace(escape, meant))
}
