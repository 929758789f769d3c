//! A block that was left behind, and a server that says it was not.

use std::sync::Arc;

use bitcoin::Network;

use super::scene::{Line, Place, Scene, lines};
use crate::chain::engine::Engine;
use crate::chain::esplora::EsploraSource;
use crate::chain::esplora::api::Api;
use crate::chain::{Depth, Source};

impl Scene {
    /// A server that answers truly, but says that the block which was left behind still stands, if it lies.
    fn server(self: &Arc<Self>, lies: bool, place: &Place) -> EsploraSource {
        let scene = Arc::clone(self);
        let left_behind = format!("/block-height/{}", scene.checkpoint.height);
        let answers = move |url: &str| match &url[scene.url.len()..] {
            path if lies && path == left_behind => (200, scene.checkpoint.hash.to_string().into_bytes()),
            path => scene.tape.answer(path),
        };
        let client = reqwest::Client::new();
        let api = Api::from_memory(&self.url, client, Box::new(answers), Network::Regtest);
        EsploraSource {
            engine: Engine::new(api, Arc::clone(&place.memory)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_falsely_said_to_stand_is_given_up_at_the_next_close_look() {
    let scene = Arc::new(Scene::new().await);
    let place = Place::copy_of(scene.before.path());
    let look = async |lies, depth| {
        let round = place.round(Vec::new(), depth, None, Vec::new());
        scene.server(lies, &place).sync_onchain(&round).await.unwrap();
        lines(&place.wallet)
    };
    let believed = look(true, Depth::Quick).await;
    let stands = |(txid, block, ..): &Line| (*txid, block.hash) == (scene.gone, scene.checkpoint.hash);
    assert!(believed.iter().any(stands), "{believed:#?}");
    assert_eq!(look(false, Depth::Deep).await, scene.in_blocks);
    // What is right stays right, whoever lies.
    assert_eq!(look(true, Depth::Deep).await, scene.in_blocks);
}
