//! Random sequences of requests, always the same ones: nothing fails in a way that is not the API's.
//!
//! With `KILONOVA_PLACEMENT_RECORDING` naming a file, more sequences run, and requests and answers are written down, one
//! JSON object on each line, for `xtask/placement_oracle.py`, which asks OpenStack's Placement the same.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use common::{Cloud, uuid};
use kilonova_clients::fake::FakeIdentity;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

const RECORDING: &str = "KILONOVA_PLACEMENT_RECORDING";
const SEQUENCES: u64 = 4;
const RECORDED_SEQUENCES: u64 = 100;
const REQUESTS: usize = 60;

const CLASSES: [&str; 6] = ["VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_GOLD", "CUSTOM_PONY", "PONY"];
const TRAITS: [&str; 6] =
    ["HW_CPU_X86_VMX", "CUSTOM_FAST", "CUSTOM_SLOW", "MISC_SHARES_VIA_AGGREGATE", "CUSTOM_PONY", "PONY"];
const TYPES: [&str; 3] = ["INSTANCE", "MIGRATION", "all"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// The last ones of a list seldom: they are the wrong ones.
    fn of(&mut self, items: &[&'static str]) -> &'static str {
        let bound = if self.is(92) { items.len() - 2 } else { items.len() };
        items[usize::try_from(self.below(bound as u64)).unwrap()]
    }

    fn some(&mut self, items: &[&'static str], most: u64) -> Vec<&'static str> {
        let mut some: Vec<&str> = (0..=self.below(most)).map(|_| self.of(items)).collect();
        some.sort_unstable();
        some.dedup();
        some
    }
}

struct World {
    router: Router,
    random: Random,
    log: String,
    sequence: u64,
    /// Numbers of those that are there.
    providers: Vec<u64>,
}

impl World {
    async fn send(&mut self, method: &str, path: &str, version: u64, body: Option<Value>) -> Value {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/placement{path}"))
            .header("x-auth-token", "nova")
            .header("openstack-api-version", format!("placement 1.{version}"));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let text = body.as_ref().map_or_else(String::new, Value::to_string);
        let response = self.router.clone().oneshot(request.body(Body::from(text)).unwrap()).await.unwrap();
        let (parts, answer) = response.into_parts();
        let answer = to_bytes(answer, usize::MAX).await.unwrap();
        let answer: Value = if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).unwrap() };
        assert!(parts.status.as_u16() < 500, "{method} {path} at 1.{version} with {body:?}: {answer}");
        let has = |name| parts.headers.contains_key(name);
        let line = json!({
            "sequence": self.sequence, "method": method, "path": path, "version": format!("1.{version}"), "body": body,
            "status": parts.status.as_u16(), "answer": answer, "last_modified": has(header::LAST_MODIFIED),
            "location": parts.headers.get(header::LOCATION).map(|value| value.to_str().unwrap()),
        });
        writeln!(self.log, "{line}").unwrap();
        if method == "GET" && path == "/resource_providers" {
            let uuids =
                answer["resource_providers"].as_array().unwrap().iter().map(|row| row["uuid"].as_str().unwrap());
            self.providers = uuids.map(|uuid| u64::from_str_radix(&uuid[28..], 16).unwrap()).collect();
        }
        answer
    }

    fn version(&mut self) -> u64 {
        if self.random.is(60) { 39 } else { self.random.below(40) }
    }

    fn provider(&mut self) -> u64 {
        if self.random.is(85) { self.existing().unwrap_or(1) } else { 1 + self.random.below(9) }
    }

    fn existing(&mut self) -> Option<u64> {
        let count = self.providers.len() as u64;
        if count == 0 { None } else { Some(self.providers[usize::try_from(self.random.below(count)).unwrap()]) }
    }

    fn consumer(&mut self) -> u64 {
        20 + self.random.below(4)
    }

    fn aggregate(&mut self) -> String {
        uuid(u128::from(100 + self.random.below(3))).to_string()
    }

    /// As it is, or seldom another.
    async fn generation(&mut self, provider: u64) -> Value {
        let answer = self.send("GET", &one(provider), 39, None).await;
        match answer["generation"].as_i64() {
            Some(generation) if !self.random.is(6) => generation.into(),
            _ => json!(self.random.below(4)),
        }
    }

    fn inventory(&mut self) -> Value {
        let total = 1 + self.random.below(16);
        let mut inventory = json!({"total": total});
        if self.random.is(20) {
            inventory["reserved"] = json!(self.random.below(total + 2));
        }
        if self.random.is(20) {
            inventory["allocation_ratio"] = json!([0.5, 1.5, 4.0][self.random.below(3) as usize]);
        }
        if self.random.is(10) {
            inventory["max_unit"] = json!(1 + self.random.below(8));
        }
        if self.random.is(10) {
            inventory["step_size"] = json!(1 + self.random.below(3));
        }
        if self.random.is(10) {
            inventory["min_unit"] = json!(self.random.below(3));
        }
        inventory
    }

    fn inventories(&mut self) -> Value {
        let classes = if self.random.is(10) { Vec::new() } else { self.random.some(&CLASSES, 3) };
        classes.into_iter().map(|class| (class.to_owned(), self.inventory())).collect()
    }

    fn resources(&mut self) -> Value {
        let classes = self.random.some(&CLASSES, 2);
        classes.into_iter().map(|class| (class.to_owned(), json!(1 + self.random.below(5)))).collect()
    }

    /// Of providers that are there: where one is not, Placement leaves a consumer without allocations behind.
    fn allocations(&mut self) -> Value {
        let count = 1 + self.random.below(2);
        (0..count).filter_map(|_| Some((id(self.existing()?), json!({"resources": self.resources()})))).collect()
    }

    async fn claim(&mut self, consumer: u64, version: u64) -> Value {
        let mut claim = json!({"allocations": self.allocations()});
        if version < 12 {
            let listed = claim["allocations"].as_object().unwrap().iter().map(|(provider, allocation)| {
                json!({"resource_provider": {"uuid": provider}, "resources": allocation["resources"]})
            });
            claim = json!({"allocations": listed.collect::<Vec<_>>()});
        }
        if version >= 8 {
            claim["project_id"] = json!(if self.random.is(80) { "p" } else { "q" });
            claim["user_id"] = json!(if self.random.is(80) { "u" } else { "v" });
        }
        if version >= 28 {
            let has = self.send("GET", &format!("/allocations/{}", id(consumer)), 39, None).await;
            claim["consumer_generation"] =
                if self.random.is(95) { has["consumer_generation"].clone() } else { json!(7) };
        }
        if version >= 38 {
            claim["consumer_type"] = json!(self.random.of(&TYPES));
        }
        claim
    }

    /// `A,!B`, or from 1.39 `in:A,B`.
    fn required(&mut self, version: u64) -> String {
        let names = self.random.some(&TRAITS, 2);
        if version >= 39 && self.random.is(25) {
            return format!("in:{}", names.join(","));
        }
        let names = names
            .into_iter()
            .map(|name| if version >= 22 && self.random.is(25) { format!("!{name}") } else { name.to_owned() });
        names.collect::<Vec<_>>().join(",")
    }

    fn member_of(&mut self, version: u64) -> String {
        let no = if version >= 32 && self.random.is(25) { "!" } else { "" };
        if self.random.is(40) {
            return format!("{no}in:{},{}", self.aggregate(), self.aggregate());
        }
        format!("{no}{}", self.aggregate())
    }

    fn amounts(&mut self) -> String {
        let resources = self.resources();
        let amounts: Vec<String> =
            resources.as_object().unwrap().iter().map(|(class, amount)| format!("{class}:{amount}")).collect();
        amounts.join(",")
    }

    fn group(&mut self, suffix: &str, version: u64, may_be_empty: bool) -> Vec<String> {
        let mut query = Vec::new();
        if !may_be_empty || self.random.is(50) {
            query.push(format!("resources{suffix}={}", self.amounts()));
        }
        if version >= 17 && self.random.is(if may_be_empty { 70 } else { 25 }) {
            query.push(format!("required{suffix}={}", self.required(version)));
        }
        if version >= 21 && self.random.is(15) {
            query.push(format!("member_of{suffix}={}", self.member_of(version)));
        }
        if version >= 31 && self.random.is(10) {
            query.push(format!("in_tree{suffix}={}", id(self.provider())));
        }
        query
    }

    fn candidates(&mut self, version: u64) -> String {
        let mut query = if self.random.is(75) { self.group("", version, false) } else { Vec::new() };
        let suffixes: &[&str] = if version >= 33 { &["_A", "_B", "1"] } else { &["1", "2", "3"] };
        let count = if version >= 25 && self.random.is(60) { 1 + self.random.below(2) as usize } else { 0 };
        for suffix in &suffixes[..count] {
            let may_be_empty = version >= 36 && self.random.is(25);
            query.extend(self.group(suffix, version, may_be_empty));
        }
        if count > 0 && self.random.is(95) {
            query.push(format!("group_policy={}", if self.random.is(60) { "none" } else { "isolate" }));
        }
        if version >= 35 && self.random.is(15) {
            query.push(format!("root_required={}", self.required(36)));
        }
        if version >= 36 && count > 0 && self.random.is(50) {
            query.push(format!("same_subtree={}", suffixes[..count].join(",")));
        }
        if version >= 16 && self.random.is(10) {
            query.push(format!("limit={}", self.random.below(3)));
        }
        query.join("&")
    }

    fn filters(&mut self, version: u64) -> String {
        let mut query = Vec::new();
        if self.random.is(15) {
            query.push(format!("name=p{}", self.provider()));
        }
        if version >= 3 && self.random.is(25) {
            query.push(format!("member_of={}", self.member_of(version)));
        }
        if version >= 4 && self.random.is(35) {
            query.push(format!("resources={}", self.amounts()));
        }
        if version >= 14 && self.random.is(25) {
            query.push(format!("in_tree={}", id(self.provider())));
        }
        if version >= 18 && self.random.is(35) {
            query.push(format!("required={}", self.required(version)));
        }
        query.join("&")
    }

    async fn step(&mut self) {
        self.send("GET", "/resource_providers", 39, None).await;
        let (version, provider, consumer) = (self.version(), self.provider(), self.consumer());
        let at = one(provider);
        let what = if self.providers.is_empty() { 0 } else { self.random.below(26) };
        match what {
            0..=2 => {
                let provider = 1 + self.random.below(9);
                let mut body = json!({"name": format!("p{provider}"), "uuid": id(provider)});
                if version >= 14 && self.random.is(55) {
                    body["parent_provider_uuid"] = json!(id(self.provider()));
                }
                self.send("POST", "/resource_providers", version, Some(body)).await;
            }
            3..=5 => {
                let generation = self.generation(provider).await;
                let body = json!({"resource_provider_generation": generation, "inventories": self.inventories()});
                self.send("PUT", &format!("{at}/inventories"), version, Some(body)).await;
            }
            6 => {
                let mut body = self.inventory();
                let class = self.random.of(&CLASSES);
                if self.random.is(50) {
                    body["resource_class"] = json!(class);
                    self.send("POST", &format!("{at}/inventories"), version, Some(body)).await;
                } else {
                    body["resource_provider_generation"] = self.generation(provider).await;
                    self.send("PUT", &format!("{at}/inventories/{class}"), version, Some(body)).await;
                }
            }
            7 => {
                let below = if self.random.is(30) { String::new() } else { format!("/{}", self.random.of(&CLASSES)) };
                self.send("DELETE", &format!("{at}/inventories{below}"), version, None).await;
            }
            8..=9 => {
                let generation = self.generation(provider).await;
                let traits = if self.random.is(10) { Vec::new() } else { self.random.some(&TRAITS, 2) };
                let body = json!({"resource_provider_generation": generation, "traits": traits});
                self.send("PUT", &format!("{at}/traits"), version, Some(body)).await;
            }
            10..=11 => {
                let aggregates = if self.random.is(15) { Vec::new() } else { vec![self.aggregate()] };
                let body = if version >= 19 {
                    json!({"resource_provider_generation": self.generation(provider).await, "aggregates": aggregates})
                } else {
                    json!(aggregates)
                };
                self.send("PUT", &format!("{at}/aggregates"), version, Some(body)).await;
            }
            12..=13 => {
                let body = self.claim(consumer, version).await;
                self.send("PUT", &format!("/allocations/{}", id(consumer)), version, Some(body)).await;
            }
            14 => {
                let mut body = Map::new();
                for consumer in [consumer, self.consumer()] {
                    body.insert(id(consumer), self.claim(consumer, version.max(13)).await);
                }
                self.send("POST", "/allocations", version, Some(Value::Object(body))).await;
            }
            15 => _ = self.send("DELETE", &format!("/allocations/{}", id(consumer)), version, None).await,
            16 => {
                let mut body = json!({"name": format!("p{provider}")});
                if version >= 14 && self.random.is(80) {
                    body["parent_provider_uuid"] =
                        if self.random.is(25) { Value::Null } else { json!(id(self.provider())) };
                }
                self.send("PUT", &at, version, Some(body)).await;
            }
            17 => {
                let (path, name) = match self.random.below(3) {
                    0 => (at, String::new()),
                    1 => ("/traits/".to_owned(), self.random.of(&TRAITS).to_owned()),
                    _ => ("/resource_classes/".to_owned(), self.random.of(&CLASSES).to_owned()),
                };
                self.send("DELETE", &format!("{path}{name}"), version, None).await;
            }
            18 => {
                let (path, name) = match self.random.below(2) {
                    0 => ("/traits/", self.random.of(&TRAITS)),
                    _ => ("/resource_classes/", self.random.of(&CLASSES)),
                };
                let body = (path == "/resource_classes/" && version < 7).then(|| json!({"name": "CUSTOM_PONY"}));
                self.send("PUT", &format!("{path}{name}"), version, body).await;
            }
            19 => {
                let version = version.max(30);
                let mut inventories = Map::new();
                for provider in [provider, self.provider()] {
                    let generation = self.generation(provider).await;
                    let body = json!({"resource_provider_generation": generation, "inventories": self.inventories()});
                    inventories.insert(id(provider), body);
                }
                let mut claims = Map::new();
                if self.random.is(70) {
                    claims.insert(id(consumer), self.claim(consumer, version).await);
                }
                let body = json!({"inventories": inventories, "allocations": claims});
                self.send("POST", "/reshaper", version, Some(body)).await;
            }
            20..=22 => {
                let query = self.candidates(version);
                self.send("GET", &format!("/allocation_candidates?{query}"), version, None).await;
            }
            23 => {
                let query = self.filters(version);
                self.send("GET", &format!("/resource_providers?{query}"), version, None).await;
            }
            _ => {
                let paths = [
                    format!("{at}/inventories"),
                    format!("{at}/usages"),
                    format!("{at}/traits"),
                    format!("{at}/aggregates"),
                    format!("{at}/allocations"),
                    format!("/allocations/{}", id(consumer)),
                    "/usages?project_id=p".to_owned(),
                    "/usages?project_id=p&user_id=u&consumer_type=all".to_owned(),
                    "/usages?project_id=p&consumer_type=INSTANCE".to_owned(),
                    "/usages?project_id=p&consumer_type=unknown".to_owned(),
                    "/traits?associated=true".to_owned(),
                    "/traits?name=startswith:CUSTOM_".to_owned(),
                    "/resource_classes".to_owned(),
                ];
                let path = paths[usize::try_from(self.random.below(paths.len() as u64)).unwrap()].clone();
                self.send("GET", &path, version, None).await;
            }
        }
    }
}

fn id(number: u64) -> String {
    uuid(u128::from(number)).to_string()
}

fn one(provider: u64) -> String {
    format!("/resource_providers/{}", id(provider))
}

#[tokio::test]
async fn random_requests_are_answered_as_the_api_says() {
    let recording = std::env::var_os(RECORDING);
    let sequences = if recording.is_some() { RECORDED_SEQUENCES } else { SEQUENCES };
    let mut log = String::new();
    for sequence in 0..sequences {
        let cloud = Cloud::new().await;
        let identity = FakeIdentity::new().with_token("nova", "service", &["service"]);
        let router = Router::new().nest_service("/placement", cloud.service.router(Arc::new(identity)));
        let mut world = World { router, random: Random(sequence), log, sequence, providers: Vec::new() };
        for name in ["CUSTOM_FAST", "CUSTOM_SLOW"] {
            world.send("PUT", &format!("/traits/{name}"), 39, None).await;
        }
        world.send("PUT", "/resource_classes/CUSTOM_GOLD", 39, None).await;
        for _ in 0..REQUESTS {
            world.step().await;
        }
        log = world.log;
    }
    if let Some(path) = recording {
        std::fs::write(path, log).unwrap();
    }
}
