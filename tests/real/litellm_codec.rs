//! LiteLLM's cache codec, as installed from PyPI, and the laws that each release breaks.
//!
//! 1.84.0rc1 leaves nulls out and cannot read back all that it wrote; 1.102.4 writes them.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::workspace;

use crate::{gauntlet::gauntlet, python};

/// The laws that both releases break.
const BROKEN_BY_BOTH: [&str; 5] =
    ["kinds-stay-apart", "payload-is-json", "poison-is-refused", "reads-back", "unknown-fields"];

/// The laws that both releases keep.
const KEPT_BY_BOTH: [&str; 2] = ["every-value-is-written", "rewrites-the-same"];

/// A membership without a budget: where nulls are left out, its own reader refuses it.
const UNREADABLE: (&str, &str, &str) =
    ("reads-back", "LiteLLM_TeamMembership", "litellm_budget_table");

/// Spend that is not known: where nulls are left out, it reads as none at all.
const NULL_IS_ZERO: (&str, &str, &str) = ("null-is-not-default", "LiteLLM_TeamMembership", "spend");

#[test]
fn release_1_84_0rc1_loses_nulls() {
    let judged = judged("1.84.0rc1");
    let broken = broken(&judged);
    let laws: BTreeSet<_> = broken.iter().map(|(law, ..)| *law).collect();
    assert_eq!(
        laws,
        [&BROKEN_BY_BOTH[..], &["null-is-not-default"]].concat().into_iter().collect()
    );
    for known in [UNREADABLE, NULL_IS_ZERO] {
        assert!(broken.contains(&known), "{known:?} is not among {broken:#?}");
    }
}

#[test]
fn release_1_102_4_keeps_nulls() {
    let judged = judged("1.102.4");
    let broken = broken(&judged);
    let laws: BTreeSet<_> = broken.iter().map(|(law, ..)| *law).collect();
    assert_eq!(laws, BROKEN_BY_BOTH.into_iter().collect());
    assert!(!broken.contains(&UNREADABLE), "{broken:#?}");
    assert!(judged["tried"]["null-is-not-default"].as_u64() > Some(1000), "{judged:#}");
}

/// What `gauntlet codec` says of a release, which breaks some laws and keeps others.
fn judged(release: &str) -> Value {
    let litellm = format!("litellm=={release}");
    let python = python::with(&format!("codec-{release}"), &[&litellm, "pydantic"]);
    let driver = workspace::root().join("tests/drivers/litellm_cache_codec.py");
    let driver = format!("exec '{}' '{}'", python.display(), driver.display());
    let (status, judged) = gauntlet(["codec", "--seed", "1", "--driver", &driver]);
    assert_eq!(status, 1, "{judged:#}");
    assert_eq!(judged["driver"], format!("litellm {release} as installed"));
    assert_eq!(judged["kinds"], 12);
    assert_eq!(judged["not_put_to_the_test"], serde_json::json!({}));
    for law in KEPT_BY_BOTH {
        assert!(judged["tried"][law].as_u64() > Some(1000), "{law}: {}", judged["tried"]);
    }
    judged
}

/// Law, kind and field of every breach.
fn broken(judged: &Value) -> BTreeSet<(&str, &str, &str)> {
    let breaches = judged["breaches"].as_array().unwrap().iter();
    breaches
        .map(|it| {
            let [law, kind, field] = ["law", "kind", "field"].map(|name| &it[name]);
            (law.as_str().unwrap(), kind.as_str().unwrap(), field.as_str().unwrap_or_default())
        })
        .collect()
}
