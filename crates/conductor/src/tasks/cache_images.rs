//! Images that the hosts of an aggregate shall have before they need them.

use std::collections::BTreeMap;

use kilonova_core::RequestContext;
use kilonova_objects::Aggregate;
use kilonova_rpcapi::compute::CacheImages;

use super::TaskError;
use crate::Conductor;

impl Conductor {
    /// Asks every host that is up, and logs what came of it. Nobody waits for that; what did not work is done when a
    /// server needs the image.
    pub(crate) async fn cache_images(
        &self,
        context: &RequestContext,
        aggregate: Aggregate,
        image_ids: Vec<String>,
    ) -> Result<(), TaskError> {
        let mut results = Vec::new();
        // One after the other: Nova's default of `[image_cache] precache_concurrency`.
        for host in aggregate.hosts() {
            results.push(self.cache_images_on(context, host, &image_ids).await);
        }
        let count = |wanted: &str| results.iter().flat_map(BTreeMap::values).filter(|result| *result == wanted).count();
        tracing::info!(
            aggregate = aggregate.name,
            images = image_ids.len(),
            cached = count("cached"),
            existing = count("existing"),
            error = count("error"),
            unsupported = count("unsupported"),
            skipped = count("skipped"),
            "images were cached on the hosts of an aggregate"
        );
        Ok(())
    }

    /// What became of each image on a host.
    async fn cache_images_on(
        &self,
        context: &RequestContext,
        host: &str,
        image_ids: &[String],
    ) -> BTreeMap<String, String> {
        let all = |result: &str| image_ids.iter().map(|image| (image.clone(), result.to_owned())).collect();
        match self.is_compute_up(host).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(host, "no images are cached on a host that is not up");
                return all("skipped");
            }
            Err(error) => {
                tracing::warn!(host, %error, "whether a host is up cannot be read");
                return all("skipped");
            }
        }
        let method = CacheImages { image_ids: image_ids.to_vec() };
        self.compute.long_call(context, host, method).await.unwrap_or_else(|error| {
            tracing::warn!(host, %error, "images could not be cached");
            all("error")
        })
    }
}
