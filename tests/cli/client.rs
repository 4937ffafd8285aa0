//! What programs rely on that push with the client library instead of the command line.

use anyhow::Result;
use driftless_client::Push;
use driftless_model::{bundle::Bundle, manifest::Manifest};
use serde_json::json;

use crate::desk::Desk;

#[tokio::test]
async fn bundles_that_the_store_is_wrongly_believed_to_have_are_uploaded() -> Result<()> {
    let desk = Desk::ready().await?;
    let client = desk.client()?;
    let bundle = |component: &str, bytes: usize| -> Result<Bundle> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": component}, "data": {"a": "x".repeat(bytes)},
        });
        Ok(Bundle::new(component.parse()?, [Manifest::new(object, "default")?])?)
    };
    // One goes along with the push, the other has to be uploaded before it.
    let (small, large) = (bundle("small", 10)?, bundle("large", 100_000)?);
    let push = Push::new("prod".parse()?).bundle(small.clone()).bundle(large.clone());
    let pushed = client.push(push.known([small.hash(), large.hash()]), |_| {}).await?;
    assert_eq!((pushed.unchanged, pushed.uploaded), (false, 2));
    let channel = client.channel(&"prod".parse()?).await?;
    let hashes: Vec<_> = channel.components.values().copied().collect();
    assert_eq!(client.bundles(&hashes).await?, [large, small]);
    Ok(())
}
