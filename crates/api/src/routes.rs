//! The route table: one row per operation. The router, the version document and the coverage tests come from it.
//!
//! A row says method and path (without `/v2.1` and the optional project id), the action key in the body where there is
//! one, the microversions in which the operation exists, its policy rule, the schemas of its body and its query by
//! microversion, and its handler. To add an operation: its rule in `policies`, its schemas in `schemas`, its handler in
//! `v21`, its view in `views`, its row here, and a test of it in `tests`; the tests of the table say what was forgotten.

use axum::http::Method;
use futures::future::BoxFuture;
use kilonova_core::Microversion;
use serde_json::Value;

use crate::call::{Answer, Call};
use crate::versions::{LEGACY, MAX_VERSION, MIN_VERSION, V2_102};

/// In place of a rule, where Nova asks none: the other service decides.
pub(crate) const NO_RULE: &str = "";

/// Answers one operation.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Answer>;

/// A schema and the microversions that it holds for, both ends included. [`LEGACY`] stands for the `/v2` API; where no
/// range has it, the oldest schema holds there too.
#[derive(Clone, Copy)]
pub(crate) struct Versioned {
    pub from: Microversion,
    pub to: Microversion,
    pub schema: fn() -> Value,
}

impl Versioned {
    pub(crate) const fn new(from: Microversion, to: Microversion, schema: fn() -> Value) -> Self {
        Self { from, to, schema }
    }

    /// For every microversion from `from` on.
    pub(crate) const fn since(from: Microversion, schema: fn() -> Value) -> Self {
        Self::new(from, MAX_VERSION, schema)
    }

    /// For every microversion.
    pub(crate) const fn always(schema: fn() -> Value) -> Self {
        Self::new(LEGACY, MAX_VERSION, schema)
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub method: Verb,
    /// `/servers/{id}`
    pub path: &'static str,
    /// The key of the body that selects the operation.
    pub action: Option<&'static str>,
    pub from: Microversion,
    pub to: Microversion,
    /// [`NO_RULE`] where none is asked.
    pub policy: &'static str,
    /// Nova had it once: always 410.
    pub is_gone: bool,
    pub body: &'static [Versioned],
    pub query: &'static [Versioned],
    pub handler: Handler,
}

/// The methods of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(crate) fn is(self, method: &Method) -> bool {
        self.as_str() == method.as_str()
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl Route {
    const fn new(method: Verb, path: &'static str, policy: &'static str, handler: Handler) -> Self {
        Self {
            method,
            path,
            action: None,
            from: MIN_VERSION,
            to: MAX_VERSION,
            policy,
            is_gone: false,
            body: &[],
            query: &[],
            handler,
        }
    }

    /// Selected by this key of the body.
    const fn action(mut self, name: &'static str) -> Self {
        self.action = Some(name);
        self
    }

    /// With a body.
    const fn body(mut self, schemas: &'static [Versioned]) -> Self {
        self.body = schemas;
        self
    }

    /// With a checked query string.
    const fn query(mut self, schemas: &'static [Versioned]) -> Self {
        self.query = schemas;
        self
    }

    /// Exists from this microversion on.
    const fn since(mut self, version: Microversion) -> Self {
        self.from = version;
        self
    }

    /// Exists up to this microversion.
    const fn until(mut self, version: Microversion) -> Self {
        self.to = version;
        self
    }

    /// Whether the operation exists in a microversion.
    pub(crate) fn exists_in(&self, version: Microversion) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

const fn get(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Get, path, policy, handler)
}

const fn post(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Post, path, policy, handler)
}

const fn put(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Put, path, policy, handler)
}

const fn delete(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Delete, path, policy, handler)
}

const fn server_action(name: &'static str, policy: &'static str, handler: Handler) -> Route {
    post("/servers/{id}/action", policy, handler).action(name)
}

/// `/os-volumes_boot`: servers under another name, up to 2.102.
const fn boot_action(name: &'static str, policy: &'static str, handler: Handler) -> Route {
    post("/os-volumes_boot/{id}/action", policy, handler).action(name).until(V2_102)
}

/// What Nova had once and answers 410 to in every microversion.
const fn gone(method: Verb, path: &'static str) -> Route {
    let route = Route::new(method, path, NO_RULE, |call| Box::pin(crate::v21::gone::gone(call))).body(ANY_BODY);
    Route { is_gone: true, ..route }
}

/// A body that is not looked at.
const ANY_BODY: &[Versioned] = &[Versioned::always(crate::schemas::any_body)];

/// An `async fn(Call) -> Answer` as a [`Handler`].
macro_rules! handler {
    ($path:path) => {
        |call| Box::pin($path(call))
    };
}

