//! Lies about what a place in a block costs.

use pilotlight_node::Depth::Quick;

use super::{Lie, Must};
use crate::middle::{Answer, Asked, Said};
use crate::world::Moment::Late;

fn fees(asked: &Asked, truth: Answer, said: impl Into<Vec<u8>>) -> Said {
    if asked.is("/fee-estimates") {
        return Answer::new(200, said).into();
    }
    truth.into()
}

const fn row(name: &'static str, tell: crate::middle::Tell) -> Lie {
    Lie {
        name,
        of: "/fee-estimates",
        at: (Late, Quick),
        // The last rates that were known are good enough to go on with.
        must: Must::Succeed,
        tell,
    }
}

pub fn lies() -> Vec<Lie> {
    vec![
        row("fees of 1e308", |asked, truth| {
            fees(asked, truth, r#"{"1":1e308,"6":1e308,"144":1e308,"1008":1e308}"#)
        }),
        row("fees beyond all numbers", |asked, truth| {
            fees(asked, truth, r#"{"1":1e999}"#)
        }),
        row("negative fees", |asked, truth| {
            fees(asked, truth, r#"{"1":-5,"6":-1e308,"1008":-0.0}"#)
        }),
        row("fees that are no numbers", |asked, truth| {
            fees(asked, truth, r#"{"1":NaN,"6":Infinity}"#)
        }),
        row("fees in words", |asked, truth| {
            fees(asked, truth, r#"{"1":"20.0","6":"dear"}"#)
        }),
        row("fees of nothing", |asked, truth| {
            fees(asked, truth, r#"{"1":0,"6":0.0,"1008":1e-300}"#)
        }),
        row("fees for no time at all", |asked, truth| {
            fees(asked, truth, r#"{"0":9.0,"-1":9.0,"65536":9.0,"x":9.0}"#)
        }),
        row("fees of nulls", |asked, truth| {
            fees(asked, truth, r#"{"1":null}"#)
        }),
        row("a hundred thousand fees", |asked, truth| {
            let all: Vec<String> = (0..100_000).map(|n| format!("\"{n}\":{n}.5")).collect();
            fees(asked, truth, format!("{{{}}}", all.join(",")))
        }),
        row("the same fee a thousand times", |asked, truth| {
            let all: Vec<String> = (0..1_000).map(|n| format!("\"6\":{n}.5")).collect();
            fees(asked, truth, format!("{{{}}}", all.join(",")))
        }),
    ]
}
