//! Rounds in which one or several answers are spoilt, each from a seed: nothing false is told or counted, nobody panics, every error
//! has a type, and the next honest round brings everybody to the truth.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::Network;

use super::mutate::{Dice, spoil};
use super::scene::{Place, Scene, Witness, lines};
use crate::chain::engine::{Engine, Memory};
use crate::chain::esplora::EsploraSource;
use crate::chain::esplora::api::Api;
use crate::chain::{Depth, Follower, Source};
use crate::error::{Error, ErrorCode};

/// How many answers are spoilt. The large figure is run by hand: `PILOTLIGHT_CHAIN_MUTATIONS=100000`.
fn mutations() -> u64 {
    std::env::var("PILOTLIGHT_CHAIN_MUTATIONS").map_or(400, |count| count.parse().unwrap())
}

/// Where the seeds begin.
fn first_seed() -> u64 {
    std::env::var("PILOTLIGHT_CHAIN_MUTATIONS_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// Answers of an honest round, more or less: the one to be spoilt is among so many.
const ANSWERS: usize = 45;

/// What came of the rounds.
#[derive(Default)]
struct Sum {
    spoilt: AtomicU64,
    rounds: AtomicU64,
    errors: AtomicU64,
    true_at_once: AtomicU64,
    incomplete: AtomicU64,
}

/// A server out of memory, which spoils the answers that the dice choose.
struct Liar {
    dice: Mutex<Dice>,
    /// Answers left until one is spoilt; of those after it, one in so many is, too.
    wait: Mutex<usize>,
    then: usize,
    honest: std::sync::atomic::AtomicBool,
    spoilt: AtomicU64,
}

impl Liar {
    fn answer(&self, scene: &Scene, path: &str) -> (u16, Vec<u8>) {
        let answer = scene.tape.answer(path);
        if self.honest.load(Ordering::SeqCst) {
            return answer;
        }
        let mut dice = self.dice.lock().unwrap();
        let mut wait = self.wait.lock().unwrap();
        if *wait > 0 {
            *wait -= 1;
            return answer;
        }
        *wait = match self.then {
            0 => usize::MAX,
            then => dice.below(then),
        };
        let changed = spoil(&mut dice, &scene.tape, path, answer.clone());
        self.spoilt
            .fetch_add(u64::from(changed != answer), Ordering::SeqCst);
        changed
    }
}

/// One worker's wallet, renewed whenever a round has changed it.
struct Worker {
    scene: Arc<Scene>,
    place: Place,
    client: reqwest::Client,
}

impl Worker {
    fn new(scene: &Arc<Scene>) -> Self {
        Self {
            place: Place::copy_of(scene.before.path()),
            scene: Arc::clone(scene),
            client: reqwest::Client::new(),
        }
    }

    fn source(&self, liar: &Arc<Liar>, memory: Arc<Memory>) -> EsploraSource {
        let (scene, liar) = (Arc::clone(&self.scene), Arc::clone(liar));
        let base = scene.url.clone();
        let answers = move |url: &str| liar.answer(&scene, &url[base.len()..]);
        let api = Api::from_memory(
            &self.scene.url,
            self.client.clone(),
            Box::new(answers),
            Network::Regtest,
        );
        EsploraSource {
            engine: Engine::new(api, memory),
        }
    }

    /// One round, and what was wrong with it.
    async fn round(&mut self, seed: u64, sum: &Sum) -> Vec<String> {
        let mut dice = Dice(seed);
        // LDK's part most times: the wallet is changed by most rounds of its own, and renewing it takes much longer than a
        // round.
        let part = *dice.one(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3]);
        // What is remembered of earlier rounds makes for other questions.
        let remembers = dice.below(if part == 0 { 20 } else { 3 }) == 0;
        let memory = if remembers {
            Arc::clone(&self.place.memory)
        } else {
            Arc::new(Memory::new(None))
        };
        let depth = *dice.one(&[Depth::Quick, Depth::Deep]);
        let liar = Arc::new(Liar {
            wait: Mutex::new(dice.below(ANSWERS)),
            then: *dice.one(&[0, 0, 8, 3]),
            dice: Mutex::new(dice),
            honest: false.into(),
            spoilt: AtomicU64::new(0),
        });
        self.place.watch = Arc::default();
        let witness = Witness::new(&self.scene, &self.place.watch);
        let source = self.source(&liar, memory);
        let lied = self.look(&source, &witness, depth, part).await;

        sum.rounds.fetch_add(1, Ordering::Relaxed);
        sum.spoilt
            .fetch_add(liar.spoilt.load(Ordering::SeqCst), Ordering::Relaxed);
        let mut wrong = std::mem::take(&mut *witness.lies.lock().unwrap());
        if let Err(error) = &lied {
            sum.errors.fetch_add(1, Ordering::Relaxed);
            let typed = matches!(
                error.code(),
                ErrorCode::ChainSyncFailed | ErrorCode::NetworkUnavailable | ErrorCode::RateLimited
            );
            if !typed {
                wrong.push(format!("{:?}: {}", error.code(), error.detail()));
            }
        }
        wrong.extend(self.wallet_lies());
        let complete = self.not_at_the_end(&witness, part).is_empty();
        if lied.is_ok() {
            let count = if complete {
                &sum.true_at_once
            } else {
                &sum.incomplete
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Whatever was withheld or failed, the truth is found by the next who asks for everything. Of the failures that changed
        // nothing but what LDK was told, some are enough.
        if lied.is_ok() || part != 0 || seed.is_multiple_of(4) {
            liar.honest.store(true, Ordering::SeqCst);
            drop(source);
            let source = self.source(&liar, Arc::new(Memory::new(None)));
            if let Err(error) = self.look(&source, &witness, Depth::Deep, part).await {
                wrong.push(format!("an honest round failed: {}", error.detail()));
            }
            wrong.extend(witness.lies.lock().unwrap().drain(..));
            wrong.extend(self.not_at_the_end(&witness, part));
        }
        if part != 0 || remembers {
            self.place.store.close().unwrap();
            self.place = Place::copy_of(self.scene.before.path());
        }
        wrong
    }

    async fn look(
        &self,
        source: &EsploraSource,
        witness: &Arc<Witness>,
        depth: Depth,
        part: usize,
    ) -> Result<(), Error> {
        let follower = Arc::clone(witness) as Follower;
        let heads = vec![witness.ear.heard().best];
        let known = Some(self.scene.checkpoint);
        let round = self.place.round(vec![follower], depth, known, heads);
        match part {
            0 => source.sync_lightning(&round).await.map(drop),
            2 => source.sync_onchain(&round).await,
            _ => source.sync(&round).await.map(drop),
        }
    }

    /// What the wallet believes that is not so.
    fn wallet_lies(&self) -> Vec<String> {
        let wallet = &self.place.wallet;
        let (sat, spendable) = (wallet.balance().confirmed_sat, wallet.spendable_sat());
        let tape = &self.scene.tape;
        // A spend that is withheld leaves the coin. Coins that never were are lies.
        let most: u64 = self.scene.in_blocks.iter().map(|(.., received)| received).sum();
        let mut wrong = Vec::new();
        if sat > most || spendable > most {
            wrong.push(format!(
                "{sat} sat confirmed, {spendable} sat to spend, of {most}"
            ));
        }
        for (txid, block, _, received) in wallet.in_blocks() {
            let true_line = self.scene.in_blocks.iter().find(|(known, ..)| *known == txid);
            let header = tape.headers.get(block.height as usize);
            let stands = header.is_some_and(|header| header.block_hash() == block.hash);
            // Below a transaction that is shown in a block, what it spends is in that block or under it.
            let there = tape
                .places
                .get(&txid)
                .is_some_and(|(height, _)| *height <= block.height);
            // What was there before the reorganisation may be there until it is heard of.
            let gone = txid == self.scene.gone && block.hash == self.scene.checkpoint.hash;
            if !(stands && there || gone) || true_line.is_none_or(|line| line.3 != received) {
                wrong.push(format!("in a block: {txid} in {block:?}, {received} sat"));
            }
        }
        wrong
    }

    /// What is not as it must be when all has been heard.
    fn not_at_the_end(&self, witness: &Witness, part: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        if part != 2 {
            let heard = witness.ear.heard();
            let tip = self.scene.tape.headers.len() - 1;
            let told: usize = heard.confirmed.len();
            if usize::try_from(heard.best.0) != Ok(tip) || told != self.scene.then.len() + 1 {
                wrong.push(format!("not all was heard: {heard:?}"));
            }
        }
        if part > 1 && lines(&self.place.wallet) != self.scene.in_blocks {
            wrong.push(format!(
                "not all is in the wallet: {:#?}",
                lines(&self.place.wallet)
            ));
        }
        wrong
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spoilt_answers_are_typed_errors_or_true() {
    let scene = Arc::new(Scene::new().await);
    let (sum, next, wanted) = (Sum::default(), AtomicU64::new(first_seed()), mutations());
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let work = || {
        // Nothing waits for anything but the clock, which is therefore moved on.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let mut worker = Worker::new(&scene);
        while sum.spoilt.load(Ordering::Relaxed) < wanted && wrong.lock().unwrap().len() < 10 {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            let round = AssertUnwindSafe(|| runtime.block_on(worker.round(seed, &sum)));
            let found = std::panic::catch_unwind(round);
            let found = found.unwrap_or_else(|panic| {
                let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                vec![format!("a panic: {words}")]
            });
            if !found.is_empty() {
                wrong
                    .lock()
                    .unwrap()
                    .extend(found.into_iter().map(|what| format!("seed {seed}: {what}")));
                worker = Worker::new(&scene);
            }
        }
    };
    tokio::task::block_in_place(|| {
        std::thread::scope(|threads| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                threads.spawn(work);
            }
        });
    });
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    eprintln!(
        "{} answers spoilt in {} rounds: {} errors, {} true at once, {} true and not complete",
        count(&sum.spoilt),
        count(&sum.rounds),
        count(&sum.errors),
        count(&sum.true_at_once),
        count(&sum.incomplete)
    );
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
