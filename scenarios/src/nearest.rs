//! The known name that a mistyped one was probably meant to be.

/// The one of `known` that is nearest to `given`, unless none is near enough to be worth saying.
///
/// Near enough is one slip (a letter wrong, missing, doubled, or two exchanged) in every three
/// letters. Of several equally near names the first is taken.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_allowed = given.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(slips, _)| *slips <= slips_allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["cases", "seeds", "side_by_side", "shrink_budget"];

    #[test]
    fn a_slip_is_seen_through() {
        assert_eq!(nearest("case", KNOWN), Some("cases"));
        assert_eq!(nearest("sedes", KNOWN), Some("seeds"));
        assert_eq!(nearest("side-by-side", KNOWN), Some("side_by_side"));
        assert_eq!(nearest("shrink_buget", KNOWN), Some("shrink_budget"));
    }

    #[test]
    fn a_stranger_is_not_guessed_at() {
        assert_eq!(nearest("colour", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
        assert_eq!(nearest("cases", []), None);
    }

    #[test]
    fn the_first_of_equals_is_taken() {
        assert_eq!(nearest("cat", ["car", "can"]), Some("car"));
    }
}