/// The table.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &{
    use crate::{schemas, v21};
    use crate::schemas::{any_query, bare_action, no_query, server_images, server_metadata, servers as schema};
    use crate::v21::servers::{
        action_admin, action_admin_password, action_console_output, action_crash_dump, action_fixed_ips,
        action_floating_ips, action_images, action_migrate, action_pause, action_power, action_rebuild,
        action_rescue, action_shelve, action_suspend, create, delete as delete_server, diagnostics, instance_actions,
        interfaces, ips, list, metadata, migrations, remote_consoles, security_groups, server_password, shares, show,
        tags, topology, update, volume_attachments,
    };
    use crate::versions::*;

    const ANY_QUERY: &[Versioned] = &[Versioned::new(LEGACY, V2_101, any_query), Versioned::since(V2_102, no_query)];
    const SERVERS_QUERY: &[Versioned] = &[
        Versioned::new(MIN_VERSION, V2_25, || schema::index_query(MIN_VERSION)),
        Versioned::new(V2_26, V2_65, || schema::index_query(V2_26)),
        Versioned::new(V2_66, V2_72, || schema::index_query(V2_66)),
        Versioned::new(V2_73, V2_74, || schema::index_query(V2_73)),
        Versioned::since(V2_75, || schema::index_query(V2_75)),
    ];
    const CREATE_SERVER: &[Versioned] = &[
        Versioned::new(LEGACY, LEGACY, || schema::create(LEGACY)),
        Versioned::new(MIN_VERSION, V2_18, || schema::create(MIN_VERSION)),
        Versioned::new(V2_19, V2_31, || schema::create(V2_19)),
        Versioned::new(V2_32, V2_32, || schema::create(V2_32)),
        Versioned::new(V2_33, V2_36, || schema::create(V2_33)),
        Versioned::new(V2_37, V2_41, || schema::create(V2_37)),
        Versioned::new(V2_42, V2_51, || schema::create(V2_42)),
        Versioned::new(V2_52, V2_56, || schema::create(V2_52)),
        Versioned::new(V2_57, V2_62, || schema::create(V2_57)),
        Versioned::new(V2_63, V2_66, || schema::create(V2_63)),
        Versioned::new(V2_67, V2_73, || schema::create(V2_67)),
        Versioned::new(V2_74, V2_89, || schema::create(V2_74)),
        Versioned::new(V2_90, V2_93, || schema::create(V2_90)),
        Versioned::since(V2_94, || schema::create(V2_94)),
    ];
    const UPDATE_SERVER: &[Versioned] = &[
        Versioned::new(LEGACY, LEGACY, || schema::update(LEGACY)),
        Versioned::new(MIN_VERSION, V2_18, || schema::update(MIN_VERSION)),
        Versioned::new(V2_19, V2_89, || schema::update(V2_19)),
        Versioned::new(V2_90, V2_93, || schema::update(V2_90)),
        Versioned::new(V2_94, V2_103, || schema::update(V2_94)),
        Versioned::since(V2_104, || schema::update(V2_104)),
    ];
    const CREATE_BACKUP: &[Versioned] = &[
        Versioned::new(LEGACY, LEGACY, || server_images::create_backup(LEGACY)),
        Versioned::since(MIN_VERSION, || server_images::create_backup(MIN_VERSION)),
    ];
    const REBUILD_SERVER: &[Versioned] = &[
        Versioned::new(LEGACY, LEGACY, || server_images::rebuild(LEGACY)),
        Versioned::new(MIN_VERSION, V2_18, || server_images::rebuild(MIN_VERSION)),
        Versioned::new(V2_19, V2_53, || server_images::rebuild(V2_19)),
        Versioned::new(V2_54, V2_56, || server_images::rebuild(V2_54)),
        Versioned::new(V2_57, V2_62, || server_images::rebuild(V2_57)),
        Versioned::new(V2_63, V2_89, || server_images::rebuild(V2_63)),
        Versioned::new(V2_90, V2_93, || server_images::rebuild(V2_90)),
        Versioned::since(V2_94, || server_images::rebuild(V2_94)),
    ];
    const UNSHELVE_SERVER: &[Versioned] = &[
        Versioned::new(LEGACY, V2_76, || bare_action("unshelve")),
        Versioned::new(V2_77, V2_90, server_images::unshelve_v277),
        Versioned::since(V2_91, server_images::unshelve_v291),
    ];
    const IMAGES_QUERY: &[Versioned] = &[Versioned::always(schemas::images::index_query)];
    const ACTIONS_QUERY: &[Versioned] = &[
        Versioned::new(LEGACY, V2_57, any_query),
        Versioned::new(V2_58, V2_65, || schema::instance_actions_query(V2_58)),
        Versioned::since(V2_66, || schema::instance_actions_query(V2_66)),
    ];
    const FLAVORS_QUERY: &[Versioned] = &[
        Versioned::new(LEGACY, V2_74, schemas::flavors::index_query),
        Versioned::new(V2_75, V2_101, schemas::flavors::index_query_v275),
        Versioned::since(V2_102, schemas::flavors::index_query_v2102),
    ];
    const KEYPAIR_QUERY: &[Versioned] = &[
        Versioned::new(LEGACY, V2_9, any_query),
        Versioned::new(V2_10, V2_74, schemas::keypairs::query_v210),
        Versioned::since(V2_75, schemas::keypairs::query_v275),
    ];
    const QUOTAS_QUERY: &[Versioned] = &[
        Versioned::new(LEGACY, V2_74, schemas::quotas::query),
        Versioned::since(V2_75, schemas::quotas::query_v275),
    ];
    const VOLUMES_QUERY: &[Versioned] = &[Versioned::always(schemas::volumes::index_query)];
    const HYPERVISORS_QUERY: &[Versioned] = &[
        Versioned::new(LEGACY, V2_32, any_query),
        Versioned::new(V2_33, V2_52, schemas::hypervisors::index_query_v233),
        Versioned::since(V2_53, schemas::hypervisors::index_query_v253),
    ];

    [
        // servers
        get("/servers", "os_compute_api:servers:index", handler!(list::index)).query(SERVERS_QUERY),
        post("/servers", "os_compute_api:servers:create", handler!(create::create)).body(CREATE_SERVER),
        get("/servers/detail", "os_compute_api:servers:detail", handler!(list::detail)).query(SERVERS_QUERY),
        get("/servers/{id}", "os_compute_api:servers:show", handler!(show::show)).query(ANY_QUERY),
        put("/servers/{id}", "os_compute_api:servers:update", handler!(update::update)).body(UPDATE_SERVER),
        delete("/servers/{id}", "os_compute_api:servers:delete", handler!(delete_server::delete)),

        // servers/{id}/action
        server_action("os-start", "os_compute_api:servers:start", handler!(action_power::start))
            .body(&[Versioned::always(|| bare_action("os-start"))]),
        server_action("os-stop", "os_compute_api:servers:stop", handler!(action_power::stop))
            .body(&[Versioned::always(|| bare_action("os-stop"))]),
        server_action("reboot", "os_compute_api:servers:reboot", handler!(action_power::reboot))
            .body(&[Versioned::always(schema::reboot)]),
        server_action("createImage", "os_compute_api:servers:create_image", handler!(action_images::create_image))
            .body(&[Versioned::always(server_images::create_image)]),
        server_action("createBackup", "os_compute_api:os-create-backup", handler!(action_images::create_backup))
            .body(CREATE_BACKUP),
        server_action("rebuild", "os_compute_api:servers:rebuild", handler!(action_rebuild::rebuild)).body(REBUILD_SERVER),
        server_action("shelve", "os_compute_api:os-shelve:shelve", handler!(action_shelve::shelve))
            .body(&[Versioned::always(|| bare_action("shelve"))]),
        server_action("shelveOffload", "os_compute_api:os-shelve:shelve_offload", handler!(action_shelve::shelve_offload))
            .body(&[Versioned::always(|| bare_action("shelveOffload"))]),
        server_action("unshelve", "os_compute_api:os-shelve:unshelve", handler!(action_shelve::unshelve)).body(UNSHELVE_SERVER),
        server_action("pause", "os_compute_api:os-pause-server:pause", handler!(action_pause::pause))
            .body(&[Versioned::always(|| bare_action("pause"))]),
        server_action("unpause", "os_compute_api:os-pause-server:unpause", handler!(action_pause::unpause))
            .body(&[Versioned::always(|| bare_action("unpause"))]),
        server_action("suspend", "os_compute_api:os-suspend-server:suspend", handler!(action_suspend::suspend))
            .body(&[Versioned::always(|| bare_action("suspend"))]),
        server_action("resume", "os_compute_api:os-suspend-server:resume", handler!(action_suspend::resume))
            .body(&[Versioned::always(|| bare_action("resume"))]),
        server_action("rescue", "os_compute_api:os-rescue", handler!(action_rescue::rescue))
            .body(&[Versioned::always(schema::rescue)]),
        server_action("unrescue", "os_compute_api:os-unrescue", handler!(action_rescue::unrescue))
            .body(&[Versioned::always(|| bare_action("unrescue"))]),
        server_action("changePassword", "os_compute_api:os-admin-password", handler!(action_admin_password::change_password))
            .body(&[Versioned::always(schema::change_password)]),
        server_action("trigger_crash_dump", "os_compute_api:servers:trigger_crash_dump", handler!(action_crash_dump::trigger))
            .body(&[Versioned::since(V2_17, schema::trigger_crash_dump)]).since(V2_17),
        server_action("resize", "os_compute_api:servers:resize", handler!(action_migrate::resize))
            .body(&[Versioned::always(schemas::migrations::resize)]),
        server_action("confirmResize", "os_compute_api:servers:confirm_resize", handler!(action_migrate::confirm_resize))
            .body(&[Versioned::always(|| bare_action("confirmResize"))]),
        server_action("revertResize", "os_compute_api:servers:revert_resize", handler!(action_migrate::revert_resize))
            .body(&[Versioned::always(|| bare_action("revertResize"))]),
        server_action("migrate", "os_compute_api:os-migrate-server:migrate", handler!(action_migrate::migrate)).body(&[
            Versioned::new(LEGACY, V2_55, || bare_action("migrate")),
            Versioned::since(V2_56, schemas::migrations::migrate_v256),
        ]),
        server_action("os-migrateLive", "os_compute_api:os-migrate-server:migrate_live", handler!(action_migrate::migrate_live)).body(&[
            Versioned::new(LEGACY, V2_24, schemas::migrations::migrate_live),
            Versioned::new(V2_25, V2_29, schemas::migrations::migrate_live_v225),
            Versioned::new(V2_30, V2_67, schemas::migrations::migrate_live_v230),
            Versioned::since(V2_68, schemas::migrations::migrate_live_v225),
        ]),
        server_action("evacuate", "os_compute_api:os-evacuate", handler!(action_migrate::evacuate)).body(&[
            Versioned::new(LEGACY, V2_13, schemas::migrations::evacuate),
            Versioned::new(V2_14, V2_28, schemas::migrations::evacuate_v214),
            Versioned::new(V2_29, V2_67, schemas::migrations::evacuate_v229),
            Versioned::since(V2_68, schemas::migrations::evacuate_v214),
        ]),
        server_action("os-getConsoleOutput", "os_compute_api:os-console-output", handler!(action_console_output::get_console_output))
            .body(&[Versioned::always(schema::get_console_output)]),
        server_action("lock", "os_compute_api:os-lock-server:lock", handler!(action_admin::lock))
            .body(&[Versioned::new(LEGACY, V2_72, || bare_action("lock")), Versioned::since(V2_73, schema::lock_with_reason)]),
        server_action("unlock", "os_compute_api:os-lock-server:unlock", handler!(action_admin::unlock))
            .body(&[Versioned::always(|| bare_action("unlock"))]),
        server_action("os-resetState", "os_compute_api:os-admin-actions:reset_state", handler!(action_admin::reset_state))
            .body(&[Versioned::always(schema::reset_state)]),
        server_action("injectNetworkInfo", "os_compute_api:os-admin-actions:inject_network_info", handler!(action_admin::inject_network_info))
            .body(&[Versioned::always(|| bare_action("injectNetworkInfo"))]),
        server_action("restore", "os_compute_api:os-deferred-delete:restore", handler!(delete_server::restore))
            .body(&[Versioned::always(|| bare_action("restore"))]),
        server_action("forceDelete", "os_compute_api:os-deferred-delete:force", handler!(delete_server::force_delete))
            .body(&[Versioned::always(|| bare_action("forceDelete"))]),
        gone(Verb::Post, "/servers/{id}/action").action("resetNetwork"),

        // os-volumes_boot
        get("/os-volumes_boot", "os_compute_api:servers:index", handler!(list::index)).query(SERVERS_QUERY).until(V2_102),
        post("/os-volumes_boot", "os_compute_api:servers:create", handler!(create::create)).body(CREATE_SERVER).until(V2_102),
        get("/os-volumes_boot/detail", "os_compute_api:servers:detail", handler!(list::detail)).query(SERVERS_QUERY).until(V2_102),
        get("/os-volumes_boot/{id}", "os_compute_api:servers:show", handler!(show::show)).query(ANY_QUERY).until(V2_102),
        put("/os-volumes_boot/{id}", "os_compute_api:servers:update", handler!(update::update)).body(UPDATE_SERVER).until(V2_102),
        delete("/os-volumes_boot/{id}", "os_compute_api:servers:delete", handler!(delete_server::delete)).until(V2_102),
        boot_action("os-start", "os_compute_api:servers:start", handler!(action_power::start))
            .body(&[Versioned::always(|| bare_action("os-start"))]),
        boot_action("os-stop", "os_compute_api:servers:stop", handler!(action_power::stop))
            .body(&[Versioned::always(|| bare_action("os-stop"))]),
        boot_action("createImage", "os_compute_api:servers:create_image", handler!(action_images::create_image))
            .body(&[Versioned::always(server_images::create_image)]),
        boot_action("rebuild", "os_compute_api:servers:rebuild", handler!(action_rebuild::rebuild)).body(REBUILD_SERVER),
        boot_action("reboot", "os_compute_api:servers:reboot", handler!(action_power::reboot))
            .body(&[Versioned::always(schema::reboot)]),
        boot_action("resize", "os_compute_api:servers:resize", handler!(action_migrate::resize))
            .body(&[Versioned::always(schemas::migrations::resize)]),
        boot_action("confirmResize", "os_compute_api:servers:confirm_resize", handler!(action_migrate::confirm_resize))
            .body(&[Versioned::always(|| bare_action("confirmResize"))]),
        boot_action("revertResize", "os_compute_api:servers:revert_resize", handler!(action_migrate::revert_resize))
            .body(&[Versioned::always(|| bare_action("revertResize"))]),
        boot_action("trigger_crash_dump", "os_compute_api:servers:trigger_crash_dump", handler!(action_crash_dump::trigger))
            .body(&[Versioned::since(V2_17, schema::trigger_crash_dump)]).since(V2_17),
        server_action("addFixedIp", "os_compute_api:os-multinic:add", handler!(action_fixed_ips::add))
            .body(&[Versioned::always(schemas::interfaces::add_fixed_ip)]).until(V2_43),
        server_action("removeFixedIp", "os_compute_api:os-multinic:remove", handler!(action_fixed_ips::remove))
            .body(&[Versioned::always(schemas::interfaces::remove_fixed_ip)]).until(V2_43),
        server_action("addFloatingIp", "os_compute_api:os-floating-ips:add", handler!(action_floating_ips::add))
            .body(&[Versioned::always(schemas::interfaces::add_floating_ip)]).until(V2_43),
        server_action("removeFloatingIp", "os_compute_api:os-floating-ips:remove", handler!(action_floating_ips::remove))
            .body(&[Versioned::always(schemas::interfaces::remove_floating_ip)]).until(V2_43),
        server_action("addSecurityGroup", "os_compute_api:os-security-groups:add", handler!(security_groups::add))
            .body(&[Versioned::always(schemas::interfaces::add_security_group)]),
        server_action("removeSecurityGroup", "os_compute_api:os-security-groups:remove", handler!(security_groups::remove))
            .body(&[Versioned::always(schemas::interfaces::remove_security_group)]),
        server_action("os-getVNCConsole", "os_compute_api:os-remote-consoles", handler!(remote_consoles::get_vnc_console))
            .body(&[Versioned::always(schemas::consoles::get_vnc_console)]).until(V2_5),
        server_action("os-getSPICEConsole", "os_compute_api:os-remote-consoles", handler!(remote_consoles::get_spice_console))
            .body(&[Versioned::always(schemas::consoles::get_spice_console)]).until(V2_5),
        server_action("os-getSerialConsole", "os_compute_api:os-remote-consoles", handler!(remote_consoles::get_serial_console))
            .body(&[Versioned::always(schemas::consoles::get_serial_console)]).until(V2_5),
        server_action("os-getRDPConsole", NO_RULE, handler!(remote_consoles::get_rdp_console)).body(ANY_BODY).until(V2_5),

        // servers/{server_id}/…
        get("/servers/{server_id}/ips", "os_compute_api:ips:index", handler!(ips::index)).query(ANY_QUERY),
        get("/servers/{server_id}/ips/{id}", "os_compute_api:ips:show", handler!(ips::show)).query(ANY_QUERY),
        get("/servers/{server_id}/metadata", "os_compute_api:server-metadata:index", handler!(metadata::index)).query(ANY_QUERY),
        post("/servers/{server_id}/metadata", "os_compute_api:server-metadata:create", handler!(metadata::create))
            .body(&[Versioned::always(server_metadata::create)]),
        put("/servers/{server_id}/metadata", "os_compute_api:server-metadata:update_all", handler!(metadata::update_all))
            .body(&[Versioned::always(server_metadata::create)]),
        get("/servers/{server_id}/metadata/{id}", "os_compute_api:server-metadata:show", handler!(metadata::show)).query(ANY_QUERY),
        put("/servers/{server_id}/metadata/{id}", "os_compute_api:server-metadata:update", handler!(metadata::update))
            .body(&[Versioned::always(server_metadata::update)]),
        delete("/servers/{server_id}/metadata/{id}", "os_compute_api:server-metadata:delete", handler!(metadata::delete)),
        get("/servers/{server_id}/migrations", "os_compute_api:servers:migrations:index", handler!(migrations::index))
            .query(ANY_QUERY).since(V2_23),
        get("/servers/{server_id}/migrations/{id}", "os_compute_api:servers:migrations:show", handler!(migrations::show))
            .query(ANY_QUERY).since(V2_23),
        delete("/servers/{server_id}/migrations/{id}", "os_compute_api:servers:migrations:delete", handler!(migrations::delete))
            .since(V2_24),
        post("/servers/{server_id}/migrations/{id}/action", "os_compute_api:servers:migrations:force_complete", handler!(migrations::force_complete))
            .action("force_complete").body(&[Versioned::since(V2_22, schemas::migrations::force_complete)]).since(V2_22),
        get("/servers/{server_id}/os-instance-actions", "os_compute_api:os-instance-actions:list", handler!(instance_actions::index))
            .query(ACTIONS_QUERY),
        get("/servers/{server_id}/os-instance-actions/{id}", "os_compute_api:os-instance-actions:show", handler!(instance_actions::show))
            .query(ANY_QUERY),
        get("/servers/{server_id}/os-interface", "os_compute_api:os-attach-interfaces:list", handler!(interfaces::index))
            .query(ANY_QUERY),
        post("/servers/{server_id}/os-interface", "os_compute_api:os-attach-interfaces:create", handler!(interfaces::create)).body(&[
            Versioned::new(LEGACY, V2_48, schemas::interfaces::create),
            Versioned::since(V2_49, schemas::interfaces::create_v249),
        ]),
        get("/servers/{server_id}/os-interface/{id}", "os_compute_api:os-attach-interfaces:show", handler!(interfaces::show))
            .query(ANY_QUERY),
        delete("/servers/{server_id}/os-interface/{id}", "os_compute_api:os-attach-interfaces:delete", handler!(interfaces::delete)),
        post("/servers/{server_id}/remote-consoles", "os_compute_api:os-remote-consoles", handler!(remote_consoles::create)).body(&[
            Versioned::new(V2_6, V2_7, schemas::consoles::create),
            Versioned::new(V2_8, V2_98, schemas::consoles::create_v28),
            Versioned::since(V2_99, schemas::consoles::create_v299),
        ]).since(V2_6),
        get("/servers/{server_id}/diagnostics", "os_compute_api:os-server-diagnostics", handler!(diagnostics::index)).query(ANY_QUERY),
        get("/servers/{server_id}/topology", "compute:server:topology:index", handler!(topology::index)).query(ANY_QUERY).since(V2_78),
        get("/servers/{server_id}/os-server-password", "os_compute_api:os-server-password:show", handler!(server_password::index))
            .query(ANY_QUERY),
        delete("/servers/{server_id}/os-server-password", "os_compute_api:os-server-password:clear", handler!(server_password::clear)),
        get("/servers/{server_id}/os-security-groups", "os_compute_api:os-security-groups:list", handler!(security_groups::index))
            .query(ANY_QUERY),
        get("/servers/{server_id}/tags", "os_compute_api:os-server-tags:index", handler!(tags::index)).query(ANY_QUERY).since(V2_26),
        put("/servers/{server_id}/tags", "os_compute_api:os-server-tags:update_all", handler!(tags::update_all))
            .body(&[Versioned::always(schema::tags)]).since(V2_26),
        delete("/servers/{server_id}/tags", "os_compute_api:os-server-tags:delete_all", handler!(tags::delete_all)).since(V2_26),
        get("/servers/{server_id}/tags/{id}", "os_compute_api:os-server-tags:show", handler!(tags::show)).query(ANY_QUERY).since(V2_26),
        put("/servers/{server_id}/tags/{id}", "os_compute_api:os-server-tags:update", handler!(tags::update))
            .body(&[Versioned::always(schema::tag)]).since(V2_26),
        delete("/servers/{server_id}/tags/{id}", "os_compute_api:os-server-tags:delete", handler!(tags::delete)).since(V2_26),
        get("/servers/{server_id}/shares", "os_compute_api:os-server-shares:index", handler!(shares::index))
            .query(&[Versioned::always(no_query)]).since(V2_97),
        post("/servers/{server_id}/shares", "os_compute_api:os-server-shares:create", handler!(shares::create))
            .body(&[Versioned::always(schema::create_share)]).since(V2_97),
        get("/servers/{server_id}/shares/{id}", "os_compute_api:os-server-shares:show", handler!(shares::show))
            .query(&[Versioned::always(no_query)]).since(V2_97),
        delete("/servers/{server_id}/shares/{id}", "os_compute_api:os-server-shares:delete", handler!(shares::delete)).since(V2_97),
        get("/servers/{server_id}/os-volume_attachments", "os_compute_api:os-volumes-attachments:index", handler!(volume_attachments::index)).query(&[
            Versioned::new(LEGACY, V2_74, schemas::volumes::index_query),
            Versioned::since(V2_75, schemas::volume_attachments::index_query_v275),
        ]),
        post("/servers/{server_id}/os-volume_attachments", "os_compute_api:os-volumes-attachments:create", handler!(volume_attachments::create)).body(&[
            Versioned::new(LEGACY, V2_48, schemas::volume_attachments::attach),
            Versioned::new(V2_49, V2_78, schemas::volume_attachments::attach_v249),
            Versioned::since(V2_79, schemas::volume_attachments::attach_v279),
        ]),
        get("/servers/{server_id}/os-volume_attachments/{id}", "os_compute_api:os-volumes-attachments:show", handler!(volume_attachments::show))
            .query(ANY_QUERY),
        put("/servers/{server_id}/os-volume_attachments/{id}", "os_compute_api:os-volumes-attachments:update", handler!(volume_attachments::update)).body(&[
            Versioned::new(LEGACY, V2_84, schemas::volume_attachments::update),
            Versioned::since(V2_85, schemas::volume_attachments::update_v285),
        ]),
        delete("/servers/{server_id}/os-volume_attachments/{id}", "os_compute_api:os-volumes-attachments:delete", handler!(volume_attachments::delete)),
        gone(Verb::Get, "/servers/{server_id}/os-virtual-interfaces"),

        // flavors
        get("/flavors", "os_compute_api:flavors:index", handler!(v21::flavors::index::index)).query(FLAVORS_QUERY),
        get("/flavors/detail", "os_compute_api:flavors:detail", handler!(v21::flavors::index::detail)).query(FLAVORS_QUERY),
        post("/flavors", "os_compute_api:os-flavor-manage:create", handler!(v21::flavors::create::create)).body(&[
            Versioned::new(LEGACY, LEGACY, schemas::flavors::create_v20),
            Versioned::new(MIN_VERSION, V2_54, schemas::flavors::create),
            Versioned::new(V2_55, V2_101, schemas::flavors::create_v255),
            Versioned::since(V2_102, schemas::flavors::create_v2102),
        ]),
        get("/flavors/{id}", "os_compute_api:flavors:show", handler!(v21::flavors::show::show)).query(ANY_QUERY),
        put("/flavors/{id}", "os_compute_api:os-flavor-manage:update", handler!(v21::flavors::update::update))
            .body(&[Versioned::since(V2_55, schemas::flavors::update)]).since(V2_55),
        delete("/flavors/{id}", "os_compute_api:os-flavor-manage:delete", handler!(v21::flavors::delete::delete)),
        post("/flavors/{id}/action", "os_compute_api:os-flavor-access:add_tenant_access", handler!(v21::flavors::access::add_tenant_access))
            .action("addTenantAccess").body(&[Versioned::always(schemas::flavors::add_tenant_access)]),
        post("/flavors/{id}/action", "os_compute_api:os-flavor-access:remove_tenant_access", handler!(v21::flavors::access::remove_tenant_access))
            .action("removeTenantAccess").body(&[Versioned::always(schemas::flavors::remove_tenant_access)]),
        get("/flavors/{flavor_id}/os-flavor-access", "os_compute_api:os-flavor-access", handler!(v21::flavors::access::index)).query(ANY_QUERY),
        get("/flavors/{flavor_id}/os-extra_specs", "os_compute_api:os-flavor-extra-specs:index", handler!(v21::flavors::extra_specs::index))
            .query(ANY_QUERY),
        post("/flavors/{flavor_id}/os-extra_specs", "os_compute_api:os-flavor-extra-specs:create", handler!(v21::flavors::extra_specs::create))
            .body(&[Versioned::always(schemas::flavors::create_extra_specs)]),
        get("/flavors/{flavor_id}/os-extra_specs/{id}", "os_compute_api:os-flavor-extra-specs:show", handler!(v21::flavors::extra_specs::show))
            .query(ANY_QUERY),
        put("/flavors/{flavor_id}/os-extra_specs/{id}", "os_compute_api:os-flavor-extra-specs:update", handler!(v21::flavors::extra_specs::update))
            .body(&[Versioned::always(schemas::flavors::update_extra_spec)]),
        delete("/flavors/{flavor_id}/os-extra_specs/{id}", "os_compute_api:os-flavor-extra-specs:delete", handler!(v21::flavors::extra_specs::delete)),

        // os-keypairs
        get("/os-keypairs", "os_compute_api:os-keypairs:index", handler!(v21::keypairs::index::index)).query(&[
            Versioned::new(LEGACY, V2_9, any_query),
            Versioned::new(V2_10, V2_34, schemas::keypairs::query_v210),
            Versioned::new(V2_35, V2_74, schemas::keypairs::index_query_v235),
            Versioned::since(V2_75, schemas::keypairs::index_query_v275),
        ]),
        post("/os-keypairs", "os_compute_api:os-keypairs:create", handler!(v21::keypairs::create::create)).body(&[
            Versioned::new(LEGACY, LEGACY, schemas::keypairs::create_v20),
            Versioned::new(MIN_VERSION, MIN_VERSION, schemas::keypairs::create),
            Versioned::new(V2_2, V2_9, schemas::keypairs::create_v22),
            Versioned::new(V2_10, V2_91, schemas::keypairs::create_v210),
            Versioned::since(V2_92, schemas::keypairs::create_v292),
        ]),
        get("/os-keypairs/{id}", "os_compute_api:os-keypairs:show", handler!(v21::keypairs::show::show)).query(KEYPAIR_QUERY),
        delete("/os-keypairs/{id}", "os_compute_api:os-keypairs:delete", handler!(v21::keypairs::delete::delete)).query(KEYPAIR_QUERY),

        // images, at the image service
        get("/images", NO_RULE, handler!(v21::images::index)).query(IMAGES_QUERY).until(V2_35),
        get("/images/detail", NO_RULE, handler!(v21::images::detail)).query(IMAGES_QUERY).until(V2_35),
        get("/images/{id}", NO_RULE, handler!(v21::images::show)).query(ANY_QUERY).until(V2_35),
        delete("/images/{id}", NO_RULE, handler!(v21::images::delete)).until(V2_35),
        get("/images/{image_id}/metadata", NO_RULE, handler!(v21::image_metadata::index)).query(ANY_QUERY).until(V2_38),
        post("/images/{image_id}/metadata", NO_RULE, handler!(v21::image_metadata::create))
            .body(&[Versioned::always(server_metadata::create)]).until(V2_38),
        put("/images/{image_id}/metadata", NO_RULE, handler!(v21::image_metadata::update_all))
            .body(&[Versioned::always(server_metadata::create)]).until(V2_38),
        get("/images/{image_id}/metadata/{id}", NO_RULE, handler!(v21::image_metadata::show)).query(ANY_QUERY).until(V2_38),
        put("/images/{image_id}/metadata/{id}", NO_RULE, handler!(v21::image_metadata::update))
            .body(&[Versioned::always(server_metadata::update)]).until(V2_38),
        delete("/images/{image_id}/metadata/{id}", NO_RULE, handler!(v21::image_metadata::delete)).until(V2_38),

        // limits, quotas, usage
        get("/limits", "os_compute_api:limits", handler!(v21::limits::index)).query(&[
            Versioned::new(LEGACY, V2_74, schemas::quotas::limits_query),
            Versioned::since(V2_75, schemas::quotas::limits_query_v275),
        ]),
        get("/os-quota-sets/{id}", "os_compute_api:os-quota-sets:show", handler!(v21::quota_sets::show)).query(QUOTAS_QUERY),
        put("/os-quota-sets/{id}", "os_compute_api:os-quota-sets:update", handler!(v21::quota_sets::update)).query(QUOTAS_QUERY).body(&[
            Versioned::new(LEGACY, V2_35, schemas::quotas::update),
            Versioned::new(V2_36, V2_56, schemas::quotas::update_v236),
            Versioned::since(V2_57, schemas::quotas::update_v257),
        ]),
        delete("/os-quota-sets/{id}", "os_compute_api:os-quota-sets:delete", handler!(v21::quota_sets::delete)).query(QUOTAS_QUERY),
        get("/os-quota-sets/{id}/detail", "os_compute_api:os-quota-sets:detail", handler!(v21::quota_sets::detail)).query(QUOTAS_QUERY),
        get("/os-quota-sets/{id}/defaults", "os_compute_api:os-quota-sets:defaults", handler!(v21::quota_sets::defaults)).query(ANY_QUERY),
        get("/os-quota-class-sets/{id}", "os_compute_api:os-quota-class-sets:show", handler!(v21::quota_class_sets::show)).query(ANY_QUERY),
        put("/os-quota-class-sets/{id}", "os_compute_api:os-quota-class-sets:update", handler!(v21::quota_class_sets::update)).body(&[
            Versioned::new(LEGACY, V2_49, schemas::quotas::update_class),
            Versioned::new(V2_50, V2_56, schemas::quotas::update_class_v250),
            Versioned::since(V2_57, schemas::quotas::update_class_v257),
        ]),
        get("/os-simple-tenant-usage", "os_compute_api:os-simple-tenant-usage:list", handler!(v21::simple_tenant_usage::index)).query(&[
            Versioned::new(LEGACY, V2_39, schemas::quotas::usages_query),
            Versioned::new(V2_40, V2_74, schemas::quotas::usages_query_v240),
            Versioned::since(V2_75, schemas::quotas::usages_query_v275),
        ]),
        get("/os-simple-tenant-usage/{id}", "os_compute_api:os-simple-tenant-usage:show", handler!(v21::simple_tenant_usage::show)).query(&[
            Versioned::new(LEGACY, V2_39, schemas::quotas::usage_query),
            Versioned::new(V2_40, V2_74, schemas::quotas::usage_query_v240),
            Versioned::since(V2_75, schemas::quotas::usage_query_v275),
        ]),

        // migrations
        get("/os-migrations", "os_compute_api:os-migrations:index", handler!(v21::migrations::index)).query(&[
            Versioned::new(LEGACY, V2_58, schemas::migrations::index_query),
            Versioned::new(V2_59, V2_65, schemas::migrations::index_query_v259),
            Versioned::new(V2_66, V2_79, schemas::migrations::index_query_v266),
            Versioned::since(V2_80, schemas::migrations::index_query_v280),
        ]),

        // server groups
        get("/os-server-groups", "os_compute_api:os-server-groups:index", handler!(v21::server_groups::index)).query(&[
            Versioned::new(LEGACY, V2_74, schemas::server_groups::index_query),
            Versioned::since(V2_75, schemas::server_groups::index_query_v275),
        ]),
        post("/os-server-groups", "os_compute_api:os-server-groups:create", handler!(v21::server_groups::create)).body(&[
            Versioned::new(LEGACY, V2_14, schemas::server_groups::create),
            Versioned::new(V2_15, V2_63, schemas::server_groups::create_v215),
            Versioned::since(V2_64, schemas::server_groups::create_v264),
        ]),
        get("/os-server-groups/{id}", "os_compute_api:os-server-groups:show", handler!(v21::server_groups::show)).query(ANY_QUERY),
        delete("/os-server-groups/{id}", "os_compute_api:os-server-groups:delete", handler!(v21::server_groups::delete)),

        // what the cloud consists of
        get("/os-availability-zone", "os_compute_api:os-availability-zone:list", handler!(v21::availability_zones::index)).query(ANY_QUERY),
        get("/os-availability-zone/detail", "os_compute_api:os-availability-zone:detail", handler!(v21::availability_zones::detail))
            .query(ANY_QUERY),
        get("/os-aggregates", "os_compute_api:os-aggregates:index", handler!(v21::aggregates::index)).query(ANY_QUERY),
        post("/os-aggregates", "os_compute_api:os-aggregates:create", handler!(v21::aggregates::create)).body(&[
            Versioned::new(LEGACY, LEGACY, schemas::aggregates::create_v20),
            Versioned::since(MIN_VERSION, schemas::aggregates::create),
        ]),
        get("/os-aggregates/{id}", "os_compute_api:os-aggregates:show", handler!(v21::aggregates::show)).query(ANY_QUERY),
        put("/os-aggregates/{id}", "os_compute_api:os-aggregates:update", handler!(v21::aggregates::update)).body(&[
            Versioned::new(LEGACY, LEGACY, schemas::aggregates::update_v20),
            Versioned::since(MIN_VERSION, schemas::aggregates::update),
        ]),
        delete("/os-aggregates/{id}", "os_compute_api:os-aggregates:delete", handler!(v21::aggregates::delete)),
        post("/os-aggregates/{id}/action", "os_compute_api:os-aggregates:add_host", handler!(v21::aggregates::add_host))
            .action("add_host").body(&[Versioned::always(schemas::aggregates::add_host)]),
        post("/os-aggregates/{id}/action", "os_compute_api:os-aggregates:remove_host", handler!(v21::aggregates::remove_host))
            .action("remove_host").body(&[Versioned::always(schemas::aggregates::remove_host)]),
        post("/os-aggregates/{id}/action", "os_compute_api:os-aggregates:set_metadata", handler!(v21::aggregates::set_metadata))
            .action("set_metadata").body(&[Versioned::always(schemas::aggregates::set_metadata)]),
        post("/os-aggregates/{id}/images", "compute:aggregates:images", handler!(v21::aggregates::images))
            .body(&[Versioned::always(schemas::aggregates::images)]).since(V2_81),
        get("/os-hosts", "os_compute_api:os-hosts:list", handler!(v21::hosts::index))
            .query(&[Versioned::always(schemas::hosts::index_query)]).until(V2_42),
        get("/os-hosts/{id}", "os_compute_api:os-hosts:show", handler!(v21::hosts::show)).query(ANY_QUERY).until(V2_42),
        put("/os-hosts/{id}", "os_compute_api:os-hosts:update", handler!(v21::hosts::update))
            .body(&[Versioned::always(schemas::hosts::update)]).until(V2_42),
        get("/os-hosts/{id}/reboot", "os_compute_api:os-hosts:reboot", handler!(v21::hosts::reboot)).query(ANY_QUERY).until(V2_42),
        get("/os-hosts/{id}/shutdown", "os_compute_api:os-hosts:shutdown", handler!(v21::hosts::shutdown)).query(ANY_QUERY).until(V2_42),
        get("/os-hosts/{id}/startup", "os_compute_api:os-hosts:start", handler!(v21::hosts::startup)).query(ANY_QUERY).until(V2_42),
        get("/os-hypervisors", "os_compute_api:os-hypervisors:list", handler!(v21::hypervisors::index::index)).query(HYPERVISORS_QUERY),
        get("/os-hypervisors/detail", "os_compute_api:os-hypervisors:list-detail", handler!(v21::hypervisors::index::detail))
            .query(HYPERVISORS_QUERY),
        get("/os-hypervisors/statistics", "os_compute_api:os-hypervisors:statistics", handler!(v21::hypervisors::statistics::statistics))
            .query(ANY_QUERY).until(V2_87),
        get("/os-hypervisors/{id}", "os_compute_api:os-hypervisors:show", handler!(v21::hypervisors::show::show)).query(&[
            Versioned::new(LEGACY, V2_52, any_query),
            Versioned::since(V2_53, schemas::hypervisors::show_query_v253),
        ]),
        get("/os-hypervisors/{id}/search", "os_compute_api:os-hypervisors:search", handler!(v21::hypervisors::search::search))
            .query(ANY_QUERY).until(V2_52),
        get("/os-hypervisors/{id}/servers", "os_compute_api:os-hypervisors:servers", handler!(v21::hypervisors::search::servers))
            .query(ANY_QUERY).until(V2_52),
        get("/os-hypervisors/{id}/uptime", "os_compute_api:os-hypervisors:uptime", handler!(v21::hypervisors::uptime::uptime))
            .query(ANY_QUERY).until(V2_87),
        get("/os-services", "os_compute_api:os-services:list", handler!(v21::services::index::index)).query(&[
            Versioned::new(LEGACY, V2_74, schemas::services::index_query),
            Versioned::since(V2_75, schemas::services::index_query_v275),
        ]),
        put("/os-services/{id}", "os_compute_api:os-services:update", handler!(v21::services::update::update)).body(&[
            Versioned::new(LEGACY, V2_10, schemas::services::update),
            Versioned::new(V2_11, V2_52, schemas::services::update_v211),
            Versioned::since(V2_53, schemas::services::update_v253),
        ]),
        delete("/os-services/{id}", "os_compute_api:os-services:delete", handler!(v21::services::delete::delete)),

        get("/os-instance_usage_audit_log", "os_compute_api:os-instance-usage-audit-log:list",
            handler!(v21::instance_usage_audit_log::index)).query(ANY_QUERY),
        get("/os-instance_usage_audit_log/{id}", "os_compute_api:os-instance-usage-audit-log:show",
            handler!(v21::instance_usage_audit_log::show)).query(ANY_QUERY),

        // asked by the volume service
        post("/os-assisted-volume-snapshots", "os_compute_api:os-assisted-volume-snapshots:create",
            handler!(v21::assisted_volume_snapshots::create))
            .body(&[Versioned::always(schemas::assisted_volume_snapshots::create)]),
        delete("/os-assisted-volume-snapshots/{id}", "os_compute_api:os-assisted-volume-snapshots:delete",
            handler!(v21::assisted_volume_snapshots::delete)).query(&[
            Versioned::new(LEGACY, V2_74, schemas::assisted_volume_snapshots::delete_query),
            Versioned::since(V2_75, schemas::assisted_volume_snapshots::delete_query_v275),
        ]),

        // another service's
        get("/os-baremetal-nodes", "os_compute_api:os-baremetal-nodes:list", handler!(v21::baremetal_nodes::index))
            .query(ANY_QUERY).until(V2_35),
        get("/os-baremetal-nodes/{id}", "os_compute_api:os-baremetal-nodes:show", handler!(v21::baremetal_nodes::show))
            .query(ANY_QUERY).until(V2_35),
        post("/os-baremetal-nodes", NO_RULE, handler!(v21::baremetal_nodes::create)).body(ANY_BODY).until(V2_35),
        delete("/os-baremetal-nodes/{id}", NO_RULE, handler!(v21::baremetal_nodes::delete)).until(V2_35),
        post("/os-baremetal-nodes/{id}/action", NO_RULE, handler!(v21::baremetal_nodes::add_interface))
            .action("add_interface").body(ANY_BODY).until(V2_35),
        post("/os-baremetal-nodes/{id}/action", NO_RULE, handler!(v21::baremetal_nodes::remove_interface))
            .action("remove_interface").body(ANY_BODY).until(V2_35),

        // gone
        gone(Verb::Get, "/os-agents"),
        gone(Verb::Post, "/os-agents"),
        gone(Verb::Put, "/os-agents/{id}"),
        gone(Verb::Delete, "/os-agents/{id}"),
        gone(Verb::Get, "/os-cells"),
        gone(Verb::Post, "/os-cells"),
        gone(Verb::Get, "/os-cells/capacities"),
        gone(Verb::Get, "/os-cells/detail"),
        gone(Verb::Get, "/os-cells/info"),
        gone(Verb::Post, "/os-cells/sync_instances"),
        gone(Verb::Get, "/os-cells/{id}"),
        gone(Verb::Put, "/os-cells/{id}"),
        gone(Verb::Delete, "/os-cells/{id}"),
        gone(Verb::Get, "/os-cells/{id}/capacities"),
        gone(Verb::Post, "/os-certificates"),
        gone(Verb::Get, "/os-certificates/{id}"),
        gone(Verb::Get, "/os-cloudpipe"),
        gone(Verb::Post, "/os-cloudpipe"),
        gone(Verb::Put, "/os-cloudpipe/{id}"),
        gone(Verb::Get, "/os-fixed-ips/{id}"),
        gone(Verb::Post, "/os-fixed-ips/{id}/action").action("reserve"),
        gone(Verb::Post, "/os-fixed-ips/{id}/action").action("unreserve"),
        gone(Verb::Get, "/os-floating-ip-dns"),
        gone(Verb::Put, "/os-floating-ip-dns/{id}"),
        gone(Verb::Delete, "/os-floating-ip-dns/{id}"),
        gone(Verb::Get, "/os-floating-ip-dns/{domain_id}/entries/{id}"),
        gone(Verb::Put, "/os-floating-ip-dns/{domain_id}/entries/{id}"),
        gone(Verb::Delete, "/os-floating-ip-dns/{domain_id}/entries/{id}"),
        gone(Verb::Get, "/os-floating-ips-bulk"),
        gone(Verb::Post, "/os-floating-ips-bulk"),
        gone(Verb::Get, "/os-floating-ips-bulk/{id}"),
        gone(Verb::Put, "/os-floating-ips-bulk/{id}"),
        gone(Verb::Get, "/os-fping"),
        gone(Verb::Get, "/os-fping/{id}"),
        gone(Verb::Get, "/os-security-group-default-rules"),
        gone(Verb::Post, "/os-security-group-default-rules"),
        gone(Verb::Get, "/os-security-group-default-rules/{id}"),
        gone(Verb::Delete, "/os-security-group-default-rules/{id}"),
        gone(Verb::Get, "/servers/{server_id}/consoles"),
        gone(Verb::Post, "/servers/{server_id}/consoles"),
        gone(Verb::Get, "/servers/{server_id}/consoles/{id}"),
        gone(Verb::Delete, "/servers/{server_id}/consoles/{id}"),

        // told, or asked, by other services and by proxies
        post("/os-server-external-events", "os_compute_api:os-server-external-events:create",
            handler!(v21::server_external_events::create)).body(&[
            Versioned::new(LEGACY, V2_50, || schemas::external_events::create(MIN_VERSION)),
            Versioned::new(V2_51, V2_75, || schemas::external_events::create(V2_51)),
            Versioned::new(V2_76, V2_81, || schemas::external_events::create(V2_76)),
            Versioned::new(V2_82, V2_92, || schemas::external_events::create(V2_82)),
            Versioned::since(V2_93, || schemas::external_events::create(V2_93)),
        ]),
        get("/os-console-auth-tokens/{id}", "os_compute_api:os-console-auth-tokens", handler!(v21::console_auth_tokens::show))
            .query(&[Versioned::new(LEGACY, V2_98, any_query), Versioned::since(V2_99, no_query)]),

        // the network service's
        get("/os-networks", "os_compute_api:os-networks:list", handler!(v21::networks::index)).query(ANY_QUERY).until(V2_35),
        get("/os-networks/{id}", "os_compute_api:os-networks:show", handler!(v21::networks::show)).query(ANY_QUERY).until(V2_35),
        gone(Verb::Post, "/os-networks"),
        gone(Verb::Post, "/os-networks/add"),
        gone(Verb::Delete, "/os-networks/{id}"),
        gone(Verb::Post, "/os-networks/{id}/action").action("associate_host"),
        gone(Verb::Post, "/os-networks/{id}/action").action("disassociate"),
        gone(Verb::Post, "/os-networks/{id}/action").action("disassociate_host"),
        gone(Verb::Post, "/os-networks/{id}/action").action("disassociate_project"),
        get("/os-tenant-networks", "os_compute_api:os-tenant-networks:list", handler!(v21::networks::tenant_index))
            .query(ANY_QUERY).until(V2_35),
        get("/os-tenant-networks/{id}", "os_compute_api:os-tenant-networks:show", handler!(v21::networks::tenant_show))
            .query(ANY_QUERY).until(V2_35),
        gone(Verb::Post, "/os-tenant-networks"),
        gone(Verb::Delete, "/os-tenant-networks/{id}"),
        get("/os-floating-ip-pools", "os_compute_api:os-floating-ip-pools", handler!(v21::floating_ips::pools))
            .query(ANY_QUERY).until(V2_35),
        get("/os-floating-ips", "os_compute_api:os-floating-ips:list", handler!(v21::floating_ips::index)).query(ANY_QUERY).until(V2_35),
        post("/os-floating-ips", "os_compute_api:os-floating-ips:create", handler!(v21::floating_ips::create))
            .body(&[Versioned::always(schemas::network_proxies::create_floating_ip)]).until(V2_35),
        get("/os-floating-ips/{id}", "os_compute_api:os-floating-ips:show", handler!(v21::floating_ips::show)).query(ANY_QUERY).until(V2_35),
        delete("/os-floating-ips/{id}", "os_compute_api:os-floating-ips:delete", handler!(v21::floating_ips::delete)).until(V2_35),
        get("/os-security-groups", "os_compute_api:os-security-groups:get", handler!(v21::security_groups::index))
            .query(&[Versioned::always(schemas::network_proxies::security_groups_query)]).until(V2_35),
        post("/os-security-groups", "os_compute_api:os-security-groups:create", handler!(v21::security_groups::create))
            .body(&[Versioned::always(schemas::network_proxies::security_group)]).until(V2_35),
        get("/os-security-groups/{id}", "os_compute_api:os-security-groups:show", handler!(v21::security_groups::show))
            .query(ANY_QUERY).until(V2_35),
        put("/os-security-groups/{id}", "os_compute_api:os-security-groups:update", handler!(v21::security_groups::update))
            .body(&[Versioned::always(schemas::network_proxies::security_group)]).until(V2_35),
        delete("/os-security-groups/{id}", "os_compute_api:os-security-groups:delete", handler!(v21::security_groups::delete)).until(V2_35),
        post("/os-security-group-rules", "os_compute_api:os-security-groups:rule:create", handler!(v21::security_groups::rules::create))
            .body(&[Versioned::always(schemas::network_proxies::create_rule)]).until(V2_35),
        delete("/os-security-group-rules/{id}", "os_compute_api:os-security-groups:rule:delete", handler!(v21::security_groups::rules::delete))
            .until(V2_35),

        // the volume service's
        get("/os-volumes", "os_compute_api:os-volumes:list", handler!(v21::volumes::index)).query(VOLUMES_QUERY).until(V2_35),
        post("/os-volumes", "os_compute_api:os-volumes:create", handler!(v21::volumes::create))
            .body(&[Versioned::always(schemas::volumes::create)]).until(V2_35),
        get("/os-volumes/detail", "os_compute_api:os-volumes:detail", handler!(v21::volumes::index)).query(VOLUMES_QUERY).until(V2_35),
        get("/os-volumes/{id}", "os_compute_api:os-volumes:show", handler!(v21::volumes::show)).query(ANY_QUERY).until(V2_35),
        delete("/os-volumes/{id}", "os_compute_api:os-volumes:delete", handler!(v21::volumes::delete)).until(V2_35),
        get("/os-snapshots", "os_compute_api:os-volumes:snapshots:list", handler!(v21::snapshots::index)).query(VOLUMES_QUERY).until(V2_35),
        post("/os-snapshots", "os_compute_api:os-volumes:snapshots:create", handler!(v21::snapshots::create))
            .body(&[Versioned::always(schemas::volumes::create_snapshot)]).until(V2_35),
        get("/os-snapshots/detail", "os_compute_api:os-volumes:snapshots:detail", handler!(v21::snapshots::index))
            .query(VOLUMES_QUERY).until(V2_35),
        get("/os-snapshots/{id}", "os_compute_api:os-volumes:snapshots:show", handler!(v21::snapshots::show)).query(ANY_QUERY).until(V2_35),
        delete("/os-snapshots/{id}", "os_compute_api:os-volumes:snapshots:delete", handler!(v21::snapshots::delete)).until(V2_35),

        // extensions
        get("/extensions", "os_compute_api:extensions", handler!(v21::extensions::index)).query(ANY_QUERY),
        get("/extensions/{id}", "os_compute_api:extensions", handler!(v21::extensions::show)).query(ANY_QUERY),
    ]
};
