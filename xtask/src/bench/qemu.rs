//! How fast a real guest's process is there once its request was accepted.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::load::{self, Template, Times};
use super::report::Row;
use super::{Bench, Started};
use crate::processes;
use crate::progress::Step;

const BOOTS: usize = 10;
/// Between two looks at /proc.
const POLL: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Boots guests, one at a time; the first one fills the image cache and does not count.
pub(super) async fn measure(bench: &Bench, guest_image: &Path) -> anyhow::Result<Row> {
    let step = Step::quiet(format!("{BOOTS} boots with QEMU"));
    let arguments: [OsString; 4] = ["--driver".into(), "qemu".into(), "--guest-image".into(), guest_image.into()];
    let mut cloud = bench.spawn("qemu", "127.0.0.1:0", &arguments)?;
    let ready = cloud.ready().await?;
    let Started { mut cloud, member } = bench.enter(cloud, &ready).await?;
    let load = async {
        let template = Template::find(&member, Some("private")).await?;
        boot(&member, &template, "warm-up").await?;
        let mut times = Times::default();
        for number in 0..BOOTS {
            times.add(boot(&member, &template, &format!("boot-{number}")).await?);
        }
        anyhow::Ok(times)
    };
    let times = tokio::select! {
        times = load => times?,
        error = cloud.ended() => return Err(error),
    };
    cloud.stop().await?;
    step.done("");
    let name =
        format!("POST accepted until QEMU runs, image cached, p50 of {BOOTS} (polled every {} ms)", POLL.as_millis());
    Ok(Row::at_most(name, times.percentile_ms(50) / 1000.0, 0.5, "s"))
}

/// From POST's answer until a QEMU with the server's id runs. The server is deleted afterwards, also if it failed.
async fn boot(api: &crate::api::Api, template: &Template, name: &str) -> anyhow::Result<Duration> {
    let before = processes::all()?;
    let (id, _) = template.create(api, name).await?;
    let took = wait_for_qemu(&id, &before).await;
    let active = load::wait_active(api, &id).await;
    load::delete(api, &id).await?;
    active?;
    took
}

async fn wait_for_qemu(id: &str, before: &std::collections::BTreeSet<i32>) -> anyhow::Result<Duration> {
    let started = Instant::now();
    while processes::find_qemu(id, before)?.is_none() {
        if started.elapsed() > TIMEOUT {
            bail!("no QEMU for server {id} within {} s", TIMEOUT.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(started.elapsed())
}
