//! An Electrum server whose answers are changed at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pilotlight_devnet::Electrs;
use pilotlight_node::ErrorCode::{ChainSyncFailed, NetworkUnavailable, RateLimited, SyncTimeout};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::liar::Said;
use super::scene::Scene;

/// Honest answers with something changed at random, as often as `PILOTLIGHT_ELECTRUM_MUTATIONS` says: no panic, an error with a type or
/// nothing, and afterwards the truth wins.
#[tokio::test(flavor = "multi_thread")]
async fn answers_changed_at_random_are_survived() {
    if !Electrs::wanted("an Electrum server's answers changed at random") {
        return;
    }
    let cases: u64 = std::env::var("PILOTLIGHT_ELECTRUM_MUTATIONS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(40);
    let scene = Scene::new().await;
    let (config, _dir) = scene.wallet();
    let (done, truth) = scene.look(&config).await;
    done.unwrap();
    let mut refused = 0;
    for seed in 0..cases {
        let (config, _dir) = scene.wallet();
        let mut chance = StdRng::seed_from_u64(seed);
        let (at, seen) = (chance.gen_range(0..40), AtomicUsize::new(0));
        let often = chance.gen_bool(0.3);
        let bytes: Vec<u8> = (0..64).map(|_| chance.r#gen()).collect();
        scene.liar.tell(Arc::new(move |_, _, answer| {
            let number = seen.fetch_add(1, Ordering::SeqCst);
            if number == at || often && number > at {
                Said::Raw(mutated(&answer, &bytes))
            } else {
                Said::Answer(answer)
            }
        }));
        let (done, _) = scene.look(&config).await;
        if let Err(error) = &done {
            refused += 1;
            assert!(
                [ChainSyncFailed, NetworkUnavailable, RateLimited, SyncTimeout].contains(&error.code()),
                "{seed}: {:?}: {}",
                error.code(),
                error.detail()
            );
        }
        scene.liar.be_honest();
        let (done, mended) = scene.look(&config).await;
        done.unwrap_or_else(|e| panic!("{seed}, then the truth: {}", e.detail()));
        let mut differences = mended.differences(&truth);
        // LDK's events came before, and what they made it send was sent, if that look was believed.
        differences.retain(|line| !line.contains("event") && !line.starts_with("lacks spends"));
        assert!(differences.is_empty(), "{seed}, then the truth: {differences:#?}");
    }
    assert!(refused > 0, "nothing was changed that matters");
    println!("{cases} mutations, {refused} refused");
}

/// An answer's line with some of its bytes, digits or pieces changed.
fn mutated(answer: &Value, chance: &[u8]) -> Vec<u8> {
    let mut line = answer.to_string().into_bytes();
    let place = |n: usize, length: usize| {
        let number = u64::from_le_bytes(chance[n * 8..n * 8 + 8].try_into().unwrap());
        usize::try_from(number % u64::try_from(length.max(1)).unwrap()).unwrap()
    };
    match chance[63] % 6 {
        0 => {
            let at = place(0, line.len());
            line[at] = chance[62];
        }
        1 => line.truncate(place(0, line.len())),
        2 => {
            // One hex digit or number in the result.
            let at = place(0, line.len());
            if let Some(digit) = line[at..].iter_mut().find(|byte| byte.is_ascii_hexdigit()) {
                *digit = b"0123456789abcdef"[usize::from(chance[61] % 16)];
            }
        }
        3 => {
            let (from, to) = (place(0, line.len()), place(1, line.len()));
            line.drain(from.min(to)..from.max(to));
        }
        4 => {
            let (from, to) = (place(0, line.len()), place(1, line.len()));
            let piece = line[from.min(to)..from.max(to)].to_vec();
            let at = place(2, line.len());
            line.splice(at..at, piece);
        }
        _ => {
            for n in 0..4 {
                let at = place(n, line.len());
                line[at] ^= 1 << (chance[50 + n] % 8);
            }
        }
    }
    line.push(b'\n');
    line
}
