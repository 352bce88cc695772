//! The figures with the fake driver: Kilonova's own share of everything.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::load::{self, Template, Times};
use super::report::Row;
use super::{Bench, Started};
use crate::processes;
use crate::progress::Step;

const START_RUNS: usize = 5;
/// Between two tries to reach a cloud that starts.
const START_POLL: Duration = Duration::from_millis(2);
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Memory is looked at when nothing has happened for this long.
const REST: Duration = Duration::from_secs(5);
const ONE_AT_A_TIME: usize = 100;
const SERVERS: usize = 1000;
const CLIENTS: usize = 16;
const DETAIL_READS: usize = 50;
const SHOW_READS: usize = 500;

/// All rows of the fake driver.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![starts(bench).await?];
    let mut cloud = bench.spawn("fake", "127.0.0.1:0", &fake())?;
    let ready = cloud.ready().await?;
    rows.push(memory(&cloud, "memory (VmRSS), idle", 60.0).await?);
    let Started { mut cloud, member } = bench.enter(cloud, &ready).await?;
    let load = async {
        let without_port = Template::find(&member, None).await?;
        let with_port = Template::find(&member, Some("private")).await?;
        rows.extend(one_at_a_time(&member, &without_port, "").await?);
        rows.extend(one_at_a_time(&member, &with_port, ", with a port").await?);
        rows.extend(burst(&member, &without_port).await?);
        rows.extend(reads(&member).await?);
        anyhow::Ok(())
    };
    tokio::select! {
        outcome = load => outcome?,
        error = cloud.ended() => return Err(error),
    }
    rows.insert(2, memory(&cloud, &format!("memory (VmRSS), {SERVERS} servers"), 120.0).await?);
    cloud.stop().await?;
    Ok(rows)
}

fn fake() -> [OsString; 2] {
    ["--driver".into(), "fake".into()]
}

async fn starts(bench: &Bench) -> anyhow::Result<Row> {
    let step = Step::quiet(format!("{START_RUNS} starts on an empty state directory"));
    let mut times = Times::default();
    for run in 0..START_RUNS {
        times.add(start(bench, &format!("start-{run}")).await?);
    }
    step.done("");
    let name = format!("exec until the first answered request, median of {START_RUNS}");
    Ok(Row::at_most(name, times.percentile_ms(50) / 1000.0, 0.5, "s"))
}

async fn start(bench: &Bench, name: &str) -> anyhow::Result<Duration> {
    let listen = format!("127.0.0.1:{}", kilonova_testing::free_port()?);
    let http = reqwest::Client::builder().no_proxy().timeout(START_TIMEOUT).build()?;
    let url = format!("http://{listen}/compute/v2.1/");
    let started = Instant::now();
    let mut cloud = bench.spawn(name, &listen, &fake())?;
    let took = loop {
        match http.get(&url).send().await {
            // without a token: that it is refused is an answer, too
            Ok(answer) if !answer.status().is_server_error() => break started.elapsed(),
            Ok(answer) => bail!("{url}: {}", answer.status()),
            Err(error) if started.elapsed() > START_TIMEOUT => return Err(error).context("the cloud does not answer"),
            Err(_) => tokio::time::sleep(START_POLL).await,
        }
    };
    cloud.ready().await?;
    cloud.stop().await?;
    Ok(took)
}

async fn memory(cloud: &crate::cloud::Cloud, name: &str, target_mb: f64) -> anyhow::Result<Row> {
    let step = Step::quiet(format!("{name}, after {} s of rest", REST.as_secs()));
    tokio::time::sleep(REST).await;
    let resident_mb = processes::resident_mb(cloud.pid()?)?;
    step.done("");
    Ok(Row::at_most(name, resident_mb, target_mb, "MB"))
}

async fn one_at_a_time(api: &crate::api::Api, template: &Template, which: &str) -> anyhow::Result<Vec<Row>> {
    let step = Step::quiet(format!("{ONE_AT_A_TIME} servers{which}, one at a time"));
    let times = load::one_at_a_time(api, template, ONE_AT_A_TIME).await?;
    step.done("");
    let poll = format!("polled every {} ms", load::POLL.as_millis());
    Ok(vec![
        Row::at_most(format!("POST /servers{which}, p50"), times.post.percentile_ms(50), 5.0, "ms"),
        Row::figure(format!("POST /servers{which}, p95"), times.post.percentile_ms(95), "ms"),
        Row::at_most(format!("POST until ACTIVE{which}, p50 ({poll})"), times.active.percentile_ms(50), 50.0, "ms"),
        Row::figure(format!("DELETE until 404{which}, p50 ({poll})"), times.gone.percentile_ms(50), "ms"),
    ])
}

async fn burst(api: &crate::api::Api, template: &Template) -> anyhow::Result<Vec<Row>> {
    let step = Step::quiet(format!("{SERVERS} servers in one burst of {CLIENTS} clients"));
    let burst = load::burst(api, template, SERVERS, CLIENTS).await?;
    step.done("none lost");
    let name = |what: &str| format!("{SERVERS} servers, {CLIENTS} clients, none lost: until all are {what}");
    Ok(vec![
        Row::figure(name("accepted"), burst.all_accepted_s, "s"),
        Row::at_most(name("ACTIVE"), burst.all_active_s, 10.0, "s"),
    ])
}

async fn reads(api: &crate::api::Api) -> anyhow::Result<Vec<Row>> {
    let step = Step::quiet(format!("reading with {SERVERS} servers"));
    let path = format!("/servers/detail?limit={SERVERS}");
    let (detail, bytes) = load::read(api, &path, DETAIL_READS).await?;
    let first = api.get("/servers?limit=1").await?;
    let id = first["servers"][0]["id"].as_str().context("no server to show")?;
    let (show, _) = load::read(api, &format!("/servers/{id}"), SHOW_READS).await?;
    step.done("");
    let name = format!("GET /servers/detail, {SERVERS} servers ({} KB)", bytes / 1000);
    Ok(vec![
        Row::at_most(format!("{name}, p50"), detail.percentile_ms(50), 30.0, "ms"),
        Row::figure(format!("{name}, p95"), detail.percentile_ms(95), "ms"),
        Row::figure("GET /servers/{id}, p50".to_owned(), show.percentile_ms(50), "ms"),
    ])
}
