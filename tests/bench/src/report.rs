//! Formats the results as a table.

use crate::{
    callouts::CalloutRow,
    cost_targets::{Bound, CostTarget},
    load::Load,
    results::{Results, Row},
    stores::StoreRow,
};
use std::fmt::Write;

/// The whole report. Ratios are relative to Envoy without Berth.
pub(crate) fn table(results: &Results) -> String {
    let mut text = format!("\n{}\n\n", results.describe_setup());
    if !results.rows.is_empty() {
        write_paths(&mut text, results);
    }
    if !results.callouts.is_empty() {
        write_callouts(&mut text, &results.callouts);
    }
    if !results.aims.is_empty() {
        write_targets(&mut text, &results.aims);
    }
    if !results.stores.is_empty() {
        write_stores(&mut text, &results.stores);
    }
    text
}

fn write_stores(text: &mut String, stores: &[StoreRow]) {
    push_line(
        text,
        "\nstores, per second     sessions  inserts  look-ups: uncached   cached   lists of 100  rows swept",
    );
    for row in stores {
        push_line(
            text,
            &format!(
                "  {:<20} {:>8} {:>8.0} {:>19.0} {:>8.0} {:>14.0} {:>11.0}",
                row.store,
                row.sessions,
                row.inserts,
                row.lookups_uncached,
                row.lookups_cached,
                row.lists,
                row.swept_rows
            ),
        );
    }
}

fn write_paths(text: &mut String, results: &Results) {
    push_line(text, &format!("{}{}", table_head(), " failed"));
    for load in Load::ALL {
        push_line(text, &load.to_string());
        let rows = results.rows.iter().filter(|row| row.load == load);
        rows.for_each(|row| push_line(text, &format_row(row)));
    }
    let failures = results.rows.iter().filter_map(|row| {
        let failure = row.failure.as_ref()?;
        Some(format!(
            "first failure, {}, {}: {failure}",
            row.client_path, row.load
        ))
    });
    failures.for_each(|failure| push_line(text, &failure));
    push_line(
        text,
        "\nmemory                  idle MiB   KiB per held socket",
    );
    for memory in &results.memory {
        let (client_path, idle, socket) =
            (memory.client_path, memory.idle_mib, memory.kib_per_socket);
        push_line(
            text,
            &format!(
                "  {client_path:<20} {idle:>9.1} {socket:>12.1}  ({} held)",
                memory.sockets
            ),
        );
    }
}

/// Ratios are relative to external authorization.
fn write_callouts(text: &mut String, rows: &[CalloutRow]) {
    push_line(
        text,
        "\nplain requests            per s  ratio   p50 us   p99 us   CPU us: Envoy  ratio  service failed",
    );
    let mut connections = 0;
    for row in rows {
        if row.connections != connections {
            connections = row.connections;
            push_line(text, &format!("{connections} at once"));
        }
        push_line(
            text,
            &format!(
                "  {:<20} {:>8.0} {:>6.2} {:>8.0} {:>8.0} {:>15.0} {:>6.2} {:>8.0} {:>6}",
                row.gateway,
                row.per_second,
                row.rate_ratio,
                row.p50_us,
                row.p99_us,
                row.envoy_cpu_us,
                row.cpu_ratio,
                row.service_cpu_us,
                row.failed
            ),
        );
    }
}

fn write_targets(text: &mut String, aims: &[CostTarget]) {
    push_line(
        text,
        "\ntarget                                   wanted  measured  met",
    );
    aims.iter()
        .for_each(|aim| push_line(text, &format_target(aim)));
}

/// Writing to a string cannot fail.
fn push_line(text: &mut String, addition: &str) {
    let _ = writeln!(text, "{}", addition.trim_end());
}

fn table_head() -> String {
    format!(
        "{:<22} {:>8} {:>6} {:>8} {:>6} {:>8}   CPU us: {:>5} {:>7} {:>7} {:>6}",
        "", "per s", "ratio", "p50 us", "ratio", "p99 us", "Envoy", "service", "engines", "client"
    )
}

fn format_row(row: &Row) -> String {
    let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
    let (rate, p50, cpu) = (
        ratio(row.per_second_ratio),
        ratio(row.p50_ratio),
        row.cpu_us,
    );
    format!(
        "  {:<20} {:>8.0} {rate:>6} {:>8.0} {p50:>6} {:>8.0}           {:>5.0} {:>7.0} {:>7.0} {:>6.0} {:>6}",
        row.client_path,
        row.per_second,
        row.p50_us,
        row.p99_us,
        cpu.envoy,
        cpu.service,
        cpu.engines,
        cpu.client,
        row.failed
    )
}

fn format_target(aim: &CostTarget) -> String {
    let expected = match aim.bound {
        Bound::AtLeast(bound) => format!(">= {bound:.2}"),
        Bound::AtMost(bound) => format!("<= {bound:.2}"),
    };
    let Some(measured) = aim.measured else {
        return format!("  {:<35} {expected:>9}         -  -", aim.what);
    };
    let verdict = if aim.met { "yes" } else { "NO" };
    format!(
        "  {:<35} {expected:>9} {measured:>9.2}  {verdict}",
        aim.what
    )
}
