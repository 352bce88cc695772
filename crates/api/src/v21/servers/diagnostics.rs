//! `/servers/{server_id}/diagnostics`

use super::authorized;
use crate::call::{Answer, Call, ok};
use crate::compute::diagnostics;
use crate::versions::V2_48;
use crate::views::server_diagnostics::ServerDiagnostics;

/// `GET /servers/{server_id}/diagnostics`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    if call.since(V2_48) {
        let counted = diagnostics::standardized(&call.state, &call.context, instance).await?;
        return ok(&ServerDiagnostics::from(&counted));
    }
    ok(&diagnostics::of_driver(&call.state, &call.context, instance).await?)
}
