//! The codec laws over a codec of your own: `cargo run -p harness --example my_codec`.
//!
//! Put your type, its fields and your two functions in their place, and the last line in a test. As
//! it stands the laws hold; take `deny_unknown_fields` away, or skip `models` when it is `None`
//! without a default, and they say so.

use harness::codec::{Field, Kind, Shape, Typed, laws};

/// What is cached.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Team {
    team_id: String,
    #[serde(deserialize_with = "Option::deserialize")]
    models: Option<Vec<String>>,
    #[serde(deserialize_with = "Option::deserialize")]
    tpm_limit: Option<i64>,
}

fn main() {
    let team = Kind::new(
        "team",
        [
            Field::required("team_id", Shape::Text),
            Field::nullable("models", Shape::texts()).narrowing(),
            Field::nullable("tpm_limit", Shape::INT64).narrowing(),
        ],
    );
    let encode = |team: &Team| serde_json::to_vec(team).map_err(|error| error.to_string());
    let decode = |entry: &[u8]| serde_json::from_slice(entry).map_err(|error| error.to_string());
    laws::assert_hold(&mut Typed::new().with(team, encode, decode));
}
