//! Which Debian or Ubuntu this is.

use std::{collections::BTreeMap, env::consts::ARCH, fmt};

/// A release whose packages can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    id: String,
    version: String,
}

impl Release {
    /// Reads `/etc/os-release`; nothing where this is neither Debian nor Ubuntu nor made from them.
    pub(super) fn read(text: &str) -> Option<Release> {
        let fields: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches(['"', '\''])))
            .collect();
        let id = *fields.get("ID")?;
        let like = fields.get("ID_LIKE").copied().unwrap_or_default();
        let family = || [id].into_iter().chain(like.split_whitespace());
        if !family().any(|name| matches!(name, "debian" | "ubuntu")) {
            return None;
        }
        // The one that is still in the making has a name, and no number.
        let version = fields.get("VERSION_ID").or(fields.get("VERSION_CODENAME"));
        let version = version.copied().unwrap_or("unnumbered");
        Some(Release { id: id.to_owned(), version: version.to_owned() })
    }

    /// What the folder of its packages is called: a home may be shared by several.
    pub(super) fn folder_name(&self) -> String {
        let plain = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => character,
            _ => '-',
        };
        format!("{self} {ARCH}").chars().map(plain).collect()
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_itself_or_by_what_it_is_like() {
        let folder = |text: &str| Release::read(text).map(|release| release.folder_name());
        let of = |name: &str| Some(format!("{name}-{ARCH}"));
        assert_eq!(folder("NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n"), of("debian-12"));
        assert_eq!(folder("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\""), of("ubuntu-24.04"));
        let mint = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID='21.3'";
        assert_eq!(folder(mint), of("linuxmint-21.3"));
        assert_eq!(folder("ID=debian\nVERSION_CODENAME=forky"), of("debian-forky"));
        assert_eq!(folder("ID=debian\nVERSION_ID=../x"), of("debian-..-x"));
        assert_eq!(folder("ID=fedora\nVERSION_ID=41"), None);
        assert_eq!(folder(""), None);
    }
}
