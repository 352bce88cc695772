//! What a call and a cast cost over the memory transport: `cargo bench -p kilonova-messaging`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use kilonova_messaging::{
    Args, ClientOptions, Context, Dispatcher, Endpoint, MemoryTransport, RpcClient, RpcServer, ServerOptions, Target,
    Version,
};
use serde_json::{Map, Value, json};

const CALLS: usize = 5_000;

/// Arguments of about `bytes` of JSON: objects of short strings, as instances are.
fn args_of(bytes: usize) -> Args {
    let field = |number: usize| (format!("field_{number:06}"), json!("0123456789abcdef"));
    let data: Map<String, Value> = (0..bytes / 34).map(field).collect();
    Args::from_iter([("instance".to_owned(), Value::Object(data))])
}

async fn measure(client: &RpcClient, args: &Args) -> (Duration, Duration) {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let args = args.clone();
        let start = Instant::now();
        client.prepare().call(&Context::new(), "echo_size", args).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    (times[CALLS / 2], times[CALLS * 99 / 100])
}

#[tokio::main]
async fn main() {
    let transport = MemoryTransport::new();
    let endpoint = Endpoint::new(None, Version::new(1, 0))
        .method("echo_size", |_, args| async move { Ok(Value::from(args.len())) });
    let target = Target::new("bench").server("h1");
    let dispatcher = Dispatcher::new(vec![endpoint]);
    let server = RpcServer::start(transport.clone(), target, dispatcher, ServerOptions::default()).await.unwrap();
    let client = RpcClient::new(transport, Target::new("bench"), ClientOptions::default());
    for bytes in [0, 1_000, 20_000, 200_000] {
        let args = args_of(bytes);
        let (p50, p99) = measure(&client, &args).await;
        println!("call with {bytes:>6} bytes of arguments: p50 {p50:>9.1?}  p99 {p99:>9.1?}");
    }
    server.stop().await;
}
