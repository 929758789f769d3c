//! Many figures made few.

use serde_json::{Value, json};

use crate::contestants::CONTESTANTS;

const MEASURES: [&str; 5] = ["wall_ms", "requests", "connections", "bytes", "rss_kib"];

/// Medians of each contestant, or why it did not come to the tip, and what share of its rivals' each of ours is.
pub fn cell((channels, blocks, rtt): (u32, u32, u64), results: &[Vec<Value>]) -> Value {
    let mut cell = json!({ "channels": channels, "blocks": blocks, "rtt_ms": rtt });
    for (contestant, results) in CONTESTANTS.iter().zip(results) {
        let medians = MEASURES.map(|measure| (measure.to_owned(), median(results, measure)));
        cell[contestant.name] = Value::Object(medians.into_iter().collect());
        if let Some(failed) = results.iter().find(|result| !result["failed"].is_null()) {
            cell[contestant.name]["failed"] = failed["failed"].clone();
        }
    }
    for contestant in &CONTESTANTS {
        for rival in contestant.rivals {
            let ratio = |measure: &str| {
                let (ours, theirs) = (
                    cell[contestant.name][measure].as_f64()?,
                    cell[*rival][measure].as_f64()?,
                );
                (theirs > 0.0).then(|| (ours / theirs * 1_000.0).round() / 1_000.0)
            };
            let ratios = MEASURES.map(|measure| (measure.to_owned(), json!(ratio(measure))));
            cell[format!("{}/{rival}", contestant.name)] = Value::Object(ratios.into_iter().collect());
        }
    }
    cell
}

/// Null if it was not measured in each run.
fn median(results: &[Value], measure: &str) -> Value {
    let values: Option<Vec<f64>> = results.iter().map(|result| result[measure].as_f64()).collect();
    let Some(mut values) = values.filter(|values| !values.is_empty()) else {
        return Value::Null;
    };
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let middle = if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    };
    json!((middle * 10.0).round() / 10.0)
}
