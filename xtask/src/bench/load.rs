//! The load: one request after another, or some clients doing that side by side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::{Api, text};

/// Between two looks at a server that is on its way.
pub(super) const POLL: Duration = Duration::from_millis(5);
/// Between two looks at a burst: seldom enough that looking costs the burst nothing.
const BURST_POLL: Duration = Duration::from_millis(50);
/// No server takes this long; reaching it is a failure of the measurement.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Times of the same thing, done often.
#[derive(Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The `percent`th percentile, nearest rank, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
    }
}

/// What servers are made of.
#[derive(Clone)]
pub(super) struct Template {
    image: Value,
    flavor: Value,
    networks: Value,
}

impl Template {
    /// The image `guest` and the flavor m1.nano; a port on `network`, or none.
    pub(super) async fn find(api: &Api, network: Option<&str>) -> anyhow::Result<Self> {
        let image = api.find_named("image", "/v2/images", "images", "guest").await?["id"].take();
        let networks = match network {
            Some(name) => {
                let network = api.find_named("network", "/v2.0/networks", "networks", name).await?;
                json!([{"uuid": network["id"]}])
            }
            None => json!("none"),
        };
        let flavors = api.get("/flavors").await?["flavors"].take();
        let flavors = flavors.as_array().map(Vec::as_slice).unwrap_or_default();
        let flavor = flavors.iter().find(|flavor| flavor["name"] == "m1.nano").context("there is no flavor m1.nano")?;
        Ok(Self { image, flavor: flavor["id"].clone(), networks })
    }

    /// POST: the new server's id, and what the request took.
    pub(super) async fn create(&self, api: &Api, name: &str) -> anyhow::Result<(String, Duration)> {
        let body = json!({"server": {
            "name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": self.networks}});
        let answer = api.compute(Method::POST, "/servers", Some(&body)).await?;
        let took = answer.took;
        Ok((text(&answer.ok().context("POST /servers")?["server"]["id"])?, took))
    }
}

/// Times of servers that were made and deleted one at a time.
#[derive(Default)]
pub(super) struct OneAtATime {
    pub(super) post: Times,
    /// From before POST until GET said ACTIVE.
    pub(super) active: Times,
    /// From before DELETE until GET said 404.
    pub(super) gone: Times,
}

/// Makes and deletes `count` servers, one after the other.
pub(super) async fn one_at_a_time(api: &Api, template: &Template, count: usize) -> anyhow::Result<OneAtATime> {
    let mut times = OneAtATime::default();
    for number in 0..count {
        let started = Instant::now();
        let (id, took) = template.create(api, &format!("one-{number}")).await?;
        times.post.add(took);
        wait_active(api, &id).await?;
        times.active.add(started.elapsed());
        let started = Instant::now();
        delete(api, &id).await?;
        times.gone.add(started.elapsed());
    }
    Ok(times)
}

/// Waits until GET says ACTIVE.
pub(super) async fn wait_active(api: &Api, id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let server = api.get(&format!("/servers/{id}")).await?["server"].take();
        match server["status"].as_str() {
            Some("ACTIVE") => return Ok(()),
            Some("BUILD") if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            status => bail!("server {id} is {status:?}, not ACTIVE: {}", server["fault"]),
        }
    }
}

/// Deletes a server and waits until GET says 404.
pub(super) async fn delete(api: &Api, id: &str) -> anyhow::Result<()> {
    let path = format!("/servers/{id}");
    api.delete(&path).await?;
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let answer = api.compute(Method::GET, &path, None).await?;
        match answer.status {
            StatusCode::NOT_FOUND => return Ok(()),
            StatusCode::OK if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            status => bail!("server {id} is not gone: {status} {}", answer.body),
        }
    }
}

/// Seconds of a burst, from its first request.
pub(super) struct Burst {
    pub(super) all_accepted_s: f64,
    pub(super) all_active_s: f64,
}

/// Makes `count` servers with `clients` side by side, and sees to it that each one that was accepted is ACTIVE.
pub(super) async fn burst(api: &Api, template: &Template, count: usize, clients: usize) -> anyhow::Result<Burst> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    let started = Instant::now();
    for _ in 0..clients {
        let (api, template, next) = (api.clone(), template.clone(), Arc::clone(&next));
        running.spawn(async move { client(&api, &template, &next, count).await });
    }
    let mut accepted = BTreeSet::new();
    while let Some(ids) = running.join_next().await {
        accepted.extend(ids??);
    }
    let all_accepted_s = started.elapsed().as_secs_f64();
    wait_none_in_build(api).await?;
    let all_active_s = started.elapsed().as_secs_f64();
    let active = active_ids(api, count).await?;
    let lost: Vec<_> = accepted.difference(&active).collect();
    if accepted.len() != count || !lost.is_empty() {
        bail!(
            "of {count} servers {} were accepted, and {} of these are not ACTIVE: {lost:?}",
            accepted.len(),
            lost.len()
        );
    }
    Ok(Burst { all_accepted_s, all_active_s })
}

async fn client(api: &Api, template: &Template, next: &AtomicUsize, count: usize) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(ids);
        }
        ids.push(template.create(api, &format!("burst-{number}")).await?.0);
    }
}

async fn wait_none_in_build(api: &Api) -> anyhow::Result<()> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let list = api.get("/servers?status=BUILD&limit=1").await?;
        if list["servers"].as_array().context("a list of servers without servers")?.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("servers are still in BUILD after {} s", WAIT_TIMEOUT.as_secs());
        }
        tokio::time::sleep(BURST_POLL).await;
    }
}

async fn active_ids(api: &Api, limit: usize) -> anyhow::Result<BTreeSet<String>> {
    let list = api.get(&format!("/servers/detail?limit={limit}")).await?;
    let servers = list["servers"].as_array().context("a list of servers without servers")?;
    servers.iter().filter(|server| server["status"] == "ACTIVE").map(|server| text(&server["id"])).collect()
}

/// GETs `path` `count` times, after once for warming up; also the size of the answer.
pub(super) async fn read(api: &Api, path: &str, count: usize) -> anyhow::Result<(Times, usize)> {
    let mut times = Times::default();
    let bytes = api.compute(Method::GET, path, None).await?.bytes;
    for _ in 0..count {
        let answer = api.compute(Method::GET, path, None).await?;
        times.add(answer.took);
        answer.ok().with_context(|| format!("GET {path}"))?;
    }
    Ok((times, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times = Times((1..=20).map(Duration::from_millis).collect());
        assert!((times.percentile_ms(50) - 10.0).abs() < 1e-9);
        assert!((times.percentile_ms(95) - 19.0).abs() < 1e-9);
        assert!((times.percentile_ms(100) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn one_time_is_every_percentile_and_none_is_no_number() {
        let times = Times(vec![Duration::from_millis(7)]);
        assert!((times.percentile_ms(1) - 7.0).abs() < 1e-9);
        assert!(Times::default().percentile_ms(50).is_nan());
    }
}
