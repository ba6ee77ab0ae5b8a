//! What the identity cache did, by class of key and by replica.

use crate::{
    cache::{Cache, CacheNumbers, each, percent},
    layout::{counted, grouped, span},
};

use super::{
    markup::Markup,
    table::{Cell, Column, row, table},
};

/// Writes the tables of classes and of processes.
pub(super) fn write(cache: &Cache, page: &mut Markup) {
    page.words(
        "p",
        &[],
        "Only requests count whose identities must be cached: used before on that replica (memory) \
         or on another (Redis), within a lifetime, and not changed since. The worst class stands \
         first, and there is no mean.",
    );
    let columns = [
        Column::Text("class of key"),
        Column::Number("requests"),
        Column::Number("hits"),
        Column::Number("in memory"),
        Column::Number("in Redis"),
        Column::Number("database reads"),
        Column::Number("SQL each"),
        Column::Number("Redis each"),
    ];
    table("Hits by class of key and by replica", &columns, page, |body| {
        for class in &cache.classes {
            if class.all.hit_ratio.is_none() {
                let answered = counted(class.answered, "prompt", "prompts");
                let said = format!("no evidence in {answered}");
                let said = |cell: &mut Markup| cell.text(&said);
                body.element("tr", &[], |row| {
                    row.words("th", &[("scope", "row")], &class.class);
                    row.element("td", &[("colspan", "7")], said);
                });
                continue;
            }
            numbers(&class.class, &class.all, body);
            for replica in &class.replicas {
                let name = format!("{}, replica {}", class.class, replica.replica);
                numbers(&name, &replica.numbers, body);
            }
        }
    });
    if !cache.left_out.is_empty() {
        let told: Vec<_> = cache
            .left_out
            .iter()
            .map(|(why, count)| format!("{} {why}", grouped(*count)))
            .collect();
        page.words("p", &[("class", "faint")], &format!("Not counted: {}.", told.join("; ")));
    }
    processes(cache, page);
}

fn numbers(name: &str, numbers: &CacheNumbers, body: &mut Markup) {
    let cells = [
        grouped(numbers.requests),
        percent(numbers.hit_ratio),
        percent(numbers.memory_hit_ratio),
        percent(numbers.redis_hit_ratio),
        grouped(numbers.identity_reads),
        each(numbers.sql_per_request),
        each(numbers.redis_per_request),
    ];
    row(name, &cells.map(Cell::Number), body);
}

/// What each process asked of the stores.
fn processes(cache: &Cache, page: &mut Markup) {
    if cache.workers.is_empty() {
        return;
    }
    let columns = [
        Column::Text("process"),
        Column::Number("Redis commands"),
        Column::Number("hits"),
        Column::Number("misses"),
        Column::Number("statements"),
        Column::Number("identity reads"),
        Column::Number("time of those"),
    ];
    table("What each process asked of the stores, over the whole run", &columns, page, |body| {
        for process in &cache.workers {
            let worker = process
                .worker
                .map_or_else(|| "worker unknown".to_owned(), |number| format!("worker {number}"));
            let cells = [
                grouped(process.commands),
                grouped(process.redis_hits),
                grouped(process.redis_misses),
                grouped(process.statements),
                grouped(process.identity_reads),
                span(process.identity_read_us / 1_000),
            ];
            let name = format!("replica {}, {worker}", process.replica);
            row(&name, &cells.map(Cell::Number), body);
        }
    });
}
