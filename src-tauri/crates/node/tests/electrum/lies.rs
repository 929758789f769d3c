//! An Electrum server that lies, errs, limits or is silent: every lie has its type, and after it the truth brings the wallet to
//! where it would have been without.

use std::time::{Duration, Instant};

use pilotlight_devnet::Electrs;

use super::scene::{Scene, asleep};
use super::table;

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_has_its_type_and_the_truth_mends_whatever_was_told_before_it() {
    if !Electrs::wanted("lies of an Electrum server") {
        return;
    }
    let scene = Scene::new().await;
    let (config, _dir) = scene.wallet();
    let (done, truth) = scene.look(&config).await;
    done.unwrap();
    assert!(
        truth.channels.is_empty() && !truth.sweeps.is_empty(),
        "{truth:#?}"
    );
    let asleep = asleep(&scene.wallet().0);

    let lies = table::all();
    assert!(lies.len() >= 50, "{}", lies.len());
    for (what, lie, code) in lies {
        let (config, _dir) = scene.wallet();
        scene.liar.tell(lie);
        let begun = Instant::now();
        let (done, digest) = scene.look(&config).await;
        let error = done
            .err()
            .unwrap_or_else(|| panic!("{what}: believed: {digest:#?}"));
        assert_eq!(error.code(), code, "{what}: {}", error.detail());
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what}: {:?}",
            begun.elapsed()
        );
        for (of, known) in [
            (&digest.in_blocks, [&asleep.in_blocks, &truth.in_blocks]),
            (&digest.claimable, [&asleep.claimable, &truth.claimable]),
        ] {
            assert!(
                known.contains(&of),
                "{what}: neither what was, nor what is: {of:#?}"
            );
        }
        scene.liar.be_honest();
        let (done, mended) = scene.look(&config).await;
        done.unwrap_or_else(|e| panic!("{what}, then the truth: {}", e.detail()));
        let differences = mended.differences(&truth);
        assert!(differences.is_empty(), "{what}, then the truth: {differences:#?}");
    }
}
