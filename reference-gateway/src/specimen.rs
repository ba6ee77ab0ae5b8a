//! One identity of ordinary size, for measuring the codec beside plain `serde_json`.

use serde_json::json;

use crate::{
    cache_schema::CacheSchema,
    defects::Defects,
    identity_cache::{
        codec::Codec,
        payload::{Body, Payload},
    },
    store::VirtualKey,
};

/// A virtual key with a budget, limits, models and metadata.
#[derive(Debug)]
pub struct Specimen {
    key: VirtualKey,
    schema: CacheSchema,
}

impl Specimen {
    /// The one specimen, to be written at this schema version.
    pub fn key(schema: CacheSchema) -> Specimen {
        let models = ["gpt-4o", "gpt-4o-mini", "claude-sonnet"].map(str::to_owned);
        let key = VirtualKey {
            token: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            key_name: "sk-...wxyz".to_owned(),
            key_alias: Some("billing batch".to_owned()),
            user_id: Some("user-000042".to_owned()),
            team_id: Some("team-000007".to_owned()),
            organization_id: Some("org-000001".to_owned()),
            models: Some(models.to_vec()),
            metadata: Some(json!({"owner": "billing", "tags": ["batch", "nightly"], "tier": 2})),
            max_budget: Some(125.5),
            budget_duration: Some("30d".to_owned()),
            tpm_limit: Some(200_000),
            rpm_limit: Some(600),
            max_parallel_requests: None,
            blocked: None,
            blocked_at_ms: None,
            expires_at_ms: Some(1_893_456_000_000),
            key_id: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        };
        Specimen { key, schema }
    }

    /// Writes and reads it as the cache does; returns the length of the entry.
    ///
    /// # Panics
    ///
    /// When the codec does not read what it wrote.
    pub fn by_codec(&self) -> usize {
        let codec = Codec { schema: self.schema, defects: Defects::default() };
        let entry = codec.encode(&self.key);
        let read = codec.decode::<VirtualKey>(&entry);
        assert!(matches!(read, Ok(Some(_))), "the codec reads what it wrote");
        std::hint::black_box(read).map_or(0, |_| entry.len())
    }

    /// Writes and reads it with `serde_json` and nothing around it; returns the length.
    ///
    /// # Panics
    ///
    /// When `serde_json` does not read what it wrote.
    pub fn by_serde(&self) -> usize {
        let entry = serde_json::to_vec(&Body(self.schema, &self.key)).expect("a key is JSON");
        let mut input = serde_json::Deserializer::from_slice(&entry);
        let read = VirtualKey::read(self.schema, &mut input);
        assert!(read.is_ok(), "serde_json reads what it wrote");
        std::hint::black_box(read).map_or(0, |_| entry.len())
    }
}
