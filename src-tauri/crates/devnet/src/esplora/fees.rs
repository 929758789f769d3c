//! Fee rates as `/fee-estimates` gives them, from `estimatesmartfee`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Error;
use crate::rpc::Rpc;

/// The rate of the devnet's own background transactions, hence what estimates tend to. Unlike mainnet's 1-2 sat/vB
/// of a quiet day it is clearly above every floor, so that a fallback is recognised as such.
pub(crate) const NOMINAL_SAT_PER_VB: u64 = 5;
/// The targets that Esplora servers answer for.
fn targets() -> impl Iterator<Item = u16> {
    (1..=25).chain([144, 504, 1008])
}

/// Estimates in sat/vB by confirmation target in blocks.
///
/// A target that `bitcoind` has no answer for gets that of the next longer one that has, else of the next shorter;
/// where it has none at all, the nominal rate.
pub(crate) async fn estimates(rpc: &Rpc) -> Result<BTreeMap<u16, f64>, Error> {
    let asked = targets()
        .map(|target| ("estimatesmartfee", json!([target, "economical"])))
        .collect();
    let mut known = Vec::new();
    for (target, answer) in targets().zip(rpc.batch(asked).await?) {
        known.push((target, answer.ok().as_ref().and_then(sat_per_vb)));
    }
    Ok(fill(&known))
}

/// The same rate for every target.
pub(crate) fn flat(sat_per_vb: u32) -> BTreeMap<u16, f64> {
    targets().map(|target| (target, f64::from(sat_per_vb))).collect()
}

/// The answer of `estimatesmartfee` in sat/vB.
pub(crate) fn sat_per_vb(answer: &Value) -> Option<f64> {
    let btc_per_kvb = answer["feerate"].as_f64()?;
    // Through whole satoshis per 1,000 vB, which is what the number means; else 5 becomes 5.000000000000001.
    let sat_per_kvb = (btc_per_kvb * 100_000_000.0).round();
    Some(sat_per_kvb / 1_000.0)
}

fn fill(known: &[(u16, Option<f64>)]) -> BTreeMap<u16, f64> {
    #[allow(clippy::cast_precision_loss, reason = "a small constant")]
    let mut rate = known
        .iter()
        .find_map(|(_, rate)| *rate)
        .unwrap_or(NOMINAL_SAT_PER_VB as f64);
    let mut filled: BTreeMap<u16, f64> = BTreeMap::new();
    // From the longest: a shorter target never costs less than a longer one.
    if let Some(longest) = known.iter().rev().find_map(|(_, rate)| *rate) {
        rate = longest;
    }
    for (target, own) in known.iter().rev() {
        rate = own.unwrap_or(rate);
        filled.insert(*target, rate);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_take_the_next_longer_answer() {
        let filled = fill(&[
            (1, None),
            (2, Some(7.0)),
            (3, None),
            (144, Some(3.0)),
            (1008, None),
        ]);
        let rates: Vec<f64> = filled.into_values().collect();
        assert_eq!(rates, [7.0, 7.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    fn without_any_answer_the_nominal_rate_stands() {
        assert_eq!(
            fill(&[(1, None), (144, None)]).into_values().collect::<Vec<_>>(),
            [5.0, 5.0]
        );
    }

    #[test]
    fn rates_are_exact() {
        assert_eq!(sat_per_vb(&json!({ "feerate": 0.00005 })), Some(5.0));
        assert_eq!(sat_per_vb(&json!({ "errors": ["Insufficient data"] })), None);
    }
}
