//! The reference gateway passes every check, and nothing that was seen is left unexplained.

use harness::checks;
use tests::binaries::Flavour;

use crate::gauntlet::Gauntlet;

#[tokio::test]
async fn the_healthy_gateway_passes_every_check() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    for seed in [11, 12] {
        let ended = gauntlet
            .run(&format!(
                "check --target reference --cases 6 --seed {seed} --out {{}}/runs --json"
            ))
            .await;
        let report = ended.report();
        for check in report["checks"].as_array().unwrap() {
            assert_eq!(check["verdict"], "pass", "seed {seed}: {check:#}");
            assert_eq!(check["cases"], 6, "seed {seed}: {check:#}");
        }
        assert_eq!(report["totals"]["pass"], checks::ALL.len());
        assert_eq!(ended.status(), 0, "{}", ended.err);

        let wire = &report["wire"];
        assert!(wire["joined"].as_u64().unwrap() > 1_000, "{wire:#}");
        for lack in ["unjoined", "lost", "unseen_bytes"] {
            assert_eq!(wire[lack], 0, "seed {seed}: {wire:#}");
        }
    }
}
