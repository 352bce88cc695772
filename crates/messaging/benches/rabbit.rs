//! What calls and casts cost over RabbitMQ: `cargo bench -p kilonova-messaging --bench rabbit`.
//!
//! A server in a process of its own, a client with 1 and then 16 callers, 2 KB of payload, on the broker of
//! `KILONOVA_TEST_RABBITMQ_URL` or on one started for this. Prints a line of JSON per phase, as `oslo_peer.py` does for
//! Python's oslo.messaging; `cargo xtask bench --rabbit` runs both and compares.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use kilonova_messaging::{
    Args, ClientOptions, Context, Dispatcher, Endpoint, RabbitOptions, RabbitTransport, RpcClient, RpcServer,
    ServerOptions, Target, Version,
};
use kilonova_testing::{RABBITMQ_URL, RabbitMq};
use serde_json::{Value, json};

const PAYLOAD_BYTES: usize = 2048;
const SECONDS: Duration = Duration::from_secs(5);
const CASTS: usize = 40_000;
const TOPIC: &str = "kilonova_bench";

/// CPU time of this process so far.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks * 10.0
}

fn transport(url: &str) -> Arc<RabbitTransport> {
    RabbitTransport::new(url, RabbitOptions::default()).unwrap()
}

async fn serve(url: &str) {
    let hits = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&hits);
    let endpoint = Endpoint::new(None, Version::new(1, 0))
        .method("echo", |_, mut args| async move { Ok(args.remove("x").unwrap_or_default()) })
        .method("hit", move |_, _| {
            hits.fetch_add(1, Ordering::Relaxed);
            async { Ok(Value::Null) }
        })
        .method("count", move |_, _| std::future::ready(Ok(json!(counted.load(Ordering::Relaxed)))))
        .method("cpu", |_, _| async { Ok(json!(cpu_ms())) });
    let target = Target::new(TOPIC).server("echo");
    let dispatcher = Dispatcher::new(vec![endpoint]);
    let server = RpcServer::start(transport(url), target, dispatcher, ServerOptions::default()).await.unwrap();
    println!("ready");
    // Until the client closes its end.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    server.stop().await;
}

struct Bench {
    client: RpcClient,
    payload: Value,
}

impl Bench {
    fn args(&self) -> Args {
        Args::from_iter([("x".to_owned(), self.payload.clone())])
    }

    async fn ask(&self, method: &str) -> f64 {
        self.client.prepare().call(&Context::new(), method, Args::new()).await.unwrap().as_f64().unwrap()
    }

    async fn calls(&self, callers: usize) -> Value {
        let start = Instant::now();
        let caller = || async {
            let mut times = Vec::new();
            while start.elapsed() < SECONDS {
                let sent = Instant::now();
                self.client.prepare().call(&Context::new(), "echo", self.args()).await.unwrap();
                times.push(sent.elapsed());
            }
            times
        };
        let mut times: Vec<Duration> = join_all((0..callers).map(|_| caller())).await.concat();
        times.sort_unstable();
        let percentile_ms = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1000.0;
        json!({
            "messages": times.len(), "per_s": times.len() as f64 / start.elapsed().as_secs_f64(),
            "p50_ms": percentile_ms(50), "p99_ms": percentile_ms(99),
        })
    }

    async fn casts(&self, casters: usize) -> Value {
        let before = self.ask("count").await;
        let start = Instant::now();
        let caster = || async {
            for _ in 0..CASTS / casters {
                self.client.prepare().cast(&Context::new(), "hit", self.args()).await.unwrap();
            }
        };
        join_all((0..casters).map(|_| caster())).await;
        let total = CASTS / casters * casters;
        while self.ask("count").await - before < total as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        json!({"messages": total, "per_s": total as f64 / start.elapsed().as_secs_f64()})
    }

    /// Does the work and prints what it took.
    async fn measure(&self, name: &str, work: impl Future<Output = Value>) {
        let (client, server) = (cpu_ms(), self.ask("cpu").await);
        let mut phase = work.await;
        let cpu = cpu_ms() - client + self.ask("cpu").await - server;
        phase["phase"] = json!(name);
        phase["cpu_ms"] = json!(cpu / phase["messages"].as_f64().unwrap());
        println!("{phase}");
    }
}

fn start_server(url: &str) -> Child {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["server", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    server
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, role, url] if role == "server" => return serve(url).await,
        // `cargo test` runs benches too, to see that they work; without a release build there is nothing to see.
        arguments if !arguments.iter().any(|argument| argument == "--bench") => return,
        _ => {}
    }
    let broker = std::env::var(RABBITMQ_URL).is_err().then(|| RabbitMq::start().unwrap());
    let url = broker.as_ref().map_or_else(|| std::env::var(RABBITMQ_URL).unwrap(), RabbitMq::url);
    let mut server = start_server(&url);
    let client = RpcClient::new(transport(&url), Target::new(TOPIC), ClientOptions::default());
    let bench = Bench { client, payload: json!({"d": "x".repeat(PAYLOAD_BYTES)}) };
    bench.ask("count").await;
    for callers in [1, 16] {
        bench.measure(&format!("call_{callers}"), bench.calls(callers)).await;
    }
    for casters in [1, 16] {
        bench.measure(&format!("cast_{casters}"), bench.casts(casters)).await;
    }
    drop(server.stdin.take());
    server.wait().unwrap();
}
