//! What the run was made against, and what could be seen of it.

use crate::{
    layout::{counted, grouped, span},
    schema::{Capability, CapabilityState, RunReport, Target, Wire},
};

use super::{
    markup::Markup,
    table::{Cell, Column, row, table},
};

/// Writes the target, its stores, what probes found, and what the wire showed.
pub(super) fn write(report: &RunReport, page: &mut Markup) {
    page.words("h3", &[], "Target");
    target(report, page);
    if !report.target.stores.is_empty() {
        page.words("h3", &[], "Stores");
        stores(&report.target, page);
    }
    if !report.capabilities.is_empty() {
        page.words("h3", &[], "What the target can do and lets us see");
        capabilities(&report.capabilities, page);
    }
    // Under load, events are counted and joined to nothing.
    if report.load.is_none() && report.gateway_load.is_none() && !report.checks.is_empty() {
        page.words("h3", &[], "What the wire showed");
        wire(&report.wire, page);
    }
}

fn target(report: &RunReport, page: &mut Markup) {
    let target = &report.target;
    let version = target.gateway_version.as_deref().unwrap_or("not told");
    let facts = [
        ("name", target.name.clone()),
        ("version", version.to_owned()),
        ("replicas", target.replicas.to_string()),
        ("adapter", target.adapter.clone()),
        ("wire profile", target.wire_profile.clone()),
        ("an identity is cached for", span(target.bounds.ttl_ms)),
        ("a change is everywhere within", span(target.bounds.staleness_ms)),
        ("run", report.run_id.clone()),
        ("seed", report.seed.to_string()),
        ("took", span(report.duration_ms)),
    ];
    // Of a gateway of which only an address is known, these would be made up.
    let unknown =
        ["adapter", "wire profile", "an identity is cached for", "a change is everywhere within"];
    let is_known = |name: &str| report.gateway_load.is_none() || !unknown.contains(&name);
    page.element("dl", &[], |list| {
        for (name, text) in facts.iter().filter(|(name, _)| is_known(name)) {
            list.element("div", &[], |pair| {
                pair.words("dt", &[], name);
                pair.words("dd", &[], text);
            });
        }
    });
}

fn stores(target: &Target, page: &mut Markup) {
    let columns = [
        Column::Text("store"),
        Column::Text("version"),
        Column::Text("found"),
        Column::Text("why so"),
    ];
    table("The stores behind the target", &columns, page, |body| {
        for store in &target.stores {
            let way = store.way.to_string();
            let cells = [Cell::Text(&store.version), Cell::Text(&way), Cell::Text(&store.why)];
            row(&store.kind.to_string(), &cells, body);
        }
    });
}

fn capabilities(capabilities: &[Capability], page: &mut Markup) {
    let columns = [Column::Text("capability"), Column::Text("probe"), Column::Text("note")];
    table("What the probes found before any check ran", &columns, page, |body| {
        for capability in capabilities {
            let state = match capability.state {
                CapabilityState::Confirmed => "✓ confirmed",
                CapabilityState::Missing => "– missing",
                CapabilityState::Unconfirmed => "? unconfirmed",
            };
            row(&capability.name, &[Cell::Text(state), Cell::Text(&capability.note)], body);
        }
    });
}

fn wire(wire: &Wire, page: &mut Markup) {
    let columns = [Column::Text("commands and statements"), Column::Number("count")];
    table("What passed between the replicas and their stores", &columns, page, |body| {
        let mut count = |name: &str, count: u64| row(name, &[Cell::Number(grouped(count))], body);
        count("seen", wire.events);
        count("joined to a request by the ids they carry", wire.joined);
        for (kind, times) in &wire.background {
            count(&format!("background: {kind}"), *times);
        }
        count("joined to nothing", wire.unjoined);
        count("lost before they could be recorded", wire.lost);
        count("bytes that were not understood", wire.unseen_bytes);
    });
    if wire.unjoined_shapes.is_empty() {
        return;
    }
    page.element("details", &[], |details| {
        let shapes = counted(wire.unjoined_shapes.len() as u64, "shape", "shapes");
        details.words("summary", &[], &format!("{shapes} of what was joined to nothing"));
        let columns = [Column::Text("shape"), Column::Number("count")];
        table("What was joined to nothing, by shape", &columns, details, |body| {
            for (shape, times) in &wire.unjoined_shapes {
                row(shape, &[Cell::Number(grouped(*times))], body);
            }
        });
    });
}
