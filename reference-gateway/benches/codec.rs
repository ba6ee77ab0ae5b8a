//! What the tag and the version of a cached entry cost, beside plain `serde_json`.
//!
//! Both ways write and read the same virtual key, in turn, so the ratio says something and the
//! absolute figures do not. The bar, at either schema version: at most 1.3 times plain `serde_json`.
//! The ratios are printed last: `cargo bench -p reference-gateway --bench codec`.

use std::{
    hint::black_box,
    io::{self, Write},
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group};
use reference_gateway::{cache_schema::CacheSchema, specimen::Specimen};

/// Round trips in one measurement.
const ROUND_TRIPS: u32 = 20_000;

/// Measurements of each way, in turn, of which the median ratio is taken.
const TURNS: usize = 21;

fn codec(criterion: &mut Criterion) {
    for schema in CacheSchema::ALL {
        let key = Specimen::key(schema);
        let mut group =
            criterion.benchmark_group(format!("write and read a key of version {schema}"));
        group.bench_function("codec", |bencher| bencher.iter(|| black_box(&key).by_codec()));
        group.bench_function("serde_json", |bencher| bencher.iter(|| black_box(&key).by_serde()));
        group.finish();
    }
}

/// Measures both ways in turn and prints their ratio.
fn ratio(schema: CacheSchema, out: &mut impl Write) -> io::Result<()> {
    let key = Specimen::key(schema);
    let mut ratios: Vec<f64> = (0..TURNS)
        .map(|_| {
            let plain = took(|| key.by_serde());
            let codec = took(|| key.by_codec());
            codec.as_secs_f64() / plain.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[TURNS / 2], ratios[TURNS - 1]);
    writeln!(
        out,
        "codec, version {schema}: {median:.2} x plain serde_json (bar: at most 1.3; {least:.2} to {most:.2})"
    )
}

fn took(round_trip: impl Fn() -> usize) -> Duration {
    let began = Instant::now();
    for _ in 0..ROUND_TRIPS {
        black_box(round_trip());
    }
    began.elapsed()
}

criterion_group!(benches, codec);

fn main() -> io::Result<()> {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // Only where it is measured, not where `cargo test` tries whether it runs.
    if std::env::args().any(|arg| arg == "--bench") {
        for schema in CacheSchema::ALL {
            ratio(schema, &mut io::stdout())?;
        }
    }
    Ok(())
}
