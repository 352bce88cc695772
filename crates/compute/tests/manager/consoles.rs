//! Where consoles are, and who is told.

use kilonova_compute::ComputeConfig;
use kilonova_core::Config;
use kilonova_objects::{Instance, VmState};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::compute::GetVncConsole;
use kilonova_virt::{ConsoleKind, DriverError, FakeOperation};
use serde_json::{Value, json};

use crate::support::{HOST, World, context};

const ALL_ON: &str = "[spice]\nenabled = true\n[serial_console]\nenabled = true\nbase_url = ws://proxy/\n\
                      [mks]\nenabled = true\n[consoleauth]\ntoken_ttl = 60\n";

fn with_consoles(text: &str) -> impl FnOnce(&mut ComputeConfig) {
    let parsed = ComputeConfig::from_config(&Config::from_text(text).unwrap(), HOST).unwrap();
    |config| config.consoles = parsed.consoles
}

async fn console(world: &World, instance: &Instance, kind: ConsoleKind, console_type: &str) -> Result<Value, String> {
    let found = world.manager.get_console(&context(), instance, kind, console_type).await;
    found.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_console_has_an_address_for_users_and_one_for_proxies() {
    let world = World::with(with_consoles(ALL_ON)).await;
    let instance = world.active().await;
    let path = instance.uuid.to_string();
    for (kind, console_type, url, host, more) in [
        (
            ConsoleKind::Vnc,
            "novnc",
            "http://127.0.0.1:6080/vnc_auto.html?path=%3Ftoken%3Dt-1",
            "fakevncconsole.com",
            json!({}),
        ),
        (
            ConsoleKind::Spice,
            "spice-html5",
            "http://127.0.0.1:6082/spice_auto.html?token=t-1",
            "fakespiceconsole.com",
            json!({"tlsPort": 6970}),
        ),
        (
            ConsoleKind::Spice,
            "spice-direct",
            "http://127.0.0.1:13002/nova?token=t-1",
            "fakespiceconsole.com",
            json!({"tlsPort": 6970, "internal_access_path": null}),
        ),
        (ConsoleKind::Serial, "serial", "ws://proxy/?token=t-1", "fakerdpconsole.com", json!({})),
        (ConsoleKind::Mks, "webmks", "http://127.0.0.1:6090/?token=t-1", "fakemksconsole.com", json!({})),
    ] {
        let mut expected =
            json!({"access_url": url, "token": "t-1", "host": host, "port": 6969, "internal_access_path": path});
        for (name, value) in more.as_object().unwrap() {
            expected[name] = value.clone();
        }
        assert_eq!(console(&world, &instance, kind, console_type).await, Ok(expected), "{console_type}");
    }
    let asked: Vec<_> =
        world.conductor.rows().consoles.iter().map(|it| (it.console_type.clone(), it.instance_uuid)).collect();
    assert_eq!((asked.len(), &asked[2]), (5, &("spice-direct".to_owned(), instance.uuid)));
}

#[tokio::test]
async fn only_vnc_is_there_unless_the_operator_wants_more() {
    let world = World::new().await;
    let instance = world.active().await;
    for (kind, console_type) in
        [(ConsoleKind::Spice, "spice-html5"), (ConsoleKind::Serial, "serial"), (ConsoleKind::Mks, "webmks")]
    {
        let message = format!("Unavailable console type {console_type}.");
        assert_eq!(console(&world, &instance, kind, console_type).await, Err(message));
    }
    let xvp = console(&world, &instance, ConsoleKind::Vnc, "xvpvnc").await;
    assert_eq!(xvp, Err("Invalid console type xvpvnc".to_owned()));
    assert!(console(&world, &instance, ConsoleKind::Vnc, "novnc").await.is_ok());
    let world = World::with(with_consoles("[vnc]\nenabled = false\n")).await;
    let instance = world.active().await;
    let off = console(&world, &instance, ConsoleKind::Vnc, "novnc").await;
    assert_eq!(off, Err("Unavailable console type novnc.".to_owned()));
}

#[tokio::test]
async fn a_guest_that_is_not_there_yet_is_not_ready() {
    let world = World::new().await;
    let building = world.create();
    let young = console(&world, &building, ConsoleKind::Vnc, "novnc").await;
    assert_eq!(young, Err(format!("Instance {} is not ready", building.uuid)));
    let gone = Instance { vm_state: VmState::Active, ..building.clone() };
    let lost = console(&world, &gone, ConsoleKind::Vnc, "novnc").await;
    assert_eq!(lost, Err(format!("Instance {} could not be found.", building.uuid)));
}

#[tokio::test]
async fn a_driver_without_consoles_raises_what_novas_do() {
    let world = World::serving(|_| {}).await;
    let instance = world.active().await;
    world.driver.fake.fail_next(FakeOperation::Console, DriverError::NotSupported("A console of that kind"));
    let ask = || GetVncConsole { instance: instance.clone(), console_type: "novnc".to_owned() };
    let refused: RpcError = world.compute_api().call(&context(), HOST, ask()).await.unwrap_err();
    assert!(refused.is("NotImplementedError"), "{refused}");
    let found = world.compute_api().call(&context(), HOST, ask()).await.unwrap();
    assert_eq!(found["host"], "fakevncconsole.com");
}
