//! The known word most like a mistaken one, for messages that help.

/// The candidate most like `word`, if any is like it at all.
pub(super) fn nearest<T: AsRef<str>>(
    word: &str,
    candidates: impl IntoIterator<Item = T>,
) -> Option<T> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate.as_ref()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["ready_path", "replicas", "redis"];
        assert_eq!(nearest("redy_path", known), Some("ready_path"));
        assert_eq!(nearest("colour", known), None);
    }
}
